//! Sending and receiving as operations of a select.
#![forbid(unsafe_code)]

use super::core::Core;
use super::{RecvError, SendError, TryRecvError, TrySendError};
use crate::runtime::base::debug::opaque_debug;
use crate::sync::select::sealed::{Park, Parts};
use crate::sync::wait_queue::Waiter;

/// Takes a message; see [`Receiver::receiving`](super::Receiver::receiving).
#[must_use = "an operation does nothing until it is performed"]
pub struct Receiving<'a, T> {
    core: &'a Core<T>,
    waiter: Option<Waiter<'a, Option<T>>>,
}

impl<'a, T> Receiving<'a, T> {
    pub(super) fn new(core: &'a Core<T>) -> Self {
        Self { core, waiter: None }
    }
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

/// Sends a message; see [`Sender::sending`](super::Sender::sending).
#[must_use = "an operation does nothing until it is performed"]
pub struct Sending<'a, T> {
    core: &'a Core<T>,
    /// `None` while the message is in the wait queue, and once it is sent.
    message: Option<T>,
    waiter: Option<Waiter<'a, Option<T>>>,
}

impl<'a, T> Sending<'a, T> {
    pub(super) fn new(core: &'a Core<T>, message: T) -> Self {
        Self {
            core,
            message: Some(message),
            waiter: None,
        }
    }
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
