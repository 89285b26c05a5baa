//! The standard streams, without blocking the shard.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;

use super::convert::conversions;
use super::eport::Eport;
use crate::runtime::driver::ops::{self, FdKind};
use crate::runtime::io::by_value::by_value;

/// The streams belong to the process, and so do their ports. A stream that is not open is treated
/// like a pipe: its first call returns the error.
fn port<T: AsFd>(io: T) -> Eport<T> {
    let kind = ops::kind(io.as_fd()).unwrap_or(FdKind::Other);
    Eport::with_kind(io, kind)
}

/// A handle of the process's standard input. Made by [`stdin`].
#[derive(Clone, Debug)]
pub struct Stdin(&'static Eport<io::Stdin>);

/// A handle of the process's standard output. Made by [`stdout`].
#[derive(Clone, Debug)]
pub struct Stdout(&'static Eport<io::Stdout>);

/// A handle of the process's standard error. Made by [`stderr`].
#[derive(Clone, Debug)]
pub struct Stderr(&'static Eport<io::Stderr>);

/// Returns a handle of the standard input, whose reads suspend the ethread and not the OS thread.
///
/// Unlike std's handle it has no buffer, and so no lines: wrap it in a
/// [`BufReader`](std::io::BufReader), and keep that reader as long as lines are read, since it
/// holds what it has read ahead. Do not mix this with [`std::io::stdin`], which has a buffer too.
///
/// # Examples
///
/// ```no_run
/// use std::io::{BufRead, BufReader};
/// use ethreads::io;
///
/// ethreads::run_main(|| {
///     for line in BufReader::new(io::stdin()).lines() {
///         println!("you said {:?}", line?);
///     }
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn stdin() -> Stdin {
    static PORT: OnceLock<Eport<io::Stdin>> = OnceLock::new();
    Stdin(PORT.get_or_init(|| port(io::stdin())))
}

/// Returns a handle of the standard output, whose writes suspend the ethread and not the OS thread.
///
/// Unlike std's handle it has no buffer. Each write is one call of at most 4,096 bytes (a pipe, a
/// terminal) or one job for the pool (a file); wrap it in a [`LineWriter`](std::io::LineWriter) for
/// many small writes.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use ethreads::io;
///
/// ethreads::run_main(|| writeln!(io::stdout(), "hello"))??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn stdout() -> Stdout {
    static PORT: OnceLock<Eport<io::Stdout>> = OnceLock::new();
    Stdout(PORT.get_or_init(|| port(io::stdout())))
}

/// Returns a handle of the standard error, whose writes suspend the ethread and not the OS thread.
pub fn stderr() -> Stderr {
    static PORT: OnceLock<Eport<io::Stderr>> = OnceLock::new();
    Stderr(PORT.get_or_init(|| port(io::stderr())))
}

impl Read for &Stdin {
    /// Reads what is there; suspends the ethread until something is. `Ok(0)` is the end.
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut port = self.0;
        port.read(buf)
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut port = self.0;
        port.read_vectored(bufs)
    }
}

by_value!(impl Read for Stdin);
conversions!(descriptor of Stdin);

/// Both output streams are alike.
macro_rules! output {
    ($handle:ident) => {
        impl Write for &$handle {
            /// Writes as much as it can at once; suspends the ethread until there is room.
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                let mut port = self.0;
                port.write(buf)
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                let mut port = self.0;
                port.write_vectored(bufs)
            }

            /// Suspends the ethread as [`Eport::flush`] does: nothing is buffered here.
            #[track_caller]
            fn flush(&mut self) -> io::Result<()> {
                let mut port = self.0;
                port.flush()
            }
        }

        by_value!(impl Write for $handle);
        conversions!(descriptor of $handle);
    };
}

output!(Stdout);
output!(Stderr);
