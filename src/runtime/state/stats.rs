//! Plain counters of a shard.

use crate::runtime::driver::DriverKind;
pub use crate::runtime::stack::StackCounters;

/// A snapshot of a shard's counters. See [`stats`](crate::runtime::stats).
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
}
