//! What both ends of a channel share.
//!
//! Receivers wait only while there is no message, and no sender who waits with one; senders wait
//! only while there is no room, and no receiver waits. So at most one of the two lines has somebody
//! in it, but for those who wait for several things at once, whose places may be void.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::Location;

use super::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};
use crate::runtime::current;
use crate::runtime::wait::WaitKind;
use crate::sync::line::{Line, Wait};

pub(super) struct Core<T> {
    /// `None` for any number of messages.
    capacity: Option<usize>,
    messages: RefCell<VecDeque<T>>,
    /// Those who wait with a message, which is taken by whoever serves them; one who is served and
    /// still has it is told that there are no receivers.
    pub(super) senders: Line<Option<T>>,
    /// Those who wait for a message; one who is served without one is told that there are no
    /// senders.
    pub(super) receivers: Line<Option<T>>,
    sender_count: Cell<usize>,
    receiver_count: Cell<usize>,
}

impl<T> Core<T> {
    /// With one end of each kind.
    pub(super) fn new(capacity: Option<usize>) -> Self {
        Self {
            capacity,
            messages: RefCell::default(),
            senders: Line::new(),
            receivers: Line::new(),
            sender_count: Cell::new(1),
            receiver_count: Cell::new(1),
        }
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.messages.borrow().len()
    }

    pub(super) fn has_receivers(&self) -> bool {
        self.receiver_count.get() > 0
    }

    #[inline(never)]
    pub(super) fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        if !self.has_receivers() {
            return Err(TrySendError::Disconnected(message));
        }
        let mut message = Some(message);
        let handed = self.receivers.serve(|place| *place = message.take());
        let Some(message) = message else {
            debug_assert!(handed.is_some());
            return Ok(());
        };
        let mut messages = self.messages.borrow_mut();
        if self.capacity.is_none_or(|most| messages.len() < most) {
            messages.push_back(message);
            Ok(())
        } else {
            Err(TrySendError::Full(message))
        }
    }

    // Inlined as `Line::wait` is.
    #[inline(always)]
    pub(super) fn send(
        &self,
        message: T,
        deadline: u64,
        location: &'static Location<'static>,
    ) -> Result<(), SendTimeoutError<T>> {
        spend(location);
        let message = match self.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Disconnected(message)) => {
                return Err(SendTimeoutError::Disconnected(message));
            }
            Err(TrySendError::Full(message)) => message,
        };
        let wait = Wait::new(WaitKind::Send, location).until(deadline);
        match self.senders.wait(wait, Some(message)) {
            Ok(None) => Ok(()),
            Ok(Some(message)) => Err(SendTimeoutError::Disconnected(message)),
            Err(missed) => match missed.into_inner() {
                Some(message) => Err(SendTimeoutError::Timeout(message)),
                None => unreachable!("only who is served has the message taken"),
            },
        }
    }

    #[inline(never)]
    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        let message = self.messages.borrow_mut().pop_front();
        if self.senders.is_void() {
            return message.ok_or_else(|| self.nothing());
        }
        // The first who waits with a message takes the place of the one that goes, or meets the
        // receiver.
        let waiting = self.senders.serve(Option::take).flatten();
        match (message, waiting) {
            (Some(message), waiting) => {
                self.messages.borrow_mut().extend(waiting);
                Ok(message)
            }
            (None, waiting) => waiting.ok_or_else(|| self.nothing()),
        }
    }

    /// Why there is no message.
    fn nothing(&self) -> TryRecvError {
        if self.sender_count.get() == 0 {
            TryRecvError::Disconnected
        } else {
            TryRecvError::Empty
        }
    }

    #[inline(always)]
    pub(super) fn recv(
        &self,
        deadline: u64,
        location: &'static Location<'static>,
    ) -> Result<T, RecvTimeoutError> {
        spend(location);
        match self.try_recv() {
            Ok(message) => return Ok(message),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) => {}
        }
        let wait = Wait::new(WaitKind::Receive, location).until(deadline);
        match self.receivers.wait(wait, None) {
            Ok(message) => message.ok_or(RecvTimeoutError::Disconnected),
            Err(_) => Err(RecvTimeoutError::Timeout),
        }
    }

    pub(super) fn add_sender(&self) {
        self.sender_count.set(self.sender_count.get() + 1);
    }

    pub(super) fn add_receiver(&self) {
        self.receiver_count.set(self.receiver_count.get() + 1);
    }

    pub(super) fn remove_sender(&self) {
        let left = self.sender_count.get() - 1;
        self.sender_count.set(left);
        if left == 0 {
            self.receivers.serve_all(|_| ());
        }
    }

    pub(super) fn remove_receiver(&self) {
        let left = self.receiver_count.get() - 1;
        self.receiver_count.set(left);
        if left == 0 {
            self.senders.serve_all(|_| ());
            // Dropping them is code of the user's, which may use the other end.
            drop(self.messages.take());
        }
    }
}

/// Counts an operation: an ethread that never has to wait still lets others run.
#[inline]
fn spend(location: &'static Location<'static>) {
    current::with(|scheduler| {
        if let Some(scheduler) = scheduler {
            scheduler.spend_or_unwind(location);
        }
    });
}
