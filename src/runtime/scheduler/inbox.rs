//! What other OS threads send to a shard, and the handles that they send with.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::queue::Queue;
use crate::runtime::base::wait::Token;
use crate::runtime::driver::Remote;
use crate::runtime::state::control_block::ThreadId;

/// The part of a shard that is shared with other OS threads. It outlives the shard: a handle may
/// be used or dropped at any time, also in a thread-local's destructor.
///
/// `S` is the scheduler, which this file does not know.
#[derive(Debug)]
pub(crate) struct Inbox<S> {
    queue: Queue<Message<S>>,
    /// Panics of ethreads whose handles were dropped elsewhere, after their ends.
    late_panics: AtomicUsize,
    pub(in crate::runtime) driver: Arc<Remote>,
}

/// A message to a shard.
#[derive(Debug)]
pub(crate) enum Message<S> {
    /// Ends this park.
    Wake(Token),
    /// `Thread::unpark` from elsewhere.
    Unpark { index: u32, id: ThreadId },
    /// `RemoteJoinHandle::cancel`.
    Cancel { index: u32, id: ThreadId },
    /// An ethread begins here.
    Spawn(Box<dyn Begin<S>>),
    /// The waiters of the source with this key look again: it was closed, for example.
    Nudged { key: u64 },
    /// The source with this key was dropped: its slot is free.
    Released { key: u64 },
    /// The shard ends, if it is one of a group.
    Stop,
}

impl<S> Inbox<S> {
    pub(in crate::runtime) fn new(driver: Arc<Remote>) -> Self {
        Self {
            queue: Queue::new(),
            late_panics: AtomicUsize::new(0),
            driver,
        }
    }

    /// Queues a message and wakes the shard, once for all messages until it looks. One that has
    /// ended needs none.
    pub(crate) fn send(&self, message: Message<S>) {
        // What is sent here is about ethreads and sources that have ended with the shard.
        let _ = self.queue.send(message, || self.driver.notify());
    }

    /// As [`send`](Self::send), for a message that begins something.
    ///
    /// # Errors
    ///
    /// The message, if the shard ends or has ended.
    pub(in crate::runtime) fn send_new(&self, message: Message<S>) -> Result<(), Message<S>> {
        self.queue.send_new(message, || self.driver.notify())
    }

    /// Says whether the shard is being shut down, and so begins nothing.
    pub(in crate::runtime) fn set_ending(&self, ending: bool) {
        self.queue.set_ending(ending);
    }

    /// Nobody has asked for the panic of an ethread that has ended.
    pub(in crate::runtime) fn count_late_panic(&self) {
        self.late_panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::runtime) fn late_panics(&self) -> usize {
        self.late_panics.load(Ordering::Relaxed)
    }

    /// Whether there may be something to take. One load; the scheduler asks at every turn.
    pub(in crate::runtime) fn is_pending(&self) -> bool {
        self.queue.is_pending()
    }

    /// Takes all messages, in exchange for `room`, which is empty.
    pub(in crate::runtime) fn take(&self, room: &mut Vec<Message<S>>) {
        self.queue.take(room);
    }

    /// Whether another OS thread holds something that can wake this shard.
    pub(in crate::runtime) fn has_handles(&self) -> bool {
        self.queue.has_handles()
    }

    /// Whether the shard has ended.
    pub(in crate::runtime) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// No message is read any more. Returns the ethreads that this has kept from beginning. Runs no
    /// user code.
    pub(in crate::runtime) fn close(&self) -> Vec<Box<dyn Begin<S>>> {
        let left = self.queue.close().into_iter();
        left.filter_map(|message| match message {
            Message::Spawn(spawn) => Some(spawn),
            _ => None,
        })
        .collect()
    }
}

/// An ethread on its way to its shard.
pub(crate) trait Begin<S>: Send {
    /// On the scheduler's side: makes an ethread of it, and drops nothing of the user's.
    fn begin(self: Box<Self>, scheduler: &S);

    /// The shard has ended before. Runs no user code; [`drop_unbegun`](Self::drop_unbegun) follows.
    fn abandon(&self);

    /// Drops the closure, and wakes what waits for its ethread.
    fn drop_unbegun(self: Box<Self>);

    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<S> fmt::Debug for dyn Begin<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Begin")
    }
}

/// What waits, on another OS thread, for an ethread of this shard.
pub(crate) trait Awaited {
    /// The ethread will not end any more. Runs no user code; [`wake`](Self::wake) follows.
    fn abandon(&self);

    fn wake(&self);
}

/// Keeps the deadlock detector quiet: somebody elsewhere can wake this shard.
pub(crate) struct Handle<S> {
    pub(in crate::runtime) inbox: Arc<Inbox<S>>,
}

impl<S> Handle<S> {
    pub(in crate::runtime) fn new(inbox: &Arc<Inbox<S>>) -> Self {
        inbox.queue.add_handle();
        Self {
            inbox: inbox.clone(),
        }
    }

    pub(crate) fn send(&self, message: Message<S>) {
        self.inbox.send(message);
    }
}

impl<S> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self::new(&self.inbox)
    }
}

impl<S> Drop for Handle<S> {
    fn drop(&mut self) {
        // The last handle's end may be what makes a deadlock certain, so the shard looks again.
        let queue = &self.inbox.queue;
        queue.remove_handle(|| self.inbox.driver.notify());
    }
}

impl<S> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// Ends one park of one shard from any OS thread.
#[derive(Debug)]
pub(crate) struct RemoteWaker<S> {
    pub(in crate::runtime) handle: Handle<S>,
    pub(in crate::runtime) token: Token,
}

impl<S> Clone for RemoteWaker<S> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
            token: self.token,
        }
    }
}

impl<S> RemoteWaker<S> {
    pub(crate) fn wake(&self) {
        self.handle.send(Message::Wake(self.token));
    }

    /// Whether the shard has ended, and has left the ethread behind.
    pub(crate) fn is_gone(&self) -> bool {
        self.handle.inbox.is_closed()
    }
}
