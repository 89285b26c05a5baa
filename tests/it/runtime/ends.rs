//! How ethreads and runs end: values, panics, deadlocks, and handles that outlive them.

use std::cell::{Cell, RefCell};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ethreads::runtime::{self, WouldPark};
use ethreads::{RunError, Runtime, bridge, thread};

use crate::support::{
    OnDrop, PANICS, collect_log, deadlock, fresh, in_child, logged, on_log, stderr, text,
    wait_for_log,
};

#[test]
fn a_panic_is_handed_to_the_joiner() {
    let message = Runtime::builder().run(|| {
        let payload = thread::spawn(|| panic!("seven")).join().unwrap_err();
        text(&*payload).to_owned()
    });
    assert_eq!(message.unwrap(), "seven");
}

#[test]
fn a_value_waits_for_its_join() {
    fresh(|| {
        let handle = thread::spawn(|| Box::new(5));
        ethreads::run().unwrap();
        assert!(handle.is_finished());
        assert_eq!(*handle.join().unwrap(), 5);
    });
}

#[test]
fn a_panic_without_a_join_is_counted_and_logged() {
    collect_log();
    fresh(|| {
        for name in ["loner-1", "loner-2"] {
            let builder = thread::Builder::new().name(name);
            drop(builder.spawn(|| panic!("oh no")).unwrap());
        }
        let goes_on = thread::spawn(|| thread::yield_now());
        let error = ethreads::run().unwrap_err();
        assert!(matches!(error, RunError::Panicked(2)), "{error}");
        assert_eq!(error.to_string(), "2 ethreads panicked and were not joined");
        assert!(goes_on.is_finished());
        ethreads::run().unwrap();
    });
    for name in ["loner-1", "loner-2"] {
        let lines = logged(name);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("panicked: oh no"), "{lines:?}");
    }
}

#[test]
fn a_logger_that_panics_does_no_harm() {
    collect_log();
    fresh(|| {
        on_log(Some(|| panic!("in the logger")));
        drop(thread::spawn(|| panic!("told to that logger")));
        drop(thread::spawn(|| PanicsOnDrop("told to that logger")));
        let error = ethreads::run().unwrap_err();
        on_log(None);
        assert!(matches!(error, RunError::Panicked(1)), "{error}");
        let stats = runtime::stats().unwrap();
        assert_eq!((stats.ethreads, stats.stacks.live), (0, 0));
    });
}

/// The end of a shard is logged where nothing may unwind: in the destructor of a thread-local, and
/// in the destructor of a run whose root has panicked.
#[test]
fn a_logger_that_panics_at_the_end_of_a_shard_does_no_harm() {
    let name = "runtime::ends::a_logger_that_panics_at_the_end_of_a_shard_does_no_harm";
    let Some(output) = in_child(name) else {
        collect_log();
        let leave_behind = || {
            let builder = thread::Builder::new().name(PANICS);
            let stays = builder.spawn(|| thread::uncancellable(|| thread::park()));
            drop(stays.unwrap());
            thread::yield_now();
        };
        fresh(|| {
            let builder = Runtime::builder().grace(Duration::ZERO);
            let dropped = Rc::new(Cell::new(false));
            let theirs = dropped.clone();
            let unborn = OnDrop(move || theirs.set(true));
            let root = builder.clone().run(move || {
                leave_behind();
                drop(thread::spawn(move || drop(unborn)));
            });
            root.unwrap();
            assert!(!dropped.get(), "what is left is leaked as a whole");
            let root = panic::catch_unwind(|| {
                let root: Result<(), _> = builder.run(move || {
                    leave_behind();
                    panic!("the root's");
                });
                root.unwrap();
            });
            assert_eq!(text(&*root.unwrap_err()), "the root's");
        });
        fresh(|| {
            let builder = thread::Builder::new().name(PANICS);
            drop(builder.spawn(|| ()).unwrap());
        });
        assert_eq!(logged(PANICS).len(), 3);
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_panic_counts_only_once_its_handle_is_gone() {
    fresh(|| {
        let handle = thread::spawn(|| panic!("kept"));
        ethreads::run().unwrap();
        drop(handle);
        let error = ethreads::run().unwrap_err();
        assert_eq!(error.to_string(), "an ethread panicked and was not joined");
    });
}

struct PanicsOnDrop(&'static str);

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

#[test]
fn results_whose_destructors_panic_do_no_harm() {
    collect_log();
    fresh(|| {
        let payload = thread::Builder::new().name("bomb-payload");
        drop(
            payload
                .spawn(|| panic::panic_any(PanicsOnDrop("of the payload")))
                .unwrap(),
        );
        let value = thread::Builder::new().name("bomb-value");
        drop(value.spawn(|| PanicsOnDrop("of the value")).unwrap());
        let error = ethreads::run().unwrap_err();
        assert!(matches!(error, RunError::Panicked(1)), "{error}");
        assert_eq!(runtime::stats().unwrap().stacks.live, 0);

        let joined = thread::spawn(|| panic::panic_any(PanicsOnDrop("never dropped")));
        ethreads::run().unwrap();
        let payload = joined.join().unwrap_err();
        assert_eq!(
            payload.downcast_ref::<PanicsOnDrop>().unwrap().0,
            "never dropped"
        );
        mem::forget(payload);
    });
    assert_eq!(
        logged("bomb-payload").len(),
        2,
        "{:?}",
        logged("bomb-payload")
    );
    let value = logged("bomb-value");
    assert_eq!(value.len(), 1, "{value:?}");
    assert!(value[0].contains("panicked: of the value"), "{value:?}");
}

#[test]
fn the_roots_panic_is_raised_again_after_the_others_have_unwound() {
    type Root = Box<dyn FnOnce()>;
    let runs: [fn(Root) -> Result<(), RunError>; 2] = [
        |root| ethreads::run_main(root),
        |root| Runtime::builder().run(root),
    ];
    for run in runs {
        fresh(|| {
            let unwound = Rc::new(Cell::new(false));
            let theirs = unwound.clone();
            let root = Box::new(move || {
                let flag = OnDrop(move || theirs.set(true));
                drop(thread::spawn(move || {
                    let _flag = flag;
                    thread::park();
                }));
                thread::yield_now();
                panic!("the root's")
            });
            let caught = panic::catch_unwind(AssertUnwindSafe(|| run(root)));
            assert_eq!(text(&*caught.unwrap_err()), "the root's");
            assert!(unwound.get());
        });
    }
}

#[test]
fn a_deadlock_lists_the_waits_and_their_places() {
    fresh(|| {
        let builder = thread::Builder::new().name("parker");
        let parker = builder.spawn(|| thread::park()).unwrap();
        let park_line = line!() - 1;
        let id = parker.thread().id();
        let joiner = thread::spawn(move || parker.join());
        let join_line = line!() - 1;
        let deadlock = deadlock(ethreads::run());
        assert_eq!(
            deadlock.to_string(),
            format!(
                "deadlock: 2 parked, and nothing can wake any of them\n  \
                 ethread 'parker' ({id}) waits for unpark at {file}:{park_line}:{park_column}\n  \
                 ethread {joiner} waits for the end of ethread 'parker' ({id}) at \
                 {file}:{join_line}:{join_column}",
                file = file!(),
                joiner = joiner.thread().id(),
                park_column = deadlock.parked()[0].location.column(),
                join_column = deadlock.parked()[1].location.column(),
            )
        );
        assert_eq!(deadlock.parked()[0].waits_for, "unpark");

        deadlock.cancel_all();
        ethreads::run().unwrap();
        assert!(joiner.join().unwrap_err().is::<thread::Cancelled>());
    });
}

#[test]
fn an_ethread_that_joins_itself_is_a_deadlock() {
    fresh(|| {
        let slot: Rc<RefCell<Option<thread::JoinHandle<()>>>> = Rc::default();
        let mine = slot.clone();
        let handle = thread::spawn(move || {
            let me = mine.borrow_mut().take().unwrap();
            drop(me.join());
        });
        *slot.borrow_mut() = Some(handle);
        let deadlock = deadlock(ethreads::run());
        assert!(
            deadlock.parked()[0]
                .waits_for
                .starts_with("the end of ethread #")
        );
        deadlock.cancel_all();
        ethreads::run().unwrap();
    });
}

#[test]
fn a_join_that_can_never_end_panics_on_the_os_threads_own_side() {
    fresh(|| {
        let parker = thread::Builder::new()
            .name("stuck-parker")
            .spawn(|| thread::park())
            .unwrap();
        let unpark = parker.thread().clone();
        let caught = panic::catch_unwind(AssertUnwindSafe(|| parker.join()));
        let payload = caught.unwrap_err();
        let message = text(&*payload);
        assert!(message.contains("can never end"), "{message}");
        assert!(message.contains("ethread 'stuck-parker'"), "{message}");
        // The panic leaves the shard as it was.
        unpark.unpark();
        ethreads::run().unwrap();
    });
}

#[test]
fn running_inside_an_ethread_is_refused() {
    let attempts: [(&str, fn()); 4] = [
        ("run", || drop(ethreads::run())),
        ("run_main", || drop(ethreads::run_main(|| ()))),
        ("Builder::run", || drop(Runtime::builder().run(|| ()))),
        ("run_until", || drop(bridge::run_until::<()>(drop))),
    ];
    for (name, attempt) in attempts {
        let message = Runtime::builder().run(move || {
            let payload = thread::spawn(attempt).join().unwrap_err();
            text(&*payload).to_owned()
        });
        let message = message.unwrap();
        let expected = format!("`{name}` was called inside an ethread: the scheduler runs already");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn a_second_scheduler_on_an_os_thread_is_refused() {
    fresh(|| {
        drop(thread::spawn(|| ()));
        let Err(RunError::Io(error)) = Runtime::builder().run(|| ()) else {
            panic!("there is one already")
        };
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        ethreads::run().unwrap();
    });
}

#[test]
fn a_destructor_cannot_run_ethreads_while_its_os_thread_unwinds() {
    fresh(|| {
        let ran = Rc::new(Cell::new(false));
        let theirs = ran.clone();
        let handle = thread::spawn(move || {
            assert!(!std::thread::panicking());
            theirs.set(true);
        });
        let refused = Cell::new(0);
        let caught = panic::catch_unwind(AssertUnwindSafe(|| {
            let _guard = OnDrop(|| {
                let results = [
                    ethreads::run(),
                    ethreads::run_main(|| ()),
                    bridge::run_until::<()>(|_| unreachable!()),
                ];
                for result in results {
                    let Err(RunError::Io(error)) = result else {
                        panic!("it ran")
                    };
                    assert!(error.get_ref().unwrap().is::<WouldPark>());
                    refused.set(refused.get() + 1);
                }
                thread::sleep(Duration::from_secs(3600));
                thread::park();
                thread::yield_now();
            });
            panic!("on the way out");
        }));
        assert_eq!(text(&*caught.unwrap_err()), "on the way out");
        assert_eq!(refused.get(), 3);
        assert!(!ran.get());
        handle.join().unwrap();
        assert!(ran.get());
    });
}

#[test]
fn a_forgotten_handle_costs_its_result_only() {
    fresh(|| {
        mem::forget(thread::spawn(|| vec![0; 100]));
        ethreads::run().unwrap();
        let stats = runtime::stats().unwrap();
        assert_eq!((stats.ethreads, stats.stacks.live), (0, 0));
    });
}

thread_local! {
    static KEPT: RefCell<Vec<thread::JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn handles_may_be_dropped_in_a_thread_local_destructor() {
    collect_log();
    fresh(|| {
        // This thread-local is registered before the scheduler's own, so it is dropped after it.
        KEPT.with_borrow(|_| ());
        let panicked = thread::Builder::new()
            .name("dropped-late")
            .spawn(|| panic!("late"));
        let parked = thread::Builder::new().name("parked-late").daemon(true);
        let parked = parked.spawn(|| thread::park());
        KEPT.with_borrow_mut(|kept| kept.extend([panicked.unwrap(), parked.unwrap()]));
        ethreads::run().unwrap();
    });
    assert_eq!(logged("dropped-late").len(), 1);
    assert_eq!(logged("parked-late").len(), 1);
}

#[test]
fn handles_outlive_their_runtime() {
    let ended = Rc::new(RefCell::new(None));
    let slot = ended.clone();
    let me = Runtime::builder().run(move || {
        *slot.borrow_mut() = Some(thread::spawn(|| 3));
        thread::yield_now();
        thread::current()
    });
    let (me, ended) = (me.unwrap(), ended.take().unwrap());
    me.unpark();
    assert_eq!(me.name(), Some("main"));
    let remote = me.clone().into_remote();
    remote.unpark();
    ended.cancel();
    ended.thread().unpark();

    // The ethreads of the second runtime have the same slots. The old handles refer to none of
    // them.
    let seen = Runtime::builder().run(move || {
        assert_ne!(thread::current().id(), me.id());
        me.unpark();
        remote.unpark();
        ended.cancel();
        let waited = thread::spawn(|| thread::park_timeout(Duration::from_millis(1)));
        ended.thread().unpark();
        waited.join().unwrap();
        let result = ended.join();
        thread::park_timeout(Duration::from_millis(1));
        result.unwrap()
    });
    assert_eq!(seen.unwrap(), 3);
}

/// Leaves behind an ethread that cannot be cancelled.
fn leave_one_behind(name: &str) -> thread::JoinHandle<()> {
    let slot = Rc::new(RefCell::new(None));
    let theirs = slot.clone();
    let builder = thread::Builder::new().name(name);
    let run = Runtime::builder().grace(Duration::ZERO).run(move || {
        let handle = builder
            .spawn(|| thread::uncancellable(|| thread::park()))
            .unwrap();
        *theirs.borrow_mut() = Some(handle);
        thread::yield_now();
    });
    run.unwrap();
    slot.take().unwrap()
}

#[test]
fn joining_one_that_was_left_behind_panics_with_its_name() {
    collect_log();
    let joins: [fn(thread::JoinHandle<()>); 2] = [
        |handle| drop(handle.join()),
        |handle| drop(Runtime::builder().run(move || handle.join())),
    ];
    for join in joins {
        let handle = leave_one_behind("left-behind");
        assert!(!handle.is_finished());
        let caught = panic::catch_unwind(AssertUnwindSafe(|| join(handle)));
        let payload = caught.unwrap_err();
        let message = text(&*payload);
        assert!(
            message.starts_with("the ethread 'left-behind' (#"),
            "{message}"
        );
        assert!(
            message.contains("can never end: its shard has ended"),
            "{message}"
        );
    }
    assert!(
        logged("left-behind")
            .iter()
            .any(|line| line.contains("leaked"))
    );
}

struct Witness(&'static AtomicUsize);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_os_thread_that_ends_first_leaks_with_one_line() {
    fn logs_nothing() {
        panic!("a logger is called while thread-locals are destroyed");
    }
    static LOCALS: AtomicUsize = AtomicUsize::new(0);
    static FRAMES: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static EARLY: Witness = const { Witness(&LOCALS) };
        static LATE: Witness = const { Witness(&LOCALS) };
    }
    collect_log();
    fresh(|| {
        EARLY.with(|_| ());
        for name in ["leaked-daemon-1", "leaked-daemon-2"] {
            let daemon = thread::Builder::new().name(name).daemon(true).spawn(|| {
                let _frame = Witness(&FRAMES);
                thread::park();
            });
            drop(daemon.unwrap());
        }
        ethreads::run().unwrap();
        // An ethread that has not even begun.
        let closure = Witness(&FRAMES);
        drop(
            thread::Builder::new()
                .name("leaked-unborn")
                .spawn(move || drop(closure))
                .unwrap(),
        );
        LATE.with(|_| ());
        on_log(Some(logs_nothing));
    });
    // The watchdog logs this line: a logger may need thread-locals of the OS thread that ends.
    let line = wait_for_log("leaked-daemon-1");
    assert!(line.starts_with("WARN: 3 ethreads are leaked"), "{line}");
    assert!(line.contains("leaked-daemon-2") && line.contains("leaked-unborn"));
    assert_eq!(logged("leaked-daemon-1").len(), 1);
    assert_eq!(
        LOCALS.load(Ordering::Relaxed),
        2,
        "destructors of thread-locals run"
    );
    assert_eq!(FRAMES.load(Ordering::Relaxed), 0, "nothing unwinds there");
}

#[test]
fn a_process_may_exit_inside_an_ethread() {
    let Some(output) = in_child("runtime::ends::a_process_may_exit_inside_an_ethread") else {
        let run: Result<(), RunError> = Runtime::builder().run(|| {
            drop(thread::spawn(|| thread::park()));
            thread::yield_now();
            std::process::exit(7)
        });
        return run.unwrap();
    };
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
}

/// A report in a destructor only lacks the calls of the parked ethreads.
#[test]
fn a_report_in_a_thread_local_destructor_does_not_unwind() {
    struct Joins(Option<thread::JoinHandle<()>>);

    impl Drop for Joins {
        fn drop(&mut self) {
            let handle = self.0.take().unwrap();
            let joined = panic::catch_unwind(AssertUnwindSafe(|| handle.join()));
            let text = joined.unwrap_err().downcast::<String>().unwrap();
            assert!(text.contains("can never end"), "{text}");
        }
    }

    thread_local! {
        static JOINS: RefCell<Option<Joins>> = const { RefCell::new(None) };
    }

    let unwound = Arc::new(AtomicBool::new(false));
    let theirs = unwound.clone();
    fresh(move || {
        let parks = thread::spawn(move || {
            let _unwinds = OnDrop(|| theirs.store(true, Ordering::Relaxed));
            thread::park();
        });
        // This thread-local is older than those that the first report makes, so it is dropped after
        // them.
        JOINS.replace(Some(Joins(Some(parks))));
        let report = deadlock(ethreads::run());
        assert!(report.parked()[0].backtrace.is_some());
    });
    assert!(!unwound.load(Ordering::Relaxed));
}
