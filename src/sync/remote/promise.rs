//! A value that arrives once, from and for any OS thread.

use std::panic::Location;
use std::time::Duration;

use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::primitives::Arc;
use crate::runtime::base::wait::CallSite;
use crate::runtime::task::monitor::{Monitor, MonitorState, Wait, WaitQueue, Waited, WakeList};
use crate::sync::PromiseError;

/// A value that arrives later, or an error in its place, for ethreads of any shard and OS threads.
/// As [`sync::Promise`](crate::sync::Promise), a promise is settled once, and the outcome stays.
///
/// # Examples
///
/// ```
/// use ethreads::sync::remote::Promise;
///
/// let (promise, resolver) = Promise::<_, String>::new();
/// std::thread::spawn(move || resolver.resolve(6 * 7));
/// let answer = ethreads::run_main(move || promise.wait())?;
/// assert_eq!(answer, Ok(42));
/// # Ok::<(), ethreads::RunError>(())
/// ```
pub struct Promise<T, E> {
    monitor: Arc<Monitor<PromiseState<T, E>>>,
}

/// Settles a [`Promise`]. Made by [`Promise::new`].
#[must_use = "dropping it breaks the promise"]
pub struct Resolver<T, E> {
    /// `None` once the promise is settled.
    monitor: Option<Arc<Monitor<PromiseState<T, E>>>>,
}

struct PromiseState<T, E> {
    /// Each waiter clones the outcome outside of the lock, as that runs user code.
    outcome: Option<Arc<Result<T, PromiseError<E>>>>,
    waiters: WaitQueue<()>,
}

impl<T, E> MonitorState for PromiseState<T, E> {}

impl<T, E> Promise<T, E> {
    /// Creates a promise and its resolver.
    pub fn new() -> (Self, Resolver<T, E>) {
        let monitor = Arc::new(Monitor::new(PromiseState {
            outcome: None,
            waiters: WaitQueue::default(),
        }));
        let promise = Self {
            monitor: monitor.clone(),
        };
        let resolver = Resolver {
            monitor: Some(monitor),
        };
        (promise, resolver)
    }

    /// Whether the promise is settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.monitor.with(|state, _| state.outcome.is_some())
    }
}

impl<T: Clone, E: Clone> Promise<T, E> {
    /// Returns the outcome if the promise is settled; does not wait.
    #[must_use]
    pub fn get(&self) -> Option<Result<T, PromiseError<E>>> {
        let outcome = self.monitor.with(|state, _| state.outcome.clone())?;
        Some((*outcome).clone())
    }

    /// Suspends the ethread, or blocks the OS thread, until the promise is settled, and returns the
    /// outcome.
    ///
    /// # Errors
    ///
    /// `Rejected` with the error that came in place of the value; `Broken` if the resolver is gone,
    /// or an ethread that unwinds would have to wait.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, if the call has to wait.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here. The promise, and the work that will settle it, go on.
    #[track_caller]
    pub fn wait(&self) -> Result<T, PromiseError<E>> {
        // The promise is settled after that, unless the caller cannot wait.
        self.wait_until(None, Location::caller());
        self.get().unwrap_or(Err(PromiseError::Broken))
    }

    /// Suspends the ethread, or blocks the OS thread, until the promise is settled, for at most
    /// `timeout`. Returns `None` if it is not settled by then.
    ///
    /// While an ethread unwinds, the call does not wait.
    ///
    /// # Errors
    ///
    /// `Rejected` with the error that came in place of the value; `Broken` if the resolver is gone.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Cancellation
    ///
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<T, PromiseError<E>>> {
        if self.wait_until(Some(timeout), Location::caller()) {
            self.get()
        } else {
            None
        }
    }

    fn wait_until(&self, timeout: Option<Duration>, location: CallSite) -> bool {
        let wait = Wait { timeout, location };
        let look = |state: &mut PromiseState<T, E>, _: &mut WakeList, ()| match state.outcome {
            Some(_) => Ok(()),
            None => Err(()),
        };
        let waited = self
            .monitor
            .wait(wait, |state| &mut state.waiters, (), look);
        !matches!(waited, Waited::Failed(()))
    }
}

impl<T, E> Clone for Promise<T, E> {
    /// Returns another handle to the same promise, for this or any other OS thread.
    fn clone(&self) -> Self {
        Self {
            monitor: self.monitor.clone(),
        }
    }
}

opaque_debug!(impl<T, E> for Promise<T, E>, is_settled);

impl<T, E> Resolver<T, E> {
    /// Resolves the promise with the value, and wakes its waiters on all OS threads.
    pub fn resolve(self, value: T) {
        self.settle(Ok(value));
    }

    /// Rejects the promise with an error, and wakes its waiters on all OS threads.
    pub fn reject(self, error: E) {
        self.settle(Err(error));
    }

    /// Resolves or rejects the promise with `result`.
    pub fn settle(mut self, result: Result<T, E>) {
        self.end(result.map_err(PromiseError::Rejected));
    }

    fn end(&mut self, outcome: Result<T, PromiseError<E>>) {
        if let Some(monitor) = self.monitor.take() {
            monitor.with(|state, wakes| {
                state.outcome = Some(Arc::new(outcome));
                state.waiters.wake_all(wakes);
            });
        }
    }
}

impl<T, E> Drop for Resolver<T, E> {
    fn drop(&mut self) {
        self.end(Err(PromiseError::Broken));
    }
}

opaque_debug!(impl<T, E> for Resolver<T, E>);
