//! A connection of two Unix sockets.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::super::socket::{Socket, with_pauses};
use crate::net::mirror::mirror;
use crate::runtime::driver::{ops, socket};
use crate::runtime::io::by_value::by_value;
use crate::runtime::io::operation::Limit;
use crate::runtime::io::source::check_world;
use crate::runtime::state::slots::Direction;

/// A Unix stream socket, as [`std::os::unix::net::UnixStream`]: where that blocks the OS thread,
/// this suspends the ethread.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use ethreads::net::UnixStream;
///
/// ethreads::run_main(|| {
///     let (mut ours, mut theirs) = UnixStream::pair()?;
///     ethreads::spawn(move || theirs.write_all(b"hello"));
///     let mut text = String::new();
///     ours.read_to_string(&mut text)?;
///     assert_eq!(text, "hello");
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UnixStream(Socket);

impl UnixStream {
    /// Connects to the socket at a path; suspends the ethread while the listener's queue is full.
    ///
    /// # Errors
    ///
    /// `NotFound`, `ConnectionRefused` and so on; `InvalidInput` for a path that is too long;
    /// `Unsupported` under the simulation driver.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and the attempt ends.
    #[track_caller]
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to an address; suspends the ethread while the listener's queue is full.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancellation
    ///
    /// As [`connect`](Self::connect).
    #[track_caller]
    pub fn connect_addr(addr: &SocketAddr) -> io::Result<Self> {
        check_world()?;
        let socket = Socket::new(socket::unix_stream()?);
        with_pauses(Limit::Never, || socket::unix_connect(socket.fd(), addr))?;
        Ok(Self(socket))
    }

    /// Makes two sockets that are connected with each other.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2); `Unsupported` under the simulation driver.
    pub fn pair() -> io::Result<(Self, Self)> {
        check_world()?;
        let (a, b) = socket::unix_stream_pair()?;
        Ok((Self(Socket::new(a)), Self(Socket::new(b))))
    }

    /// Returns the address of this end.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::unix_local_addr(self.fd())
    }

    /// Returns the address of the other end.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        socket::unix_peer_addr(self.fd())
    }

    /// Shuts down the reading half, the writing half or both. All waiters there are woken: a read
    /// returns `Ok(0)`, a write fails.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        socket::shutdown(self.fd(), how)
    }
}

mirror!(handle of UnixStream);
mirror!(timeouts of UnixStream);

impl Read for &UnixStream {
    /// Reads what has arrived; suspends the ethread until there is data, or the read timeout is
    /// over (`TimedOut`). `Ok(0)` is the end.
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|fd| ops::recv(fd, buf, false))
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.read_with(|fd| ops::read_vectored(fd, bufs))
    }
}

impl Write for &UnixStream {
    /// Writes as much as the connection takes at once; suspends the ethread until there is room, or
    /// the write timeout is over (`TimedOut`).
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_with(|fd| ops::send(fd, buf))
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_with(|fd| ops::send_vectored(fd, bufs))
    }

    /// Does nothing: nothing is buffered here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

by_value!(impl Read for UnixStream);
by_value!(impl Write for UnixStream);

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("UnixStream");
        debug.field("fd", &self.fd().as_raw_fd());
        if let Ok(addr) = self.local_addr() {
            debug.field("local", &addr);
        }
        if let Ok(peer) = self.peer_addr() {
            debug.field("peer", &peer);
        }
        debug.finish()
    }
}
