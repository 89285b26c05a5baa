//! Ways to make the system refuse, and what can be measured meanwhile.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ethreads::{RunError, thread, time};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{in_child, stderr};

/// Runs `test`, the body of the test `name`, in a process of its own.
pub(crate) fn isolated(name: &str, test: impl FnOnce()) {
    let Some(output) = in_child(name) else {
        return test();
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", stderr(&output));
    let skipped = printed.lines().filter(|line| line.contains("skipped: "));
    skipped.for_each(|line| println!("{line}"));
}

/// Prints why a part of a test does not run here.
pub(crate) fn skipped(why: &str) {
    println!("skipped: {why}");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Waits until the watchdog's OS thread has all that it needs. std ends the process if a new OS
/// thread finds no memory for its alternate signal stack.
pub(crate) fn watchdog_runs() {
    std::thread::spawn(|| ethreads::Runtime::builder().run(|| ()).unwrap())
        .join()
        .unwrap();
    let is_there = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        let name = |task: io::Result<fs::DirEntry>| {
            fs::read_to_string(task.ok()?.path().join("comm")).ok()
        };
        let mut names = tasks.filter_map(name);
        names.any(|name| name.starts_with("ethreads-watchd"))
    };
    while !is_there() {
        std::thread::yield_now();
    }
}

/// Sets a soft limit, and returns the previous limit. The hard limit stays, so the soft one can be
/// lifted.
pub(crate) fn set_limit(resource: Resource, current: u64) -> Rlimit {
    let before = getrlimit(resource);
    let limit = Rlimit {
        current: Some(current),
        maximum: before.maximum,
    };
    setrlimit(resource, limit).unwrap();
    before
}

/// Takes every descriptor that the process may have.
pub(crate) fn take_descriptors() -> Vec<File> {
    let null = || File::open("/dev/null");
    let taken: Vec<_> = std::iter::from_fn(|| null().ok()).collect();
    assert!(taken.len() > 8);
    taken
}

pub(crate) fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

pub(crate) fn os_threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Returns the bytes of address space that this process has, with the watchdog's.
pub(crate) fn address_space() -> u64 {
    watchdog_runs();
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

/// Limits the process to `more` OS threads more than it has. Returns false if the limit does not
/// hold for this user.
///
/// Processes and OS threads of a user are counted together, so the process gets a user of its own.
pub(crate) fn limit_os_threads(more: usize) -> bool {
    if !is_root() {
        skipped("only root can give a process a user of its own, for RLIMIT_NPROC");
        return false;
    }
    let user = 100_000 + std::process::id();
    set_limit(Resource::Nproc, (os_threads() + more) as u64);
    // SAFETY: a plain call, in a process of its own.
    assert_eq!(unsafe { libc::setresuid(user, user, user) }, 0);
    // What is under /proc/self belongs to the process again.
    // SAFETY: as above.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) }, 0);
    true
}

/// What a filter demands of an argument of a system call.
#[derive(Clone, Copy)]
pub(crate) enum Argument {
    /// The lower half of the argument is this.
    Is(u32),
    AtLeast(u32),
}

/// Makes the kernel refuse `call` with `errno` on this OS thread, and on the OS threads that it
/// starts, if the numbered arguments are as demanded: seccomp(2). It cannot be undone.
pub(crate) fn refuse(call: libc::c_long, arguments: &[(u32, Argument)], errno: i32) -> bool {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let mut program = Vec::new();
    // Each test is a load and a jump; a failed test jumps to the last step.
    let mut left = 2 * (arguments.len() as u8 + 1);
    let mut test = |offset, condition| {
        left -= 2;
        let (jump, k) = match condition {
            Argument::Is(k) => (libc::BPF_JEQ, k),
            Argument::AtLeast(k) => (libc::BPF_JGE, k),
        };
        program.push(step(LOAD, 0, 0, offset));
        let jump = libc::BPF_JMP | jump | libc::BPF_K;
        program.push(step(jump, 0, left + 1, k));
    };
    test(0, Argument::Is(call as u32));
    for (number, condition) in arguments {
        test(16 + 8 * number, *condition);
    }
    program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32));
    program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program is valid for the length of the call, which copies it.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) != 0
    };
    if refused {
        let error = io::Error::last_os_error();
        skipped(&format!("system calls cannot be filtered here: {error}"));
    }
    !refused
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Waits with `wait` while another ethread sleeps again and again, and checks that the other
/// ethread goes on and that this OS thread is idle for most of the time.
pub(crate) fn without_spinning<R>(wait: impl FnOnce() -> R) -> R {
    let turns = Rc::new(Cell::new(0));
    let counted = turns.clone();
    let other = thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(5));
            counted.set(counted.get() + 1);
        }
    });
    let (began, cpu) = (Instant::now(), cpu_time());
    let result = wait();
    let (took, cpu) = (began.elapsed(), cpu_time() - cpu);
    other.cancel();
    drop(other.join());
    assert!(turns.get() > 1, "nothing else went on meanwhile");
    assert!(cpu < took / 2, "{cpu:?} of CPU time in {took:?}");
    result
}

/// Checks that the shard goes on: ethreads begin and end, and deadlines fire.
pub(crate) fn goes_on() {
    let sum = [1, 2, 3].map(|n| thread::spawn(move || n));
    let sum: u32 = sum.into_iter().map(|n| n.join().unwrap()).sum();
    assert_eq!(sum, 6);
    let expired = time::timeout(Duration::from_millis(1), thread::park);
    assert!(expired.is_err());
}

/// Keeps the resources of a shard for a while, in which other shards lack them.
pub(crate) fn linger() {
    goes_on();
    for _ in 0..100 {
        std::thread::yield_now();
    }
}

/// Runs several shards again and again, until some have failed while others ran. Whether they
/// overlap depends on the system.
pub(crate) fn until_some_fail(
    run: impl Fn() -> Vec<Result<(), RunError>>,
    check: impl Fn(&io::Error),
) {
    for _ in 0..1000 {
        let (ran, failed): (Vec<_>, Vec<_>) = run().into_iter().partition(Result::is_ok);
        for end in &failed {
            match end {
                Err(RunError::Io(error)) => check(error),
                other => panic!("{other:?}"),
            }
        }
        if !ran.is_empty() && !failed.is_empty() {
            return;
        }
    }
    panic!("they all ran or all failed");
}
