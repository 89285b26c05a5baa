//! Any descriptor, read and written by ethreads.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::Location;
use std::sync::Arc;

use super::description::{Description, copy_from, copy_to};
use super::watched::Watched;
use crate::runtime::base::wait::WaitKind;
use crate::runtime::driver::ops::{self, FdKind};
use crate::runtime::io::by_value::by_value;
use crate::runtime::io::operation::{Left, Limit, Operation};
use crate::runtime::io::registration::Registration;
use crate::runtime::io::source::{Source, check_world};
use crate::runtime::scheduler::origin::Origin;
use crate::runtime::state::slots::Direction;

/// The most that a port in blocking mode writes at once: a pipe that is writable has room for it
/// (`PIPE_BUF`, pipe(7)).
const BOUNDED: usize = 4096;

/// A port: a descriptor of any kind, read and written like a blocking one, but a wait suspends the
/// ethread instead of the OS thread.
///
/// Any number of ethreads, on any OS threads, may wait for a port in either direction. A port reads
/// and writes at once and buffers nothing; [`BufReader`](std::io::BufReader) and
/// [`BufWriter`](std::io::BufWriter) do that. The port uses only the descriptor of its owner `T`,
/// which must not change.
///
/// Regular files, which are always ready, are read and written on a pool of OS threads. The result
/// of a cancelled call goes to the next call, as with [`fs::File`](crate::fs::File).
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use ethreads::io::Eport;
///
/// ethreads::run_main(|| {
///     let (reader, writer) = std::io::pipe()?;
///     let (mut reader, mut writer) = (Eport::new(reader)?, Eport::new(writer)?);
///     let text = ethreads::spawn(move || {
///         let mut text = String::new();
///         reader.read_to_string(&mut text).map(|_| text)
///     });
///     writer.write_all(b"through a pipe")?;
///     drop(writer);
///     assert_eq!(text.join().expect("no panic")?, "through a pipe");
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "AsyncFd")]
#[derive(Debug)]
pub struct Eport<T: AsFd> {
    watched: Watched<T>,
    kind: FdKind,
    /// The state of a regular file that the pool uses; `None` for other descriptors.
    file: Option<Arc<Description>>,
    /// The descriptor may be in blocking mode, which the port must not change: each call is made
    /// only when poll(2) reports that it does not block.
    shared: bool,
    /// The port has switched blocking mode off; [`Eport::into_inner`] restores it.
    restore: bool,
}

impl<T: AsFd> Eport<T> {
    /// Makes a port of a descriptor and switches it to non-blocking mode.
    ///
    /// The mode belongs to the open file description: duplicates of the descriptor, in this process
    /// or another, change with it. If there are any, use [`new_shared`](Self::new_shared).
    ///
    /// # Errors
    ///
    /// Those of fcntl(2); `Unsupported` under the simulation driver.
    pub fn new(io: T) -> io::Result<Self> {
        check_world()?;
        let kind = ops::kind(io.as_fd())?;
        let restore = kind != FdKind::File && !ops::is_nonblocking(io.as_fd())?;
        if restore {
            ops::set_nonblocking(io.as_fd(), true)?;
        }
        Ok(Self {
            shared: false,
            restore,
            ..Self::with_kind(io, kind)
        })
    }

    /// Makes a port of a descriptor and leaves its mode alone: for descriptors that are shared with
    /// other processes, such as the terminal.
    ///
    /// Each call waits until the descriptor is ready and then moves as much as it can at once, at
    /// most 4,096 bytes in a write. If another process takes the input in between, the call blocks
    /// the OS thread.
    ///
    /// # Errors
    ///
    /// Those of fstat(2); `Unsupported` under the simulation driver.
    pub fn new_shared(io: T) -> io::Result<Self> {
        check_world()?;
        let kind = ops::kind(io.as_fd())?;
        Ok(Self::with_kind(io, kind))
    }

    pub(super) fn with_kind(io: T, kind: FdKind) -> Self {
        Self {
            file: (kind == FdKind::File).then(|| Description::new(io.as_fd())),
            watched: Watched::new(io),
            kind,
            shared: true,
            restore: false,
        }
    }

    /// Makes a port of a descriptor that is not a regular file. [`into_inner`](Self::into_inner)
    /// switches it to blocking mode.
    pub(super) fn adopt(io: T) -> Self {
        // A descriptor that refuses this is no pipe; its first operation returns the error.
        let _ = ops::set_nonblocking(io.as_fd(), true);
        Self {
            shared: false,
            restore: true,
            ..Self::with_kind(io, FdKind::Other)
        }
    }

    /// Returns the owner of the descriptor.
    pub fn get_ref(&self) -> &T {
        self.watched.get()
    }

    /// Takes the port apart. Blocking mode is restored if the port has switched it off.
    ///
    /// The position of a regular file is behind the last read or write. An operation whose ethread
    /// was cancelled may still move it; [`flush`](Write::flush) waits for such an operation.
    pub fn into_inner(self) -> T {
        let restore = self.restore;
        if let Ok(Some((file, shared))) = self.on_pool() {
            shared.settle_now(&file);
        }
        let io = self.watched.into_inner();
        if restore {
            // The mode could be switched off, so it can be switched on.
            let _ = ops::set_nonblocking(io.as_fd(), false);
        }
        io
    }

    /// Ends all use of the port. Operations that wait for it, and all later ones, fail with
    /// `NotConnected`. A socket is shut down, which its peer notices; the descriptor itself is
    /// closed when the port is dropped.
    ///
    /// An OS thread without ethreads that waits for anything but a socket notices the close only at
    /// the next event.
    pub fn close(&self) {
        self.watched.close();
    }

    /// Calls `f`. While the result is `WouldBlock`, suspends the ethread until there is input, and
    /// calls `f` again.
    ///
    /// For calls that are neither `read` nor `write`, such as `recvmsg` or `accept`. `f` must not
    /// block: the descriptor is in non-blocking mode, unless the port was made by
    /// [`new_shared`](Self::new_shared) or is a regular file.
    ///
    /// # Errors
    ///
    /// The errors of `f`, but for `WouldBlock` and `Interrupted`; `NotConnected` after a
    /// [`close`](Self::close).
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and not from within `f`.
    #[track_caller]
    pub fn read_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.perform(Direction::Read, f)
    }

    /// Calls `f`. While the result is `WouldBlock`, suspends the ethread until there is room for
    /// output, and calls `f` again. See [`read_with`](Self::read_with).
    ///
    /// # Errors
    ///
    /// As [`read_with`](Self::read_with).
    ///
    /// # Cancellation
    ///
    /// As [`read_with`](Self::read_with).
    #[track_caller]
    pub fn write_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.perform(Direction::Write, f)
    }

    #[track_caller]
    fn perform<R>(
        &self,
        direction: Direction,
        mut f: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let (kind, read) = match direction {
            Direction::Read => (WaitKind::Read, true),
            Direction::Write => (WaitKind::Write, false),
        };
        let operation = Operation {
            direction,
            kind,
            limit: Limit::Never,
            location: Location::caller(),
        };
        loop {
            // `f` is user code: it may move this frame to another ethread, or end the run. Then the
            // wait is repeated in that ethread. `origin` keeps the scheduler alive until then.
            let origin = Origin::anywhere();
            let mut has_moved = false;
            let result = self.watched.perform(
                operation,
                |_| Left::Unknown,
                |io| {
                    let result = if self.shared && !ops::is_ready(io.as_fd(), read)? {
                        Err(io::ErrorKind::WouldBlock.into())
                    } else {
                        f(io)
                    };
                    let blocked = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
                    has_moved = result.as_ref().is_err_and(blocked) && !origin.is_here();
                    if has_moved {
                        return Err(io::ErrorKind::Other.into());
                    }
                    result
                },
            );
            if !has_moved {
                return result;
            }
        }
    }

    /// A regular file for the pool: a duplicate of the descriptor, and the shared state.
    fn on_pool(&self) -> io::Result<Option<(File, &Arc<Description>)>> {
        let Some(shared) = &self.file else {
            return Ok(None);
        };
        self.watched.registration().check_open()?;
        Ok(Some((self.as_fd().try_clone_to_owned()?.into(), shared)))
    }
}

impl<T: AsFd> Read for &Eport<T> {
    /// Reads available bytes; suspends the ethread until there are some. `Ok(0)` is the end of the
    /// input.
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.on_pool()? {
            Some((file, shared)) => shared.read(file, buf.len(), Location::caller(), copy_to(buf)),
            None => self.read_with(|io| ops::read(io.as_fd(), buf)),
        }
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if self.file.is_some() {
            let first = bufs.iter_mut().find(|buf| !buf.is_empty());
            return first.map_or(Ok(0), |buf| self.read(buf));
        }
        self.read_with(|io| ops::read_vectored(io.as_fd(), bufs))
    }
}

impl<T: AsFd> Write for &Eport<T> {
    /// Writes as much as it can at once; suspends the ethread until there is room.
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Some((file, shared)) = self.on_pool()? {
            return shared.write(file, buf.len(), Location::caller(), copy_from(buf));
        }
        let bounded = &buf[..buf
            .len()
            .min(if self.shared { BOUNDED } else { usize::MAX })];
        match self.kind {
            FdKind::Socket => self.write_with(|io| ops::send(io.as_fd(), bounded)),
            _ => self.write_with(|io| ops::write(io.as_fd(), bounded)),
        }
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.shared || self.file.is_some() {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            return self.write(first.map_or(&[], |buf| buf));
        }
        match self.kind {
            FdKind::Socket => self.write_with(|io| ops::send_vectored(io.as_fd(), bufs)),
            _ => self.write_with(|io| ops::write_vectored(io.as_fd(), bufs)),
        }
    }

    /// For a regular file, suspends the ethread until a write that is under way has ended, and
    /// returns the error of a cancelled write. Otherwise does nothing, as a port has no buffer.
    #[track_caller]
    fn flush(&mut self) -> io::Result<()> {
        match &self.file {
            Some(shared) => shared.flush(Location::caller()),
            None => Ok(()),
        }
    }
}

by_value!(impl<T: AsFd> Read for Eport<T>);
by_value!(impl<T: AsFd> Write for Eport<T>);

impl<T: AsFd> AsFd for Eport<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watched.fd()
    }
}

impl<T: AsFd> AsRawFd for Eport<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<T: AsFd> Source for Eport<T> {
    fn registration(&self) -> &Registration {
        self.watched.registration()
    }
}
