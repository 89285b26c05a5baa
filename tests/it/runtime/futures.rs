//! Futures that ethreads wait for, and wakers that outlive everything.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::os::unix::process::ExitStatusExt;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::time::Duration;

use ethreads::future::block_on;
use ethreads::thread::Cancelled;
use ethreads::{Runtime, bridge, run_main, spawn, thread, time};

use crate::support::{OnDrop, deadlock, fresh, in_child, leaving_nothing, stderr, text};

/// A future that is ready after `ring`.
#[derive(Clone, Default)]
struct Bell(Arc<Mutex<(bool, Option<Waker>)>>);

impl Bell {
    fn ring(&self) {
        let mut bell = self.0.lock().unwrap();
        bell.0 = true;
        let waker = bell.1.take();
        drop(bell);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The waker of the last poll.
    fn waker(&self) -> Option<Waker> {
        self.0.lock().unwrap().1.clone()
    }
}

impl Future for Bell {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut bell = self.0.lock().unwrap();
        if bell.0 {
            return Poll::Ready(());
        }
        bell.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[test]
fn one_that_is_ready_is_not_waited_for() {
    leaving_nothing(|| {
        let others = spawn(|| ());
        assert_eq!(block_on(ready(7)), 7);
        assert!(!others.is_finished());
        others.join().unwrap();
    });
    assert_eq!(block_on(ready(7)), 7, "on an OS thread without ethreads");
}

#[test]
fn wakes_come_from_the_same_shard_and_from_elsewhere() {
    leaving_nothing(|| {
        let bell = Bell::default();
        let theirs = bell.clone();
        let waits = spawn(move || block_on(theirs));
        thread::yield_now();
        assert!(!waits.is_finished());
        bell.ring();
        waits.join().unwrap();

        let bell = Bell::default();
        let theirs = bell.clone();
        let rings = std::thread::spawn(move || theirs.ring());
        block_on(bell);
        rings.join().unwrap();
    });
    let bell = Bell::default();
    let theirs = bell.clone();
    let rings = std::thread::spawn(move || theirs.ring());
    block_on(bell);
    rings.join().unwrap();
}

/// A wake may come at any moment of a poll.
#[test]
fn no_wake_is_lost() {
    const ROUNDS: usize = 20_000;
    let (there, here) = (async_channel::bounded(1), async_channel::bounded(1));
    let (to_there, from_here) = there;
    let (to_here, from_there) = here;
    let echoes = std::thread::spawn(move || {
        run_main(move || {
            block_on(async move {
                while let Ok(n) = from_here.recv().await {
                    to_here.send(n).await.unwrap();
                }
            });
        })
        .unwrap();
    });
    fresh(|| {
        run_main(move || {
            for n in 0..ROUNDS {
                block_on(to_there.send(n)).unwrap();
                assert_eq!(block_on(from_there.recv()), Ok(n));
            }
        })
    })
    .unwrap();
    echoes.join().unwrap();
}

#[test]
fn one_that_wakes_itself_lets_the_others_run() {
    leaving_nothing(|| {
        let turns = Rc::new(Cell::new(0));
        let theirs = turns.clone();
        let other = spawn(move || {
            for _ in 0..10 {
                theirs.set(theirs.get() + 1);
                thread::yield_now();
            }
        });
        let mut polls = 0;
        block_on(poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if turns.get() == 10 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        assert!((10..=12).contains(&polls), "{polls}");
        other.join().unwrap();
    });
}

#[test]
fn a_wait_without_an_end_is_a_deadlock() {
    let deadlock = fresh(|| deadlock(run_main(|| block_on(pending::<()>()))));
    let report = deadlock.to_string();
    assert!(report.contains("the waker of a future"), "{report}");
    // As long as a waker exists, the ethread may be woken.
    fresh(|| {
        run_main(|| {
            let bell = Bell::default();
            let theirs = bell.clone();
            let (waits, is_waiting) = mpsc::channel();
            let holds = std::thread::spawn(move || {
                is_waiting.recv().unwrap();
                theirs.ring();
            });
            let mut first = true;
            let mut bell = pin!(bell);
            block_on(poll_fn(|cx| {
                let polled = bell.as_mut().poll(cx);
                if std::mem::take(&mut first) {
                    waits.send(()).unwrap();
                }
                polled
            }));
            holds.join().unwrap();
        })
    })
    .unwrap();
}

#[test]
fn a_cancel_or_a_deadline_drops_the_future() {
    leaving_nothing(|| {
        let dropped = Rc::new(Cell::new(0));
        let guard = |dropped: &Rc<Cell<i32>>| {
            let dropped = dropped.clone();
            OnDrop(move || dropped.set(dropped.get() + 1))
        };
        let (bell, theirs) = (Bell::default(), guard(&dropped));
        let rung = bell.clone();
        let waits = spawn(move || {
            block_on(async move {
                let _theirs = theirs;
                bell.await;
            })
        });
        thread::yield_now();
        waits.cancel();
        assert!(waits.join().unwrap_err().is::<Cancelled>());
        assert_eq!(dropped.get(), 1);
        // This wake comes too late, and has no effect.
        rung.ring();

        let theirs = guard(&dropped);
        let late = time::timeout(Duration::from_millis(1), || {
            block_on(async move {
                let _theirs = theirs;
                pending::<()>().await;
            })
        });
        assert!(late.is_err());
        assert_eq!(dropped.get(), 2);
    });
}

#[test]
fn a_late_wake_ends_no_other_wait() {
    leaving_nothing(|| {
        let bell = Bell::default();
        let theirs = bell.clone();
        let waits = spawn(move || {
            block_on(theirs.clone());
            // The waker of the last poll still exists.
            thread::park();
        });
        thread::yield_now();
        let late = bell.waker().unwrap();
        bell.ring();
        thread::yield_now();
        late.wake();
        thread::yield_now();
        assert!(!waits.is_finished());
        waits.thread().unpark();
        waits.join().unwrap();
    });
}

#[test]
fn wakers_outlive_their_shard() {
    thread_local! {
        static KEPT: RefCell<Option<Waker>> = const { RefCell::new(None) };
    }
    struct WakesLate(RefCell<Option<Waker>>);
    impl Drop for WakesLate {
        fn drop(&mut self) {
            self.0.take().unwrap().wake();
        }
    }
    thread_local! {
        static LATE: WakesLate = const { WakesLate(RefCell::new(None)) };
    }
    let waker = fresh(|| {
        // The destructor of `LATE` runs after that of the scheduler, which is made later.
        LATE.with(|_| ());
        let bell = Bell::default();
        let theirs = bell.clone();
        let result = Runtime::builder().grace(Duration::ZERO).run(move || {
            let waits = spawn(move || thread::uncancellable(|| block_on(theirs)));
            thread::yield_now();
            drop(waits);
        });
        result.unwrap();
        let waker = bell.waker().unwrap();
        KEPT.set(Some(waker.clone()));
        LATE.with(|late| *late.0.borrow_mut() = Some(waker.clone()));
        waker
    });
    waker.wake_by_ref();
    drop(waker);
}

#[test]
fn join_handles_are_futures() {
    leaving_nothing(|| {
        assert_eq!(block_on(spawn(|| 7)).unwrap(), 7);
        let payload = block_on(spawn(|| -> u8 { panic!("in there") })).unwrap_err();
        assert_eq!(text(&*payload), "in there");
        let cancelled = spawn(thread::park);
        cancelled.cancel();
        assert!(block_on(cancelled).unwrap_err().is::<Cancelled>());
        // Several handles in one future.
        let both = block_on(async {
            let (a, b) = (spawn(|| 1), spawn(|| 2));
            a.await.unwrap() + b.await.unwrap()
        });
        assert_eq!(both, 3);
    });
}

/// Counts its wakes, and panics in each wake if `panics` is set.
struct Counts {
    wakes: Mutex<usize>,
    panics: bool,
}

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        *self.wakes.lock().unwrap() += 1;
        assert!(!self.panics, "a waker of the user's");
    }
}

#[test]
fn the_end_of_an_ethread_wakes_the_latest_waker_once() {
    leaving_nothing(|| {
        let counts = |panics| {
            let wakes = Mutex::new(0);
            Arc::new(Counts { wakes, panics })
        };
        let (old, new) = (counts(false), counts(true));
        let mut handle = spawn(|| 7);
        for waker in [&old, &new] {
            let waker = Waker::from(waker.clone());
            let polled = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        thread::yield_now();
        assert_eq!(
            (*old.wakes.lock().unwrap(), *new.wakes.lock().unwrap()),
            (0, 1)
        );
        assert_eq!(
            handle.join().unwrap(),
            7,
            "the panic of a waker does no harm"
        );

        let kept = counts(false);
        let waker = Waker::from(kept.clone());
        let mut handle = spawn(|| ());
        let polled = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop((handle, waker));
        assert_eq!(
            Arc::strong_count(&kept),
            1,
            "a detached ethread keeps no waker"
        );
        thread::yield_now();
        assert_eq!(*kept.wakes.lock().unwrap(), 0);
    });
}

thread_local! {
    /// How often a waker of `suspends_when_cloned` was used.
    static WOKEN: Cell<u32> = const { Cell::new(0) };
}

/// A waker that yields whenever it is cloned.
#[allow(unsafe_code)]
fn suspends_when_cloned() -> Waker {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |_| {
            thread::yield_now();
            RawWaker::new(std::ptr::null(), &VTABLE)
        },
        |_| WOKEN.set(WOKEN.get() + 1),
        |_| WOKEN.set(WOKEN.get() + 1),
        |_| (),
    );
    // SAFETY: the functions do not use the pointer, and may be called on any OS thread.
    unsafe { Waker::new(std::ptr::null(), &VTABLE) }
}

#[test]
fn an_ethread_may_end_while_the_waker_of_its_joiner_is_cloned() {
    leaving_nothing(|| {
        let mut ethread = spawn(|| 7);
        let waker = suspends_when_cloned();
        let poll = Pin::new(&mut ethread).poll(&mut Context::from_waker(&waker));
        assert!(
            matches!(poll, Poll::Ready(Ok(7))),
            "or nothing would wake it"
        );
        assert_eq!(WOKEN.get(), 0);
    });
}

#[test]
fn a_waker_of_a_handle_may_suspend_when_the_handle_is_joined() {
    struct Yields;
    impl Wake for Yields {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Yields {
        fn drop(&mut self) {
            thread::yield_now();
        }
    }
    let shards = Runtime::builder().shards(1).start().unwrap();
    let (go, gone) = mpsc::channel::<()>();
    let mut far = shards.spawn(move || gone.recv().unwrap()).unwrap();
    run_main(move || {
        let waker = Waker::from(Arc::new(Yields));
        let poll = Pin::new(&mut far).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        drop(waker);
        let sends = spawn(move || {
            // The join begins before the message is sent.
            (0..3).for_each(|_| thread::yield_now());
            go.send(()).unwrap();
        });
        far.join().unwrap();
        sends.join().unwrap();
    })
    .unwrap();
}

#[test]
fn a_block_on_while_the_schedulers_side_unwinds_ends_the_process() {
    let name = "runtime::futures::a_block_on_while_the_schedulers_side_unwinds_ends_the_process";
    let Some(output) = in_child(name) else {
        let run = Runtime::builder().run(|| {
            bridge::suspend(|_me: bridge::Suspended<()>| {
                let _blocks = OnDrop(|| block_on(pending::<()>()));
                panic!("it unwinds");
            });
        });
        return run.unwrap();
    };
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    let printed = stderr(&output);
    assert!(printed.contains("called `block_on` at"), "{printed}");
}
