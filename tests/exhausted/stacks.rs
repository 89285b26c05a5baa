//! No memory for stacks: RLIMIT_AS, vm.max_map_count, and refusals of madvise(2).

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::panic::AssertUnwindSafe;
use std::ptr;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use ethreads::bridge::{Interest, Wakeup, on_ready};
use ethreads::net::UnixStream;
use ethreads::runtime::{GuardKind, Shard};
use ethreads::sync::Resource;
use ethreads::thread::{self, JoinHandle};
use ethreads::{RunError, Runtime, runtime, spawn, time};
use rustix::process::{Resource as Limit, Rlimit, setrlimit};

use crate::limits::{
    Argument, address_space, goes_on, isolated, open_descriptors, refuse, set_limit,
    without_spinning,
};
use crate::support::{collect_log, fresh, logged, text};

pub(crate) const SIZE: usize = 2 << 20;

/// Ethreads with all stacks of the default size that this process can have, and the former limit of
/// its address space.
pub(crate) struct Exhausted {
    parked: Vec<JoinHandle<()>>,
    before: Rlimit,
    error: io::Error,
}

impl Exhausted {
    pub(crate) fn new() -> Self {
        // The rest is less than a stack, and for the heap.
        let before = set_limit(Limit::As, address_space() + 2 * SIZE as u64);
        let mut parked = Vec::new();
        let error = loop {
            match thread::Builder::new().spawn(thread::park) {
                Ok(ethread) => parked.push(ethread),
                Err(error) => break error,
            }
        };
        thread::yield_now();
        Self {
            parked,
            before,
            error,
        }
    }

    /// Ends one of the ethreads that have a stack.
    pub(crate) fn end_one(&mut self) {
        let one = self.parked.pop().unwrap();
        one.thread().unpark();
        one.join().unwrap();
    }

    pub(crate) fn lift(self) {
        setrlimit(Limit::As, self.before).unwrap();
        for parked in self.parked {
            parked.thread().unpark();
            parked.join().unwrap();
        }
    }
}

pub(crate) fn names_the_limit(error: &io::Error) {
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    let text = error.to_string();
    for part in ["RLIMIT_AS (ulimit -v)", "vm.max_map_count (now ", "cgroup"] {
        assert!(text.contains(part), "{text}");
    }
}

pub(crate) fn with_large_stacks(name: &str, test: fn()) {
    isolated(name, || {
        collect_log();
        Runtime::builder().stack_size(SIZE).run(test).unwrap();
    });
}

/// Checks that the shard goes on with the stacks that there are.
fn deadlines_fire() {
    assert!(time::timeout(Duration::from_millis(1), thread::park).is_err());
}

#[test]
fn an_ethread_that_can_have_no_stack_is_an_error_or_a_panic_that_says_so() {
    const NAME: &str =
        "stacks::an_ethread_that_can_have_no_stack_is_an_error_or_a_panic_that_says_so";
    with_large_stacks(NAME, || {
        let mut exhausted = Exhausted::new();
        names_the_limit(&exhausted.error);
        let counts = || {
            let stats = runtime::stats().unwrap();
            (stats.ethreads, stats.ready, stats.stacks)
        };
        let before = counts();
        let panics: [fn(); 2] = [
            || drop(spawn(|| ())),
            || thread::scope(|scope| drop(scope.spawn(|| ()))),
        ];
        for f in panics {
            let payload = thread::catch_panic(f).unwrap_err();
            let text = text(&*payload);
            assert!(text.starts_with("cannot spawn "), "{text}");
            assert!(text.contains("RLIMIT_AS (ulimit -v)"), "{text}");
        }
        for _ in 0..1000 {
            assert!(thread::Builder::new().spawn(|| ()).is_err());
        }
        assert_eq!(counts(), before);
        deadlines_fire();
        without_spinning_alone();
        exhausted.end_one();
        spawn(|| ()).join().unwrap();
        exhausted.lift();
        goes_on();
        spawn(|| ()).join().unwrap();
    });
}

#[test]
fn a_resource_whose_ethread_can_have_no_stack_panics_and_starts_later() {
    const NAME: &str = "stacks::a_resource_whose_ethread_can_have_no_stack_panics_and_starts_later";
    with_large_stacks(NAME, || {
        let seven = Resource::new(|| Ok::<_, ()>(7));
        let mut exhausted = Exhausted::new();
        let get = || drop(seven.get());
        let payload = thread::catch_panic(AssertUnwindSafe(get)).unwrap_err();
        let text = text(&*payload);
        assert!(text.contains("to start a resource: "), "{text}");
        assert!(text.contains("RLIMIT_AS (ulimit -v)"), "{text}");
        exhausted.end_one();
        assert_eq!(*seven.get().unwrap(), 7);
        exhausted.lift();
    });
}

/// As `without_spinning`, but without a stack for another ethread.
pub(crate) fn without_spinning_alone() {
    let cpu = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanos = |time: rustix::time::Timespec| time.tv_sec * 1_000_000_000 + time.tv_nsec;
    let (began, cpu_began) = (std::time::Instant::now(), nanos(cpu()));
    thread::sleep(Duration::from_millis(200));
    let spent = Duration::from_nanos((nanos(cpu()) - cpu_began) as u64);
    let took = began.elapsed();
    assert!(spent < took / 2, "{spent:?} of CPU time in {took:?}");
}

pub(crate) const NO_STACK: &str = "no stack for an ethread that became ready";

/// The caller is on another OS thread and gets no error, so the ethread waits for a stack.
#[test]
fn one_that_is_spawned_from_elsewhere_waits_for_a_stack() {
    const NAME: &str = "stacks::one_that_is_spawned_from_elsewhere_waits_for_a_stack";
    with_large_stacks(NAME, || {
        let shard = Shard::current();
        let (go, may_go) = mpsc::channel();
        let elsewhere = std::thread::spawn(move || {
            may_go.recv().unwrap();
            let ethreads = [1, 2].map(|n| shard.spawn(move || n).unwrap());
            ethreads.map(|ethread| ethread.join().unwrap())
        });
        let mut exhausted = Exhausted::new();
        go.send(()).unwrap();
        while logged(NO_STACK).is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        without_spinning_alone();
        deadlines_fire();
        let told = logged(NO_STACK);
        assert_eq!(told.len(), 1, "once a period: {told:?}");
        assert!(told[0].contains("RLIMIT_AS (ulimit -v)"), "{told:?}");
        assert!(!elsewhere.is_finished());
        // Each ethread that ends lets another one begin.
        exhausted.end_one();
        while !elsewhere.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(elsewhere.join().unwrap(), [1, 2]);
        exhausted.lift();
        goes_on();
    });
}

#[test]
fn a_starter_waits_for_a_stack_and_keeps_its_event() {
    const NAME: &str = "stacks::a_starter_waits_for_a_stack_and_keeps_its_event";
    with_large_stacks(NAME, || {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (late, _silent) = UnixStream::pair().unwrap();
        let read = Rc::new(Cell::new(0));
        let (seen, reader) = (read.clone(), Rc::new(ours));
        let reads = reader.clone();
        let ready = on_ready(&*reader, Interest::Readable, None, move |wakeup| {
            assert_eq!(wakeup, Wakeup::Ready);
            let mut byte = [0];
            (&*reads).read_exact(&mut byte).unwrap();
            seen.set(byte[0]);
        });
        let mut exhausted = Exhausted::new();
        let soon = time::Instant::now() + Duration::from_millis(1);
        let timed = on_ready(&late, Interest::Readable, Some(soon), |wakeup| wakeup).unwrap();
        theirs.write_all(b"a").unwrap();
        while logged(NO_STACK).is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        without_spinning_alone();
        assert_eq!(read.get(), 0);
        exhausted.end_one();
        ready.unwrap().join().unwrap();
        assert_eq!(read.get(), b'a');
        assert_eq!(timed.join().unwrap(), Wakeup::TimedOut);
        // An ethread that waits for a stack can be cancelled, and unwinds once it has a stack.
        let cancelled = on_ready(&late, Interest::Writable, None, |_| unreachable!()).unwrap();
        let last = thread::Builder::new().spawn(thread::park).unwrap();
        cancelled.cancel();
        last.thread().unpark();
        last.join().unwrap();
        assert!(cancelled.join().unwrap_err().is::<thread::Cancelled>());
        exhausted.lift();
        goes_on();
    });
}

/// Mappings of pages with alternating rights, as many as the process may have.
struct Mappings {
    start: *mut libc::c_void,
    len: usize,
}

impl Mappings {
    fn all_but(free: usize) -> Option<Self> {
        crate::limits::watchdog_runs();
        let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        let most: usize = text.trim().parse().unwrap();
        if most > 1_000_000 {
            crate::limits::skipped("vm.max_map_count is out of reach");
            return None;
        }
        let page = rustix::param::page_size();
        let len = most * page;
        // SAFETY: a new mapping replaces nothing.
        let start = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            libc::mmap(ptr::null_mut(), len, libc::PROT_READ, flags, -1, 0)
        };
        assert_ne!(start, libc::MAP_FAILED);
        let set = |n: usize, rights| {
            // SAFETY: a page of this mapping, which nothing else refers to.
            unsafe { libc::mprotect(start.byte_add(n * page), page, rights) }
        };
        let mut cut = 0;
        while set(2 * cut + 1, libc::PROT_NONE) == 0 {
            cut += 1;
        }
        for n in cut - free.div_ceil(2)..cut {
            assert_eq!(set(2 * n + 1, libc::PROT_READ), 0);
        }
        Some(Self { start, len })
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        // SAFETY: this mapping alone, which nothing else refers to.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

#[test]
fn guards_that_are_one_mapping_too_many_are_an_error_and_nothing_is_lost() {
    const NAME: &str =
        "stacks::guards_that_are_one_mapping_too_many_are_an_error_and_nothing_is_lost";
    isolated(NAME, || {
        let before = open_descriptors();
        let run = Runtime::builder()
            .guard(GuardKind::Mprotect)
            .watchdog(None)
            .run(|| {
                let mappings = Mappings::all_but(12)?;
                let mut ethreads = Vec::new();
                let error = loop {
                    match thread::Builder::new().spawn(|| thread::yield_now()) {
                        Ok(ethread) => ethreads.push(ethread),
                        Err(error) => break error,
                    }
                };
                assert!(ethreads.len() < 16, "{}", ethreads.len());
                for _ in 0..1000 {
                    assert!(thread::Builder::new().spawn(|| ()).is_err());
                }
                deadlines_fire();
                ethreads.into_iter().for_each(|one| one.join().unwrap());
                // The existing stacks go on working, and there are more when the limit is lifted.
                spawn(|| ()).join().unwrap();
                drop(mappings);
                let ethreads: Vec<_> = (0..20).map(|_| spawn(|| thread::yield_now())).collect();
                ethreads.into_iter().for_each(|one| one.join().unwrap());
                Some(error)
            });
        if let Some(error) = run.unwrap() {
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
            let text = error.to_string();
            assert!(text.contains("raise vm.max_map_count (now "), "{text}");
        }
        assert_eq!(open_descriptors(), before);
    });
}

/// Cutting a hole into a mapping makes one mapping more, and may be refused.
#[test]
fn a_shard_ends_where_no_mapping_can_be_cut() {
    isolated("stacks::a_shard_ends_where_no_mapping_can_be_cut", || {
        // Neighbours merge into one mapping, of which each shard unmaps its part.
        let shards: Vec<_> = (0..4).map(|_| ending_shard()).collect();
        let Some(mappings) = Mappings::all_but(0) else {
            return;
        };
        for (end, shard) in shards {
            end.send(()).unwrap();
            shard.join().unwrap().unwrap();
        }
        drop(mappings);
        ethreads::run_main(goes_on).unwrap();
    });

    type Shard = std::thread::JoinHandle<Result<(), RunError>>;

    fn ending_shard() -> (mpsc::Sender<()>, Shard) {
        let (end, ends) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel();
        let shard = std::thread::spawn(move || {
            Runtime::builder().watchdog(None).run(move || {
                let ethreads: Vec<_> = (0..40).map(|_| spawn(|| thread::yield_now())).collect();
                ethreads.into_iter().for_each(|one| one.join().unwrap());
                begun.send(()).unwrap();
                ends.recv().unwrap();
            })
        });
        has_begun.recv().unwrap();
        (end, shard)
    }
}

#[test]
fn an_alternate_stack_that_cannot_be_mapped_is_an_error_and_nothing_is_lost() {
    const NAME: &str =
        "stacks::an_alternate_stack_that_cannot_be_mapped_is_an_error_and_nothing_is_lost";
    isolated(NAME, || {
        let run = || Runtime::builder().watchdog(None).run(goes_on);
        fresh(|| run().unwrap());
        let before = open_descriptors();
        fresh(|| {
            // Of all mappings made here, only the alternate stack has that size.
            if !refuse(libc::SYS_mmap, &[(1, Argument::Is(64 << 10))], libc::ENOMEM) {
                return;
            }
            for _ in 0..1000 {
                let Err(RunError::Io(error)) = run() else {
                    panic!("it ran");
                };
                assert_eq!(error.kind(), ErrorKind::OutOfMemory);
                let text = error.to_string();
                assert!(text.contains("cannot map the alternate stack"), "{text}");
                assert!(text.contains("raise RLIMIT_AS (ulimit -v)"), "{text}");
            }
            assert_eq!(open_descriptors(), before);
        });
        fresh(|| run().unwrap());
    });
}

const GUARD_INSTALL: u32 = 102;

#[test]
fn guards_for_which_there_is_no_memory_are_an_error() {
    isolated(
        "stacks::guards_for_which_there_is_no_memory_are_an_error",
        || {
            let advice = [(2, Argument::Is(GUARD_INSTALL))];
            if !refuse(libc::SYS_madvise, &advice, libc::ENOMEM) {
                return;
            }
            for guard in [GuardKind::Auto, GuardKind::Madvise] {
                let run = Runtime::builder().guard(guard).run(|| ());
                let Err(RunError::Io(error)) = run else {
                    panic!("it ran");
                };
                assert_eq!(error.kind(), ErrorKind::OutOfMemory);
                let text = error.to_string();
                assert!(
                    text.contains("raise the memory limit of the cgroup"),
                    "{text}"
                );
            }
            let run = Runtime::builder().guard(GuardKind::Mprotect).run(goes_on);
            run.unwrap();
        },
    );
}

/// Memory that cannot be given back stays allocated.
#[test]
fn pages_that_are_not_taken_back_are_no_error() {
    isolated("stacks::pages_that_are_not_taken_back_are_no_error", || {
        let advice = [(2, Argument::Is(libc::MADV_DONTNEED as u32))];
        if !refuse(libc::SYS_madvise, &advice, libc::ENOMEM) {
            return;
        }
        let run = Runtime::builder().hot_stacks(0).run(|| {
            for _ in 0..3 {
                let ethreads: Vec<_> = (0..40).map(|_| spawn(|| thread::yield_now())).collect();
                ethreads.into_iter().for_each(|one| one.join().unwrap());
            }
            without_spinning(|| thread::sleep(Duration::from_millis(50)));
        });
        run.unwrap();
    });
}

/// No ethread of this shard ends and frees a stack: the limit itself is lifted.
#[test]
fn one_that_waits_for_a_stack_begins_when_the_limit_is_lifted() {
    const NAME: &str = "stacks::one_that_waits_for_a_stack_begins_when_the_limit_is_lifted";
    isolated(NAME, || {
        collect_log();
        let group = Runtime::builder().stack_size(SIZE).shards(1).start();
        let group = group.unwrap();
        let before = set_limit(Limit::As, address_space() + SIZE as u64 / 2);
        let waiting = group.next().spawn(|| 7).unwrap();
        while logged(NO_STACK).is_empty() {
            std::thread::yield_now();
        }
        setrlimit(Limit::As, before).unwrap();
        assert_eq!(waiting.join().unwrap(), 7);
        assert!(group.shutdown().is_clean());
    });
}

/// Another shard has all memory. A run waits for a stack as for any other event from outside: that
/// is no deadlock.
#[test]
fn a_run_whose_last_ethread_waits_for_a_stack_is_no_deadlock() {
    const NAME: &str = "stacks::a_run_whose_last_ethread_waits_for_a_stack_is_no_deadlock";
    isolated(NAME, || {
        collect_log();
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let elsewhere = std::thread::spawn(move || {
            while logged(NO_STACK).is_empty() {
                std::thread::yield_now();
            }
            setrlimit(
                Limit::As,
                Rlimit {
                    current: None,
                    maximum: None,
                },
            )
            .unwrap();
        });
        let ours = UnixStream::from(ours);
        let soon = time::Instant::now() + Duration::from_millis(1);
        let ready = on_ready(&ours, Interest::Readable, Some(soon), |wakeup| wakeup).unwrap();
        // Less than one stack, and this shard has none yet.
        set_limit(Limit::As, address_space() + (512 << 10));
        ethreads::run().unwrap();
        assert_eq!(ready.join().unwrap(), Wakeup::TimedOut);
        theirs.write_all(b"x").unwrap();
        elsewhere.join().unwrap();
    });
}
