//! The counters of a shard, and a snapshot of them.
#![forbid(unsafe_code)]

use std::cell::Cell;

use crate::runtime::driver::DriverKind;
pub use crate::runtime::stack::StackCounters;

/// What a shard counts, from its beginning on. [`Stats`] says what each counter means.
///
/// Plain cells: another OS thread asks the shard for a snapshot. What follows from other state is
/// not counted again: the ethreads that have ended, and the runs, which the heartbeat numbers.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Metrics {
    pub(in crate::runtime) spawned: Counter,
    pub(in crate::runtime) panicked: Counter,
    pub(in crate::runtime) cancelled: Counter,
    pub(in crate::runtime) turns: Counter,
    pub(in crate::runtime) polls: Counter,
    pub(in crate::runtime) waits: Counter,
    pub(in crate::runtime) events: Counter,
    pub(in crate::runtime) timers_fired: Counter,
    pub(in crate::runtime) remote_wakes: Counter,
    pub(in crate::runtime) blocking_calls: Counter,
    pub(in crate::runtime) budget_yields: Counter,
    pub(in crate::runtime) overdue: Counter,
}

/// A counter of one OS thread.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Counter(Cell<u64>);

impl Counter {
    #[inline]
    pub(in crate::runtime) fn add(&self, count: u64) {
        self.0.set(self.0.get().wrapping_add(count));
    }

    pub(in crate::runtime) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A snapshot of a shard: what there is now, and what it has counted since it began. See
/// [`stats`](crate::runtime::stats) and [`Shard::stats`](crate::runtime::Shard::stats).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The driver in use.
    pub driver: DriverKind,
    /// Ethreads that have not ended, starters included.
    pub ethreads: usize,
    /// Ethreads that are ready to run.
    pub ready: usize,
    /// Entries in the timer wheel.
    pub timers: usize,
    /// Scopes that ethreads are in: of timeouts and of children, and masks within them.
    pub scopes: usize,
    /// Waits on descriptors.
    pub io_waits: usize,
    /// Descriptors known to the driver.
    pub sources: usize,
    /// Stacks and their memory.
    pub stacks: StackCounters,
    /// Counts the ethreads that have begun or are to begin, starters and the library's own
    /// included.
    pub spawned: u64,
    /// Counts the ethreads that have ended.
    pub ended: u64,
    /// Counts the panics of ethreads whose handles were dropped. A panic that a join returns is not
    /// counted.
    pub panicked: u64,
    /// Counts the ethreads that were ended by a cancel, or by a deadline that they have inherited.
    pub cancelled: u64,
    /// Counts the runs of ethreads, from a resume to the next suspension or the end. A run in
    /// progress is not counted.
    pub runs: u64,
    /// Counts the turns of the event loop, each after a batch of runs: see
    /// [the module](crate::runtime#scheduling).
    pub turns: u64,
    /// Counts the calls of the driver.
    pub polls: u64,
    /// Counts those of the `polls` that may wait, because no ethread was ready.
    pub waits: u64,
    /// Counts the events of descriptors that the driver has reported.
    pub events: u64,
    /// Counts the waits that have ended at a deadline: sleeps, timeouts, deadlines of scopes.
    pub timers_fired: u64,
    /// Counts the wake-ups from other OS threads: by `unpark`, by wakers of futures, by
    /// [`sync::remote`](crate::sync::remote), and by blocking calls that have ended.
    pub remote_wakes: u64,
    /// Counts the calls that ethreads have handed to the pool of OS threads: calls of
    /// [`blocking`](crate::bridge::blocking), of [`fs`](crate::fs), and look-ups of names.
    pub blocking_calls: u64,
    /// Counts the yields that the budget of operations has forced.
    pub budget_yields: u64,
    /// Counts the batches that the watchdog has ended, as the shard had not looked for events for 5
    /// to 10 ms.
    pub overdue: u64,
}
