//! Streams of users: anything that can be read and written.
//!
//! Such a stream is only read and written, and may wait in either; there is no way to try. So its
//! connection keeps its stack and a buffer while it is idle, its output is sent before each call of
//! a handler, and a time limit holds only where the stream waits by calls of this crate.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::panic::Location;
use std::time::Duration;

use super::deadline::deadline_from_now;
use crate::runtime::base::error::is_elapsed;
use crate::runtime::io::operation::Limit;
use crate::runtime::scheduler::current;
use crate::sync::Mutex;
use crate::time;

/// A stream of a user, with shared access.
pub(super) trait Io {
    fn read(&self, buf: &mut [u8]) -> io::Result<usize>;
    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;
    fn flush(&self) -> io::Result<()>;
}

/// A stream whose references can be read and written, so that both can wait at a time.
pub(super) struct FullDuplex<T>(pub(super) T);

impl<T> Io for FullDuplex<T>
where
    for<'a> &'a T: Read + Write,
{
    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buf)
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.0).write_vectored(bufs)
    }

    fn flush(&self) -> io::Result<()> {
        (&self.0).flush()
    }
}

/// A stream that does one thing at a time: a write waits until a read in progress has ended.
pub(super) struct HalfDuplex<T>(Mutex<T>);

impl<T> HalfDuplex<T> {
    pub(super) fn new(stream: T) -> Self {
        Self(Mutex::new(stream))
    }

    /// Calls `f` with the stream. A panic of an earlier call does not matter: the connection then
    /// reads no further request.
    fn with<R>(&self, f: impl FnOnce(&mut T) -> io::Result<R>) -> io::Result<R> {
        let mut stream = match self.0.lock() {
            Ok(stream) => stream,
            Err(poisoned) => poisoned.into_inner(),
        };
        f(&mut stream)
    }
}

impl<T: Read + Write> Io for HalfDuplex<T> {
    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.with(|stream| stream.read(buf))
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.with(|stream| stream.write_vectored(bufs))
    }

    fn flush(&self) -> io::Result<()> {
        self.with(Write::flush)
    }
}

/// A stream of a user as the stream of a connection.
pub(super) struct Boxed {
    io: Box<dyn Io>,
    /// The connection has ended this half. The stream itself cannot be told.
    read_ended: Cell<bool>,
    write_ended: Cell<bool>,
}

impl Boxed {
    pub(super) fn new(io: Box<dyn Io>) -> Self {
        Self {
            io,
            read_ended: Cell::new(false),
            write_ended: Cell::new(false),
        }
    }

    #[track_caller]
    pub(super) fn read(
        &self,
        buf: &mut [u8],
        limit: Limit,
        check: impl Fn() -> io::Result<()>,
    ) -> io::Result<usize> {
        check()?;
        if self.read_ended.get() {
            return Ok(0);
        }
        let got = within(limit, || self.io.read(buf))?;
        // What was read after the end of the request must not be taken for a part of it.
        check()?;
        at_most(buf.len(), got)
    }

    #[track_caller]
    pub(super) fn write(&self, bufs: &[IoSlice<'_>], limit: Limit) -> io::Result<usize> {
        if self.write_ended.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let written = within(limit, || self.io.write(bufs))?;
        at_most(bufs.iter().map(|buf| buf.len()).sum(), written)
    }

    #[track_caller]
    pub(super) fn flush(&self, limit: Limit) -> io::Result<()> {
        within(limit, || self.io.flush())
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        let ends = |half| how == half || how == Shutdown::Both;
        self.read_ended
            .set(self.read_ended.get() || ends(Shutdown::Read));
        self.write_ended
            .set(self.write_ended.get() || ends(Shutdown::Write));
    }
}

/// Returns `count`, which a stream of a user reports of `len` bytes, if it can be true.
fn at_most(len: usize, count: usize) -> io::Result<usize> {
    if count > len {
        return Err(io::Error::other(format!(
            "the stream reports {count} bytes, more than the {len} of the call"
        )));
    }
    Ok(count)
}

/// Calls `f` until it is not interrupted. Its waits end at the limit, with `TimedOut`.
#[track_caller]
fn within<R>(limit: Limit, mut f: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    let location = Location::caller();
    let mut call = || {
        loop {
            // The stream need not wait, so it might keep other ethreads from running, and pass all
            // time limits.
            current::with(|scheduler| scheduler.map_or(Ok(()), |s| s.spend_budget(location)))?;
            match f() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // There is nothing to wait for before the next try.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::other(
                        "the stream returned WouldBlock, but a boxed stream must wait",
                    ));
                }
                result => return result,
            }
        }
    };
    if limit == Limit::Never {
        return call();
    }
    let now = deadline_from_now(Duration::ZERO);
    let end = limit.deadline(|| now);
    match time::timeout(Duration::from_nanos(end.saturating_sub(now)), call) {
        // A deadline of an outer scope is not the connection's, and is passed on.
        Ok(Err(error)) if is_elapsed(&error) && deadline_from_now(Duration::ZERO) < end => {
            Err(error)
        }
        Ok(Err(error)) if is_elapsed(&error) => Err(io::ErrorKind::TimedOut.into()),
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
