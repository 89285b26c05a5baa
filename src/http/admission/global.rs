//! Bounds that apply to the servers of several shards together.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::bounds::{Bounds, Counts, Verdict};
use crate::runtime::base::primitives::{AtomicU64, AtomicUsize, Mutex, MutexGuard};

/// How many connections all servers together serve and queue.
#[derive(Default)]
pub(in crate::http) struct GlobalLimit {
    /// Served in the low half, waiting in the high half: a decision depends on both.
    load: AtomicU64,
    members: Mutex<Vec<Member>>,
    /// The server at which the next search for a waiting connection begins.
    turn: AtomicUsize,
}

/// One of the servers.
struct Member {
    counts: Arc<Counts>,
    /// Makes the server look at its queue.
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Clone, Copy)]
struct Load {
    serving: u32,
    queued: u32,
}

impl Load {
    fn of(word: u64) -> Self {
        Self {
            serving: word as u32,
            queued: (word >> 32) as u32,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.serving) | u64::from(self.queued) << 32
    }
}

impl GlobalLimit {
    /// Adds a server. `wake` makes it look at its queue, and is called on any OS thread.
    pub(in crate::http) fn add(
        &self,
        counts: Arc<Counts>,
        wake: impl Fn() + Send + Sync + 'static,
    ) {
        self.members().push(Member {
            counts,
            wake: Box::new(wake),
        });
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self) -> Load {
        Load::of(self.load.load(Ordering::SeqCst))
    }

    /// Changes both numbers atomically. Returns false if `change` returns `None`.
    fn update(&self, mut change: impl FnMut(Load) -> Option<Load>) -> bool {
        let change = |word| change(Load::of(word)).map(Load::word);
        self.load
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, change)
            .is_ok()
    }

    pub(super) fn serving(&self) -> usize {
        self.load().serving as usize
    }

    pub(super) fn has_room_for_queued(&self, bounds: Bounds) -> bool {
        let load = self.load();
        load.queued > 0 && bounds.have_room(load.serving as usize)
    }

    /// Decides about a new connection, and counts it.
    pub(super) fn enter(&self, bounds: Bounds) -> Verdict {
        let mut verdict = Verdict::Refuse;
        self.update(|mut load| {
            verdict = bounds.judge(load.serving as usize, load.queued as usize);
            match verdict {
                Verdict::Serve => load.serving += 1,
                Verdict::Queue => load.queued += 1,
                Verdict::Refuse => return None,
            }
            Some(load)
        });
        verdict
    }

    /// Counts a waiting connection as served, if there is room.
    pub(super) fn promote(&self, bounds: Bounds) -> bool {
        self.update(|load| {
            bounds.have_room(load.serving as usize).then_some(Load {
                serving: load.serving + 1,
                queued: load.queued - 1,
            })
        })
    }

    /// A served connection is gone.
    pub(super) fn leave(&self) {
        self.update(|load| {
            Some(Load {
                serving: load.serving - 1,
                ..load
            })
        });
    }

    /// A waiting connection is gone.
    pub(super) fn leave_queue(&self) {
        self.update(|load| {
            Some(Load {
                queued: load.queued - 1,
                ..load
            })
        });
    }

    /// Makes a server with a waiting connection look at its queue.
    ///
    /// A connection just counted in `load` may be missing in its server's own number, and is not
    /// found here then. But that server checks for room before it waits, after it has counted.
    ///
    /// Two calls may wake the same server. It serves as many connections as it can, and the last of
    /// its queue passes on the room that is left.
    pub(super) fn wake_one(&self) {
        let members = self.members();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (before, from) = members.split_at(turn % members.len().max(1));
        let waits = |member: &&Member| member.counts.queued.load(Ordering::SeqCst) > 0;
        if let Some(member) = from.iter().chain(before).find(waits) {
            (member.wake)();
        }
    }
}

impl fmt::Debug for GlobalLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = self.load();
        f.debug_struct("GlobalLimit")
            .field("serving", &load.serving)
            .field("queued", &load.queued)
            .finish_non_exhaustive()
    }
}
