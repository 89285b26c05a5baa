//! `suspend` and `resume`: the rest of an ethread's execution as a value.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, Location};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::{CallSite, NEVER, Outcome, Reason, Token, WaitKind};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::inbox::RemoteWaker;
use crate::runtime::scheduler::park::Unwinding;

/// What an ethread that is resumed gets: a value, or a closure that makes the value there.
enum Delivery<T, F: ?Sized> {
    Value(T),
    Run(Box<F>),
}

impl<T, F: FnOnce() -> T + ?Sized> Delivery<T, F> {
    fn open(self) -> T {
        match self {
            Self::Value(value) => value,
            Self::Run(f) => f(),
        }
    }
}

type RemoteDelivery<T> = Arc<Mutex<Option<Delivery<T, dyn FnOnce() -> T + Send>>>>;

/// Where `suspend` finds the delivery when its ethread runs again.
enum Place<T> {
    Local(Delivery<T, dyn FnOnce() -> T>),
    /// The handle was sent to another OS thread, which delivers here.
    Remote(RemoteDelivery<T>),
}

/// Suspends the ethread, and *then* calls `after` with the means to resume it.
///
/// The ethread is parked before `after` runs, so `after` may resume it, hand the [`Suspended`] to
/// another ethread, keep it in a queue, spawn ethreads, or end a [`run_until`](super::run_until).
/// `after` runs on the scheduler's side, between the ethreads: it must not wait. Returns the value
/// that the ethread is resumed with.
///
/// # Panics
///
/// With the panic of `after`, or of the closure given to [`Suspended::resume_with`]. In a closure
/// that was itself given to `suspend`. On the OS thread's own side, if nothing can ever resume it.
///
/// While the caller unwinds, no ethread can wait and there is no value to return, so the process is
/// aborted with a report.
///
/// # Cancellation
///
/// A cancelled ethread unwinds from here, and so does an ethread whose [`Suspended`] is dropped.
/// `after` is not called if the cancel came first.
///
/// # Examples
///
/// ```
/// use std::{cell::RefCell, rc::Rc};
/// use ethreads::{bridge, thread};
///
/// ethreads::run_main(|| {
///     let waiting = Rc::new(RefCell::new(None));
///     let theirs = waiting.clone();
///     let ethread = thread::spawn(move || {
///         bridge::suspend(|me| *theirs.borrow_mut() = Some(me)) + 1
///     });
///     thread::yield_now();
///     let me: bridge::Suspended<i32> = waiting.take().expect("it has run");
///     me.resume(41).expect("it waits for this");
///     assert_eq!(ethread.join().ok(), Some(42));
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn suspend<T, F>(after: F) -> T
where
    T: 'static,
    F: FnOnce(Suspended<T>),
{
    suspend_at(Location::caller(), after)
}

/// As [`suspend`], called at `location`.
pub(crate) fn suspend_at<T, F>(location: CallSite, after: F) -> T
where
    T: 'static,
    F: FnOnce(Suspended<T>),
{
    let scheduler = current::get_or_install().unwrap_or_else(|error| {
        panic!("there is no ethread to suspend, and no scheduler: {error}")
    });
    let reason = Reason {
        kind: WaitKind::Suspend,
        detail: 0,
        location,
    };
    let wait = scheduler
        .begin_wait(reason)
        .unwrap_or_else(|Unwinding| scheduler.abort_unwinding("suspend", location));
    let delivery = Rc::new(Cell::new(None));
    let token = wait.token();
    let handle = Suspended {
        scheduler: scheduler.clone(),
        token,
        delivery: Some(delivery.clone()),
    };
    let mut call = Some((after, handle));
    let mut panicked = None;
    let outcome = wait.park_then(NEVER, &mut || {
        let Some((after, handle)) = call.take() else {
            return;
        };
        let result = panic::catch_unwind(AssertUnwindSafe(|| after(handle)));
        if let Err(payload) = result {
            panicked = Some(payload);
            scheduler.wake(token);
        }
    });
    if let Some(payload) = panicked {
        panic::resume_unwind(payload);
    }
    match outcome {
        Outcome::Cancelled => {
            drop(call);
            scheduler.raise_cancel();
        }
        Outcome::Elapsed => scheduler.raise_elapsed(),
        Outcome::Woken | Outcome::TimedOut => {}
    }
    let delivered = match delivery.take() {
        Some(Place::Local(delivery)) => Some(delivery.open()),
        Some(Place::Remote(remote)) => {
            let delivery = remote.lock().unwrap_or_else(PoisonError::into_inner).take();
            delivery.map(Delivery::open)
        }
        // The handle was dropped.
        None => None,
    };
    delivered.unwrap_or_else(|| {
        scheduler.end_current("the `Suspended` of an ethread that cannot be cancelled was dropped")
    })
}

/// A suspended ethread. Resuming it consumes the handle; dropping the handle unwinds the ethread.
///
/// Stays on its OS thread; [`Suspended::into_remote`] makes a handle for other OS threads. It is
/// not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// ethreads::bridge::suspend(|me: ethreads::bridge::Suspended<()>| send(me));
/// ```
#[must_use = "dropping it unwinds the ethread"]
pub struct Suspended<T> {
    scheduler: Rc<Scheduler>,
    token: Token,
    /// `None` once the handle is used up.
    delivery: Option<Rc<Cell<Option<Place<T>>>>>,
}

impl<T> Suspended<T> {
    /// Makes the ethread ready to run, with `value` as the result of its `suspend`. Does not run it
    /// now.
    ///
    /// # Errors
    ///
    /// Returns `value` if the ethread does not wait any more: it was cancelled, or its shard has
    /// ended and left it behind.
    pub fn resume(mut self, value: T) -> Result<(), T> {
        match self.start_delivery() {
            Some(delivery) => {
                delivery.set(Some(Place::Local(Delivery::Value(value))));
                self.scheduler.wake(self.token);
                Ok(())
            }
            None => Err(value),
        }
    }

    /// Makes the ethread ready to run, and runs `f` in it. `suspend` returns what `f` returns, and
    /// panics if `f` panics.
    ///
    /// # Errors
    ///
    /// Returns `f` if the ethread does not wait any more, as [`resume`](Self::resume).
    pub fn resume_with<F>(mut self, f: F) -> Result<(), F>
    where
        F: FnOnce() -> T + 'static,
    {
        match self.start_delivery() {
            Some(delivery) => {
                delivery.set(Some(Place::Local(Delivery::Run(Box::new(f)))));
                self.scheduler.wake(self.token);
                Ok(())
            }
            None => Err(f),
        }
    }

    /// Turns this into a handle for other OS threads. While the handle exists, the shard does not
    /// report a deadlock.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::bridge;
    ///
    /// let sum = ethreads::run_main(|| {
    ///     bridge::suspend(|me| {
    ///         let me = me.into_remote();
    ///         std::thread::spawn(move || me.resume(1 + 1));
    ///     })
    /// })?;
    /// assert_eq!(sum, 2);
    /// # Ok::<(), ethreads::RunError>(())
    /// ```
    pub fn into_remote(mut self) -> RemoteSuspended<T>
    where
        T: Send,
    {
        let remote = RemoteDelivery::default();
        // Always `Some`: only a method that consumes the handle takes the delivery.
        if let Some(delivery) = self.delivery.take() {
            delivery.set(Some(Place::Remote(remote.clone())));
        }
        RemoteSuspended {
            waker: self.scheduler.remote_waker(self.token),
            delivery: remote,
        }
    }

    /// The place for the delivery, if the ethread still waits for it.
    fn start_delivery(&mut self) -> Option<Rc<Cell<Option<Place<T>>>>> {
        let delivery = self.delivery.take();
        delivery.filter(|_| self.scheduler.is_parked(self.token) && !self.scheduler.has_ended())
    }
}

impl<T> Drop for Suspended<T> {
    fn drop(&mut self) {
        if self.delivery.take().is_some() {
            self.scheduler.wake(self.token);
        }
    }
}

opaque_debug!(impl<T> for Suspended<T>);

/// A handle to a suspended ethread for other OS threads. Made by [`Suspended::into_remote`].
///
/// Dropping it unwinds the ethread.
#[must_use = "dropping it unwinds the ethread"]
pub struct RemoteSuspended<T> {
    waker: RemoteWaker,
    delivery: RemoteDelivery<T>,
}

impl<T: Send> RemoteSuspended<T> {
    /// As [`Suspended::resume`]. If the ethread is gone, `value` is dropped here or on its shard.
    pub fn resume(self, value: T) {
        self.deliver(Delivery::Value(value));
    }

    /// As [`Suspended::resume_with`]. If the ethread is gone, `f` is dropped here or on its shard.
    pub fn resume_with<F>(self, f: F)
    where
        F: FnOnce() -> T + Send + 'static,
    {
        self.deliver(Delivery::Run(Box::new(f)));
    }

    fn deliver(&self, delivery: Delivery<T, dyn FnOnce() -> T + Send>) {
        // Nothing on the shard takes the delivery, so it is dropped here.
        if self.waker.is_gone() {
            return;
        }
        *self.delivery.lock().unwrap_or_else(PoisonError::into_inner) = Some(delivery);
    }
}

impl<T> Drop for RemoteSuspended<T> {
    /// Wakes the ethread, which takes the delivery, or unwinds if there is none.
    fn drop(&mut self) {
        self.waker.wake();
    }
}

opaque_debug!(impl<T> for RemoteSuspended<T>);
