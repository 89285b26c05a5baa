//! How many connections may be served and may wait, and the current numbers.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use crate::runtime::base::primitives::{AtomicU64, AtomicUsize};

/// Limits on the number of connections; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Bounds {
    /// Connections served at the same time.
    pub(in crate::http) max_threads: Option<usize>,
    /// Connections served and waiting, together. Invariant: above `max_threads`, and only with it.
    pub(in crate::http) max_accept: Option<usize>,
}

/// What a server counts on one shard. Other OS threads may read it; only this shard writes.
#[derive(Debug, Default)]
pub(in crate::http) struct Counts {
    pub(in crate::http) serving: AtomicUsize,
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
    pub(in crate::http) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happens to a new connection, before it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Serve,
    Queue,
    Refuse,
}

impl Bounds {
    /// Whether the invariant holds, and a connection can be served at all.
    pub(in crate::http) fn are_valid(self) -> bool {
        match (self.max_threads, self.max_accept) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(threads), accept) => threads > 0 && accept.is_none_or(|accept| accept > threads),
        }
    }

    /// Decides about a new connection, in Hunchentoot's order. Without a limit it is served. At the
    /// accept limit, or at the thread limit if there is no accept limit, it is refused. At the
    /// thread limit it waits. Otherwise it is served, unless connections wait: then it queues
    /// behind them.
    pub(super) fn judge(self, serving: usize, queued: usize) -> Verdict {
        let Some(max_threads) = self.max_threads else {
            return Verdict::Serve;
        };
        let is_full = match self.max_accept {
            Some(max_accept) => serving + queued >= max_accept,
            None => serving >= max_threads,
        };
        if is_full {
            Verdict::Refuse
        } else if serving >= max_threads || queued > 0 {
            Verdict::Queue
        } else {
            Verdict::Serve
        }
    }

    /// Whether one more connection may be served.
    pub(super) fn have_room(self, serving: usize) -> bool {
        self.max_threads.is_none_or(|most| serving < most)
    }
}
