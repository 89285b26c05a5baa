//! Messages that go to every receiver.
//!
//! Sending never waits: the channel keeps the last messages, and a receiver that falls behind gets
//! an error with the number of messages that it has missed. Names are those of tokio's `broadcast`.
//!
//! # Examples
//!
//! ```
//! use ethreads::{sync::broadcast, thread};
//!
//! ethreads::run_main(|| {
//!     let (chat, _) = broadcast::channel(2);
//!     let members: Vec<_> = (0..2)
//!         .map(|_| {
//!             let mut said = chat.subscribe();
//!             thread::spawn(move || [said.recv(), said.recv(), said.recv()])
//!         })
//!         .collect();
//!     for text in ["hi", "anybody", "there?"] {
//!         chat.send(text).expect("there are members");
//!     }
//!     for member in members {
//!         let heard = member.join().expect("no panic");
//!         assert_eq!(heard, [
//!             Err(broadcast::RecvError::Lagged(1)),
//!             Ok("anybody"),
//!             Ok("there?"),
//!         ]);
//!     }
//! })?;
//! # Ok::<(), ethreads::RunError>(())
//! ```
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::mpsc::SendError;

use super::endpoints::Endpoints;
use super::select::sealed::{Park, Parts};
use super::wait_queue::{Wait, Waiter};
use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::WaitKind;
use crate::runtime::scheduler::current;

/// Creates a channel that keeps the last `capacity` messages.
///
/// # Panics
///
/// If `capacity` is 0.
#[must_use]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a broadcast keeps one message at least");
    let shared = Rc::new(BroadcastState {
        capacity,
        messages: RefCell::default(),
        first: Cell::new(0),
        ends: Endpoints::new(),
    });
    let sender = Sender { shared };
    let receiver = sender.subscribe();
    (sender, receiver)
}

struct BroadcastState<T> {
    capacity: usize,
    messages: RefCell<VecDeque<Message<T>>>,
    /// The number of the first message that is kept.
    first: Cell<u64>,
    ends: Endpoints,
}

struct Message<T> {
    value: Rc<T>,
    /// The number of receivers that have yet to get the message. No message in front of it has more
    /// receivers left, so the front message is the first to reach zero.
    left: usize,
}

/// Why a [`Receiver`] has got no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// All messages are received and the last sender is gone; or the caller unwinds, and cannot
    /// wait.
    Closed,
    /// So many messages are no longer kept. The next message is the oldest that is kept.
    Lagged(u64),
}

/// Why [`Receiver::try_recv`] has got no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryRecvError {
    /// All messages are received.
    Empty,
    /// All messages are received, and the last sender is gone.
    Closed,
    /// So many messages are no longer kept. The next message is the oldest that is kept.
    Lagged(u64),
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("receiving on a closed broadcast"),
            Self::Lagged(missed) => write!(f, "{missed} messages of a broadcast were missed"),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("receiving on an empty broadcast"),
            Self::Closed => RecvError::Closed.fmt(f),
            Self::Lagged(missed) => RecvError::Lagged(*missed).fmt(f),
        }
    }
}

impl Error for RecvError {}
impl Error for TryRecvError {}

/// Sends to all receivers. Made by [`channel`].
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::broadcast::channel::<u8>(1).0);
/// ```
pub struct Sender<T> {
    shared: Rc<BroadcastState<T>>,
}

/// Receives all messages that are sent after its creation. Made by [`channel`] and
/// [`Sender::subscribe`].
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::broadcast::channel::<u8>(1).1);
/// ```
pub struct Receiver<T> {
    shared: Rc<BroadcastState<T>>,
    /// The number of the next message.
    next: u64,
}

impl<T> BroadcastState<T> {
    /// The number of the message that will be sent next.
    fn end(&self) -> u64 {
        self.first.get() + self.messages.borrow().len() as u64
    }

    fn take_first(&self) -> Option<Rc<T>> {
        let message = self.messages.borrow_mut().pop_front()?;
        self.first.set(self.first.get() + 1);
        Some(message.value)
    }

    /// Counts that a receiver has got, or will never get, message `number`, if that message is
    /// kept. Returns its value.
    fn pass(&self, number: u64) -> Option<Rc<T>> {
        let mut messages = self.messages.borrow_mut();
        let message = messages.get_mut(number.checked_sub(self.first.get())? as usize)?;
        message.left -= 1;
        if message.left > 0 {
            return Some(message.value.clone());
        }
        drop(messages);
        debug_assert_eq!(number, self.first.get());
        self.take_first()
    }

    fn try_recv(&self, next: &mut u64) -> Result<T, TryRecvError>
    where
        T: Clone,
    {
        let first = self.first.get();
        if *next < first {
            let missed = first - *next;
            *next = first;
            return Err(TryRecvError::Lagged(missed));
        }
        match self.pass(*next) {
            Some(value) => {
                *next += 1;
                // The last receiver gets the value itself.
                Ok(Rc::try_unwrap(value).unwrap_or_else(|value| T::clone(&value)))
            }
            None if self.ends.is_closed() => Err(TryRecvError::Closed),
            None => Err(TryRecvError::Empty),
        }
    }
}

impl<T> Sender<T> {
    /// Sends a message to all receivers, and returns the number of receivers; does not wait. If the
    /// channel is full, the oldest message is dropped.
    ///
    /// # Errors
    ///
    /// The message, if there is no receiver.
    pub fn send(&self, message: T) -> Result<usize, SendError<T>> {
        let shared = &self.shared;
        let left = self.receiver_count();
        if left == 0 {
            return Err(SendError(message));
        }
        let oldest = if self.len() == shared.capacity {
            shared.take_first()
        } else {
            None
        };
        shared.messages.borrow_mut().push_back(Message {
            value: Rc::new(message),
            left,
        });
        shared.ends.waiters.wake_all(|()| ());
        // Dropping the message runs user code.
        drop(oldest);
        Ok(left)
    }

    /// Creates a receiver, which gets the messages that are sent from now on.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver::new(&self.shared)
    }

    /// Returns how many receivers there are.
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.shared.ends.receivers.get()
    }

    /// Returns the number of kept messages that some receiver has not got.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.messages.borrow().len()
    }

    /// Whether all receivers have got all messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Receiver<T> {
    fn new(shared: &Rc<BroadcastState<T>>) -> Self {
        shared.ends.receivers.add();
        Self {
            next: shared.end(),
            shared: shared.clone(),
        }
    }

    /// Creates another receiver, which gets the messages that are sent from now on.
    #[must_use]
    pub fn resubscribe(&self) -> Self {
        Self::new(&self.shared)
    }

    /// Returns the number of messages that this receiver has yet to get, including messages that
    /// are no longer kept.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shared.end() - self.next
    }

    /// Whether there is no message to get.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> Receiver<T> {
    /// Returns the next message; suspends the caller until there is one.
    ///
    /// # Errors
    ///
    /// `Lagged` if messages that the receiver had yet to get are no longer kept; `Closed` if there
    /// is no message and the last sender is gone, or if the caller unwinds and would have to wait.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if no message can ever be
    /// sent.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and the receiver still gets the next message later.
    #[track_caller]
    pub fn recv(&mut self) -> Result<T, RecvError> {
        let location = Location::caller();
        // In a loop that also sends, a message is always ready: without this, the loop would never
        // yield.
        current::with(|scheduler| scheduler.map(|s| s.spend_or_unwind(location)));
        loop {
            if let Some(done) = self.receiving().attempt(0) {
                return done;
            }
            let wait = Wait::new(WaitKind::Broadcast, location);
            if self.shared.ends.waiters.wait(wait, ()).is_err() {
                return Err(RecvError::Closed);
            }
        }
    }

    /// Returns the next message if there is one; does not wait.
    ///
    /// # Errors
    ///
    /// `Empty` if there is no message; otherwise as [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.shared.try_recv(&mut self.next)
    }

    /// Returns an operation that receives the next message, for [`select!`](crate::select).
    pub fn receiving(&mut self) -> Receiving<'_, T> {
        Receiving {
            shared: &self.shared,
            next: &mut self.next,
            waiter: None,
        }
    }
}

impl<T> Clone for Sender<T> {
    /// Creates another sender to the same receivers.
    fn clone(&self) -> Self {
        self.shared.ends.senders.add();
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.ends.remove_sender();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.ends.receivers.remove();
        let numbers = self.next.max(shared.first.get())..shared.end();
        // Dropping the values runs user code, which may use the channel or wait, so all messages
        // are counted before that.
        let left: Vec<_> = numbers.filter_map(|number| shared.pass(number)).collect();
        drop(left);
    }
}

opaque_debug!(impl<T> for Sender<T>, len);

opaque_debug!(impl<T> for Receiver<T>, len);

/// Receives a message; see [`Receiver::receiving`].
#[must_use = "an operation does nothing until it is performed"]
pub struct Receiving<'a, T> {
    shared: &'a BroadcastState<T>,
    next: &'a mut u64,
    waiter: Option<Waiter<'a, ()>>,
}

opaque_debug!(impl<T> for Receiving<'_, T>);

impl<T: Clone> Parts for Receiving<'_, T> {
    type Done = Result<T, RecvError>;

    fn attempt(&mut self, _: u32) -> Option<Self::Done> {
        match self.shared.try_recv(self.next) {
            Ok(message) => Some(Ok(message)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => Some(Err(RecvError::Closed)),
            Err(TryRecvError::Lagged(missed)) => Some(Err(RecvError::Lagged(missed))),
        }
    }

    fn enlist(&mut self, park: &Park<'_>, case: u32) {
        self.waiter = Some(park.enter(&self.shared.ends.waiters, case, ()));
    }

    fn commit(&mut self, case: u32) -> Self::Done {
        self.waiter = None;
        let done = self.attempt(case);
        done.expect("it is woken by a message, or of the end")
    }

    fn withdraw(&mut self) {
        self.waiter = None;
    }
}
