//! What other OS threads send to a shard, and the handles that they send with.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::driver::Remote;
use super::ethread::ThreadId;
use super::mailbox::Mailbox;
use super::roster::Roster;
use super::shard::Begin;
use super::wait::Token;

/// The part of a shard that is shared with other OS threads. It outlives the shard: a handle may
/// be used or dropped at any time, also in a thread-local's destructor.
#[derive(Debug)]
pub(crate) struct Inbox {
    mailbox: Mailbox<Message>,
    /// Panics of ethreads whose handles were dropped elsewhere, after their ends.
    late_panics: AtomicUsize,
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
    /// `RemoteJoinHandle::cancel`.
    Cancel { index: u32, id: ThreadId },
    /// An ethread begins here.
    Spawn(Box<dyn Begin>),
    /// The waiters of the source with this key look again: it was closed, for example.
    Nudged { key: u64 },
    /// The source with this key was dropped: its slot is free.
    Released { key: u64 },
    /// The shard ends, if it is one of a group.
    Stop,
}

impl Inbox {
    pub(super) fn new(driver: Arc<Remote>) -> Self {
        Self {
            mailbox: Mailbox::new(),
            late_panics: AtomicUsize::new(0),
            driver,
            roster: Roster::default(),
        }
    }

    /// Queues a message and wakes the shard, once for all messages until it looks. One that has
    /// ended needs none.
    pub(crate) fn send(&self, message: Message) {
        // What is sent here is about ethreads and sources that have ended with the shard.
        let _ = self.mailbox.send(message, || self.driver.notify());
    }

    /// As [`send`](Self::send), for a message that begins something.
    ///
    /// # Errors
    ///
    /// The message, if the shard ends or has ended.
    pub(super) fn send_new(&self, message: Message) -> Result<(), Message> {
        self.mailbox.send_new(message, || self.driver.notify())
    }

    /// Says whether the shard is being shut down, and so begins nothing.
    pub(super) fn set_ending(&self, ending: bool) {
        self.mailbox.set_ending(ending);
    }

    /// Nobody has asked for the panic of an ethread that has ended.
    pub(super) fn count_late_panic(&self) {
        self.late_panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn late_panics(&self) -> usize {
        self.late_panics.load(Ordering::Relaxed)
    }

    /// Whether there may be something to take. One load; the scheduler asks at every turn.
    pub(super) fn is_pending(&self) -> bool {
        self.mailbox.is_pending()
    }

    /// Takes all messages, in exchange for `room`, which is empty.
    pub(super) fn take(&self, room: &mut Vec<Message>) {
        self.mailbox.take(room);
    }

    /// Whether another OS thread holds something that can wake this shard.
    pub(super) fn has_handles(&self) -> bool {
        self.mailbox.has_handles()
    }

    /// Whether the shard has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.mailbox.is_closed()
    }

    /// No message is read any more. Returns the ethreads that this has kept from beginning. Runs no
    /// user code.
    pub(super) fn close(&self) -> Vec<Box<dyn Begin>> {
        let left = self.mailbox.close().into_iter();
        left.filter_map(|message| match message {
            Message::Spawn(spawn) => Some(spawn),
            _ => None,
        })
        .collect()
    }
}

/// Keeps the deadlock detector quiet: somebody elsewhere can wake this shard.
pub(crate) struct Handle {
    pub(super) inbox: Arc<Inbox>,
}

impl Handle {
    pub(super) fn new(inbox: &Arc<Inbox>) -> Self {
        inbox.mailbox.add_handle();
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
        let mailbox = &self.inbox.mailbox;
        mailbox.remove_handle(|| self.inbox.driver.notify());
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
