//! The clock of this OS thread's shard, as programs see it.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use super::current;
use crate::runtime::driver::monotonic_now;

/// A point in time, as [`std::time::Instant`], read from the driver of this shard.
///
/// Under the real drivers and on OS threads without ethreads it is the system's monotonic clock,
/// so that instants of different shards compare. Virtual instants compare within their simulation
/// only.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::time::Instant;
///
/// let start = Instant::now();
/// assert!(start + Duration::from_millis(1) > start);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    nanos: u64,
}

impl Instant {
    /// Later than every event, and yet a valid time.
    pub(crate) const LATEST: Self = Self {
        nanos: crate::runtime::base::wait::NEVER - 1,
    };

    /// Returns the time now.
    #[must_use]
    pub fn now() -> Self {
        let nanos = current::with(|scheduler| scheduler.map_or_else(monotonic_now, |s| s.clock()));
        Self { nanos }
    }

    /// Returns the time from `earlier` to this, or zero if that is later.
    #[must_use]
    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }

    /// Returns the time from `earlier` to this; `None` if that is later.
    #[must_use]
    pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        self.nanos
            .checked_sub(earlier.nanos)
            .map(Duration::from_nanos)
    }

    /// Returns the time from `earlier` to this, or zero if that is later.
    #[must_use]
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }

    /// Returns the time since this.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    /// Returns the instant this much later; `None` if that cannot be represented (584 years).
    #[must_use]
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        Some(Self {
            nanos: self.nanos.checked_add(nanos)?,
        })
    }

    /// Returns the instant this much earlier; `None` if that cannot be represented.
    #[must_use]
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        Some(Self {
            nanos: self.nanos.checked_sub(nanos)?,
        })
    }

    pub(crate) fn as_nanos(self) -> u64 {
        self.nanos
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant")
            .field(&Duration::from_nanos(self.nanos))
            .finish()
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// # Panics
    ///
    /// If the result cannot be represented, as std's does.
    fn add(self, duration: Duration) -> Self {
        self.checked_add(duration)
            .expect("overflow when adding a duration to an instant")
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// # Panics
    ///
    /// If the result cannot be represented, as std's does.
    fn sub(self, duration: Duration) -> Self {
        self.checked_sub(duration)
            .expect("overflow when subtracting a duration from an instant")
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}
