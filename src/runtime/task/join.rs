//! Joins of ethreads: the handle that a spawn returns.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::thread::Thread;
use super::work::Joinable;
use crate::runtime::base::error::WouldPark;
use crate::runtime::base::wait::{CallSite, Token};

/// Waits for an ethread and takes its result.
///
/// Dropping it detaches the ethread, which keeps running.
///
/// # Examples
///
/// ```
/// ethreads::run_main(|| {
///     let good = ethreads::spawn(|| 6 * 7);
///     let bad = ethreads::spawn(|| -> u32 { panic!("no answer") });
///     assert_eq!(good.join().ok(), Some(42));
///     assert!(bad.join().is_err());
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::spawn(|| ()));
/// ```
pub struct JoinHandle<T> {
    task: Rc<Joinable<'static, T>>,
}

impl<T> JoinHandle<T> {
    /// The handle of a task whose owner is set.
    #[inline]
    pub(crate) fn new(task: Rc<Joinable<'static, T>>) -> Self {
        Self { task }
    }

    /// Suspends the caller until the ethread has ended, and returns its value or the payload of its
    /// panic. On the shard's own OS thread this drives the shard meanwhile.
    ///
    /// # Errors
    ///
    /// The payload of the panic that ended the ethread; [`Cancelled`](crate::thread::Cancelled) if
    /// it was cancelled; [`WouldPark`](crate::runtime::WouldPark) if the caller unwinds and the
    /// ethread has not ended.
    ///
    /// # Panics
    ///
    /// On the OS thread's own side if the ethread can never end, with the list of what all ethreads
    /// wait for. If the ethread's shard has ended and left the ethread behind. In a closure given
    /// to `suspend`, if the ethread has not ended.
    ///
    /// # Cancellation
    ///
    /// A cancelled caller unwinds; the ethread that it waited for goes on, detached.
    #[inline(always)]
    #[track_caller]
    pub fn join(self) -> std::thread::Result<T> {
        let location = Location::caller();
        let packet = self.task.packet();
        if !packet.has_ended() && !packet.thread().is_here() {
            return self.join_leaked(location);
        }
        packet.join(location)
    }

    /// Joins an ethread whose shard has ended and left it behind.
    #[cold]
    fn join_leaked(&self, location: CallSite) -> std::thread::Result<T> {
        if std::thread::panicking() {
            return Err(Box::new(WouldPark { location }));
        }
        panic!(
            "the ethread {} that is joined at {location} can never end: its shard has ended and \
             left it behind",
            self.thread()
        )
    }

    /// Whether the ethread has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.packet().has_ended()
    }

    /// Sets the park that the end of the ethread ends.
    pub(crate) fn set_waiter(&self, waiter: Option<Token>) {
        self.task.packet().set_waiter(waiter);
    }

    /// Returns the ethread's own handle.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        self.task.packet().thread()
    }

    /// Makes the ethread unwind at the suspension point in which it waits, or else at the next
    /// suspension point that it reaches. Does not wait for that; use `join`. An ethread that has
    /// not begun does not begin: its closure is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ethreads::thread;
    ///
    /// ethreads::run_main(|| {
    ///     let thread = thread::spawn(|| thread::sleep(Duration::from_secs(3600)));
    ///     thread.cancel();
    ///     assert!(thread.join().is_err_and(|payload| payload.is::<thread::Cancelled>()));
    /// })?;
    /// # Ok::<(), ethreads::RunError>(())
    /// ```
    #[doc(alias("CancellationToken", "abort"))]
    pub fn cancel(&self) {
        self.thread().cancel();
    }

    /// Turns this into a handle that cancels the ethread when it is dropped, instead of detaching
    /// it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ethreads::thread;
    ///
    /// ethreads::run_main(|| {
    ///     let heartbeat = thread::spawn(|| loop {
    ///         thread::sleep(Duration::from_secs(1));
    ///     });
    ///     let _stops_with_this_function = heartbeat.cancel_on_drop();
    /// })?;
    /// # Ok::<(), ethreads::RunError>(())
    /// ```
    pub fn cancel_on_drop(self) -> CancelOnDrop<T> {
        CancelOnDrop { handle: Some(self) }
    }
}

/// For [`block_on`](crate::future::block_on), and executors of futures on the same OS thread.
///
/// # Panics
///
/// If it is polled after it was ready; as [`join`](JoinHandle::join) where the ethread's shard has
/// ended and left it behind.
impl<T> Future for JoinHandle<T> {
    type Output = std::thread::Result<T>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let packet = self.task.packet();
        if !packet.has_ended() && !packet.thread().is_here() {
            return Poll::Ready(self.join_leaked(Location::caller()));
        }
        packet.poll(cx.waker())
    }
}

/// A [`JoinHandle`] that cancels its ethread when it is dropped. Made by
/// [`JoinHandle::cancel_on_drop`].
#[must_use = "dropping it cancels the ethread"]
pub struct CancelOnDrop<T> {
    /// `None` once it is taken out.
    handle: Option<JoinHandle<T>>,
}

impl<T> CancelOnDrop<T> {
    /// Turns this into a handle that detaches the ethread when it is dropped.
    #[expect(clippy::missing_panics_doc, reason = "it is taken out here only")]
    pub fn into_inner(mut self) -> JoinHandle<T> {
        self.handle.take().expect("it is taken out here only")
    }
}

impl<T> Deref for CancelOnDrop<T> {
    type Target = JoinHandle<T>;

    fn deref(&self) -> &JoinHandle<T> {
        self.handle
            .as_ref()
            .expect("it is taken out at the end only")
    }
}

impl<T> Drop for CancelOnDrop<T> {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            handle.cancel();
        }
    }
}

impl<T> fmt::Debug for CancelOnDrop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelOnDrop").field(&self.handle).finish()
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.task.packet().detach();
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("thread", self.thread())
            .finish_non_exhaustive()
    }
}
