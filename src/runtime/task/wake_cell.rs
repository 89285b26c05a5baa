//! The protocol between an ethread that waits for a waker and its wakers, on any OS threads.
//!
//! ```text
//!   the ethread                        a waker
//!   polls, gets `Pending`              sets `woken`
//!   begins a wait, sets `park`         if `woken` was unset: reads `park`, ends that park
//!   unsets `woken`, parks if it
//!   was unset
//! ```
//! Each side changes `woken` by a swap. One of the two swaps comes first, and the other side sees
//! what happened before it: the waker sees the number of the park, or the ethread sees the wake-up.
//! A waker that finds `woken` set has nothing to do: the swap that unsets `woken` comes before the
//! next poll, which therefore sees what the waker has done. A wake-up that comes too late names a
//! park that is over, and has no effect.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use crate::runtime::base::primitives::{AtomicBool, AtomicU64};

/// The state shared by an ethread and the wakers of its wait.
pub(in crate::runtime) struct WakeCell {
    /// A waker was used since the ethread last looked.
    woken: AtomicBool,
    /// The number of the current park; zero if there is none.
    park: AtomicU64,
}

impl WakeCell {
    pub(in crate::runtime) fn new() -> Self {
        Self {
            woken: AtomicBool::new(false),
            park: AtomicU64::new(0),
        }
    }

    /// Notes that a waker is used; returns the park to end, if any.
    pub(in crate::runtime) fn wake(&self) -> Option<u64> {
        if self.woken.swap(true, Ordering::AcqRel) {
            return None;
        }
        match self.park.load(Ordering::Relaxed) {
            0 => None,
            park => Some(park),
        }
    }

    /// Notes that the ethread is about to park; true if a waker was used already, so that it must
    /// not.
    pub(in crate::runtime) fn begin(&self, park: u64) -> bool {
        self.park.store(park, Ordering::Relaxed);
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Notes that the ethread polls next.
    pub(in crate::runtime) fn end(&self) {
        self.park.store(0, Ordering::Relaxed);
        // A swap, not a store: the poll must see what a waker did that found `woken` set.
        self.woken.swap(false, Ordering::AcqRel);
    }
}

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
