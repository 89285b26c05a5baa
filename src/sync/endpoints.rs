//! The ends of a channel that serves all its receivers at once.
#![forbid(unsafe_code)]

use std::cell::Cell;

use super::wait_queue::WaitQueue;

/// The number of senders and receivers, and the receivers that wait.
pub(super) struct Endpoints {
    senders: Cell<usize>,
    receivers: Cell<usize>,
    pub(super) waiters: WaitQueue,
}

impl Endpoints {
    /// Counts one sender, and no receiver.
    pub(super) fn new() -> Self {
        Self {
            senders: Cell::new(1),
            receivers: Cell::new(0),
            waiters: WaitQueue::new(),
        }
    }

    /// Whether the last sender is gone.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.senders.get() == 0
    }

    #[inline]
    pub(super) fn receiver_count(&self) -> usize {
        self.receivers.get()
    }

    pub(super) fn add_sender(&self) {
        self.senders.set(self.senders.get() + 1);
    }

    pub(super) fn add_receiver(&self) {
        self.receivers.set(self.receivers.get() + 1);
    }

    /// Counts a sender that goes. The last one wakes the receivers, which learn that it is gone.
    pub(super) fn remove_sender(&self) {
        self.senders.set(self.senders.get() - 1);
        if self.is_closed() {
            self.waiters.wake_all(|()| ());
        }
    }

    pub(super) fn remove_receiver(&self) {
        self.receivers.set(self.receivers.get() - 1);
    }
}
