//! The errors of operations on sources that do not come from the system call.
#![forbid(unsafe_code)]

use std::io;

use super::operation::Operation;
use crate::runtime::base::error::WouldPark;
use crate::runtime::base::wait::WaitKind;

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
