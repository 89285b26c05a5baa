//! How operations on sources fail on this side of the system call.

use std::fmt;
use std::io;
use std::panic::Location;

use super::{Operation, WaitKind};

/// Why an operation failed that would have had to wait in an ethread that unwinds.
///
/// It is the source of an [`io::Error`] of kind `Other`: a destructor that runs while its ethread
/// unwinds may not wait, because the standard library counts panics per OS thread.
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

#[cold]
pub(super) fn would_park(operation: Operation) -> io::Error {
    io::Error::other(WouldPark {
        location: operation.location,
    })
}

#[cold]
pub(super) fn timed_out(operation: Operation) -> io::Error {
    let what = match operation.kind {
        WaitKind::Write => "write",
        WaitKind::Accept => "accept",
        WaitKind::Connect => "connect",
        _ => "read",
    };
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} timed out"))
}

#[cold]
pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the source was closed")
}
