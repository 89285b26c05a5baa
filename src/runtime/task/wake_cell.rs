//! The protocol between an ethread that waits for a waker and the wakers, on any OS threads.
//!
//! ```text
//!   the ethread                        a waker
//!   polls, gets `Pending`              sets `woken`
//!   begins a wait, sets `park`         if `woken` was unset: reads `park`, ends that park
//!   unsets `woken`, parks if it
//!   was unset
//! ```
//! Each side changes `woken` by a swap. So of the two swaps one comes first, and the other side
//! sees what came before it: the waker the number of the park, or the ethread the wake-up. A waker
//! that finds `woken` set has nothing to do: the swap that unsets it comes before the next poll,
//! which therefore sees what the waker has done. A wake-up that comes too late names a park that is
//! over, which does nothing.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use crate::runtime::base::primitives::{AtomicBool, AtomicU64};

/// What an ethread and the wakers of its wait share.
#[derive(Debug)]
pub(in crate::runtime) struct WakeCell {
    /// A waker was used since the ethread has looked last.
    woken: AtomicBool,
    /// The number of the park that goes on; zero if none does.
    park: AtomicU64,
}

impl WakeCell {
    pub(in crate::runtime) fn new() -> Self {
        Self {
            woken: AtomicBool::new(false),
            park: AtomicU64::new(0),
        }
    }

    /// A waker is used; returns the park that it is to end.
    pub(in crate::runtime) fn wake(&self) -> Option<u64> {
        if self.woken.swap(true, Ordering::AcqRel) {
            return None;
        }
        match self.park.load(Ordering::Relaxed) {
            0 => None,
            park => Some(park),
        }
    }

    /// The ethread is about to park; true if a waker was used already, and it is not to.
    pub(in crate::runtime) fn begin(&self, park: u64) -> bool {
        self.park.store(park, Ordering::Relaxed);
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// The ethread polls next.
    pub(in crate::runtime) fn end(&self) {
        self.park.store(0, Ordering::Relaxed);
        // Not a store: the poll has to see what a waker has done that found it set.
        self.woken.swap(false, Ordering::AcqRel);
    }
}

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
