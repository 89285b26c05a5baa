//! Library frames on the program's own coroutines, which go on in another ethread, in another run,
//! or after the run.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use corosensei::{Coroutine, Yielder};
use ethreads::io::Eport;
use ethreads::net::UnixStream;
use ethreads::runtime::Shard;
use ethreads::thread::{self, Cancelled};
use ethreads::{Runtime, bridge, future, time};

use crate::support::{fresh, leaving_nothing as check, text};

type Theirs = Coroutine<(), (), ()>;

/// Starts a coroutine that yields in the middle of a library call.
fn calls(f: impl FnOnce(&Yielder<(), ()>) + 'static) -> Theirs {
    let mut coroutine = Theirs::new(|yielder, ()| f(yielder));
    assert!(coroutine.resume(()).as_yield().is_some());
    coroutine
}

/// A coroutine that reads from a port, and yields in each attempt to read.
fn reads_in_steps(mut ours: UnixStream, mut theirs: UnixStream) -> Theirs {
    calls(move |yielder| {
        let port = Eport::new(ours.try_clone().unwrap()).unwrap();
        let mut tries = 0;
        let read = port.read_with(|_| {
            tries += 1;
            yielder.suspend(());
            if tries == 1 {
                theirs.write_all(b"x").unwrap();
                return Err(io::ErrorKind::WouldBlock.into());
            }
            ours.read(&mut [0])
        });
        assert_eq!(read.unwrap(), 1);
    })
}

/// The library calls that run user code in between.
fn all() -> [fn() -> Theirs; 5] {
    [
        || calls(|yielder| thread::uncancellable(|| yielder.suspend(()))),
        || {
            calls(|yielder| {
                let hour = Duration::from_secs(3600);
                time::timeout(hour, || {
                    thread::uncancellable(|| yielder.suspend(()));
                    yielder.suspend(());
                })
                .unwrap();
            })
        },
        || {
            calls(|yielder| {
                let mut polls = 0;
                future::block_on(poll_fn(|cx| {
                    polls += 1;
                    yielder.suspend(());
                    if polls == 3 {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }));
            })
        },
        || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            reads_in_steps(ours, theirs)
        },
        || {
            calls(|yielder| {
                thread::scope(|_| {
                    yielder.suspend(());
                });
            })
        },
    ]
}

/// Resumes a coroutine to its end.
fn finish(mut coroutine: Theirs) {
    while coroutine.resume(()).as_yield().is_some() {}
}

#[test]
fn a_call_goes_on_in_another_ethread() {
    check(|| {
        for call in all() {
            let begins = thread::spawn(call);
            let coroutine = begins.join().unwrap();
            // The new ethread takes the slot of the ended ethread.
            thread::spawn(|| finish(coroutine)).join().unwrap();
            // Further ethreads in that slot can still be cancelled.
            for _ in 0..3 {
                let parks = thread::spawn(thread::park);
                thread::yield_now();
                parks.cancel();
                assert!(parks.join().unwrap_err().is::<Cancelled>());
            }
        }
    });
}

#[test]
fn a_call_goes_on_while_its_ethread_goes_on_elsewhere() {
    check(|| {
        for call in all() {
            let slot = Rc::new(RefCell::new(None));
            let theirs = slot.clone();
            let begins = thread::spawn(move || {
                *theirs.borrow_mut() = Some(call());
                thread::park();
            });
            thread::yield_now();
            finish(slot.take().unwrap());
            begins.cancel();
            assert!(begins.join().unwrap_err().is::<Cancelled>());
        }
    });
}

#[test]
fn a_call_goes_on_after_its_run_and_in_another_one() {
    for call in all() {
        let in_ethread = || Runtime::builder().run(call).unwrap();
        fresh(|| finish(in_ethread()));
        fresh(|| {
            let coroutine = in_ethread();
            Runtime::builder().run(|| finish(coroutine)).unwrap();
        });
        // The call begins on the OS thread's own side.
        fresh(|| {
            thread::spawn(|| ());
            let coroutine = call();
            ethreads::run_main(|| finish(coroutine)).unwrap();
        });
    }
}

/// Leaves an ethread behind that cannot be cancelled and outlives the grace period.
fn leave_behind() {
    ethreads::run_main(|| {
        drop(thread::spawn(|| thread::uncancellable(thread::park)));
        thread::yield_now();
    })
    .unwrap();
}

#[test]
fn a_wait_finds_the_scheduler_of_its_time() {
    fresh(|| {
        thread::spawn(|| ());
        let mut first = true;
        let kept = Rc::new(RefCell::new(None::<Waker>));
        let output = future::block_on(poll_fn(|cx| {
            if mem::take(&mut first) {
                // The OS thread has another scheduler afterwards.
                leave_behind();
                let waker = cx.waker().clone();
                drop(thread::spawn(move || waker.wake()));
                return Poll::Pending;
            }
            if kept.borrow().is_none() {
                *kept.borrow_mut() = Some(cx.waker().clone());
                let kept = kept.clone();
                drop(thread::spawn(move || {
                    thread::sleep(Duration::from_millis(1));
                    kept.borrow().as_ref().unwrap().wake_by_ref();
                }));
                return Poll::Pending;
            }
            Poll::Ready(7)
        }));
        assert_eq!(output, 7);
    });
}

#[test]
fn what_calls_a_run_that_leaves_ethreads_behind_goes_on() {
    fresh(|| {
        thread::spawn(|| ());
        let entered = Cell::new(false);
        time::timeout(Duration::from_secs(3600), || {
            thread::uncancellable(|| {
                leave_behind();
                entered.set(true);
            });
        })
        .unwrap();
        assert!(entered.get());
    });
}

/// A scheduler that leaves ethreads behind is not freed. None of these ethreads goes on, although
/// wakers, which are user code, run at the end of the scheduler.
#[test]
fn a_waker_at_the_end_of_a_run_lets_nothing_go_on() {
    thread_local! {
        static LEFT: RefCell<Option<thread::Thread>> = const { RefCell::new(None) };
        static WENT_ON: Cell<bool> = const { Cell::new(false) };
    }
    struct Unparks;
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            LEFT.with_borrow(|left| left.as_ref().unwrap().unpark());
            (0..3).for_each(|_| thread::yield_now());
        }
    }
    fresh(|| {
        thread::spawn(|| ());
        thread::uncancellable(|| {
            let run = ethreads::run_main(|| {
                let here = Shard::current();
                let left = here.spawn(|| {
                    thread::uncancellable(|| {
                        LEFT.set(Some(thread::current()));
                        thread::park();
                        WENT_ON.set(true);
                    });
                });
                let mut left = left.unwrap();
                while LEFT.with_borrow(Option::is_none) {
                    thread::yield_now();
                }
                let waker = Waker::from(Arc::new(Unparks));
                let poll = Pin::new(&mut left).poll(&mut Context::from_waker(&waker));
                assert!(poll.is_pending());
                mem::forget(left);
            });
            run.unwrap();
        });
        assert!(!WENT_ON.get());
    });
}

#[test]
fn what_is_left_behind_gives_back_what_it_is_resumed_with() {
    fresh(|| {
        let slot = Rc::new(RefCell::new(None));
        let theirs = slot.clone();
        let run = Runtime::builder().grace(Duration::ZERO).run(move || {
            drop(thread::spawn(move || {
                thread::uncancellable(|| {
                    bridge::suspend(|me| *theirs.borrow_mut() = Some(me));
                });
            }));
            thread::yield_now();
        });
        run.unwrap();
        let me: bridge::Suspended<Box<u8>> = slot.take().unwrap();
        assert_eq!(me.resume(Box::new(7)), Err(Box::new(7)));
    });
}

#[test]
fn what_is_left_behind_does_not_keep_what_comes_from_elsewhere() {
    let sent = fresh(|| {
        let slot = Rc::new(RefCell::new(None));
        let theirs = slot.clone();
        let run = Runtime::builder().grace(Duration::ZERO).run(move || {
            drop(thread::spawn(move || {
                thread::uncancellable(|| {
                    bridge::suspend(|me: bridge::Suspended<Arc<u8>>| {
                        *theirs.borrow_mut() = Some(me.into_remote());
                    });
                });
            }));
            thread::yield_now();
        });
        run.unwrap();
        let sent = Arc::new(7);
        slot.take().unwrap().resume(sent.clone());
        sent
    });
    assert_eq!(Arc::strong_count(&sent), 1);
}

#[test]
fn a_read_that_begins_on_the_schedulers_side_goes_on_after_the_run() {
    fresh(|| {
        let slot = Rc::new(RefCell::new(None));
        let theirs = slot.clone();
        let run = Runtime::builder().run(move || {
            bridge::suspend(|me| {
                let (ours, peer) = UnixStream::pair().unwrap();
                *theirs.borrow_mut() = Some(reads_in_steps(ours, peer));
                me.resume(()).unwrap();
            });
        });
        run.unwrap();
        finish(slot.take().unwrap());
    });
}

#[test]
fn a_read_that_begins_without_a_shard_lets_the_others_run_in_one() {
    fresh(|| {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let coroutine = calls(move |yielder| {
            let port = Eport::new(ours).unwrap();
            let mut first = true;
            let read = port.read_with(|mut io| {
                if mem::take(&mut first) {
                    yielder.suspend(());
                }
                io.read(&mut [0; 8])
            });
            assert_eq!(read.unwrap(), 1);
        });
        let run = Runtime::builder().run(move || {
            drop(thread::spawn(move || theirs.write_all(b"x").unwrap()));
            finish(coroutine);
        });
        run.unwrap();
    });
}

#[test]
fn a_run_until_that_goes_on_in_an_ethread_is_refused() {
    fresh(|| {
        thread::spawn(|| ());
        let coroutine = calls(|yielder| {
            let ended = panic::catch_unwind(AssertUnwindSafe(|| {
                bridge::run_until(|exit| {
                    yielder.suspend(());
                    exit.finish(7);
                })
            }));
            let payload = ended.expect_err("it is within an ethread");
            let message = text(&*payload);
            assert!(
                message.contains("was called inside an ethread"),
                "{message}"
            );
        });
        thread::spawn(|| finish(coroutine)).join().unwrap();
    });
}

#[test]
fn a_run_until_drives_the_scheduler_that_it_finds_after_its_closure() {
    fresh(|| {
        thread::spawn(|| ());
        let ended = bridge::run_until(|exit| {
            leave_behind();
            drop(thread::spawn(move || exit.finish(7)));
        });
        assert_eq!(ended.unwrap(), 7);
        assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
    });
}

#[test]
fn a_scope_whose_run_has_ended_takes_no_children() {
    fresh(|| {
        let scoped = || {
            calls(|yielder| {
                thread::scope(|scope| {
                    yielder.suspend(());
                    let child = thread::Builder::new().spawn_scoped(scope, || ());
                    let error = child.unwrap_err().to_string();
                    assert!(error.contains("the shard has ended"), "{error}");
                });
            })
        };
        finish(Runtime::builder().run(scoped).unwrap());
    });
}
