//! `thread::scope`: children that borrow, and what ends them.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use ethreads::thread::{self, Cancelled};
use ethreads::time::{self, Elapsed};
use ethreads::{bridge, runtime};

use crate::support::{
    OnDrop, collect_log, deadlock, fresh, in_child, leaving_nothing as check, logged, on_log,
    stderr, text,
};

const HOUR: Duration = Duration::from_secs(3600);

/// The text of the panic that `f` ends with.
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it does not panic"),
        Err(payload) => text(&*payload).to_owned(),
    }
}

#[test]
fn children_borrow_and_all_end_first() {
    check(|| {
        let mut order = Vec::new();
        let log = RefCell::new(&mut order);
        let value = thread::scope(|scope| {
            for n in 0..3 {
                let log = &log;
                scope.spawn(move || {
                    (0..n).for_each(|_| thread::yield_now());
                    log.borrow_mut().push(n);
                });
            }
            log.borrow_mut().push(10);
            "value"
        });
        assert_eq!(value, "value");
        assert_eq!(order, [10, 0, 1, 2]);
    });
}

#[test]
fn a_child_may_spawn_its_siblings_and_have_a_name_and_a_stack() {
    check(|| {
        let total = Cell::new(0);
        thread::scope(|scope| {
            let builder = thread::Builder::new().name("elder").stack_size(128 << 10);
            let elder = builder.spawn_scoped(scope, || {
                scope.spawn(|| {
                    thread::yield_now();
                    total.set(total.get() + 1);
                });
                total.set(total.get() + 10);
                thread::current().name().unwrap_or_default().to_owned()
            });
            assert_eq!(elder.unwrap().join().unwrap(), "elder");
        });
        assert_eq!(total.get(), 11);
    });
}

#[test]
fn a_join_takes_a_panic_away_from_the_scope() {
    check(|| {
        let caught = thread::scope(|scope| {
            let sibling = scope.spawn(|| (0..3).for_each(|_| thread::yield_now()));
            let child = scope.spawn(|| panic!("mine to deal with"));
            let payload = child.join().unwrap_err();
            sibling.join().expect("nothing has cancelled it");
            text(&*payload).to_owned()
        });
        assert_eq!(caught, "mine to deal with");
    });
}

#[test]
fn the_first_panic_cancels_the_others_and_is_raised() {
    check(|| {
        let ended = Cell::new(0);
        let raised = panic_of(|| {
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let _ended = OnDrop(|| ended.set(ended.get() + 1));
                        thread::sleep(HOUR);
                    });
                }
                scope.spawn(|| {
                    thread::yield_now();
                    panic!("the first");
                });
                // The body is interrupted as well.
                thread::sleep(HOUR);
            });
        });
        assert_eq!((&*raised, ended.get()), ("the first", 3));
        // The ethread itself was not cancelled.
        thread::yield_now();
    });
}

#[test]
fn a_panic_of_the_body_cancels_the_children_and_is_raised() {
    check(|| {
        let ended = Cell::new(false);
        let raised = panic_of(|| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    let _ended = OnDrop(|| ended.set(true));
                    thread::sleep(HOUR);
                });
                thread::yield_now();
                panic!("of the body");
            })
        });
        assert_eq!((&*raised, ended.get()), ("of the body", true));
    });
}

#[test]
fn a_panic_on_the_way_out_is_told_to_the_log_and_to_the_run() {
    collect_log();
    let result = fresh(|| {
        ethreads::run_main(|| {
            let raised = panic_of(|| {
                thread::scope(|scope| {
                    scope.spawn(|| {
                        let caught = panic::catch_unwind(|| thread::sleep(HOUR));
                        assert!(caught.is_err());
                        panic!("the second of this scope");
                    });
                    thread::yield_now();
                    panic!("the body is first");
                })
            });
            assert_eq!(raised, "the body is first");
        })
    });
    assert!(matches!(result, Err(runtime::RunError::Panicked(1))));
    assert_eq!(logged("the second of this scope").len(), 1);
}

#[test]
fn a_cancel_ends_the_children_first() {
    check(|| {
        let parent = thread::spawn(|| {
            let ended = Cell::new(false);
            let _after = OnDrop(|| assert!(ended.get()));
            thread::scope(|scope| {
                scope.spawn(|| {
                    let _ended = OnDrop(|| ended.set(true));
                    thread::uncancellable(|| thread::sleep(Duration::from_millis(2)));
                    thread::sleep(HOUR);
                });
            });
            unreachable!("the cancel goes on from the scope");
        });
        thread::yield_now();
        thread::yield_now();
        parent.cancel();
        assert!(parent.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_masked_scope_waits_on() {
    check(|| {
        let parent = thread::spawn(|| {
            let done = Cell::new(false);
            thread::uncancellable(|| {
                thread::scope(|scope| {
                    scope.spawn(|| {
                        thread::sleep(Duration::from_millis(2));
                        done.set(true);
                    });
                });
            });
            assert!(done.get());
            thread::yield_now();
            unreachable!("the cancel has waited for this");
        });
        thread::yield_now();
        parent.cancel();
        assert!(parent.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_deadline_bounds_children_and_scope_alike() {
    check(|| {
        let seen = RefCell::new(None);
        let result = time::timeout(Duration::from_millis(2), || {
            thread::scope(|scope| {
                let child = scope.spawn(|| thread::sleep(HOUR));
                scope.spawn(|| thread::sleep(HOUR));
                scope.spawn(|| {
                    let (mut socket, _silent) = ethreads::net::UnixStream::pair().unwrap();
                    let read = std::io::Read::read(&mut socket, &mut [0]);
                    *seen.borrow_mut() = Some(read.unwrap_err());
                });
                // The mask keeps off the deadline, which is the children's too.
                thread::uncancellable(|| {
                    let payload = child.join().unwrap_err();
                    assert!(payload.is::<Elapsed>());
                });
            });
        });
        let elapsed = result.unwrap_err();
        let error = seen.take().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        let source = error
            .get_ref()
            .and_then(|source| source.downcast_ref::<Elapsed>());
        assert_eq!(source, Some(&elapsed), "it names the scope of the deadline");
    });
}

#[test]
fn nested_scopes_pass_on_what_is_not_theirs() {
    check(|| {
        let inner_ended = Cell::new(false);
        let raised = panic_of(|| {
            thread::scope(|outer| {
                outer.spawn(|| {
                    thread::yield_now();
                    thread::yield_now();
                    panic!("of the outer scope");
                });
                let _after = OnDrop(|| inner_ended.set(true));
                thread::scope(|inner| {
                    inner.spawn(|| thread::sleep(HOUR));
                    thread::sleep(HOUR);
                });
                unreachable!("the outer scope is to end");
            })
        });
        assert_eq!((&*raised, inner_ended.get()), ("of the outer scope", true));
    });
}

#[test]
fn payloads_of_results_may_be_any_and_their_destructors_may_panic() {
    struct Explosive;
    impl Drop for Explosive {
        fn drop(&mut self) {
            panic!("a result that explodes");
        }
    }
    collect_log();
    check(|| {
        let raised = panic_of(|| {
            thread::scope(|scope| {
                scope.spawn(|| Explosive);
                scope.spawn(|| panic::panic_any("first"));
                Explosive
            });
        });
        assert_eq!(raised, "first");
        assert_eq!(logged("a result that explodes").len(), 2);
    });
}

#[test]
fn forgotten_handles_lose_nothing_but_the_result() {
    check(|| {
        let done = Cell::new(0);
        thread::scope(|scope| {
            std::mem::forget(scope.spawn(|| done.set(done.get() + 1)));
            std::mem::forget(scope.spawn(|| {
                done.set(done.get() + 1);
                panic!("it is not reported");
            }));
        });
        assert_eq!(done.get(), 2);
    });
}

#[test]
fn on_the_os_threads_own_side_it_drives_the_shard() {
    fresh(|| {
        let mut total = 0;
        thread::scope(|scope| {
            let parts = [1, 2].map(|n| scope.spawn(move || n));
            total = parts.map(|part| part.join().unwrap()).iter().sum();
            scope.spawn(|| thread::sleep(Duration::from_millis(1)));
        });
        assert_eq!(total, 3);
    });
}

#[test]
fn children_that_nothing_can_wake_are_cancelled_before_their_frames_go() {
    fresh(|| {
        let ended = Cell::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ended = OnDrop(|| ended.set(true));
                thread::park();
            });
        });
        assert!(ended.get());
    });
}

#[test]
fn a_scope_that_can_never_end_ends_the_process() {
    let name = "runtime::scopes::a_scope_that_can_never_end_ends_the_process";
    let Some(output) = in_child(name) else {
        return fresh(|| {
            thread::scope(|scope| {
                scope.spawn(|| thread::uncancellable(thread::park));
            });
        });
    };
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    assert!(
        stderr(&output).contains("can never end"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_deadlock_names_the_scope() {
    fresh(|| {
        thread::spawn(|| {
            thread::scope(|scope| {
                scope.spawn(|| thread::park());
            });
        });
        let deadlock = deadlock(ethreads::run());
        let text = deadlock.to_string();
        assert!(
            text.contains("the end of 1 children of a scope at tests/it/runtime/scopes.rs"),
            "{text}"
        );
        deadlock.cancel_all();
        ethreads::run().unwrap();
    });
}

#[test]
fn on_the_schedulers_side_nothing_is_spawned() {
    check(|| {
        let message = Cell::new(String::new());
        thread::scope(|scope| {
            bridge::suspend(|me: bridge::Suspended<()>| {
                message.set(panic_of(|| scope.spawn(|| ())));
                assert!(me.resume(()).is_ok());
            });
        });
        assert!(message.take().contains("on the scheduler's side"));
    });
}

#[test]
fn an_unwinding_ethread_cannot_spawn() {
    let name = "runtime::scopes::an_unwinding_ethread_cannot_spawn";
    let Some(output) = in_child(name) else {
        return check(|| {
            let unwinds = thread::spawn(|| {
                let _destructor = OnDrop(|| {
                    thread::scope(|scope| {
                        scope.spawn(|| ());
                    });
                });
                panic!("on the way");
            });
            drop(unwinds.join());
        });
    };
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    assert!(
        stderr(&output).contains("called `Scope::spawn` at"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_handle_may_cancel_when_it_goes() {
    check(|| {
        let ended = std::rc::Rc::new(Cell::new(false));
        let flag = ended.clone();
        let sleeper = thread::spawn(move || {
            let _ended = OnDrop(move || flag.set(true));
            thread::sleep(HOUR);
        });
        thread::yield_now();
        let handle = sleeper.cancel_on_drop();
        assert!(!handle.is_finished());
        drop(handle);
        thread::yield_now();
        assert!(ended.get());
        let kept = thread::spawn(|| 7).cancel_on_drop().into_inner();
        assert_eq!(kept.join().unwrap(), 7);
    });
}

#[test]
fn a_panic_is_one_whatever_its_payload() {
    let panics: [fn(); 2] = [
        || {
            let elapsed = time::timeout(Duration::ZERO, || thread::sleep(HOUR));
            panic::panic_any(elapsed.unwrap_err());
        },
        || {
            let other = thread::spawn(|| thread::sleep(HOUR));
            other.cancel();
            panic::resume_unwind(other.join().unwrap_err());
        },
    ];
    for panics in panics {
        check(move || {
            let scope = || {
                thread::scope(|scope| {
                    scope.spawn(panics);
                });
            };
            assert!(panic::catch_unwind(scope).is_err());
        });
    }
}

#[test]
fn the_os_threads_own_code_is_interrupted_when_it_yields() {
    fresh(|| {
        let mut turns = 0;
        let raised = panic_of(|| {
            thread::scope(|scope| {
                scope.spawn(|| panic!("of a child"));
                while turns < 1000 {
                    turns += 1;
                    thread::yield_now();
                }
            })
        });
        assert_eq!(raised, "of a child");
        assert!(turns < 1000, "it was not interrupted");
    });
}

#[test]
fn a_deadlock_within_a_scope_of_the_os_threads_own_is_told_to_the_log() {
    collect_log();
    fresh(|| {
        thread::scope(|scope| {
            let child = thread::Builder::new().name("waits for nothing");
            child.spawn_scoped(scope, || thread::park()).unwrap();
        });
    });
    assert_eq!(logged("'waits for nothing'").len(), 1);
}

#[test]
fn a_scope_whose_shard_ends_before_it_ends_the_process() {
    let name = "runtime::scopes::a_scope_whose_shard_ends_before_it_ends_the_process";
    let Some(output) = in_child(name) else {
        return fresh(|| {
            thread::scope(|scope| {
                scope.spawn(|| thread::uncancellable(|| thread::sleep(HOUR)));
                // The run leaves the child behind, and with it the scheduler.
                ethreads::run_main(thread::yield_now).unwrap();
            });
        });
    };
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    assert!(
        stderr(&output).contains("where nothing can wait"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_logger_that_panics_while_a_scope_waits_does_no_harm() {
    collect_log();
    fresh(|| {
        let ended = Cell::new(0);
        on_log(Some(|| panic!("in the logger")));
        let raised = panic_of(|| {
            thread::scope(|scope| {
                // A child that nothing can wake is logged, and so is the result whose destructor
                // panics.
                scope.spawn(|| {
                    let _ended = OnDrop(|| ended.set(ended.get() + 1));
                    thread::park();
                });
                scope.spawn(|| OnDrop(|| panic!("an explosive for a logger that panics")));
                scope.spawn(|| {
                    let _ended = OnDrop(|| ended.set(ended.get() + 1));
                    drop(panic::catch_unwind(|| thread::park()));
                    panic!("the first");
                });
                scope.spawn(|| {
                    let _ended = OnDrop(|| ended.set(ended.get() + 1));
                    drop(panic::catch_unwind(|| thread::park()));
                    panic!("the second, which is told");
                });
            });
        });
        on_log(None);
        assert_eq!((&*raised, ended.get()), ("the first", 3));
        assert_eq!(runtime::stats().unwrap().scopes, 0);
    });
    for told in [
        "an explosive for a logger that panics",
        "the second, which is told",
    ] {
        assert_eq!(logged(told).len(), 1, "{told}");
    }
}

/// A coroutine of user code that opens a scope in an ethread, and leaves it where nothing can wait:
/// the closure of a `suspend` resumes the coroutine there.
#[test]
fn a_scope_that_is_left_on_the_schedulers_side_ends_the_process() {
    let name = "runtime::scopes::a_scope_that_is_left_on_the_schedulers_side_ends_the_process";
    let Some(output) = in_child(name) else {
        return check(|| {
            let mut opens = corosensei::Coroutine::<(), (), ()>::new(|yielder, ()| {
                thread::scope(|scope| {
                    scope.spawn(thread::park);
                    yielder.suspend(());
                });
            });
            opens.resume(());
            bridge::suspend(|me: bridge::Suspended<()>| {
                opens.resume(());
                assert!(me.resume(()).is_ok());
            });
        });
    };
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    assert!(
        stderr(&output).contains("it has come to where nothing can wait"),
        "{}",
        stderr(&output)
    );
}

#[cfg(feature = "sim")]
#[test]
fn failures_of_one_scope_after_the_other_are_not_held_against_their_ethread() {
    collect_log();
    ethreads::sim::run(1, || {
        let supervisor = thread::Builder::new().name("supervisor of failures");
        let supervisor = supervisor.spawn(|| {
            let start = time::Instant::now();
            for _ in 0..30 {
                let failed = panic_of(|| {
                    thread::scope(|scope| {
                        scope.spawn(|| panic::resume_unwind(Box::new("job failed")));
                        thread::sleep(HOUR);
                    })
                });
                assert_eq!(failed, "job failed");
            }
            start.elapsed()
        });
        assert_eq!(supervisor.unwrap().join().unwrap(), Duration::ZERO);
    })
    .unwrap();
    assert_eq!(logged("'supervisor of failures'").len(), 0);
}

/// Writes nothing, and calls a closure where the number of children is written.
struct Writer<F: FnMut()>(F);

impl<F: FnMut()> fmt::Write for Writer<F> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if part.contains("running") {
            (self.0)();
        }
        Ok(())
    }
}

#[test]
fn a_writer_may_spawn_in_the_scope_that_it_writes_about() {
    check(|| {
        let ran = Cell::new(false);
        thread::scope(|scope| {
            let spawn = || {
                scope.spawn(|| {
                    thread::yield_now();
                    ran.set(true);
                });
            };
            write!(Writer(spawn), "{scope:?}").unwrap();
        });
        assert!(ran.get(), "the scope has waited for it");
    });
}

#[test]
fn children_may_end_while_a_writer_is_suspended() {
    check(|| {
        thread::scope(|scope| {
            let child = scope.spawn(|| 7);
            write!(Writer(thread::yield_now), "{scope:?}").unwrap();
            assert!(child.is_finished());
            assert_eq!(child.join().unwrap(), 7);
        });
    });
}

#[test]
fn no_child_begins_where_inheriting_a_local_value_panics() {
    static REFUSES: thread::Local<u8> = thread::Local::inherited(|| 1, |_| panic!("no heirs"));
    check(|| {
        REFUSES.with(|_| ());
        let ran = Cell::new(false);
        let payload = panic::catch_unwind(AssertUnwindSafe(|| {
            thread::scope(|scope| {
                scope.spawn(|| ran.set(true));
            });
        }));
        assert_eq!(text(&*payload.unwrap_err()), "no heirs");
        assert!(!ran.get());
    });
}
