//! Messages from many senders to many receivers.
//!
//! [`unbounded`] keeps any number of messages, [`bounded`] so many, and `bounded(0)` none: a sender
//! and a receiver meet. Both ends can be cloned; each message goes to one receiver. Senders and
//! receivers that have to wait are served in the order in which they came, and messages keep
//! theirs.
//!
//! A channel ends as std's do. When the last [`Sender`] is dropped, receivers get what is left and
//! then an error; when the last [`Receiver`] is dropped, what is left is dropped too, and senders
//! get their messages back. The errors are those of [`std::sync::mpsc`].
//!
//! It stays on its OS thread.
//!
//! # While unwinding
//!
//! An ethread that unwinds cannot wait: what is possible at once is done, and for what is not the
//! calls return their errors: [`recv`](Receiver::recv) as if the channel had ended,
//! [`send`](Sender::send) with the message.
//!
//! # When an end unwinds
//!
//! A panic or a cancel drops the ends that an ethread has, which is all that the others notice.
//!
//! # Examples
//!
//! ```
//! use ethreads::{sync::channel, thread};
//!
//! ethreads::run_main(|| {
//!     let (sender, receiver) = channel::bounded(2);
//!     let producer = thread::spawn(move || {
//!         for line in ["a", "b", "c"] {
//!             sender.send(line)?; // the third one waits for room
//!         }
//!         Ok::<(), channel::SendError<&str>>(())
//!     });
//!     let lines: Vec<_> = receiver.iter().collect();
//!     assert_eq!(lines, ["a", "b", "c"]);
//!     assert!(producer.join().expect("no panic").is_ok());
//! })?;
//! # Ok::<(), ethreads::RunError>(())
//! ```

mod core;
mod error;
mod iter;
mod operation;

use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use self::core::Core;
use crate::runtime::park::deadline_after;
use crate::runtime::wait::NEVER;
use crate::time::Instant;

pub use error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
pub use iter::{IntoIter, Iter, TryIter};
pub use operation::{Receiving, Sending};

/// Creates a channel that keeps any number of messages. Sending never waits for room; but as other
/// operations it yields now and then.
#[must_use]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(None)
}

/// Creates a channel that keeps up to `capacity` messages; with 0, sending waits for a receiver to
/// take the message.
#[must_use]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(Some(capacity))
}

fn ends<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let core = Rc::new(Core::new(capacity));
    (Sender { core: core.clone() }, Receiver { core })
}

/// The end of a channel that messages are put in. Made by [`bounded`] and [`unbounded`].
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::channel::unbounded::<u8>().0);
/// ```
pub struct Sender<T> {
    core: Rc<Core<T>>,
}

/// The end of a channel that messages come out of. Made by [`bounded`] and [`unbounded`].
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::channel::unbounded::<u8>().1);
/// ```
pub struct Receiver<T> {
    core: Rc<Core<T>>,
}

impl<T> Sender<T> {
    /// Sends a message; suspends the caller until there is room for it, or, in a channel that keeps
    /// none, until a receiver has taken it.
    ///
    /// # Errors
    ///
    /// The message, if the last receiver is gone, also if it goes meanwhile; or if the caller
    /// unwinds and would have to wait.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, and on the OS thread's own side if nobody can ever make
    /// room.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and the message is dropped, unless it has been taken.
    #[inline(always)]
    #[track_caller]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        // Inlined, as `park::leave` asks for.
        match self.core.send(message, NEVER, Location::caller()) {
            Ok(()) => Ok(()),
            Err(error) => Err(SendError(error.into_inner())),
        }
    }

    /// Sends a message; suspends the caller as [`send`](Self::send) does, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The message: at the end of that time, or while the caller unwinds, as `Timeout`; if the last
    /// receiver is gone, as `Disconnected`.
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
    /// The message: as `Full` if there is no room, or no receiver waits for it in a channel that
    /// keeps none; as `Disconnected` if the last receiver is gone.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.core.try_send(message)
    }

    /// Returns an operation that sends a message, for [`select!`](crate::select). If something else
    /// happens the message is dropped.
    pub fn sending(&self, message: T) -> Sending<'_, T> {
        Sending::new(&self.core, message)
    }

    /// Returns how many messages are in the channel.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Whether no message is in the channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room in the channel. One that keeps no messages is always full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.capacity() == Some(self.len())
    }

    /// Returns how many messages the channel keeps; `None` for any number.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        self.core.capacity()
    }

    /// Whether the last receiver is gone.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        !self.core.has_receivers()
    }

    /// Whether both are ends of one channel.
    #[must_use]
    pub fn same_channel(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.core, &other.core)
    }
}

impl<T> Receiver<T> {
    /// Takes the next message; suspends the caller until there is one.
    ///
    /// # Errors
    ///
    /// If there is none and the last sender is gone; or if the caller unwinds and would have to
    /// wait.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, and on the OS thread's own side if nobody can ever send
    /// one.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, unless it has been handed a message.
    #[inline(always)]
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        match self.core.recv(NEVER, Location::caller()) {
            Ok(message) => Ok(message),
            Err(_) => Err(RecvError),
        }
    }

    /// Takes the next message; suspends the caller until there is one, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// `Timeout` at the end of that time, or if the caller unwinds and would have to wait;
    /// `Disconnected` if there is no message and the last sender is gone.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`.
    ///
    /// # Cancellation
    ///
    /// As [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let deadline = deadline_after(Instant::now().as_nanos(), timeout);
        self.core.recv(deadline, Location::caller())
    }

    /// Takes the next message if there is one; does not wait.
    ///
    /// # Errors
    ///
    /// `Empty` if there is none; `Disconnected` if there is none and the last sender is gone.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.core.try_recv()
    }

    /// Returns an operation that takes the next message, for [`select!`](crate::select).
    pub fn receiving(&self) -> Receiving<'_, T> {
        Receiving::new(&self.core)
    }

    /// Returns an iterator over the messages, whose `next` suspends the caller until there is one;
    /// it ends when the last sender is gone.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(self)
    }

    /// Returns an iterator over the messages that are there; its `next` does not wait.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter::new(self)
    }

    /// Returns how many messages are in the channel.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Whether no message is in the channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many messages the channel keeps; `None` for any number.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        self.core.capacity()
    }

    /// Whether both are ends of one channel.
    #[must_use]
    pub fn same_channel(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.core, &other.core)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.core.add_sender();
        Self {
            core: self.core.clone(),
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.core.add_receiver();
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

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.core.remove_receiver();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
