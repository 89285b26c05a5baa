//! The counters of a shard, and a snapshot of them.
#![forbid(unsafe_code)]

use std::cell::Cell;

use crate::runtime::driver::DriverKind;
pub use crate::runtime::stack::StackCounters;

/// The counters of a shard. [`Stats`] documents each of them.
///
/// They are not atomic: another OS thread asks the shard for a snapshot. The numbers of ended
/// ethreads and of runs are not here, as they follow from other state.
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

/// A counter that one OS thread reads and writes.
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

/// A snapshot of a shard: present numbers, and counts since the shard began. See
/// [`stats`](crate::runtime::stats) and [`Shard::stats`](crate::runtime::Shard::stats).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The driver in use.
    pub driver: DriverKind,
    /// Ethreads that have not ended, and waits by [`on_ready`](crate::bridge::on_ready).
    pub ethreads: usize,
    /// Ethreads that are ready to run.
    pub ready: usize,
    /// Entries in the timer wheel.
    pub timers: usize,
    /// Open scopes: those of timeouts, those of children, and `uncancellable` calls in them.
    pub scopes: usize,
    /// Waits on descriptors, and handlers that end when their client leaves.
    pub io_waits: usize,
    /// Descriptors known to the driver.
    pub sources: usize,
    /// The numbers of stacks, and their memory.
    pub stacks: StackCounters,
    /// Counts spawns, including ethreads of the library and waits by
    /// [`on_ready`](crate::bridge::on_ready).
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
    /// Counts the polls of the driver.
    pub polls: u64,
    /// Counts the `polls` that were allowed to wait, because no ethread was ready.
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
    /// Counts the yields that were forced after 128 operations without a wait.
    pub budget_yields: u64,
    /// Counts the batches that the watchdog has ended, because the shard had not looked for events
    /// for 5 to 10 ms.
    pub overdue: u64,
}
