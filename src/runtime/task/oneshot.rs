//! A single value from one OS thread to another: the result of a job, or of an ethread of another
//! shard.
//!
//! The sender puts the value, or abandons it. The receiver waits for the value as an ethread, as an
//! OS thread without ethreads, or as a future, or detaches. The later side sees what the earlier
//! side has done, so a value is taken once, or is returned to the sender.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::sync::PoisonError;
use std::task::{Poll, Waker};

use crate::runtime::base::panic::without_unwinding;
use crate::runtime::base::primitives::{Mutex, MutexGuard, Thread, thread};
use crate::runtime::base::wait::{NEVER, Outcome, Reason, WaitKind};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::{RemoteWaker, Scheduler};
use crate::runtime::scheduler::park::Wait;

#[derive(Debug)]
pub(crate) struct Oneshot<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    content: Content<T>,
    /// The waiter, while the value is awaited.
    waiter: Option<Waiter>,
}

#[derive(Debug)]
enum Content<T> {
    Awaited,
    Here(T),
    /// The value will never come.
    Abandoned,
    /// The value was taken, or will not be asked for.
    Gone,
}

#[derive(Debug)]
enum Waiter {
    Ethread(RemoteWaker),
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    fn wake(self) {
        match self {
            Self::Ethread(waker) => waker.wake(),
            Self::Thread(thread) => thread.unpark(),
            // The waker is user code; the caller must not unwind.
            Self::Task(waker) => without_unwinding(|| waker.wake()),
        }
    }
}

/// The value will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abandoned;

/// Why a wait for a value has ended without the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    Abandoned,
    /// The deadline of a scope has passed. The value may still come.
    Elapsed,
    /// The wait has not begun: the caller unwinds, and so cannot wait.
    Unwinding,
}

/// Unwinds to the scope whose deadline has ended a wait.
#[cold]
pub(crate) fn raise_elapsed() -> ! {
    current::with(|scheduler| match scheduler {
        Some(scheduler) => scheduler.raise_elapsed(),
        None => unreachable!("there are no scopes without a scheduler"),
    })
}

impl<T> Oneshot<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                content: Content::Awaited,
                waiter: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No user code runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the value.
    ///
    /// # Errors
    ///
    /// The value, if it will not be asked for.
    pub(crate) fn put(&self, value: T) -> Result<(), T> {
        let mut state = self.lock();
        if !matches!(state.content, Content::Awaited) {
            return Err(value);
        }
        state.content = Content::Here(value);
        wake(state);
        Ok(())
    }

    /// Notes that the value will never come, unless it is here.
    pub(crate) fn abandon(&self) {
        self.mark_abandoned();
        self.wake_abandoned();
    }

    /// The first half of [`abandon`](Self::abandon), which runs no user code.
    pub(in crate::runtime) fn mark_abandoned(&self) {
        let mut state = self.lock();
        if matches!(state.content, Content::Awaited) {
            state.content = Content::Abandoned;
        }
    }

    /// The second half of [`abandon`](Self::abandon).
    pub(in crate::runtime) fn wake_abandoned(&self) {
        let state = self.lock();
        if matches!(state.content, Content::Abandoned) {
            wake(state);
        }
    }

    /// Notes that the value will not be asked for. Returns the value if it is here.
    pub(crate) fn detach(&self) -> Option<T> {
        let mut state = self.lock();
        let waiter = state.waiter.take();
        let content = std::mem::replace(&mut state.content, Content::Gone);
        drop(state);
        // A waker is user code.
        drop(waiter);
        match content {
            Content::Here(value) => Some(value),
            Content::Awaited | Content::Abandoned | Content::Gone => None,
        }
    }

    /// Whether the value is no longer awaited.
    pub(crate) fn has_come(&self) -> bool {
        !matches!(self.lock().content, Content::Awaited)
    }

    fn try_take(state: &mut State<T>) -> Option<Result<T, Abandoned>> {
        match std::mem::replace(&mut state.content, Content::Gone) {
            Content::Here(value) => Some(Ok(value)),
            Content::Awaited => {
                state.content = Content::Awaited;
                None
            }
            Content::Abandoned => {
                state.content = Content::Abandoned;
                Some(Err(Abandoned))
            }
            Content::Gone => panic!("what was waited for has been taken already"),
        }
    }

    /// Takes the value if it is here; otherwise registers `waiter`.
    fn take_or_enter(&self, waiter: Waiter) -> Option<Result<T, Abandoned>> {
        let mut state = self.lock();
        let taken = Self::try_take(&mut state);
        let before = match taken {
            None => state.waiter.replace(waiter),
            Some(_) => Some(waiter),
        };
        drop(state);
        // A waker is user code.
        drop(before);
        taken
    }

    /// Takes the value if it is here; otherwise registers `waker` for its arrival.
    ///
    /// # Panics
    ///
    /// If the value was taken before.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Result<T, Abandoned>> {
        match self.take_or_enter(Waiter::Task(waker.clone())) {
            Some(taken) => Poll::Ready(taken),
            None => Poll::Pending,
        }
    }

    /// Suspends the ethread, or blocks the OS thread, until the value has come. A cancelled ethread
    /// unwinds.
    pub(crate) fn wait(
        &self,
        kind: WaitKind,
        location: &'static Location<'static>,
    ) -> Result<T, Missed> {
        current::with(|scheduler| match scheduler {
            Some(scheduler) => self.suspend(scheduler, kind, location),
            None => self.block().map_err(|Abandoned| Missed::Abandoned),
        })
    }

    fn suspend(
        &self,
        scheduler: &Scheduler,
        kind: WaitKind,
        location: &'static Location<'static>,
    ) -> Result<T, Missed> {
        let (taken, before) = {
            let mut state = self.lock();
            (Self::try_take(&mut state), state.waiter.take())
        };
        // A waker is user code. It must not be dropped once the wait has begun.
        drop(before);
        if let Some(taken) = taken {
            return taken.map_err(|Abandoned| Missed::Abandoned);
        }
        let reason = Reason {
            kind,
            detail: 0,
            location,
        };
        let Ok(wait) = scheduler.begin_wait(reason) else {
            return Err(Missed::Unwinding);
        };
        match self.enter(scheduler, &wait) {
            Some(taken) => taken.map_err(|Abandoned| Missed::Abandoned),
            None => self.park(scheduler, wait),
        }
    }

    /// Takes the value if it is here; otherwise lets its arrival end `wait`.
    pub(in crate::runtime) fn enter(
        &self,
        scheduler: &Scheduler,
        wait: &Wait<'_>,
    ) -> Option<Result<T, Abandoned>> {
        let waker = scheduler.remote_waker(wait.token());
        self.take_or_enter(Waiter::Ethread(waker))
    }

    /// Waits until the value has come, after [`enter`](Self::enter).
    pub(in crate::runtime) fn park(
        &self,
        scheduler: &Scheduler,
        wait: Wait<'_>,
    ) -> Result<T, Missed> {
        match wait.park(NEVER) {
            Outcome::Woken | Outcome::TimedOut => {
                let taken = Self::try_take(&mut self.lock());
                taken
                    .expect("it is woken by what has come")
                    .map_err(|Abandoned| Missed::Abandoned)
            }
            Outcome::Elapsed => {
                self.leave();
                Err(Missed::Elapsed)
            }
            Outcome::Cancelled => {
                self.leave();
                scheduler.raise_cancel()
            }
        }
    }

    /// Removes the waiter.
    fn leave(&self) {
        let waiter = self.lock().waiter.take();
        drop(waiter);
    }

    fn block(&self) -> Result<T, Abandoned> {
        loop {
            if let Some(taken) = self.take_or_enter(Waiter::Thread(thread::current())) {
                return taken;
            }
            thread::park();
        }
    }
}

/// Wakes the waiter, without the lock.
fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let waiter = state.waiter.take();
    drop(state);
    if let Some(waiter) = waiter {
        waiter.wake();
    }
}

#[cfg(all(test, not(ethreads_loom)))]
mod tests {
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

    fn block(oneshot: &Oneshot<u32>) -> Result<u32, Missed> {
        oneshot.wait(WaitKind::Remote, Location::caller())
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
    fn what_nobody_asks_for_comes_back() {
        let oneshot = Oneshot::new();
        assert_eq!(oneshot.detach(), None);
        assert_eq!(oneshot.put(7), Err(7));

        let oneshot = Oneshot::new();
        oneshot.put(7).unwrap();
        assert_eq!(oneshot.detach(), Some(7));
    }

    #[test]
    fn what_nobody_brings_is_not_waited_for() {
        let oneshot = Oneshot::new();
        oneshot.abandon();
        assert!(oneshot.has_come());
        assert_eq!(block(&oneshot), Err(Missed::Abandoned));
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
    use loom::sync::Arc;
    use loom::{model, thread};

    use super::{Abandoned, Oneshot};

    #[test]
    fn what_comes_is_received() {
        model(|| {
            let oneshot = Arc::new(Oneshot::new());
            let theirs = oneshot.clone();
            let brings = thread::spawn(move || theirs.put(7));
            assert_eq!(oneshot.block(), Ok(7));
            assert_eq!(brings.join().unwrap(), Ok(()));
        });
    }

    #[test]
    fn who_waits_for_nothing_is_told() {
        model(|| {
            let oneshot = Arc::new(Oneshot::<u32>::new());
            let theirs = oneshot.clone();
            let abandons = thread::spawn(move || theirs.abandon());
            assert_eq!(oneshot.block(), Err(Abandoned));
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
