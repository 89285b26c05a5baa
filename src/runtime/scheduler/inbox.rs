//! Messages from other OS threads to a shard, and the handles that send them.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::queue::Queue;
use crate::runtime::base::wait::Token;
use crate::runtime::driver::Remote;
use crate::runtime::state::control_block::ThreadId;
use crate::runtime::state::metrics::Stats;

/// The part of a shard that is shared with other OS threads. It outlives the shard: a handle may be
/// used or dropped at any time, even in a thread-local's destructor.
pub(crate) struct Inbox {
    pub(in crate::runtime) queue: Queue<Message>,
    /// Panics of ethreads whose remote handles were dropped after the ethread's end.
    late_panics: AtomicUsize,
    pub(in crate::runtime) driver: Remote,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

/// A message to a shard.
pub(crate) enum Message {
    /// Ends this park.
    Wake(Token),
    /// `Thread::unpark` from another OS thread.
    Unpark { index: u32, id: ThreadId },
    /// `RemoteJoinHandle::cancel`.
    Cancel { index: u32, id: ThreadId },
    /// An ethread begins here.
    Spawn(Box<dyn Begin>),
    /// The waiters of the source with this key try again, for example because it was closed.
    Nudged { key: u64 },
    /// The source with this key was dropped; its slot is to be freed.
    Released { key: u64 },
    /// A snapshot of the counters is wanted. Dropped without one, the wait for it ends with an
    /// error. Neither runs user code.
    Stats(Box<dyn FnOnce(Stats) + Send>),
    /// The shard ends, if it is one of a group.
    Stop,
}

impl Inbox {
    pub(in crate::runtime) fn new(driver: Remote) -> Self {
        Self {
            queue: Queue::new(),
            late_panics: AtomicUsize::new(0),
            driver,
        }
    }

    /// Queues a message and wakes the shard, once for all messages until the shard looks. A message
    /// to a shard that has ended is dropped.
    pub(crate) fn send(&self, message: Message) {
        // Such a message is about ethreads and sources that have ended with the shard.
        let _ = self.try_send(message);
    }

    /// As [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// The message, if the shard has ended.
    pub(in crate::runtime) fn try_send(&self, message: Message) -> Result<(), Message> {
        self.queue.send(message, || self.driver.notify())
    }

    /// As [`send`](Self::send), for a message that begins something.
    ///
    /// # Errors
    ///
    /// The message, if the shard ends or has ended.
    pub(in crate::runtime) fn send_new(&self, message: Message) -> Result<(), Message> {
        self.queue.send_new(message, || self.driver.notify())
    }

    /// Counts the panic of an ended ethread whose result was dropped without a join.
    pub(in crate::runtime) fn count_late_panic(&self) {
        self.late_panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::runtime) fn late_panics(&self) -> usize {
        self.late_panics.load(Ordering::Relaxed)
    }

    /// Closes the inbox: no message is read any more. Returns the ethreads that now cannot begin,
    /// and ends the waits for a snapshot.
    /// Runs no user code.
    pub(in crate::runtime) fn close(&self) -> Vec<Box<dyn Begin>> {
        let left = self.queue.close().into_iter();
        left.filter_map(|message| match message {
            Message::Spawn(spawn) => Some(spawn),
            _ => None,
        })
        .collect()
    }
}

/// An ethread on its way to its shard.
pub(crate) trait Begin: Any + Send {
    /// Makes the ethread, by the current scheduler and on its side. Drops no values of user code.
    fn begin(self: Box<Self>);

    /// Notes that the shard has ended first. Runs no user code;
    /// [`drop_unbegun`](Self::drop_unbegun) follows.
    fn abandon(&self);

    /// Drops the closure, and wakes the waiter for its ethread.
    fn drop_unbegun(self: Box<Self>);
}

/// A waiter, on another OS thread, for an ethread of this shard.
pub(crate) trait Awaited {
    /// Notes that the ethread will never end. Runs no user code; [`wake`](Self::wake) follows.
    fn abandon(&self);

    fn wake(&self);
}

/// A handle that can wake this shard from another OS thread. While it exists, the shard does not
/// report a deadlock.
pub(crate) struct Handle {
    pub(in crate::runtime) inbox: Arc<Inbox>,
}

impl Handle {
    pub(in crate::runtime) fn new(inbox: &Arc<Inbox>) -> Self {
        inbox.queue.add_handle();
        Self {
            inbox: inbox.clone(),
        }
    }

    pub(crate) fn send(&self, message: Message) {
        self.inbox.send(message);
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new(&self.inbox)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The drop of the last handle may make a deadlock certain, so the shard looks again.
        let queue = &self.inbox.queue;
        queue.remove_handle(|| self.inbox.driver.notify());
    }
}

/// Ends one park of one shard from any OS thread.
#[derive(Clone)]
pub(crate) struct RemoteWaker {
    pub(in crate::runtime) handle: Handle,
    pub(in crate::runtime) token: Token,
}

impl RemoteWaker {
    pub(crate) fn wake(&self) {
        self.handle.send(Message::Wake(self.token));
    }

    /// Whether the shard has ended and left the ethread behind.
    pub(crate) fn is_gone(&self) -> bool {
        self.handle.inbox.queue.is_closed()
    }
}
