//! How many connections may be served and may wait, and how many are.
#![forbid(unsafe_code)]

use crate::runtime::base::primitives::{AtomicU64, AtomicUsize};

/// How many there may be; `None` is as many as come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Bounds {
    /// Served at the same time.
    pub(in crate::http) max_threads: Option<usize>,
    /// Served and waiting, together. Invariant: above `max_threads`, and only with it.
    pub(in crate::http) max_accept: Option<usize>,
}

/// Numbers that other OS threads may read. Written by the shard of the server only.
#[derive(Debug, Default)]
pub(in crate::http) struct Counts {
    pub(in crate::http) serving: AtomicUsize,
    pub(in crate::http) queued: AtomicUsize,
    pub(in crate::http) lingering: AtomicUsize,
    pub(in crate::http) served: AtomicU64,
    pub(in crate::http) refused: AtomicU64,
}

/// What becomes of a newcomer, before anything is counted.
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

    /// Decides about a newcomer, in Hunchentoot's order: without a limit it is served; at the
    /// accept limit, or at the thread limit if there is no other, it is refused; at the thread
    /// limit it waits; else it is served. While others wait it queues behind them.
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

    /// Whether one more may be served.
    pub(super) fn have_room(self, serving: usize) -> bool {
        self.max_threads.is_none_or(|most| serving < most)
    }
}
