//! Gives back what ethreads that have been parked for long do not use of their stacks.
//!
//! An ethread may have been deep once, and wait shallow for hours. Now and then the shard goes
//! through its ethreads, a few at each turn in which nobody is ready; whoever was parked already
//! at the last two visits loses the dead part of its stack, once per park.

use std::time::Duration;

use super::control_block::{Blocks, State};
use crate::runtime::base::wait::NEVER;

/// From the end of one round to the beginning of the next.
const PAUSE: Duration = Duration::from_secs(5);

/// Ethreads looked at in one turn.
const AT_ONCE: usize = 256;

/// Visits after which a park is long.
const LONG: u8 = 2;

/// Where the sweep is.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime) struct Trimming {
    /// When the next visits are due; [`NEVER`] while nobody has run since a round that found
    /// everybody trimmed.
    at: u64,
    /// The place of the next visit.
    place: u32,
    /// Somebody was met in this round whose park is not long yet.
    unfinished: bool,
}

impl Default for Trimming {
    fn default() -> Self {
        Self {
            at: NEVER,
            place: 1,
            unfinished: false,
        }
    }
}

impl Trimming {
    /// Whether there is nothing to visit before an ethread runs again.
    #[inline]
    pub(in crate::runtime) fn is_done(&self) -> bool {
        self.at == NEVER
    }

    pub(in crate::runtime) fn begin_round(&mut self, now: u64) {
        *self = Self {
            at: now.saturating_add(PAUSE.as_nanos() as u64),
            ..Self::default()
        };
    }

    /// Makes the visits that are due, and says when the next ones are.
    pub(in crate::runtime) fn visit(&mut self, blocks: &mut Blocks, now: u64) -> u64 {
        if self.at > now {
            return self.at;
        }
        let end = blocks.places();
        for _ in 0..AT_ONCE {
            if self.place >= end {
                break;
            }
            let block = blocks.get_mut(self.place);
            self.place += 1;
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
                self.unfinished = true;
            }
        }
        match (self.place < end, self.unfinished) {
            (true, _) => {}
            (false, true) => self.begin_round(now),
            (false, false) => *self = Self::default(),
        }
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::scheduler::current;
    use crate::runtime::scheduler::event_loop::Scheduler;
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
            scheduler.visit_parked()
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
        assert!(!scheduler.trimming.get().is_done());
        ethread.thread().unpark();
        ethread.join().expect("its frames are whole");
    }
}
