//! The receiving end of a channel, and the iterators over its messages.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::core::{Core, view};
use super::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::{NEVER, deadline_after};
use crate::sync::select::sealed::{Park, Parts};
use crate::sync::wait_queue::Waiter;
use crate::time::Instant;

/// Gives a receiver the iterator that borrows it, `Iter`.
macro_rules! iter_of {
    ($Receiver:ident) => {
        /// The messages of a channel, as they come; see [`Receiver::iter`].
        #[derive(Debug)]
        pub struct Iter<'a, T> {
            receiver: &'a $Receiver<T>,
        }

        impl<T> Iterator for Iter<'_, T> {
            type Item = T;

            // Inlined, as `park::leave` requires.
            #[inline(always)]
            #[track_caller]
            fn next(&mut self) -> Option<T> {
                self.receiver.recv().ok()
            }
        }

        impl<'a, T> IntoIterator for &'a $Receiver<T> {
            type Item = T;
            type IntoIter = Iter<'a, T>;

            fn into_iter(self) -> Iter<'a, T> {
                self.iter()
            }
        }
    };
}

pub(in crate::sync) use iter_of;

/// The receiving end of a channel. Made by [`bounded`](super::bounded) and
/// [`unbounded`](super::unbounded).
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::channel::unbounded::<u8>().1);
/// ```
pub struct Receiver<T> {
    pub(super) core: Rc<Core<T>>,
}

impl<T> Receiver<T> {
    /// Takes the next message; suspends the caller until there is one.
    ///
    /// # Errors
    ///
    /// If there is no message and the last sender is gone; or if the caller unwinds and would have
    /// to wait.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if no message can ever be
    /// sent.
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
    /// `Timeout` after `timeout`, or if the caller unwinds and would have to wait; `Disconnected`
    /// if there is no message and the last sender is gone.
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
    /// `Empty` if there is no message; `Disconnected` if there is no message and the last sender is
    /// gone.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.core.try_recv()
    }

    /// Returns an operation that takes the next message, for [`select!`](crate::select).
    pub fn receiving(&self) -> Receiving<'_, T> {
        Receiving {
            core: &self.core,
            waiter: None,
        }
    }

    /// Returns an iterator over the messages. Its `next` suspends the caller until there is a
    /// message. The iterator ends when the last sender is gone.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Returns an iterator over the messages that are in the channel. Its `next` does not wait.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }
}

view!(Receiver);

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.core.receiver_count.add();
        Self {
            core: self.core.clone(),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.core.remove_receiver();
    }
}

opaque_debug!(impl<T> for Receiver<T>, len);

iter_of!(Receiver);

/// The messages that are in a channel; see [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

/// The messages of a channel, as they come; owns the receiver. Made by `for` over a [`Receiver`].
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    // Inlined, as `park::leave` requires.
    #[inline(always)]
    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

/// Takes a message; see [`Receiver::receiving`].
#[must_use = "an operation does nothing until it is performed"]
pub struct Receiving<'a, T> {
    core: &'a Core<T>,
    waiter: Option<Waiter<'a, Option<T>>>,
}

impl<T> Parts for Receiving<'_, T> {
    type Done = Result<T, RecvError>;

    fn attempt(&mut self, _: u32) -> Option<Self::Done> {
        match self.core.try_recv() {
            Ok(message) => Some(Ok(message)),
            Err(TryRecvError::Disconnected) => Some(Err(RecvError)),
            Err(TryRecvError::Empty) => None,
        }
    }

    fn enlist(&mut self, park: &Park<'_>, case: u32) {
        self.waiter = Some(park.enter(&self.core.receivers, case, None));
    }

    fn commit(&mut self, _: u32) -> Self::Done {
        let waiter = self.waiter.take().expect("it was queued");
        waiter.leave().ok_or(RecvError)
    }

    fn withdraw(&mut self) {
        self.waiter = None;
    }
}

opaque_debug!(impl<T> for Receiving<'_, T>);
