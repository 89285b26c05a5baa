//! Ticks at regular times.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::time::Duration;

use super::Instant;
use crate::runtime::scheduler::park;

/// What an [`Interval`] does about ticks that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissedTick {
    /// Delivers all missed ticks at once, and keeps the old schedule.
    #[default]
    Burst,
    /// Delivers one of them, and the next ticks a period apart from then on.
    Delay,
    /// Delivers one of them, drops the rest, and keeps the old schedule.
    Skip,
}

/// Ticks at regular times. Made by [`interval`] and [`interval_at`].
#[derive(Clone, Debug)]
pub struct Interval {
    next: Instant,
    period: Duration,
    missed: MissedTick,
}

/// Makes an interval whose first tick is immediate; the next ticks follow every `period`.
///
/// # Panics
///
/// If `period` is zero.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::time;
///
/// ethreads::run_main(|| {
///     let mut ticks = time::interval(Duration::from_millis(2));
///     let first = ticks.tick();
///     let second = ticks.tick();
///     assert_eq!(second.duration_since(first), Duration::from_millis(2));
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[must_use]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Makes an interval whose first tick is at `start`; the next ticks follow every `period` after it.
///
/// # Panics
///
/// If `period` is zero.
#[must_use]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(
        !period.is_zero(),
        "the period of an interval must not be zero"
    );
    Interval {
        next: start,
        period,
        missed: MissedTick::default(),
    }
}

impl Interval {
    /// Sets what happens to missed ticks: [`MissedTick::Burst`] unless set.
    #[must_use]
    pub fn missed_tick(mut self, missed: MissedTick) -> Self {
        self.missed = missed;
        self
    }

    /// Returns the period.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Suspends the ethread until the next tick; returns the time at which that tick was due.
    ///
    /// Returns at once while the caller unwinds.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here. The tick is not lost: the next call delivers it.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`.
    #[track_caller]
    pub fn tick(&mut self) -> Instant {
        let due = self.next;
        park::sleep_until(due.as_nanos(), Location::caller());
        self.next = match self.missed {
            MissedTick::Burst => after(due, self.period),
            MissedTick::Delay => {
                let now = Instant::now();
                let is_late = now.duration_since(due) >= self.period;
                after(if is_late { now } else { due }, self.period)
            }
            MissedTick::Skip => {
                let late = Instant::now().duration_since(due).as_nanos();
                // Whole periods, so that the rest of the last period is waited for.
                let periods = late / self.period.as_nanos() + 1;
                let ahead = periods.saturating_mul(self.period.as_nanos());
                after(
                    due,
                    Duration::from_nanos(u64::try_from(ahead).unwrap_or(u64::MAX)),
                )
            }
        };
        due
    }

    /// Makes the next tick come a period from now.
    pub fn reset(&mut self) {
        self.next = after(Instant::now(), self.period);
    }
}

/// `at` later by `period`; in centuries, if an instant cannot represent that.
fn after(at: Instant, period: Duration) -> Instant {
    at.checked_add(period).unwrap_or(Instant::LATEST)
}
