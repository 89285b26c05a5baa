//! Gives back what ethreads that have been parked for long do not use of their stacks.
//!
//! An ethread may have been deep once, and wait shallow for hours. Now and then the shard goes
//! through its ethreads, a few at each turn in which nobody is ready; whoever was parked already
//! at the last two visits loses the dead part of its stack, once per park.

use std::time::Duration;

use super::ethread::State;
use super::scheduler::Scheduler;
use super::wait::NEVER;

/// From the end of one round to the beginning of the next.
const PAUSE: Duration = Duration::from_secs(5);

/// Ethreads looked at in one turn.
const AT_ONCE: usize = 256;

/// Visits after which a park is long.
const LONG: u8 = 2;

/// Where the sweep is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// When the next visits are due; [`NEVER`] while nobody has run since a round that found
    /// everybody trimmed.
    pub(super) at: u64,
    /// The place of the next visit.
    place: u32,
    /// Somebody was met in this round whose park is not long yet.
    unfinished: bool,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            at: NEVER,
            place: 1,
            unfinished: false,
        }
    }
}

impl Scheduler {
    /// Notes that somebody is about to run, and so may leave a deep stack.
    pub(super) fn want_sweep(&self) {
        if self.sweep.get().at == NEVER && !self.is_virtual {
            self.begin_round(self.now.get());
        }
    }

    fn begin_round(&self, now: u64) {
        let at = now.saturating_add(PAUSE.as_nanos() as u64);
        self.sweep.set(Sweep {
            at,
            ..Sweep::default()
        });
    }

    /// Makes the visits that are due, and says when the next ones are.
    pub(super) fn sweep(&self) -> u64 {
        let mut sweep = self.sweep.get();
        let now = self.now.get();
        if sweep.at > now {
            return sweep.at;
        }
        let mut core = self.core.borrow_mut();
        let end = core.blocks.places();
        for _ in 0..AT_ONCE {
            if sweep.place >= end {
                break;
            }
            let block = core.blocks.get_mut(sweep.place);
            sweep.place += 1;
            let Some(coroutine) = &block.coroutine else {
                continue;
            };
            if block.state != State::Parked || block.visits > LONG {
                continue;
            }
            block.visits += 1;
            if block.visits > LONG {
                coroutine.trim();
            } else {
                sweep.unfinished = true;
            }
        }
        drop(core);
        match (sweep.place < end, sweep.unfinished) {
            (true, _) => self.sweep.set(sweep),
            (false, true) => self.begin_round(now),
            (false, false) => self.sweep.set(Sweep::default()),
        }
        self.sweep.get().at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::current;
    use crate::thread;

    fn deep(levels: usize) -> usize {
        let frame = std::hint::black_box([levels as u8; 1024]);
        if levels == 0 {
            0
        } else {
            deep(levels - 1) + usize::from(frame[7])
        }
    }

    /// The traces that a parked ethread, in the first place, has left below its frames.
    fn traces(scheduler: &Scheduler) -> usize {
        let core = scheduler.core.borrow();
        core.blocks
            .get(1)
            .coroutine
            .as_ref()
            .map_or(0, |coroutine| coroutine.traces())
    }

    #[test]
    fn whoever_is_parked_for_long_loses_the_dead_pages_once() {
        let ethread = thread::spawn(|| {
            let before = deep(40);
            thread::park();
            assert_eq!(deep(40), before);
            thread::park();
        });
        thread::yield_now();
        let scheduler = current::get().expect("spawning has made it");
        let later = |scheduler: &Scheduler| {
            scheduler
                .now
                .set(scheduler.now.get() + PAUSE.as_nanos() as u64);
            scheduler.sweep()
        };
        assert!(traces(&scheduler) > 0);
        for _ in 0..LONG {
            assert_ne!(later(&scheduler), NEVER);
            assert!(traces(&scheduler) > 0, "its park is not long yet");
        }
        later(&scheduler);
        assert_eq!(traces(&scheduler), 0);
        assert_eq!(later(&scheduler), NEVER, "nobody is left to be trimmed");

        // It runs on, and its next park counts anew.
        ethread.thread().unpark();
        thread::yield_now();
        assert!(traces(&scheduler) > 0);
        assert_ne!(scheduler.sweep.get().at, NEVER);
        ethread.thread().unpark();
        ethread.join().expect("its frames are whole");
    }
}
