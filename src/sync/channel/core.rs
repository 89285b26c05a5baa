//! The state that both ends of a channel share.
//!
//! A receiver waits only while there is no message and no sender waits with one. A sender waits
//! only while there is no room and no receiver waits. So at most one of the two wait queues has
//! waiters, not counting the waiters of a select, which may be gone.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::VecDeque;

use super::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};
use crate::runtime::base::wait::{CallSite, WaitKind};
use crate::runtime::scheduler::{current, park};
use crate::sync::count::Count;
use crate::sync::wait_queue::{Wait, WaitError, WaitQueue, Waiter};

pub(super) struct Core<T> {
    /// `None` for any number of messages.
    pub(super) capacity: Option<usize>,
    messages: RefCell<VecDeque<T>>,
    /// The waiting senders, each with its message, which the waking side takes. A sender that is
    /// woken and still has its message learns that there are no receivers.
    pub(super) senders: WaitQueue<Option<T>>,
    /// The waiting receivers. A receiver that is woken without a message learns that there are no
    /// senders.
    pub(super) receivers: WaitQueue<Option<T>>,
    pub(super) sender_count: Count,
    pub(super) receiver_count: Count,
}

/// The progress of a send in one call.
// A flat enum, as is `Receiving`: the tag of a nested `Result` may be a byte that is copied as a
// word, for which a processor waits until the byte is in the cache.
enum Sending<'a, T> {
    Done,
    Waits(Waiter<'a, Option<T>>),
    Closed(T),
    Late(T),
}

/// The progress of a receive in one call.
enum Receiving<'a, T> {
    Done(T),
    Waits(Waiter<'a, Option<T>>),
    Closed,
    Late,
}

impl<T> Core<T> {
    /// Creates a channel with one sender and one receiver.
    pub(super) fn new(capacity: Option<usize>) -> Self {
        Self {
            capacity,
            messages: RefCell::default(),
            senders: WaitQueue::new(),
            receivers: WaitQueue::new(),
            sender_count: Count::new(1),
            receiver_count: Count::new(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.borrow().len()
    }

    #[inline]
    pub(super) fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        if self.receiver_count.get() == 0 {
            return Err(TrySendError::Disconnected(message));
        }
        let mut message = Some(message);
        let handed = self.receivers.wake_one(|slot| *slot = message.take());
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

    // Inlined as `WaitQueue::wait` is.
    #[inline(always)]
    pub(super) fn send(
        &self,
        message: T,
        deadline: u64,
        location: CallSite,
    ) -> Result<(), SendTimeoutError<T>> {
        match self.begin_send(message, deadline, location) {
            Sending::Done => Ok(()),
            Sending::Waits(waiter) => {
                park::leave();
                end_send(waiter)
            }
            Sending::Closed(message) => Err(SendTimeoutError::Disconnected(message)),
            Sending::Late(message) => Err(SendTimeoutError::Timeout(message)),
        }
    }

    /// The part before the stack is left, if it has to be left.
    #[inline(never)]
    fn begin_send(&self, message: T, deadline: u64, location: CallSite) -> Sending<'_, T> {
        spend(location);
        let message = match self.try_send(message) {
            Ok(()) => return Sending::Done,
            Err(TrySendError::Disconnected(message)) => return Sending::Closed(message),
            Err(TrySendError::Full(message)) => message,
        };
        let wait = Wait::new(WaitKind::Send, location).until(deadline);
        match self.senders.begin(wait, Some(message)) {
            Ok(waiter) => Sending::Waits(waiter),
            Err(over) => match sent(over) {
                Ok(()) => Sending::Done,
                Err(SendTimeoutError::Disconnected(message)) => Sending::Closed(message),
                Err(SendTimeoutError::Timeout(message)) => Sending::Late(message),
            },
        }
    }

    #[inline]
    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        let message = self.messages.borrow_mut().pop_front();
        if self.senders.is_void() {
            return message.ok_or_else(|| self.nothing());
        }
        // The message of the first waiting sender takes the place of the message that goes, or
        // passes directly to the receiver.
        let waiting = self.senders.wake_one(Option::take).flatten();
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
    pub(super) fn recv(&self, deadline: u64, location: CallSite) -> Result<T, RecvTimeoutError> {
        match self.begin_recv(deadline, location) {
            Receiving::Done(message) => Ok(message),
            Receiving::Waits(waiter) => {
                park::leave();
                end_recv(waiter)
            }
            Receiving::Closed => Err(RecvTimeoutError::Disconnected),
            Receiving::Late => Err(RecvTimeoutError::Timeout),
        }
    }

    /// The part before the stack is left, if it has to be left.
    #[inline(never)]
    fn begin_recv(&self, deadline: u64, location: CallSite) -> Receiving<'_, T> {
        spend(location);
        match self.try_recv() {
            Ok(message) => return Receiving::Done(message),
            Err(TryRecvError::Disconnected) => return Receiving::Closed,
            Err(TryRecvError::Empty) => {}
        }
        let wait = Wait::new(WaitKind::Receive, location).until(deadline);
        match self.receivers.begin(wait, None) {
            Ok(waiter) => Receiving::Waits(waiter),
            Err(over) => match received(over) {
                Ok(message) => Receiving::Done(message),
                Err(RecvTimeoutError::Disconnected) => Receiving::Closed,
                Err(RecvTimeoutError::Timeout) => Receiving::Late,
            },
        }
    }

    pub(super) fn remove_sender(&self) {
        if self.sender_count.remove() {
            self.receivers.wake_all(|_| ());
        }
    }

    pub(super) fn remove_receiver(&self) {
        if self.receiver_count.remove() {
            self.senders.wake_all(|_| ());
            // Dropping the messages runs user code, which may use the other end.
            drop(self.messages.take());
        }
    }
}

#[inline(never)]
fn end_send<T>(waiter: Waiter<'_, Option<T>>) -> Result<(), SendTimeoutError<T>> {
    sent(waiter.end())
}

/// The result of a sender's wait.
#[inline(always)]
fn sent<T>(waited: Result<Option<T>, WaitError<Option<T>>>) -> Result<(), SendTimeoutError<T>> {
    match waited {
        Ok(None) => Ok(()),
        Ok(Some(message)) => Err(SendTimeoutError::Disconnected(message)),
        Err(error) => match error.into_inner() {
            Some(message) => Err(SendTimeoutError::Timeout(message)),
            None => unreachable!("the message is taken only from a woken sender"),
        },
    }
}

#[inline(never)]
fn end_recv<T>(waiter: Waiter<'_, Option<T>>) -> Result<T, RecvTimeoutError> {
    received(waiter.end())
}

/// The result of a receiver's wait.
#[inline(always)]
fn received<T>(waited: Result<Option<T>, WaitError<Option<T>>>) -> Result<T, RecvTimeoutError> {
    match waited {
        Ok(message) => message.ok_or(RecvTimeoutError::Disconnected),
        Err(_) => Err(RecvTimeoutError::Timeout),
    }
}

/// Counts an operation, so that an ethread that never has to wait still lets other ethreads run.
#[inline]
fn spend(location: CallSite) {
    current::with(|scheduler| scheduler.map(|s| s.spend_or_unwind(location)));
}

/// Gives both ends of a channel, which hold its core, the methods that look at it.
macro_rules! view {
    ($End:ident) => {
        impl<T> $End<T> {
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

            /// Returns how many messages the channel keeps; `None` for an unbounded channel.
            #[must_use]
            pub fn capacity(&self) -> Option<usize> {
                self.core.capacity
            }

            /// Whether both are ends of one channel.
            #[must_use]
            pub fn same_channel(&self, other: &Self) -> bool {
                Rc::ptr_eq(&self.core, &other.core)
            }
        }
    };
}

pub(super) use view;
