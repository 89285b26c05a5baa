//! Deadlines on the shard's clock.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::runtime::base::wait::deadline_after;
use crate::runtime::scheduler::current;

/// A point in time on the shard's clock, in nanoseconds.
pub(crate) type Deadline = u64;

/// Returns the deadline that is `timeout` after the beginning of this turn of the scheduler. Does
/// not read the clock.
pub(crate) fn deadline_in(timeout: Duration) -> Deadline {
    deadline_after(turn_began(), timeout)
}

/// When this turn of the scheduler began, on the shard's clock.
pub(crate) fn turn_began() -> Deadline {
    current::with(|scheduler| scheduler.map_or(0, |scheduler| scheduler.turn_began()))
}

/// Returns the deadline that is `timeout` from now. Reads the clock, so the length of this turn
/// does not matter.
pub(crate) fn deadline_from_now(timeout: Duration) -> Deadline {
    let now = current::with(|scheduler| scheduler.map_or(0, |scheduler| scheduler.clock()));
    deadline_after(now, timeout)
}
