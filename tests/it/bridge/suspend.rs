//! `suspend` and `resume` on one shard.

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use ethreads::bridge::{self, Suspended};
use ethreads::net::UnixStream;
use ethreads::thread::{self, Cancelled, JoinHandle};
use ethreads::{RunError, Runtime};

use crate::support::{OnDrop, deadlock, fresh, text};

/// Runs `test` as the root ethread of a runtime of its own.
fn run<T: 'static>(test: impl FnOnce() -> T + 'static) -> T {
    Runtime::builder().run(test).unwrap()
}

/// Where an ethread leaves the means to resume it.
type Slot<T> = Rc<RefCell<Option<Suspended<T>>>>;

fn suspend_into<T: 'static>(slot: &Slot<T>) -> T {
    bridge::suspend(|me| *slot.borrow_mut() = Some(me))
}

fn take<T>(slot: &Slot<T>) -> Suspended<T> {
    slot.borrow_mut().take().expect("it has suspended itself")
}

/// Spawns an ethread that runs `f` with a slot, and runs it up to its first wait.
fn begun<T: 'static, R: 'static>(
    f: impl FnOnce(Slot<T>) -> R + 'static,
) -> (JoinHandle<R>, Slot<T>) {
    let slot = Slot::default();
    let theirs = slot.clone();
    let handle = thread::spawn(move || f(theirs));
    thread::yield_now();
    (handle, slot)
}

#[test]
fn the_ethread_is_parked_before_the_closure_runs() {
    let log = run(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let (mine, theirs) = (log.clone(), log.clone());
        let caller = thread::spawn(move || {
            let given = bridge::suspend(|me| {
                mine.borrow_mut().push("closure");
                // The ethread can be resumed already, but does not run before its turn.
                assert_eq!(me.resume(5), Ok(()));
                mine.borrow_mut().push("end of closure");
            });
            mine.borrow_mut().push("resumed");
            given
        });
        let other = thread::spawn(move || theirs.borrow_mut().push("other"));
        assert_eq!(caller.join().unwrap(), 5);
        other.join().unwrap();
        log.take()
    });
    assert_eq!(log, ["closure", "end of closure", "other", "resumed"]);
}

#[test]
fn the_closure_may_do_what_does_not_wait() {
    run(|| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut &theirs, b"here").unwrap();
        let ended = thread::spawn(|| 3);
        let idle = thread::spawn(|| thread::park());
        thread::yield_now();
        let spawned = bridge::suspend(|me: Suspended<JoinHandle<i32>>| {
            let mut buf = [0; 4];
            ours.read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"here");
            assert_eq!(ended.join().unwrap(), 3);
            idle.cancel();
            assert!(me.resume(thread::spawn(|| 4)).is_ok());
        });
        assert_eq!(spawned.join().unwrap(), 4);
        assert!(idle.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn the_closure_cannot_run_the_scheduler() {
    let attempts: [(&str, fn()); 4] = [
        ("run", || drop(ethreads::run())),
        ("run_main", || drop(ethreads::run_main(|| ()))),
        ("Builder::run", || drop(Runtime::builder().run(|| ()))),
        ("run_until", || drop(bridge::run_until::<()>(drop))),
    ];
    for (name, attempt) in attempts {
        let message = run(move || {
            let caller = thread::spawn(move || bridge::suspend(|_: Suspended<()>| attempt()));
            text(&*caller.join().unwrap_err()).to_owned()
        });
        let expected = format!(
            "`{name}` was called in a closure given to `suspend`, or in a switch hook: the \
             scheduler runs already"
        );
        assert_eq!(message, expected);
    }
}

#[test]
fn a_value_makes_suspend_return_it() {
    run(|| {
        let (caller, slot) = begun(|slot| {
            let first: String = suspend_into(&slot);
            first + &suspend_into(&slot)
        });
        assert_eq!(take(&slot).resume("once ".into()), Ok(()));
        assert!(!caller.is_finished(), "a resume does not run it");
        thread::yield_now();
        assert_eq!(take(&slot).resume("more".into()), Ok(()));
        assert_eq!(caller.join().unwrap(), "once more");
    });
}

#[test]
fn a_closure_runs_inside_the_resumed_ethread() {
    run(|| {
        let (caller, slot) = begun(|slot| suspend_into(&slot));
        let inner = Slot::<i32>::default();
        let theirs = inner.clone();
        let resumed = take(&slot).resume_with(move || {
            // The closure may wait, and may suspend the ethread again.
            thread::yield_now();
            (thread::current().id(), suspend_into(&theirs))
        });
        assert!(resumed.is_ok());
        thread::yield_now();
        thread::yield_now();
        assert_eq!(take(&inner).resume(6), Ok(()));
        let id = caller.thread().id();
        assert_eq!(caller.join().unwrap(), (id, 6));
    });
}

#[test]
fn a_panic_of_that_closure_comes_out_of_suspend() {
    run(|| {
        let (caller, slot) = begun(|slot| {
            let caught = panic::catch_unwind(AssertUnwindSafe(|| suspend_into::<()>(&slot)));
            assert_eq!(text(&*caught.unwrap_err()), "given by the resumer");
            // The panic is an ordinary one: the ethread goes on.
            suspend_into(&slot);
            unreachable!("the next one is not caught");
        });
        for message in ["given by the resumer", "the last"] {
            let resumed = take(&slot).resume_with(move || panic!("{message}"));
            assert!(resumed.is_ok());
            thread::yield_now();
        }
        assert_eq!(text(&*caller.join().unwrap_err()), "the last");
    });
}

#[test]
fn they_run_in_the_order_of_their_resumes() {
    let order = run(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut callers: Vec<_> = (0..5)
            .map(|n| {
                let order = order.clone();
                Some(begun(move |slot| {
                    suspend_into::<()>(&slot);
                    order.borrow_mut().push(n);
                }))
            })
            .collect();
        let mut handles = Vec::new();
        for n in [3, 1, 4, 0, 2] {
            let (handle, slot) = callers[n].take().unwrap();
            assert_eq!(take(&slot).resume(()), Ok(()));
            handles.push(handle);
        }
        handles
            .into_iter()
            .for_each(|handle| handle.join().unwrap());
        order.take()
    });
    assert_eq!(order, [3, 1, 4, 0, 2]);
}

#[test]
fn two_hand_each_other_the_turn() {
    const ROUNDS: u32 = 1000;
    run(|| {
        let turns = Rc::new(RefCell::new(Vec::new()));
        let slots: [Slot<u32>; 2] = Default::default();
        let player = |me: usize| {
            let (turns, slots) = (turns.clone(), slots.clone());
            move || {
                let mut ball = 0;
                while ball < ROUNDS {
                    ball = bridge::suspend(|suspended| {
                        *slots[me].borrow_mut() = Some(suspended);
                        if let Some(other) = slots[1 - me].borrow_mut().take() {
                            other.resume(ball + 1).unwrap();
                        }
                    });
                    turns.borrow_mut().push(me);
                }
                // The player that ends first resumes the other, so that it ends too.
                if let Some(other) = slots[1 - me].borrow_mut().take() {
                    other.resume(ball).unwrap();
                }
            }
        };
        let players = [0, 1].map(|me| thread::spawn(player(me)));
        players
            .into_iter()
            .for_each(|player| player.join().unwrap());
        let turns = turns.take();
        assert!(turns.len() > ROUNDS as usize);
        assert!(turns.windows(2).all(|pair| pair[0] != pair[1]));
    });
}

#[test]
fn the_os_thread_resumes_between_two_runs() {
    fresh(|| {
        let (caller, slot) = begun(|slot| suspend_into::<i32>(&slot));
        let stuck = deadlock(ethreads::run());
        let [parked] = stuck.parked() else {
            panic!("{stuck}")
        };
        assert_eq!(parked.id, caller.thread().id());
        assert_eq!(parked.waits_for, "resume");
        assert_eq!(parked.location.file(), file!());
        assert_eq!(take(&slot).resume(9), Ok(()));
        ethreads::run().unwrap();
        assert_eq!(caller.join().unwrap(), 9);
    });
}

#[test]
fn a_suspend_of_the_os_thread_itself_drives_the_shard() {
    fresh(|| {
        let slot = Slot::default();
        let theirs = slot.clone();
        let resumer = thread::spawn(move || {
            thread::yield_now();
            take(&theirs).resume_with(|| thread::current().id()).is_ok()
        });
        let id = suspend_into(&slot);
        assert_eq!(id, thread::current().id(), "the closure ran here");
        assert!(resumer.join().unwrap());
        assert_eq!(bridge::suspend(|me| me.resume(8).unwrap()), 8);
    });
}

#[test]
fn a_suspend_of_the_os_thread_that_cannot_end_panics() {
    fresh(|| {
        let slot = Slot::<i32>::default();
        let waits = || suspend_into(&slot);
        let payload = panic::catch_unwind(AssertUnwindSafe(waits)).unwrap_err();
        let message = text(&*payload);
        assert!(
            message.contains("the wait for resume at tests/it/bridge/suspend.rs:")
                && message.contains("can never end"),
            "{message}"
        );
        assert_eq!(take(&slot).resume(1), Err(1));

        let drops = || bridge::suspend(|me: Suspended<()>| drop(me));
        let payload = panic::catch_unwind(drops).unwrap_err();
        let message = text(&*payload);
        assert!(message.contains("cannot be cancelled"), "{message}");
        assert_eq!(thread::spawn(|| 2).join().unwrap(), 2);
    });
}

#[test]
fn a_cancelled_ethread_gives_the_value_back() {
    run(|| {
        let resumes: [fn(Suspended<String>); 2] = [
            |me| assert_eq!(me.resume("too late".into()), Err("too late".into())),
            |me| {
                let rejected = me.resume_with(|| "still callable".into());
                let Err(f) = rejected else {
                    panic!("it is gone")
                };
                assert_eq!(f(), "still callable");
            },
        ];
        for resume in resumes {
            let (caller, slot) = begun(|slot| suspend_into(&slot));
            caller.cancel();
            resume(take(&slot));
            assert!(caller.join().unwrap_err().is::<Cancelled>());
        }
    });
}

#[test]
fn one_that_was_resumed_before_its_cancel_takes_the_value() {
    run(|| {
        let taken = Rc::new(Cell::new(0));
        let theirs = taken.clone();
        let (caller, slot) = begun(move |slot| {
            theirs.set(suspend_into(&slot));
            thread::park();
        });
        assert_eq!(take(&slot).resume(7), Ok(()));
        caller.cancel();
        assert!(caller.join().unwrap_err().is::<Cancelled>());
        assert_eq!(taken.get(), 7);
    });
}

#[test]
fn after_an_earlier_cancel_the_closure_does_not_run() {
    run(|| {
        let dropped_in = Rc::new(Cell::new(None));
        let witness = dropped_in.clone();
        let myself: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let me = myself.clone();
        *myself.borrow_mut() = Some(thread::spawn(move || {
            let guard = OnDrop(move || witness.set(Some(thread::current().id())));
            me.borrow().as_ref().unwrap().cancel();
            bridge::suspend(move |_: Suspended<()>| {
                let _guard = guard;
                unreachable!("the cancel came first");
            });
        }));
        thread::yield_now();
        let caller = myself.take().unwrap();
        let id = caller.thread().id();
        assert!(caller.join().unwrap_err().is::<Cancelled>());
        assert_eq!(dropped_in.get(), Some(id), "on its own stack");
    });
}

#[test]
fn a_stale_handle_does_not_touch_the_next_owner_of_the_place() {
    run(|| {
        let (first, old) = begun(|slot| suspend_into::<i32>(&slot));
        first.cancel();
        assert!(first.join().is_err());
        let (second, new) = begun(|slot| suspend_into::<i32>(&slot));
        assert_eq!(take(&old).resume(1), Err(1));
        thread::yield_now();
        assert!(!second.is_finished());
        assert_eq!(take(&new).resume(2), Ok(()));
        assert_eq!(second.join().unwrap(), 2);
    });
}

#[test]
fn a_panic_of_the_closure_leaves_the_ethread_as_it_was() {
    run(|| {
        let (caller, slot) = begun(|slot: Slot<i32>| {
            let caught = panic::catch_unwind(AssertUnwindSafe(|| {
                bridge::suspend(|me| {
                    *slot.borrow_mut() = Some(me);
                    panic!("with the handle given away");
                })
            }));
            assert_eq!(text(&*caught.unwrap_err()), "with the handle given away");
            let caught = panic::catch_unwind(|| {
                bridge::suspend(|_me: Suspended<()>| panic!("with the handle in it"));
            });
            assert_eq!(text(&*caught.unwrap_err()), "with the handle in it");
            let stale = take(&slot);
            // Neither panic counts as a cancel, and neither of the earlier handles ends this wait.
            let given = suspend_into(&slot);
            assert_eq!(stale.resume(0), Err(0));
            given
        });
        thread::yield_now();
        thread::yield_now();
        assert_eq!(take(&slot).resume(3), Ok(()));
        assert_eq!(caller.join().unwrap(), 3);
    });
}

#[test]
fn dropping_the_handle_unwinds_the_ethread() {
    run(|| {
        let unwound = Rc::new(Cell::new(false));
        let theirs = unwound.clone();
        let (caller, slot) = begun(move |slot| {
            let _guard = OnDrop(|| theirs.set(true));
            suspend_into::<()>(&slot);
            unreachable!("nothing resumes it");
        });
        drop(take(&slot));
        assert!(!unwound.get(), "at its next turn, on its own stack");
        assert!(caller.join().unwrap_err().is::<Cancelled>());
        assert!(unwound.get());

        // The same holds where the closure itself drops the handle.
        let caller = thread::spawn(|| bridge::suspend(|_: Suspended<()>| ()));
        assert!(caller.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn an_abandoned_ethread_cannot_catch_its_end() {
    run(|| {
        let (caller, slot) = begun(|slot| {
            let caught = panic::catch_unwind(AssertUnwindSafe(|| suspend_into::<()>(&slot)));
            assert!(caught.is_err());
            thread::yield_now();
            unreachable!("it is raised again");
        });
        drop(take(&slot));
        assert!(caller.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn what_cannot_be_cancelled_panics_when_its_handle_is_dropped() {
    run(|| {
        let (caller, slot) = begun(|slot| {
            let waits = || thread::uncancellable(|| suspend_into::<()>(&slot));
            let payload = panic::catch_unwind(AssertUnwindSafe(waits)).unwrap_err();
            // The panic is an ordinary one, which is over when it is caught.
            thread::yield_now();
            text(&*payload).to_owned()
        });
        drop(take(&slot));
        assert_eq!(
            caller.join().unwrap(),
            "the `Suspended` of an ethread that cannot be cancelled was dropped"
        );
    });
}

#[test]
fn the_end_of_the_run_takes_ethreads_that_were_never_resumed() {
    fresh(|| {
        let slot = Slot::<i32>::default();
        let kept = slot.clone();
        let unwound = Rc::new(Cell::new(false));
        let flag = unwound.clone();
        Runtime::builder()
            .run(move || {
                drop(thread::spawn(move || {
                    let _guard = OnDrop(|| flag.set(true));
                    suspend_into(&slot)
                }));
                thread::yield_now();
            })
            .unwrap();
        assert!(unwound.get());
        assert_eq!(take(&kept).resume(4), Err(4), "its scheduler is gone");
        // The old handle does not affect a later scheduler.
        ethreads::run_main(|| ()).unwrap();
    });
}

#[test]
fn the_waiter_for_a_resumer_is_in_the_report() {
    let result = Runtime::builder().run(|| {
        let slot = Slot::<()>::default();
        let theirs = slot.clone();
        let caller = thread::Builder::new()
            .name("forgotten")
            .spawn(move || suspend_into(&theirs))
            .unwrap();
        caller.join().unwrap();
        drop(slot);
    });
    let Err(RunError::Deadlock(stuck)) = result else {
        panic!("{result:?}")
    };
    let report = stuck.to_string();
    assert!(report.contains("ethread 'forgotten' ("), "{report}");
    assert!(
        report.contains("waits for resume at tests/it/bridge/suspend.rs:"),
        "{report}"
    );
}
