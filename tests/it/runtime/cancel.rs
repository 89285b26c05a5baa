//! Cancels: where they take effect, what stops them, and what does not.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use ethreads::thread::{self, Cancelled, JoinHandle};
use ethreads::{Runtime, bridge};

use crate::support::{OnDrop, fresh, text};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs `test` as the root ethread of a runtime of its own.
fn run<T: 'static>(test: impl FnOnce() -> T + 'static) -> T {
    Runtime::builder().run(test).unwrap()
}

#[track_caller]
fn assert_cancelled<T: std::fmt::Debug>(handle: JoinHandle<T>) {
    let payload = handle.join().unwrap_err();
    assert!(payload.is::<Cancelled>());
    assert_eq!(
        payload.downcast::<Cancelled>().unwrap().to_string(),
        "the ethread was cancelled"
    );
}

/// Every way to wait without I/O.
fn waits() -> [(&'static str, fn()); 7] {
    [
        ("sleep", || thread::sleep(HOUR)),
        ("sleep_until", || {
            thread::sleep_until(ethreads::time::Instant::now() + HOUR)
        }),
        ("park", || thread::park()),
        ("park_timeout", || thread::park_timeout(HOUR)),
        ("join", || {
            let daemon = thread::Builder::new()
                .daemon(true)
                .spawn(|| thread::park())
                .unwrap();
            drop(daemon.join());
        }),
        ("suspend", || {
            let keep = Rc::new(RefCell::new(None));
            bridge::suspend(|me: bridge::Suspended<()>| *keep.borrow_mut() = Some(me));
        }),
        ("blocking", || {
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            // The sender is dropped when the ethread has unwound, which ends the call on the pool.
            let _sender = sender;
            bridge::blocking(move || receiver.recv().is_ok());
        }),
    ]
}

#[test]
fn a_cancel_ends_each_kind_of_wait_and_runs_destructors() {
    for (name, wait) in waits() {
        let unwound = run(move || {
            let unwound = Rc::new(Cell::new(0));
            let theirs = unwound.clone();
            let handle = thread::spawn(move || {
                let _outer = OnDrop(|| theirs.set(theirs.get() * 10 + 2));
                let _inner = OnDrop(|| theirs.set(theirs.get() * 10 + 1));
                wait();
                unreachable!("{name} went on");
            });
            thread::yield_now();
            handle.cancel();
            assert_cancelled(handle);
            unwound.get()
        });
        assert_eq!(unwound, 12, "{name}");
    }
}

#[test]
fn one_that_has_not_begun_drops_its_closure_on_its_own_stack() {
    run(|| {
        let dropped_by = Rc::new(Cell::new(None));
        let theirs = dropped_by.clone();
        let witness = OnDrop(move || {
            theirs.set(Some(thread::current().id()));
            // The destructor runs on the ethread's own stack, so it can wait.
            thread::yield_now();
        });
        let handle = thread::spawn(move || {
            let _witness = witness;
            unreachable!("it was cancelled before");
        });
        handle.cancel();
        assert_eq!(dropped_by.get(), None, "not when the cancel returns");
        let id = handle.thread().id();
        assert_cancelled(handle);
        assert_eq!(dropped_by.get(), Some(id));
    });
}

#[test]
fn a_closure_that_panics_when_it_is_dropped_unstarted_is_a_panic() {
    run(|| {
        let bomb = OnDrop(|| panic!("in the closure's destructor"));
        let handle = thread::spawn(move || drop(bomb));
        handle.cancel();
        assert_eq!(
            text(&*handle.join().unwrap_err()),
            "in the closure's destructor"
        );
    });
}

#[test]
fn one_that_was_woken_before_finishes_that_wait() {
    run(|| {
        let woken = Rc::new(Cell::new(false));
        let theirs = woken.clone();
        let handle = thread::spawn(move || {
            thread::park();
            theirs.set(true);
            thread::yield_now();
            unreachable!("the next suspension point unwinds");
        });
        thread::yield_now();
        handle.thread().unpark();
        handle.cancel();
        assert_cancelled(handle);
        assert!(woken.get());
    });
}

#[test]
fn one_that_runs_is_not_torn_before_its_next_suspension_point() {
    run(|| {
        let slot: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let steps = Rc::new(Cell::new(0));
        let (mine, theirs) = (slot.clone(), steps.clone());
        *slot.borrow_mut() = Some(thread::spawn(move || {
            mine.borrow().as_ref().unwrap().cancel();
            theirs.set(1);
            // None of these calls waits.
            drop(thread::spawn(|| ()));
            thread::current().unpark();
            thread::park();
            theirs.set(2);
            thread::yield_now();
            theirs.set(3);
        }));
        thread::yield_now();
        assert_cancelled(slot.take().unwrap());
        assert_eq!(steps.get(), 2);
    });
}

#[test]
fn one_that_has_ended_keeps_its_result() {
    run(|| {
        let handle = thread::spawn(|| 4);
        thread::yield_now();
        handle.cancel();
        assert_eq!(handle.join().unwrap(), 4);
    });
}

#[test]
fn a_place_that_is_used_again_is_not_cancelled() {
    run(|| {
        let first = thread::spawn(|| ());
        thread::yield_now();
        let second = thread::spawn(|| thread::yield_now());
        first.cancel();
        thread::yield_now();
        first.cancel();
        second.join().unwrap();
    });
}

#[test]
fn a_cancelled_joiner_leaves_the_other_alone() {
    run(|| {
        let slow = thread::spawn(|| {
            thread::park();
            9
        });
        let unpark = slow.thread().clone();
        let ended = Rc::new(Cell::new(None));
        let theirs = ended.clone();
        let watched = thread::spawn(move || theirs.set(slow.join().ok()));
        thread::yield_now();
        watched.cancel();
        assert_cancelled(watched);
        unpark.unpark();
        thread::yield_now();
        assert_eq!(ended.get(), None);
    });
}

/// Runs `f`, and catches any unwinding.
fn catch(f: impl FnOnce()) -> Result<(), Box<dyn Any + Send>> {
    panic::catch_unwind(AssertUnwindSafe(f))
}

#[test]
fn catching_the_unwinding_does_not_stop_it() {
    run(|| {
        let caught = Rc::new(Cell::new(0));
        let theirs = caught.clone();
        let handle = thread::spawn(move || {
            for (_, wait) in waits() {
                let payload = catch(wait).unwrap_err();
                assert!(
                    !payload.is::<Cancelled>(),
                    "it is not addressed to this frame"
                );
                theirs.set(theirs.get() + 1);
            }
            assert!(catch(|| thread::yield_now()).is_err());
            // Without another suspension point the ethread ends with the value of its closure.
            theirs.get()
        });
        thread::yield_now();
        handle.cancel();
        assert_eq!(handle.join().unwrap(), waits().len());
    });
}

#[test]
fn from_the_second_time_on_the_others_run_first() {
    let trace = run(|| {
        let trace = Rc::new(RefCell::new(Vec::new()));
        let theirs = trace.clone();
        let handle = thread::spawn(move || {
            for _ in 0..3 {
                drop(catch(|| thread::sleep(HOUR)));
                theirs.borrow_mut().push("caught");
            }
        });
        thread::yield_now();
        let other = trace.clone();
        let bystander = thread::spawn(move || {
            for _ in 0..3 {
                other.borrow_mut().push("other");
                thread::yield_now();
            }
        });
        handle.cancel();
        handle.join().unwrap();
        bystander.join().unwrap();
        trace.take()
    });
    assert_eq!(
        trace,
        ["other", "caught", "other", "caught", "other", "caught"]
    );
}

#[test]
fn catch_panic_stops_panics_and_lets_cancels_through() {
    run(|| {
        let payload = thread::catch_panic(|| panic!("caught")).unwrap_err();
        assert_eq!(text(&*payload), "caught");
        let handle = thread::spawn(|| {
            drop(thread::catch_panic(|| thread::park()));
            unreachable!("the cancel went through");
        });
        thread::yield_now();
        handle.cancel();
        assert_cancelled(handle);
    });
}

#[test]
fn the_payload_of_another_ethread_is_a_panic_like_any_other() {
    fresh(|| {
        let stolen = Rc::new(RefCell::new(None));
        let slot = stolen.clone();
        let thief = thread::spawn(move || {
            *slot.borrow_mut() = catch(|| thread::park()).err();
        });
        thread::yield_now();
        thief.cancel();
        thief.join().unwrap();

        let payload = stolen.take().unwrap();
        let handle = thread::spawn(move || {
            let caught = thread::catch_panic(AssertUnwindSafe(|| panic::resume_unwind(payload)));
            panic::resume_unwind(caught.unwrap_err())
        });
        let payload = handle.join().unwrap_err();
        assert!(!payload.is::<Cancelled>());
        // If the ethread is not joined, the payload counts as a panic.
        drop(thread::spawn(move || panic::resume_unwind(payload)));
        assert!(matches!(
            ethreads::run(),
            Err(ethreads::RunError::Panicked(1))
        ));
    });
}

#[test]
fn uncancellable_holds_cancels_back_until_its_end() {
    run(|| {
        let steps = Rc::new(Cell::new(0));
        let theirs = steps.clone();
        let handle = thread::spawn(move || {
            thread::uncancellable(|| {
                thread::uncancellable(|| thread::park());
                theirs.set(1);
                // The deadline of a single call is not held back.
                thread::park_timeout(Duration::from_micros(1));
                theirs.set(2);
            });
            theirs.set(3);
            thread::park();
            unreachable!("the cancel has taken effect");
        });
        thread::yield_now();
        handle.cancel();
        thread::yield_now();
        assert_eq!(steps.get(), 0);
        handle.thread().unpark();
        assert_cancelled(handle);
        assert_eq!(steps.get(), 3);
    });
}

#[test]
fn a_panic_out_of_uncancellable_lifts_the_mask() {
    run(|| {
        let handle = thread::spawn(|| {
            let caught = catch(|| thread::uncancellable(|| panic!("inside")));
            assert_eq!(text(&*caught.unwrap_err()), "inside");
            thread::park();
        });
        thread::yield_now();
        handle.cancel();
        assert_cancelled(handle);
    });
}

#[test]
fn a_thousand_cancels_are_delivered_in_one_batch() {
    run(|| {
        let handles: Vec<_> = (0..1000)
            .map(|_| thread::spawn(|| thread::sleep(HOUR)))
            .collect();
        thread::yield_now();
        handles.iter().for_each(JoinHandle::cancel);
        thread::yield_now();
        assert!(handles.iter().all(JoinHandle::is_finished));
        handles.into_iter().for_each(assert_cancelled);
        let stats = ethreads::runtime::stats().unwrap();
        assert_eq!((stats.ethreads, stats.timers), (1, 0));
    });
}

#[cfg(feature = "sim")]
mod on_virtual_time {
    use super::*;
    use crate::support::{collect_log, logged, on_log};
    use ethreads::{sim, time::Instant};

    const PAUSE: Duration = Duration::from_millis(100);

    /// Waits until no other ethread is ready: virtual time advances only then.
    fn let_them_run() {
        thread::sleep(Duration::from_nanos(1));
    }

    #[test]
    fn from_the_sixteenth_time_on_it_is_named_and_slowed_down() {
        collect_log();
        let elapsed = sim::run(1, || {
            // A logger may ask for the current ethread: the scheduler holds no borrow while it
            // logs.
            on_log(Some(|| {
                assert_eq!(thread::current().name(), Some("stubborn-worker"))
            }));
            let elapsed = Rc::new(RefCell::new(Vec::new()));
            let theirs = elapsed.clone();
            let handle = thread::Builder::new()
                .name("stubborn-worker")
                .spawn(move || {
                    for _ in 0..20 {
                        let start = Instant::now();
                        drop(catch(|| thread::sleep(HOUR)));
                        theirs.borrow_mut().push(start.elapsed());
                    }
                });
            let handle = handle.unwrap();
            let_them_run();
            handle.cancel();
            handle.join().unwrap();
            on_log(None);
            elapsed.take()
        });
        let elapsed = elapsed.unwrap();
        assert_eq!(elapsed[1..15], [Duration::ZERO; 14]);
        assert_eq!(elapsed[15..], [PAUSE; 5]);
        let lines = logged("stubborn-worker");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains("was cancelled and caught it 16 times"),
            "{lines:?}"
        );
        assert!(lines[0].contains(file!()), "{lines:?}");
    }

    #[test]
    fn a_cancel_leaves_no_timer_behind() {
        sim::run(2, || {
            let start = Instant::now();
            let handle = thread::spawn(|| thread::sleep(HOUR));
            let_them_run();
            handle.cancel();
            assert_cancelled(handle);
            assert_eq!(ethreads::runtime::stats().unwrap().timers, 0);
            thread::sleep(HOUR * 2);
            assert_eq!(start.elapsed(), HOUR * 2 + Duration::from_nanos(1));
        })
        .unwrap();
    }
}
