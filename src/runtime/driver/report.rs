//! The limit of a wait, and its reports.
#![forbid(unsafe_code)]

use std::ops::BitOr;

/// How long [`Driver::wait`](super::Driver::wait) may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Not at all.
    Now,
    /// Until this time on the driver's clock, in nanoseconds.
    At(u64),
    /// Until something is reported or [`Remote::notify`](super::Remote::notify) is called.
    Event,
}

/// A set of the kinds of readiness that a report can contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness(u8);

impl Readiness {
    pub(super) const NONE: Self = Self(0);
    pub(crate) const READ: Self = Self(1);
    pub(crate) const WRITE: Self = Self(2);
    /// The peer's FIN, a hangup, an error or urgent data was seen.
    pub(crate) const HANGUP: Self = Self(4);

    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Readiness {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One report of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) key: u64,
    pub(crate) readiness: Readiness,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_a_set() {
        let both = Readiness::READ | Readiness::HANGUP;
        assert!(both.contains(Readiness::READ) && both.contains(Readiness::HANGUP));
        assert!(!both.contains(Readiness::WRITE));
    }
}
