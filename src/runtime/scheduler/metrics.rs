//! Snapshots of the counters.
#![forbid(unsafe_code)]

use super::event_loop::Scheduler;
use crate::runtime::state::metrics::Stats;

impl Scheduler {
    /// How many ethreads have panicked and were not joined, since the last call.
    pub(in crate::runtime) fn take_panics(&self) -> usize {
        let panicked = self.metrics.panicked.get();
        (panicked - self.reported_panics.replace(panicked)) as usize
    }

    pub(crate) fn stats(&self) -> Stats {
        let core = self.core.borrow();
        let metrics = &self.metrics;
        Stats {
            driver: self.kind,
            ethreads: core.blocks.live,
            ready: core.ready.iter(&core.blocks).count(),
            timers: core.timers.len(),
            scopes: core.scopes.len(),
            io_waits: core.io_waits,
            sources: self.sources.borrow().len(),
            stacks: self.stacks.borrow().counters(),
            spawned: metrics.spawned.get(),
            ended: metrics.spawned.get() - core.blocks.live as u64,
            panicked: metrics.panicked.get() + self.inbox.late_panics() as u64,
            cancelled: metrics.cancelled.get(),
            runs: self.heartbeat.runs(),
            turns: metrics.turns.get(),
            polls: metrics.polls.get(),
            waits: metrics.waits.get(),
            events: metrics.events.get(),
            timers_fired: metrics.timers_fired.get(),
            remote_wakes: metrics.remote_wakes.get(),
            blocking_calls: metrics.blocking_calls.get(),
            budget_yields: metrics.budget_yields.get(),
            overdue: metrics.overdue.get(),
        }
    }
}
