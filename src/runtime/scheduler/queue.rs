//! The protocol of an inbox: many senders, one receiver, and one notification for all messages
//! until the receiver looks.
//!
//! The receiver asks [`is_pending`](Queue::is_pending), which is one load. It waits for the
//! notification only if `is_pending` was false after it had checked everything else. No message is
//! lost: a message is queued before the flag is set, and the flag is cleared before the messages
//! are taken, so a sender that finds the flag set knows that its message will be taken.
#![forbid(unsafe_code)]

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::runtime::base::primitives::{AtomicBool, AtomicUsize, Mutex, MutexGuard};

pub(in crate::runtime) struct Queue<M> {
    messages: Mutex<Messages<M>>,
    /// Set by the first message after a look. Setting it notifies; later messages need not notify.
    pending: AtomicBool,
    /// The number of handles that can still send something the receiver waits for.
    handles: AtomicUsize,
    /// As the state in `messages`, readable without the lock.
    closed: AtomicBool,
}

struct Messages<M> {
    queue: Vec<M>,
    state: QueueState,
}

/// Under the lock, so that no message comes after the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueueState {
    Open,
    /// The receiver is about to end: it takes messages about work that has begun, and no new work.
    Ending,
    /// The receiver is gone.
    Closed,
}

impl<M> Queue<M> {
    pub(in crate::runtime) fn new() -> Self {
        Self {
            messages: Mutex::new(Messages {
                queue: Vec::new(),
                state: QueueState::Open,
            }),
            pending: AtomicBool::new(false),
            handles: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    fn messages(&self) -> MutexGuard<'_, Messages<M>> {
        // No user code runs under this lock.
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message, and notifies once for all messages until the receiver looks.
    ///
    /// # Errors
    ///
    /// The message, once the queue is closed.
    pub(in crate::runtime) fn send(&self, message: M, notify: impl FnOnce()) -> Result<(), M> {
        self.send_if(message, |state| state != QueueState::Closed, notify)
    }

    /// As [`send`](Self::send), for a message that begins new work.
    ///
    /// # Errors
    ///
    /// The message, if the receiver is about to end, or the queue is closed.
    pub(in crate::runtime) fn send_new(&self, message: M, notify: impl FnOnce()) -> Result<(), M> {
        self.send_if(message, |state| state == QueueState::Open, notify)
    }

    fn send_if(
        &self,
        message: M,
        accepts: impl FnOnce(QueueState) -> bool,
        notify: impl FnOnce(),
    ) -> Result<(), M> {
        {
            let mut messages = self.messages();
            if !accepts(messages.state) {
                return Err(message);
            }
            messages.queue.push(message);
        }
        self.notify_once(notify);
        Ok(())
    }

    /// Sets whether the receiver is about to end, and so begins nothing new.
    pub(in crate::runtime) fn set_ending(&self, ending: bool) {
        let mut messages = self.messages();
        if messages.state != QueueState::Closed {
            messages.state = if ending {
                QueueState::Ending
            } else {
                QueueState::Open
            };
        }
    }

    /// Makes the receiver look, even if there is no message.
    pub(in crate::runtime) fn notify_once(&self, notify: impl FnOnce()) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            notify();
        }
    }

    /// Whether there may be something to take. One load: the receiver asks often.
    pub(in crate::runtime) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Takes all messages, in exchange for `room`, which is empty.
    pub(in crate::runtime) fn take(&self, room: &mut Vec<M>) {
        debug_assert!(room.is_empty());
        // In this order: a message that comes after the swap notifies again. A swap, not a store: a
        // handle that ends while the flag is set does not notify, and after a mere store its end
        // might not be visible.
        self.pending.swap(false, Ordering::AcqRel);
        std::mem::swap(&mut self.messages().queue, room);
    }

    pub(in crate::runtime) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a handle. The handle has sent its messages before. The end of the last handle makes
    /// the receiver look, because the receiver may have waited for that handle only.
    pub(in crate::runtime) fn remove_handle(&self, notify: impl FnOnce()) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.notify_once(notify);
        }
    }

    /// Whether there are handles. A receiver that finds none asks [`is_pending`](Self::is_pending)
    /// next.
    pub(in crate::runtime) fn has_handles(&self) -> bool {
        self.handles.load(Ordering::Acquire) > 0
    }

    pub(in crate::runtime) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes the queue, and returns the messages not taken. Messages sent later are returned to
    /// their senders.
    pub(in crate::runtime) fn close(&self) -> Vec<M> {
        self.closed.store(true, Ordering::Release);
        let mut messages = self.messages();
        messages.state = QueueState::Closed;
        std::mem::take(&mut messages.queue)
    }
}

#[cfg(all(test, not(ethreads_loom)))]
mod tests;

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
