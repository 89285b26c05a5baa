//! Bounds that apply to the servers of several shards together.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::bounds::{Bounds, Counts, Verdict};
use crate::runtime::base::primitives::{AtomicU64, AtomicUsize, Mutex, MutexGuard};

/// How many requests all servers together handle and queue.
///
/// A server leases slots in blocks, so that a request usually writes nothing that other OS threads
/// see. While a request waits anywhere, all servers give back the slots that they do not use.
#[derive(Default)]
pub(in crate::http) struct GlobalLimit {
    /// Leased slots in the low half, waiting requests in the high half: a decision depends on both.
    load: AtomicU64,
    members: Mutex<Vec<Member>>,
    /// The server at which the next search for a waiting request begins.
    turn: AtomicUsize,
    /// The number of servers.
    servers: usize,
    /// Open connections of all servers.
    pub(super) connections: AtomicUsize,
}

/// The most slots that a server leases at once.
const MOST_LEASED: usize = 64;

/// One of the servers.
struct Member {
    counts: Arc<Counts>,
    /// Makes the server look at its queue.
    wake: Box<dyn Fn() + Send + Sync>,
}

/// The decision about a request.
#[derive(Clone, Copy)]
pub(super) struct Entered {
    pub(super) verdict: Verdict,
    /// How many slots are leased, with that of the request.
    pub(super) leased: u64,
    /// No other request waits anywhere.
    pub(super) is_first: bool,
}

#[derive(Clone, Copy)]
struct Load {
    leased: u32,
    queued: u32,
}

impl Load {
    fn of(word: u64) -> Self {
        Self {
            leased: word as u32,
            queued: (word >> 32) as u32,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.leased) | u64::from(self.queued) << 32
    }
}

impl GlobalLimit {
    /// Creates the limit of this many servers.
    pub(in crate::http) fn new(servers: usize) -> Arc<Self> {
        Arc::new(Self {
            servers,
            ..Self::default()
        })
    }

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

    /// How many slots a server leases at once, and keeps: a part of what would be its share, so
    /// that slots rarely lie idle at one server while requests come to another. Without a queue
    /// none are kept, as nothing would call them back.
    pub(super) fn block(&self, bounds: Bounds) -> usize {
        match (bounds.max_threads, bounds.max_accept) {
            (Some(most), Some(_)) => (most / (4 * self.servers.max(1))).min(MOST_LEASED),
            _ => 0,
        }
    }

    /// Whether a request waits at any server.
    #[inline]
    pub(super) fn has_queue(&self) -> bool {
        self.load().queued > 0
    }

    pub(super) fn has_room_for_queued(&self, bounds: Bounds) -> bool {
        let load = self.load();
        load.queued > 0 && bounds.have_room(load.leased as usize)
    }

    /// Whether a request that came now would be handled.
    pub(super) fn has_room(&self, bounds: Bounds) -> bool {
        let load = self.load();
        bounds.judge(load.leased as usize, load.queued as usize) == Verdict::Handle
    }

    /// Decides about a request, and counts it.
    pub(super) fn enter(&self, bounds: Bounds) -> Entered {
        let block = self.block(bounds).max(1);
        let mut entered = Entered {
            verdict: Verdict::Refuse,
            leased: 0,
            is_first: false,
        };
        self.update(|mut load| {
            let verdict = bounds.judge(load.leased as usize, load.queued as usize);
            entered = Entered {
                verdict,
                leased: 0,
                is_first: load.queued == 0,
            };
            match verdict {
                Verdict::Handle => {
                    let left = bounds
                        .max_threads
                        .map_or(block, |most| most - load.leased as usize);
                    entered.leased = block.min(left) as u64;
                    load.leased += entered.leased as u32;
                }
                Verdict::Queue => load.queued += 1,
                Verdict::Refuse => return None,
            }
            Some(load)
        });
        entered
    }

    /// Leases a slot for a waiting request, if there is one.
    pub(super) fn promote(&self, bounds: Bounds) -> bool {
        self.update(|load| {
            bounds.have_room(load.leased as usize).then_some(Load {
                leased: load.leased + 1,
                queued: load.queued - 1,
            })
        })
    }

    /// Takes back slots that a server had leased.
    pub(super) fn give_back(&self, slots: u64) {
        if slots > 0 {
            self.update(|load| {
                Some(Load {
                    leased: load.leased - slots as u32,
                    ..load
                })
            });
        }
    }

    /// A waiting request is gone.
    pub(super) fn leave_queue(&self) {
        self.update(|load| {
            Some(Load {
                queued: load.queued - 1,
                ..load
            })
        });
    }

    /// Makes the servers except that of `counts` give back the slots that they keep, as a request
    /// waits there, the first one.
    ///
    /// A server that keeps a slot after that saw no queue, so it did that before the request was
    /// counted in `load`, and gives the slot back when it is woken here.
    pub(super) fn recall(&self, counts: &Arc<Counts>) {
        for member in &*self.members() {
            if !Arc::ptr_eq(&member.counts, counts) {
                (member.wake)();
            }
        }
    }

    /// Makes a server with a waiting request look at its queue.
    ///
    /// A request just counted in `load` may be missing in its server's own number, and is not
    /// found here then. But that server calls this itself, after it has counted.
    ///
    /// Two calls may wake the same server. It grants as many slots as it can, and passes on the
    /// room that is left.
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
            .field("leased", &load.leased)
            .field("queued", &load.queued)
            .finish_non_exhaustive()
    }
}
