//! The documented limits, each shown by its effect on a program, in a process of its own: code that
//! takes an OS thread for one stack is wrong on ethreads, which needs no `unsafe`; foreign code
//! without stack probes can step over a guard page; and a child of fork(2) shares its parent's
//! epoll instance.

// A frame without probes, and fork(2).
#![allow(unsafe_code)]
// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::process::{Command, Output};
use std::rc::Rc;
use std::time::Duration;

use ethreads::net::UnixStream;
use ethreads::{Runtime, thread};

const CHILD: &str = "ETHREADS_TEST_CHILD";

/// Runs the test `name` again in a process of its own; returns `None` there.
fn in_child(name: &str) -> Option<Output> {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, name);
    Some(command.output().unwrap())
}

thread_local! {
    static INITIALISATIONS: Cell<u32> = const { Cell::new(0) };
    /// The initialiser parks, which it must not.
    static KEY: Cell<&'static str> = {
        INITIALISATIONS.set(INITIALISATIONS.get() + 1);
        thread::yield_now();
        Cell::new("initial")
    };
}

/// std runs one initialiser at a time because an OS thread has one stack. When the first one parks
/// and another ethread comes, two of them run, and the value of the one that ends last replaces the
/// other value, to which there may be a reference. (There is none here.)
#[test]
fn a_thread_local_whose_initialiser_parks_is_initialised_twice() {
    let name = "a_thread_local_whose_initialiser_parks_is_initialised_twice";
    let Some(output) = in_child(name) else {
        let run = Runtime::builder().run(|| {
            let first = thread::spawn(|| {
                KEY.with(|key| key.set("set by the first"));
                thread::yield_now();
                KEY.with(Cell::get)
            });
            let second = thread::spawn(|| KEY.with(|_| ()));
            second.join().unwrap();
            first.join().unwrap()
        });
        println!(
            "initialised {} times, now {}",
            INITIALISATIONS.get(),
            run.unwrap()
        );
        return;
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert!(
        printed.contains("initialised 2 times, now initial\n"),
        "{printed}"
    );
}

thread_local! {
    /// As `scoped_tls` and entered `tracing` spans keep their scopes: the last to enter is the
    /// first to leave.
    static SCOPES: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` within a scope.
fn scoped(name: &'static str, f: impl FnOnce()) {
    SCOPES.with_borrow_mut(|scopes| scopes.push(name));
    f();
    let left = SCOPES.with_borrow_mut(Vec::pop);
    assert_eq!(left, Some(name), "scopes are nested");
}

#[test]
fn scopes_kept_in_a_thread_local_do_not_nest_over_a_park() {
    let Some(output) = in_child("scopes_kept_in_a_thread_local_do_not_nest_over_a_park") else {
        let run = Runtime::builder().run(|| {
            let first = thread::spawn(|| scoped("first", || thread::yield_now()));
            let second = thread::spawn(|| scoped("second", || thread::park()));
            first.join().unwrap();
            drop(second);
        });
        return run.unwrap();
    };
    assert!(!output.status.success());
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("scopes are nested"), "{printed}");
    assert!(printed.contains("left: Some(\"second\")"), "{printed}");
}

/// Prints to standard error when it is dropped.
struct Lent(&'static str);

impl Drop for Lent {
    fn drop(&mut self) {
        eprintln!("{} is dropped", self.0);
    }
}

thread_local! {
    static VALUE: Lent = const { Lent("the value") };
    /// The destructor suspends, which it must not.
    static SUSPENDS: Suspends = const { Suspends };
}

struct Suspends;

impl Drop for Suspends {
    fn drop(&mut self) {
        thread::yield_now();
    }
}

/// Returns the lines that a child wrote to standard error and that the test is about.
fn lines(output: &Output) -> Vec<String> {
    let printed = String::from_utf8_lossy(&output.stderr);
    let about = ["the value is", "the ethread", "the OS thread"];
    let lines = printed.lines();
    let lines = lines.filter(|line| about.iter().any(|part| line.starts_with(part)));
    lines.map(str::to_owned).collect()
}

/// An OS thread of the program's own ends when the program wants it to, and destroys its
/// thread-locals, even if ethreads that are left behind have lent them. (Nothing is read here.) The
/// OS threads of `Runtime::builder().shards(..)` stay.
#[test]
fn an_os_thread_that_ends_takes_thread_locals_from_their_borrowers() {
    let name = "an_os_thread_that_ends_takes_thread_locals_from_their_borrowers";
    let Some(output) = in_child(name) else {
        let (lends, is_lent) = std::sync::mpsc::channel();
        let (looks, look) = std::sync::mpsc::channel::<()>();
        let (tells, told) = std::sync::mpsc::channel();
        let shard = std::thread::spawn(move || {
            let run = Runtime::builder().grace(std::time::Duration::ZERO).run(|| {
                drop(thread::spawn(|| {
                    VALUE.with(|value| {
                        std::thread::scope(|scope| {
                            scope.spawn(move || {
                                let _borrowed = value;
                                lends.send(()).unwrap();
                                look.recv().unwrap();
                                eprintln!("the OS thread still borrows it");
                                tells.send(()).unwrap();
                            });
                            thread::uncancellable(thread::park);
                        });
                    });
                }));
                thread::yield_now();
            });
            is_lent.recv().unwrap();
            run.unwrap();
        });
        shard.join().unwrap();
        looks.send(()).unwrap();
        return told.recv().unwrap();
    };
    assert!(output.status.success());
    assert_eq!(
        lines(&output),
        ["the value is dropped", "the OS thread still borrows it"]
    );
}

/// `exit` runs the destructors of thread-locals on the stack of the ethread that calls it. A
/// destructor that suspends lets other ethreads go on, whose frames may refer to destroyed values.
/// (Nothing is read here.)
#[test]
fn an_exit_in_an_ethread_lets_others_go_on_without_their_thread_locals() {
    let name = "an_exit_in_an_ethread_lets_others_go_on_without_their_thread_locals";
    let Some(output) = in_child(name) else {
        // On the main OS thread of a child there would be the test harness.
        let run = Runtime::builder().run(|| {
            // Registered first, so it is the last to be destroyed.
            SUSPENDS.with(|_| ());
            let borrows = thread::spawn(|| {
                VALUE.with(|_borrowed| {
                    thread::park();
                    eprintln!("the ethread still borrows it");
                });
            });
            thread::yield_now();
            borrows.thread().unpark();
            std::process::exit(7)
        });
        return run.unwrap();
    };
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        lines(&output),
        ["the value is dropped", "the ethread still borrows it"]
    );
}

/// The closure given to `suspend` runs on the scheduler's side. A coroutine of the program's own
/// that yields in the middle of it leaves its caller there, where no wait is possible. (In an
/// ethread the stacks themselves get mixed up.)
#[test]
fn a_coroutine_that_leaves_in_the_closure_of_suspend_leaves_nothing_that_can_wait() {
    let name = "a_coroutine_that_leaves_in_the_closure_of_suspend_leaves_nothing_that_can_wait";
    let Some(output) = in_child(name) else {
        drop(thread::spawn(|| ()));
        let mut coroutine = corosensei::Coroutine::<(), (), ()>::new(|yielder, ()| {
            ethreads::bridge::suspend(|me: ethreads::bridge::Suspended<()>| {
                yielder.suspend(());
                let _ = me.resume(());
            });
        });
        coroutine.resume(());
        let waits = std::panic::catch_unwind(|| thread::sleep(std::time::Duration::from_millis(1)));
        eprintln!("the ethread cannot wait: {}", waits.is_err());
        coroutine.resume(());
        return;
    };
    assert!(output.status.success());
    assert_eq!(lines(&output), ["the ethread cannot wait: true"]);
}

/// Makes a frame of 160 KiB as a C compiler does without `-fstack-clash-protection`: the stack
/// pointer moves at once, and nothing in between is touched. Returns the lowest address, where a
/// byte was written.
#[cfg(target_arch = "x86_64")]
fn large_unprobed_frame() -> usize {
    let lowest: usize;
    // SAFETY: the stack pointer is back at the end. The write is wrong, as the test is to show: it
    // goes below the frames of a neighbour that is parked.
    unsafe {
        std::arch::asm!(
            "sub rsp, 160 * 1024",
            "mov byte ptr [rsp], 1",
            "mov {lowest}, rsp",
            "add rsp, 160 * 1024",
            lowest = out(reg) lowest,
        );
    }
    lowest
}

/// Rust's own frames are probed page by page, and meet the guard.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_frame_larger_than_the_guard_that_is_not_probed_ends_in_another_stack() {
    let name = "a_frame_larger_than_the_guard_that_is_not_probed_ends_in_another_stack";
    let Some(output) = in_child(name) else {
        const SIZE: usize = 64 << 10;
        let run = Runtime::builder().stack_size(SIZE).run(|| {
            let neighbour = Rc::new(Cell::new(0));
            let theirs = neighbour.clone();
            let parked = thread::spawn(move || {
                let local = 0u8;
                theirs.set(std::ptr::from_ref(&local).addr());
                thread::park();
            });
            let steps = thread::spawn(large_unprobed_frame);
            let written = steps.join().unwrap();
            parked.thread().unpark();
            parked.join().unwrap();
            let below = neighbour.get() - written;
            println!("written {below} bytes below a frame of the neighbour");
            assert!((1..SIZE).contains(&below));
        });
        return run.unwrap();
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("of the neighbour\n"), "{printed}");
}

/// Runs `f` in a child of fork(2), which ends by `_exit(2)`, and waits for that.
#[cfg(target_os = "linux")]
fn in_a_fork(f: impl FnOnce()) {
    // SAFETY: the child runs `f`, which takes no lock that another OS thread may hold, and ends
    // without running anything else. The parent waits for a child of its own.
    let status = unsafe {
        match libc::fork() {
            0 => {
                f();
                libc::_exit(0)
            }
            child => {
                assert!(child > 0);
                let mut status = -1;
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
                status
            }
        }
    };
    assert_eq!(status, 0);
}

/// Whether an ethread that waits for a stream is woken after `f` has run meanwhile.
#[cfg(target_os = "linux")]
fn is_woken_after(f: impl FnOnce(Rc<UnixStream>)) -> bool {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let ours = Rc::new(ours);
    let reads = ours.clone();
    let reader = thread::spawn(move || (&*reads).read(&mut [0]).unwrap());
    // The first wait registers the stream.
    thread::yield_now();
    f(ours);
    theirs.write_all(b"x").unwrap();
    // A reported event is seen before the sleep ends.
    thread::sleep(Duration::from_millis(50));
    let woken = reader.is_finished();
    reader.cancel();
    drop(reader.join());
    woken
}

/// Both processes share one epoll instance, in which the same number is the same registration.
#[test]
#[cfg(target_os = "linux")]
fn a_child_of_fork_that_drops_a_stream_takes_the_parents_registration_away() {
    let name = "a_child_of_fork_that_drops_a_stream_takes_the_parents_registration_away";
    let Some(output) = in_child(name) else {
        let run = Runtime::builder().run(|| {
            let dropped = is_woken_after(|stream| {
                in_a_fork(|| {
                    // The stream's last owner, as the reader's frame never runs again here.
                    let stream = Rc::into_raw(stream);
                    // SAFETY: the parent keeps its own copy of the memory; in the child nothing
                    // uses the stream again.
                    unsafe { std::ptr::drop_in_place(stream.cast_mut()) };
                });
            });
            let exited = is_woken_after(|stream| in_a_fork(move || std::mem::forget(stream)));
            let executed = is_woken_after(|_| {
                assert!(Command::new("true").status().unwrap().success());
            });
            println!("woken: {dropped} after a drop, {exited} after _exit, {executed} after exec");
        });
        return run.unwrap();
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert!(
        printed.contains("woken: false after a drop, true after _exit, true after exec\n"),
        "{printed}"
    );
}
