//! The sending end of a channel.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::core::{Core, view};
use super::error::{SendError, SendTimeoutError, TrySendError};
use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::{NEVER, deadline_after};
use crate::sync::select::sealed::{Park, Parts};
use crate::sync::wait_queue::Waiter;
use crate::time::Instant;

/// The sending end of a channel. Made by [`bounded`](super::bounded) and
/// [`unbounded`](super::unbounded).
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::channel::unbounded::<u8>().0);
/// ```
pub struct Sender<T> {
    pub(super) core: Rc<Core<T>>,
}

impl<T> Sender<T> {
    /// Sends a message; suspends the caller until there is room for it. In a channel of capacity 0,
    /// suspends the caller until a receiver has taken the message.
    ///
    /// # Errors
    ///
    /// The message, if the last receiver is gone or goes during the wait; or if the caller unwinds
    /// and would have to wait.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if there can never be room.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here and drops the message, unless the message has been
    /// taken.
    #[inline(always)]
    #[track_caller]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        // Inlined, as `park::leave` requires.
        match self.core.send(message, NEVER, Location::caller()) {
            Ok(()) => Ok(()),
            Err(error) => Err(SendError(error.into_inner())),
        }
    }

    /// Sends a message; suspends the caller as [`send`](Self::send) does, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The message: as `Timeout` after `timeout`, or if the caller unwinds and would have to wait;
    /// as `Disconnected` if the last receiver is gone.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`.
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send).
    #[track_caller]
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        let deadline = deadline_after(Instant::now().as_nanos(), timeout);
        self.core.send(message, deadline, Location::caller())
    }

    /// Sends a message if that is possible at once; does not wait.
    ///
    /// # Errors
    ///
    /// The message: as `Full` if there is no room, or, in a channel of capacity 0, if no receiver
    /// waits; as `Disconnected` if the last receiver is gone.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.core.try_send(message)
    }

    /// Returns an operation that sends a message, for [`select!`](crate::select). If another
    /// operation happens, the message is dropped.
    pub fn sending(&self, message: T) -> Sending<'_, T> {
        Sending {
            core: &self.core,
            message: Some(message),
            waiter: None,
        }
    }

    /// Whether there is no room in the channel. A channel of capacity 0 is always full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.capacity() == Some(self.len())
    }

    /// Whether the last receiver is gone.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.core.receiver_count.get() == 0
    }
}

view!(Sender);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.core.sender_count.add();
        Self {
            core: self.core.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.core.remove_sender();
    }
}

opaque_debug!(impl<T> for Sender<T>, len);

/// Sends a message; see [`Sender::sending`].
#[must_use = "an operation does nothing until it is performed"]
pub struct Sending<'a, T> {
    core: &'a Core<T>,
    /// `None` while the message is in the wait queue, and once it is sent.
    message: Option<T>,
    waiter: Option<Waiter<'a, Option<T>>>,
}

impl<T> Parts for Sending<'_, T> {
    type Done = Result<(), SendError<T>>;

    fn attempt(&mut self, _: u32) -> Option<Self::Done> {
        match self.core.try_send(self.message.take()?) {
            Ok(()) => Some(Ok(())),
            Err(TrySendError::Disconnected(message)) => Some(Err(SendError(message))),
            Err(TrySendError::Full(message)) => {
                self.message = Some(message);
                None
            }
        }
    }

    fn enlist(&mut self, park: &Park<'_>, case: u32) {
        let message = self.message.take();
        self.waiter = Some(park.enter(&self.core.senders, case, message));
    }

    fn commit(&mut self, _: u32) -> Self::Done {
        let waiter = self.waiter.take().expect("it was queued");
        waiter
            .leave()
            .map_or(Ok(()), |message| Err(SendError(message)))
    }

    fn withdraw(&mut self) {
        // The message is dropped with the operation, when another operation has already happened.
        self.message = self.waiter.take().and_then(Waiter::leave);
    }
}

opaque_debug!(impl<T> for Sending<'_, T>);
