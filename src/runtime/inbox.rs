//! What other OS threads send to a shard, and the handles that they send with.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::driver::Remote;
use super::ethread::ThreadId;
use super::roster::Roster;
use super::wait::Token;

/// The part of a shard that is shared with other OS threads. It outlives the shard: a handle may
/// be used or dropped at any time, also in a thread-local's destructor.
#[derive(Debug)]
pub(crate) struct Inbox {
    messages: Mutex<Vec<Message>>,
    /// Set by the first message after a drain, which then notifies; the others need not.
    pending: AtomicBool,
    /// Handles that can still wake something here; while there are any, nothing is a deadlock.
    handles: AtomicUsize,
    /// The shard is gone and reads no messages.
    closed: AtomicBool,
    pub(super) driver: Arc<Remote>,
    pub(super) roster: Roster,
}

/// A message to a shard.
#[derive(Debug)]
pub(crate) enum Message {
    /// Ends this park.
    Wake(Token),
    /// `Thread::unpark` from elsewhere.
    Unpark { index: u32, id: ThreadId },
    /// The waiters of the source with this key look again: it was closed, for example.
    Nudged { key: u64 },
    /// The source with this key was dropped: its slot is free.
    Released { key: u64 },
}

impl Inbox {
    pub(super) fn new(driver: Arc<Remote>) -> Self {
        Self {
            messages: Mutex::default(),
            pending: AtomicBool::new(false),
            handles: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            driver,
            roster: Roster::default(),
        }
    }

    /// Queues a message and wakes the shard, once for all messages until it looks.
    pub(crate) fn send(&self, message: Message) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(message);
        self.ring();
    }

    fn ring(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.driver.notify();
        }
    }

    /// Whether there may be something to take. One load; the scheduler asks at every turn.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> Vec<Message> {
        // In this order: a message that comes after the store rings again.
        self.pending.store(false, Ordering::Release);
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether another OS thread holds something that can wake this shard.
    pub(super) fn has_handles(&self) -> bool {
        self.handles.load(Ordering::Acquire) > 0
    }

    /// Whether the shard has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// No message is read any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Keeps the deadlock detector quiet: somebody elsewhere can wake this shard.
pub(crate) struct Handle {
    pub(super) inbox: Arc<Inbox>,
}

impl Handle {
    pub(super) fn new(inbox: &Arc<Inbox>) -> Self {
        inbox.handles.fetch_add(1, Ordering::Relaxed);
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
        // The last handle's end may be what makes a deadlock certain, so the shard looks again.
        if self.inbox.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.inbox.ring();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// Ends one park of one shard from any OS thread.
#[derive(Clone, Debug)]
pub(crate) struct RemoteWaker {
    pub(super) handle: Handle,
    pub(super) token: Token,
}

impl RemoteWaker {
    pub(crate) fn wake(&self) {
        self.handle.send(Message::Wake(self.token));
    }

    /// Whether the shard has ended, and has left the ethread behind.
    pub(crate) fn is_gone(&self) -> bool {
        self.handle.inbox.is_closed()
    }
}
