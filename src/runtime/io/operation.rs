//! One operation on a source: what it waits for, how long, and what its success proves.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use crate::runtime::base::error::WouldPark;
use crate::runtime::base::wait::{CallSite, NEVER, Reason, WaitKind, deadline_after};
use crate::runtime::state::slots::Direction;

/// What a success proves about the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing.
    Unknown,
    /// The next try would block: a stream gave or took less than was asked for.
    Nothing,
}

/// How long an operation may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Forever.
    Never,
    /// This long, counted from the start of the wait: an operation that need not wait reads no
    /// clock.
    After(Duration),
    /// Until this time on the driver's clock; `u64::MAX` never comes.
    At(u64),
    /// Not at all: it fails with `WouldBlock`.
    Now,
}

impl Limit {
    /// The limit that a timeout sets; `None` is for ever.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero, as std's sockets.
    pub(crate) fn within(timeout: Option<Duration>) -> io::Result<Self> {
        match timeout {
            Some(Duration::ZERO) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "cannot set a 0 duration timeout",
            )),
            timeout => Ok(timeout.map_or(Self::Never, Self::After)),
        }
    }

    pub(crate) fn deadline(self, now: impl FnOnce() -> u64) -> u64 {
        match self {
            Self::Never => NEVER,
            Self::After(timeout) => deadline_after(now(), timeout),
            Self::At(deadline) => deadline,
            Self::Now => 0,
        }
    }
}

/// One operation as the protocol sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) direction: Direction,
    pub(crate) kind: WaitKind,
    pub(crate) limit: Limit,
    pub(crate) location: CallSite,
}

impl Operation {
    #[cold]
    pub(super) fn would_park(&self) -> io::Error {
        let location = self.location;
        io::Error::other(WouldPark { location })
    }

    #[cold]
    pub(super) fn timed_out(&self) -> io::Error {
        let what = match self.kind {
            WaitKind::Write => "write",
            WaitKind::Accept => "accept",
            WaitKind::Connect => "connect",
            _ => "read",
        };
        io::Error::new(io::ErrorKind::TimedOut, format!("{what} timed out"))
    }

    /// The reason of a wait for this operation on `fd`.
    pub(super) fn reason(&self, fd: BorrowedFd<'_>) -> Reason {
        Reason {
            kind: self.kind,
            detail: fd.as_raw_fd() as u64,
            location: self.location,
        }
    }
}
