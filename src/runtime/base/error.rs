//! The errors of calls that cannot wait, or that have waited in vain.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::panic::Location;

/// The error of an operation that would have to wait while its ethread unwinds.
///
/// It is the source of an [`io::Error`] of kind `Other`. A destructor that runs while its ethread
/// unwinds must not wait, because the standard library counts panics per OS thread.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WouldPark {
    /// The line of the call.
    pub location: &'static Location<'static>,
}

impl fmt::Display for WouldPark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the call at {} would have to wait while its ethread unwinds; spawn an ethread for \
             cleanup that waits",
            self.location
        )
    }
}

impl std::error::Error for WouldPark {}

/// The panic payload of an ethread that was cancelled, as `join` returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ethread was cancelled")
    }
}

impl std::error::Error for Cancelled {}

/// The error of a wait that ended because the deadline of its scope has passed.
///
/// [`timeout`](crate::time::timeout) and [`deadline`](crate::time::deadline) return it. It is also
/// the source of the [`io::Error`] of kind `TimedOut` with which calls in their scope fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elapsed {
    /// The line that opened the scope.
    pub scope: &'static Location<'static>,
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the deadline of the scope at {} has passed", self.scope)
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Whether an error is that of a call in a scope whose deadline has passed.
#[cfg(feature = "http")]
pub(crate) fn is_elapsed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<Elapsed>())
}

/// The error of an operation on a source that was closed meanwhile.
#[cold]
pub(in crate::runtime) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the source was closed")
}
