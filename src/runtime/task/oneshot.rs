//! A single value from one OS thread to another: the result of a job, or of an ethread of another
//! shard.
//!
//! The sender puts the value, or abandons it. The receiver waits for the value as an ethread, as an
//! OS thread without ethreads, or as a future, or detaches. The later side sees what the earlier
//! side has done, so a value is taken once, or is returned to the sender.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::task::{Poll, Waker};

use super::monitor::{Monitor, MonitorState, Wait, WaitQueue, Waited, WakeList};
use crate::runtime::base::wait::{CallSite, NEVER, Outcome};
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::park;

pub(crate) struct Oneshot<T> {
    monitor: Monitor<OneshotState<T>>,
}

struct OneshotState<T> {
    content: Content<T>,
    waiters: WaitQueue<()>,
    /// The waker of the task that has polled last.
    task: Option<Waker>,
}

enum Content<T> {
    Awaited,
    Here(T),
    /// The value will never come.
    Abandoned,
    /// The value was taken, or will not be asked for.
    Gone,
}

/// The value will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abandoned;

/// Why a wait for a value has ended without the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitError {
    Abandoned,
    /// The wait has not begun: the caller unwinds, and so cannot wait.
    Unwinding,
}

impl<T> MonitorState for OneshotState<T> {}

impl<T> OneshotState<T> {
    fn waiters(&mut self) -> &mut WaitQueue<()> {
        &mut self.waiters
    }

    fn wake(&mut self, wakes: &mut WakeList) {
        self.waiters.wake_all(wakes);
        if let Some(task) = self.task.take() {
            wakes.push_task(task);
        }
    }

    fn try_take(&mut self) -> Option<Result<T, Abandoned>> {
        match std::mem::replace(&mut self.content, Content::Gone) {
            Content::Here(value) => Some(Ok(value)),
            Content::Awaited => {
                self.content = Content::Awaited;
                None
            }
            Content::Abandoned => {
                self.content = Content::Abandoned;
                Some(Err(Abandoned))
            }
            Content::Gone => panic!("what was waited for has been taken already"),
        }
    }
}

impl<T> Oneshot<T> {
    pub(crate) fn new() -> Self {
        Self {
            monitor: Monitor::new(OneshotState {
                content: Content::Awaited,
                waiters: WaitQueue::default(),
                task: None,
            }),
        }
    }

    /// Puts the value.
    ///
    /// # Errors
    ///
    /// The value, if it will not be asked for.
    pub(crate) fn put(&self, value: T) -> Result<(), T> {
        self.monitor.with(|state, wakes| {
            if !matches!(state.content, Content::Awaited) {
                return Err(value);
            }
            state.content = Content::Here(value);
            state.wake(wakes);
            Ok(())
        })
    }

    /// Notes that the value will never come, unless it is here.
    pub(crate) fn abandon(&self) {
        self.mark_abandoned();
        self.wake_abandoned();
    }

    /// The first half of [`abandon`](Self::abandon), which runs no user code.
    pub(in crate::runtime) fn mark_abandoned(&self) {
        self.monitor.with(|state, _| {
            if matches!(state.content, Content::Awaited) {
                state.content = Content::Abandoned;
            }
        });
    }

    /// The second half of [`abandon`](Self::abandon).
    pub(in crate::runtime) fn wake_abandoned(&self) {
        self.monitor.with(|state, wakes| {
            if matches!(state.content, Content::Abandoned) {
                state.wake(wakes);
            }
        });
    }

    /// Notes that the value will not be asked for. Returns the value if it is here.
    pub(crate) fn detach(&self) -> Option<T> {
        // The waker is user code, so it is dropped without the lock.
        let (content, _task) = self.monitor.with(|state, _| {
            let content = std::mem::replace(&mut state.content, Content::Gone);
            (content, state.task.take())
        });
        match content {
            Content::Here(value) => Some(value),
            Content::Awaited | Content::Abandoned | Content::Gone => None,
        }
    }

    /// Whether the value is no longer awaited.
    pub(crate) fn has_come(&self) -> bool {
        self.monitor
            .with(|state, _| !matches!(state.content, Content::Awaited))
    }

    /// Takes the value if it is here; otherwise registers `waker` for its arrival.
    ///
    /// # Panics
    ///
    /// If the value was taken before.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Result<T, Abandoned>> {
        let waker = waker.clone();
        // A waker is user code, so the one that is not kept is dropped without the lock.
        let (taken, _other) = self.monitor.with(|state, _| match state.try_take() {
            Some(taken) => (Poll::Ready(taken), Some(waker)),
            None => (Poll::Pending, state.task.replace(waker)),
        });
        taken
    }

    /// Suspends the ethread, or blocks the OS thread, until the value has come. Unwinds if the
    /// ethread is cancelled, or at the deadline of a scope.
    pub(crate) fn wait(&self, location: CallSite) -> Result<T, WaitError> {
        let wait = Wait {
            timeout: None,
            location,
        };
        let take = |state: &mut OneshotState<T>, _: &mut WakeList, ()| state.try_take().ok_or(());
        let taken = match self.monitor.wait(wait, OneshotState::waiters, (), take) {
            Waited::Ready(taken) => taken,
            Waited::Woken(()) => self.take(),
            Waited::Failed(()) => return Err(WaitError::Unwinding),
        };
        taken.map_err(|Abandoned| WaitError::Abandoned)
    }

    /// Calls `start`, which lets the value come, and suspends the ethread by the wait `parking`,
    /// which has begun, until the value has come. The ethread parks however fast that is, so other
    /// ethreads get their turns. What `start` returns is dropped after the wait.
    ///
    /// Returns `None` at the deadline of a scope. A cancelled ethread unwinds.
    pub(super) fn wait_from<R>(
        &self,
        scheduler: &Scheduler,
        parking: park::Wait<'_>,
        start: impl FnOnce() -> R,
    ) -> Option<Result<T, Abandoned>> {
        let queue = OneshotState::waiters;
        let waiter = self.monitor.enter_parking(scheduler, &parking, queue, ());
        let _kept = start();
        // Whichever came first counts: a result that comes behind a cancel is dropped.
        let outcome = parking.park(NEVER);
        drop(waiter);
        match outcome {
            Outcome::Elapsed => None,
            Outcome::Cancelled => scheduler.raise_cancel(),
            Outcome::Woken | Outcome::TimedOut => Some(self.take()),
        }
    }

    /// Takes what has woken the waiter.
    fn take(&self) -> Result<T, Abandoned> {
        let taken = self.monitor.with(|state, _| state.try_take());
        taken.expect("it is woken by what has come")
    }
}

/// The side that puts the value. Dropped, it ends the wait for a value that was not put.
pub(in crate::runtime) struct AbandonOnDrop<T>(pub(in crate::runtime) Arc<Oneshot<T>>);

impl<T> Drop for AbandonOnDrop<T> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(all(test, not(ethreads_loom)))]
mod tests {
    use std::panic::Location;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn block(oneshot: &Oneshot<u32>) -> Result<u32, WaitError> {
        oneshot.wait(Location::caller())
    }

    #[test]
    fn an_os_thread_blocks_until_it_has_come() {
        for _ in 0..1000 {
            let oneshot = Arc::new(Oneshot::new());
            let theirs = oneshot.clone();
            let brings = std::thread::spawn(move || theirs.put(7));
            assert_eq!(block(&oneshot), Ok(7));
            assert_eq!(brings.join().unwrap(), Ok(()));
        }
    }

    #[test]
    fn a_task_is_woken_once_by_its_latest_waker() {
        let (old, new) = (Arc::<Count>::default(), Arc::<Count>::default());
        let oneshot = Oneshot::new();
        assert!(oneshot.poll(&old.clone().into()).is_pending());
        assert!(oneshot.poll(&new.clone().into()).is_pending());
        oneshot.put(7).unwrap();
        assert_eq!(oneshot.put(8), Err(8), "one is enough");
        let wakes = [old, new].map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!(wakes, [0, 1]);
        assert_eq!(oneshot.poll(Waker::noop()), Poll::Ready(Ok(7)));
    }

    #[test]
    fn a_value_that_is_not_asked_for_comes_back() {
        let oneshot = Oneshot::new();
        assert_eq!(oneshot.detach(), None);
        assert_eq!(oneshot.put(7), Err(7));

        let oneshot = Oneshot::new();
        oneshot.put(7).unwrap();
        assert_eq!(oneshot.detach(), Some(7));
    }

    #[test]
    fn an_abandoned_value_is_not_waited_for() {
        let oneshot = Oneshot::new();
        oneshot.abandon();
        assert!(oneshot.has_come());
        assert_eq!(block(&oneshot), Err(WaitError::Abandoned));
        assert_eq!(oneshot.put(7), Err(7));

        // Too late to be abandoned: the value is here.
        let oneshot = Oneshot::new();
        oneshot.put(7).unwrap();
        oneshot.abandon();
        assert_eq!(block(&oneshot), Ok(7));
    }
}

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests {
    use std::panic::Location;

    use loom::sync::Arc;
    use loom::{model, thread};

    use super::{Oneshot, WaitError};

    #[test]
    fn what_comes_is_received() {
        model(|| {
            let oneshot = Arc::new(Oneshot::new());
            let theirs = oneshot.clone();
            let brings = thread::spawn(move || theirs.put(7));
            assert_eq!(oneshot.wait(Location::caller()), Ok(7));
            assert_eq!(brings.join().unwrap(), Ok(()));
        });
    }

    #[test]
    fn the_waiter_for_an_abandoned_value_is_woken() {
        model(|| {
            let oneshot = Arc::new(Oneshot::<u32>::new());
            let theirs = oneshot.clone();
            let abandons = thread::spawn(move || theirs.abandon());
            assert_eq!(oneshot.wait(Location::caller()), Err(WaitError::Abandoned));
            abandons.join().unwrap();
        });
    }

    #[test]
    fn a_value_ends_in_one_hand() {
        model(|| {
            let oneshot = Arc::new(Oneshot::new());
            let theirs = oneshot.clone();
            let brings = thread::spawn(move || theirs.put(7));
            let here = oneshot.detach();
            let back = brings.join().unwrap().err();
            assert_eq!(here.xor(back), Some(7), "{here:?} {back:?}");
        });
    }
}
