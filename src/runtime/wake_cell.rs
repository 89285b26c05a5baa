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

use super::primitives::{AtomicBool, AtomicU64};

/// What an ethread and the wakers of its wait share.
#[derive(Debug)]
pub(super) struct WakeCell {
    /// A waker was used since the ethread has looked last.
    woken: AtomicBool,
    /// The number of the park that goes on; zero if none does.
    park: AtomicU64,
}

impl WakeCell {
    pub(super) fn new() -> Self {
        Self {
            woken: AtomicBool::new(false),
            park: AtomicU64::new(0),
        }
    }

    /// A waker is used; returns the park that it is to end.
    pub(super) fn wake(&self) -> Option<u64> {
        if self.woken.swap(true, Ordering::AcqRel) {
            return None;
        }
        match self.park.load(Ordering::Relaxed) {
            0 => None,
            park => Some(park),
        }
    }

    /// The ethread is about to park; true if a waker was used already, and it is not to.
    pub(super) fn begin(&self, park: u64) -> bool {
        self.park.store(park, Ordering::Relaxed);
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// The ethread polls next.
    pub(super) fn end(&self) {
        self.park.store(0, Ordering::Relaxed);
        // Not a store: the poll has to see what a waker has done that found it set.
        self.woken.swap(false, Ordering::AcqRel);
    }
}

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod tests {
    use loom::model::Builder;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    use super::*;

    /// An ethread with its park, whose number is the turn that it waits in.
    struct Ethread {
        cell: WakeCell,
        /// The park that was ended last.
        ended: Mutex<u64>,
        waiting: Condvar,
        /// What the wakers do before they wake. Relaxed, so that only the cell orders it.
        done: [AtomicBool; 2],
    }

    impl Ethread {
        fn finish(&self, which: usize) {
            self.done[which].store(true, Ordering::Relaxed);
            if let Some(park) = self.cell.wake() {
                let mut ended = self.ended.lock().unwrap();
                *ended = (*ended).max(park);
                self.waiting.notify_one();
            }
        }

        fn is_done(&self) -> bool {
            self.done.iter().all(|done| done.load(Ordering::Relaxed))
        }

        fn run(&self) {
            let mut park = 0;
            while !self.is_done() {
                park += 1;
                if !self.cell.begin(park) {
                    let mut ended = self.ended.lock().unwrap();
                    while *ended < park {
                        ended = self.waiting.wait(ended).unwrap();
                    }
                }
                self.cell.end();
            }
        }
    }

    #[test]
    fn no_wake_up_of_two_wakers_is_lost() {
        let mut model = Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let ethread = Arc::new(Ethread {
                cell: WakeCell::new(),
                ended: Mutex::new(0),
                waiting: Condvar::new(),
                done: [AtomicBool::new(false), AtomicBool::new(false)],
            });
            let wakers = [0, 1].map(|which| {
                let ethread = ethread.clone();
                thread::spawn(move || ethread.finish(which))
            });
            ethread.run();
            for waker in wakers {
                waker.join().unwrap();
            }
        });
    }
}
