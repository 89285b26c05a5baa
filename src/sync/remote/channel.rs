//! Messages from any OS thread to any other.
//!
//! As [`sync::channel`](crate::sync::channel): [`bounded`], [`unbounded`], or `bounded(0)`, which
//! passes each message directly from a sender to a receiver. Both ends can be cloned, senders and
//! receivers are served in order of arrival, and a channel closes as std's channels do, with std's
//! errors.

use std::collections::VecDeque;
use std::panic::Location;
use std::time::Duration;

use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::primitives::Arc;
use crate::runtime::base::wait::CallSite;
use crate::runtime::task::monitor::{Monitor, MonitorState, Wait, WaitQueue, Waited, WakeList};
use crate::sync::channel::iter_of;

pub use crate::sync::channel::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};

/// Creates a channel that keeps any number of messages. Sending never waits for room.
#[must_use]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(None)
}

/// Creates a channel that keeps up to `capacity` messages; with 0, sending waits until a receiver
/// takes the message.
#[must_use]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(Some(capacity))
}

fn ends<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let monitor = Arc::new(Monitor::new(ChannelState {
        capacity,
        messages: VecDeque::new(),
        senders: WaitQueue::default(),
        receivers: WaitQueue::default(),
        sender_count: 1,
        receiver_count: 1,
    }));
    let sender = Sender {
        monitor: monitor.clone(),
    };
    (sender, Receiver { monitor })
}

/// A receiver waits only while there is no message and no sender waits with one. A sender waits
/// only while there is no room and no receiver waits.
struct ChannelState<T> {
    /// `None` for any number of messages.
    capacity: Option<usize>,
    messages: VecDeque<T>,
    /// The waiting senders, each with its message. A sender that is woken and still has its
    /// message learns that there are no receivers.
    senders: WaitQueue<Option<T>>,
    /// The waiting receivers. A receiver that is woken without a message learns that there are no
    /// senders.
    receivers: WaitQueue<Option<T>>,
    sender_count: usize,
    receiver_count: usize,
}

impl<T> MonitorState for ChannelState<T> {}

impl<T> ChannelState<T> {
    fn senders(&mut self) -> &mut WaitQueue<Option<T>> {
        &mut self.senders
    }

    fn receivers(&mut self) -> &mut WaitQueue<Option<T>> {
        &mut self.receivers
    }

    fn send(&mut self, wakes: &mut WakeList, message: T) -> Result<(), TrySendError<T>> {
        if self.receiver_count == 0 {
            return Err(TrySendError::Disconnected(message));
        }
        let mut message = Some(message);
        self.receivers
            .wake_one(wakes, |slot| *slot = message.take());
        let Some(message) = message else {
            return Ok(());
        };
        if self.capacity.is_none_or(|most| self.messages.len() < most) {
            self.messages.push_back(message);
            Ok(())
        } else {
            Err(TrySendError::Full(message))
        }
    }

    fn recv(&mut self, wakes: &mut WakeList) -> Result<T, TryRecvError> {
        let message = self.messages.pop_front();
        // The message of the first waiting sender takes the place of the message that goes, or
        // passes directly to the receiver.
        let waiting = self.senders.wake_one(wakes, Option::take).flatten();
        match (message, waiting) {
            (Some(message), waiting) => {
                self.messages.extend(waiting);
                Ok(message)
            }
            (None, Some(waiting)) => Ok(waiting),
            (None, None) if self.sender_count == 0 => Err(TryRecvError::Disconnected),
            (None, None) => Err(TryRecvError::Empty),
        }
    }
}

/// The sending end of a channel. Made by [`bounded`] and [`unbounded`].
pub struct Sender<T> {
    monitor: Arc<Monitor<ChannelState<T>>>,
}

/// The receiving end of a channel. Made by [`bounded`] and [`unbounded`].
pub struct Receiver<T> {
    monitor: Arc<Monitor<ChannelState<T>>>,
}

impl<T> Sender<T> {
    /// Sends a message; suspends the ethread, or blocks the OS thread, until there is room for it.
    /// In a channel of capacity 0, waits until a receiver has taken the message.
    ///
    /// # Errors
    ///
    /// The message, if the last receiver is gone or goes during the wait; or if an ethread that
    /// unwinds would have to wait.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, if the call has to wait.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here and drops the message, unless the message has been
    /// taken.
    #[track_caller]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.send_within(message, None, Location::caller())
            .map_err(|error| SendError(error.into_inner()))
    }

    /// Sends a message; suspends the ethread, or blocks the OS thread, as [`send`](Self::send)
    /// does, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The message: as `Timeout` after `timeout`, or if an ethread that unwinds would have to wait;
    /// as `Disconnected` if the last receiver is gone.
    ///
    /// # Panics
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send).
    #[track_caller]
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_within(message, Some(timeout), Location::caller())
    }

    fn send_within(
        &self,
        message: T,
        timeout: Option<Duration>,
        location: CallSite,
    ) -> Result<(), SendTimeoutError<T>> {
        let wait = Wait { timeout, location };
        let send = |state: &mut ChannelState<T>, wakes: &mut WakeList, message: Option<T>| {
            let Some(message) = message else {
                return Ok(Ok(()));
            };
            match state.send(wakes, message) {
                Ok(()) => Ok(Ok(())),
                Err(TrySendError::Disconnected(message)) => Ok(Err(message)),
                Err(TrySendError::Full(message)) => Err(Some(message)),
            }
        };
        match self
            .monitor
            .wait(wait, ChannelState::senders, Some(message), send)
        {
            Waited::Ready(Ok(())) | Waited::Woken(None) | Waited::Failed(None) => Ok(()),
            Waited::Ready(Err(message)) | Waited::Woken(Some(message)) => {
                Err(SendTimeoutError::Disconnected(message))
            }
            Waited::Failed(Some(message)) => Err(SendTimeoutError::Timeout(message)),
        }
    }

    /// Sends a message if that is possible at once; does not wait.
    ///
    /// # Errors
    ///
    /// The message: as `Full` if there is no room, or, in a channel of capacity 0, if no receiver
    /// waits; as `Disconnected` if the last receiver is gone.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.monitor.with(|state, wakes| state.send(wakes, message))
    }
}

impl<T> Receiver<T> {
    /// Takes the next message; suspends the ethread, or blocks the OS thread, until there is one.
    ///
    /// # Errors
    ///
    /// If there is no message and the last sender is gone; or if an ethread that unwinds would have
    /// to wait.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`, if the call has to wait.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, unless it has been handed a message.
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_within(None, Location::caller())
            .map_err(|_| RecvError)
    }

    /// Takes the next message; suspends the ethread, or blocks the OS thread, until there is one,
    /// for at most `timeout`.
    ///
    /// # Errors
    ///
    /// `Timeout` after `timeout`, or if an ethread that unwinds would have to wait; `Disconnected`
    /// if there is no message and the last sender is gone.
    ///
    /// # Panics
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancellation
    ///
    /// As [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_within(Some(timeout), Location::caller())
    }

    fn recv_within(
        &self,
        timeout: Option<Duration>,
        location: CallSite,
    ) -> Result<T, RecvTimeoutError> {
        let wait = Wait { timeout, location };
        let recv = |state: &mut ChannelState<T>, wakes: &mut WakeList, _: Option<T>| match state
            .recv(wakes)
        {
            Err(TryRecvError::Empty) => Err(None),
            Err(TryRecvError::Disconnected) => Ok(None),
            Ok(message) => Ok(Some(message)),
        };
        match self.monitor.wait(wait, ChannelState::receivers, None, recv) {
            Waited::Ready(message) | Waited::Woken(message) => {
                message.ok_or(RecvTimeoutError::Disconnected)
            }
            Waited::Failed(_) => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Takes the next message if there is one; does not wait.
    ///
    /// # Errors
    ///
    /// `Empty` if there is no message; `Disconnected` if there is no message and the last sender is
    /// gone.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.monitor.with(ChannelState::recv)
    }

    /// Returns an iterator over the messages. Its `next` suspends the ethread, or blocks the OS
    /// thread, until there is a message. The iterator ends when the last sender is gone.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }
}

/// Gives both ends of a channel the methods that look into it.
macro_rules! length {
    ($($End:ident)+) => {$(
        impl<T> $End<T> {
            /// Returns how many messages are in the channel at this moment.
            #[must_use]
            pub fn len(&self) -> usize {
                self.monitor.with(|state, _| state.messages.len())
            }

            /// Whether no message is in the channel at this moment.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    )+};
}

length!(Sender Receiver);
iter_of!(Receiver);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.monitor.with(|state, _| state.sender_count += 1);
        Self {
            monitor: self.monitor.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.monitor.with(|state, wakes| {
            state.sender_count -= 1;
            if state.sender_count == 0 {
                state.receivers.wake_all(wakes);
            }
        });
    }
}

opaque_debug!(impl<T> for Sender<T>, len);

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.monitor.with(|state, _| state.receiver_count += 1);
        Self {
            monitor: self.monitor.clone(),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = self.monitor.with(|state, wakes| {
            state.receiver_count -= 1;
            if state.receiver_count > 0 {
                return VecDeque::new();
            }
            state.senders.wake_all(wakes);
            std::mem::take(&mut state.messages)
        });
        // Not under the lock: dropping the messages runs user code, which may use the other end.
        drop(left);
    }
}

opaque_debug!(impl<T> for Receiver<T>, len);
