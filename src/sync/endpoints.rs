//! The ends of a channel that serves all its receivers at once.
#![forbid(unsafe_code)]

use super::count::Count;
use super::wait_queue::WaitQueue;

/// The number of senders and receivers, and the receivers that wait.
pub(super) struct Endpoints {
    pub(super) senders: Count,
    pub(super) receivers: Count,
    pub(super) waiters: WaitQueue,
}

impl Endpoints {
    /// Counts one sender, and no receiver.
    pub(super) fn new() -> Self {
        Self {
            senders: Count::new(1),
            receivers: Count::new(0),
            waiters: WaitQueue::new(),
        }
    }

    /// Whether the last sender is gone.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.senders.get() == 0
    }

    /// Counts a sender that goes. The last one wakes the receivers, which learn that it is gone.
    pub(super) fn remove_sender(&self) {
        if self.senders.remove() {
            self.waiters.wake_all(|()| ());
        }
    }
}
