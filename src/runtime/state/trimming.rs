//! Gives back the unused stack pages of ethreads that have been parked for long.
//!
//! An ethread may have used much of its stack once, and then wait in a shallow call for hours. From
//! time to time the shard visits its ethreads, a few at each turn in which no ethread is ready. An
//! ethread that was already parked at the last two visits loses the dead part of its stack, once
//! per park.

use std::time::Duration;

use super::control_block::{Blocks, RunState};
use crate::runtime::base::wait::NEVER;

/// From the end of one round to the beginning of the next.
const PAUSE: Duration = Duration::from_secs(5);

/// Ethreads visited in one turn.
const AT_ONCE: usize = 256;

/// Visits after which a park is long.
const LONG: u8 = 2;

/// The position of the stack trimming.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime) struct Trimming {
    /// When the next visits are due; [`NEVER`] while no ethread has run since a round that found
    /// all ethreads trimmed.
    at: u64,
    /// The place of the next visit.
    place: u32,
    /// This round has visited an ethread whose park is not long yet.
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

    /// Makes the visits that are due, and returns when the next visits are due.
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
            if block.state != RunState::Parked || block.visits > LONG {
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

    /// How many bytes the parked ethread in place 1 has left below its frames.
    fn traces(scheduler: &Scheduler) -> usize {
        let core = scheduler.core.borrow();
        core.blocks
            .get(1)
            .coroutine
            .as_ref()
            .map_or(0, |coroutine| coroutine.traces())
    }

    #[test]
    fn an_ethread_parked_for_long_loses_the_dead_pages_once() {
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
        assert_eq!(later(&scheduler), NEVER, "no ethread is left to be trimmed");

        // The ethread runs on, and its next park counts anew.
        ethread.thread().unpark();
        thread::yield_now();
        assert!(traces(&scheduler) > 0);
        assert!(!scheduler.trimming.get().is_done());
        ethread.thread().unpark();
        ethread.join().expect("its frames are whole");
    }
}
