//! How many requests may be handled and may wait, and the current numbers.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use crate::runtime::base::primitives::{AtomicU64, AtomicUsize};

/// Limits on the number of requests; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Bounds {
    /// Requests handled at the same time.
    pub(in crate::http) max_threads: Option<usize>,
    /// Requests handled and waiting, together. Invariant: above `max_threads`, and only with it.
    pub(in crate::http) max_accept: Option<usize>,
}

/// What a server counts on one shard. Other OS threads may read it; only this shard writes.
#[derive(Debug, Default)]
pub(in crate::http) struct Counts {
    /// Open connections.
    pub(in crate::http) serving: AtomicUsize,
    /// Slots that this shard has: all, or those that it has leased; `u64::MAX` without a limit.
    pub(super) slots: Counter,
    /// Those that no request holds.
    pub(super) free: Counter,
    /// Requests that wait for a slot.
    pub(in crate::http) queued: AtomicUsize,
    pub(in crate::http) lingering: AtomicUsize,
    pub(in crate::http) served: AtomicU64,
    pub(in crate::http) refused: AtomicU64,
    pub(in crate::http) requests: Counter,
    pub(in crate::http) broken_off: Counter,
}

/// A counter that costs its only writer no locked instruction.
#[derive(Debug, Default)]
pub(in crate::http) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(in crate::http) fn add_one(&self) {
        let count = self.get().wrapping_add(1);
        self.0.store(count, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    #[inline]
    pub(in crate::http) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counts {
    /// How many requests hold a slot.
    pub(in crate::http) fn handling(&self) -> usize {
        // Another OS thread may read one number before a lease and the other one after it.
        let (free, slots) = (self.free.get(), self.slots.get());
        usize::try_from(slots.saturating_sub(free)).unwrap_or(usize::MAX)
    }
}

/// What happens to a request, before it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Handle,
    Queue,
    Refuse,
}

impl Bounds {
    /// Whether the invariant holds, and a request can be handled at all.
    pub(in crate::http) fn are_valid(self) -> bool {
        match (self.max_threads, self.max_accept) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(threads), accept) => threads > 0 && accept.is_none_or(|accept| accept > threads),
        }
    }

    /// Decides about a request, in Hunchentoot's order. Without a limit it is handled. At the
    /// accept limit, or at the thread limit if there is no accept limit, it is refused. At the
    /// thread limit it waits. Otherwise it is handled, unless requests wait: then it queues behind
    /// them.
    pub(super) fn judge(self, handling: usize, queued: usize) -> Verdict {
        let Some(max_threads) = self.max_threads else {
            return Verdict::Handle;
        };
        let is_full = match self.max_accept {
            // By the queue alone: `handling` may include slots that lie idle on other shards.
            Some(max_accept) => queued >= max_accept - max_threads,
            None => handling >= max_threads,
        };
        if is_full {
            Verdict::Refuse
        } else if handling >= max_threads || queued > 0 {
            Verdict::Queue
        } else {
            Verdict::Handle
        }
    }

    /// Whether one more request may be handled.
    pub(super) fn have_room(self, handling: usize) -> bool {
        self.max_threads.is_none_or(|most| handling < most)
    }
}
