//! Waiting until a number of ethreads have arrived.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::Location;

use super::wait_queue::{Wait, WaitQueue};
use crate::runtime::base::wait::WaitKind;

/// Lets a number of ethreads wait for each other. [`std::sync::Barrier`], for the ethreads of one
/// shard.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use ethreads::{sync::Barrier, thread};
///
/// ethreads::run_main(|| {
///     let start = Rc::new(Barrier::new(3));
///     let runners: Vec<_> = (0..3)
///         .map(|_| {
///             let start = start.clone();
///             thread::spawn(move || start.wait().is_leader())
///         })
///         .collect();
///     let leaders = runners.into_iter().filter_map(|runner| runner.join().ok());
///     assert_eq!(leaders.filter(|leads| *leads).count(), 1);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::Barrier::new(1));
/// ```
pub struct Barrier {
    size: usize,
    /// The ethreads that have arrived since the last group went on.
    waiters: WaitQueue,
}

/// Whether the caller was the last to arrive at a [`Barrier`].
#[derive(Clone, Copy, Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether the caller was the last to arrive. Each group has exactly one such caller.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    /// Creates a barrier for `size` ethreads. With a size of 0 or 1, a wait returns at once.
    #[must_use]
    pub const fn new(size: usize) -> Self {
        Self {
            size,
            waiters: WaitQueue::new(),
        }
    }

    /// Suspends the caller until as many ethreads have arrived as the barrier is for. The barrier
    /// can be used again after that.
    ///
    /// While the caller unwinds, the call returns at once and does not count as an arrival.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if the missing ethreads can
    /// never arrive.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and no longer counts as arrived.
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        if std::thread::panicking() {
            return BarrierWaitResult(false);
        }
        let here = self.waiters.len() + 1;
        if here >= self.size {
            self.waiters.wake_all(|()| ());
            return BarrierWaitResult(true);
        }
        let left = self.size - here;
        let wait = Wait::new(WaitKind::Barrier, Location::caller()).for_many(left as u64);
        // The caller does not unwind, as checked above.
        let came = self.waiters.wait(wait, ());
        debug_assert!(came.is_ok(), "there is no limit");
        BarrierWaitResult(false)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("size", &self.size)
            .field("here", &self.waiters.len())
            .finish_non_exhaustive()
    }
}
