//! A TCP connection.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::Location;
use std::time::Duration;

use super::super::addr::{ToSocketAddrs, invalid};
use super::super::socket::Socket;
use super::race;
use crate::net::mirror::mirror;
use crate::runtime::base::wait::WaitKind;
use crate::runtime::driver::{ops, socket};
use crate::runtime::io::by_value::by_value;
use crate::runtime::io::operation::{Left, Limit};
use crate::runtime::io::source::check_world;
use crate::runtime::state::slots::Direction;

/// A TCP connection, as [`std::net::TcpStream`]: where that blocks the OS thread, this suspends
/// the ethread.
///
/// A stream is `Send + Sync` and may be read and written by any number of ethreads on any OS
/// threads, with or without a shard; the ethread that has waited longest is served first. Dropping
/// a stream closes the connection.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::Shutdown;
/// use ethreads::net::{TcpListener, TcpStream};
///
/// ethreads::run_main(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let addr = listener.local_addr()?;
///     let server = ethreads::spawn(move || {
///         let (mut stream, _) = listener.accept()?;
///         let mut greeting = String::new();
///         stream.read_to_string(&mut greeting)?;
///         stream.write_all(greeting.to_uppercase().as_bytes())
///     });
///     let mut stream = TcpStream::connect(addr)?;
///     stream.write_all(b"hello")?;
///     stream.shutdown(Shutdown::Write)?;
///     let mut answer = String::new();
///     stream.read_to_string(&mut answer)?;
///     assert_eq!(answer, "HELLO");
///     server.join().expect("the server does not panic")
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TcpStream(Socket);

impl TcpStream {
    /// Connects to a remote host; suspends the ethread until the connection is established, and
    /// before that for the look-up of a name.
    ///
    /// Several addresses race as in RFC 8305 (happy eyeballs): IPv6 and IPv4 alternate, beginning
    /// with the first address, and the next one is tried when the one before it has failed, or has
    /// not answered within 250 ms. The first connection to be established wins, and the other
    /// attempts end. On an OS thread without ethreads, and while an ethread unwinds, addresses are
    /// tried one after the other, as in std.
    ///
    /// # Errors
    ///
    /// The error of the attempt that was the last to fail; `InvalidInput` if there was no address;
    /// `Unsupported` under the simulation driver.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and all attempts end.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        check_world()?;
        let mut addrs = addr.to_socket_addrs()?.fuse();
        let (first, second) = (addrs.next(), addrs.next());
        let is_race = second.is_some() && race::can_be_held();
        let addrs = first.into_iter().chain(second).chain(addrs);
        if is_race {
            return race::connect(addrs.collect(), Location::caller()).map(Self);
        }
        // Not a closure: that would lose the caller's line.
        let mut last = None;
        for addr in addrs {
            match Self::connect_within(&addr, Limit::Never) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| invalid("could not resolve to any addresses")))
    }

    /// Connects to one address; suspends the ethread for at most `timeout`.
    ///
    /// # Errors
    ///
    /// `TimedOut` when the time is over; `InvalidInput` for a timeout of zero; any other error that
    /// prevents the connection.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and the attempt ends.
    #[track_caller]
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        if timeout.is_zero() {
            return Err(invalid("cannot set a 0 duration timeout"));
        }
        check_world()?;
        Self::connect_within(addr, Limit::After(timeout))
    }

    #[track_caller]
    fn connect_within(addr: &SocketAddr, limit: Limit) -> io::Result<Self> {
        let stream = Self(Socket::new(socket::tcp(addr)?));
        stream.0.connect(limit, |fd| socket::connect(fd, addr))?;
        Ok(stream)
    }

    /// Returns the address of the other end.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        socket::peer_addr(self.fd())
    }

    /// Returns the address of this end.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local_addr(self.fd())
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

    /// Reads without consuming the data; suspends the ethread until there is any.
    ///
    /// # Errors
    ///
    /// As a read: `TimedOut`, `ConnectionReset` and so on.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|fd| ops::recv(fd, buf, true))
    }

    /// Sets `TCP_NODELAY`: small writes are sent at once (Nagle's algorithm is off).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        socket::set_nodelay(self.fd(), nodelay)
    }

    /// Returns `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn nodelay(&self) -> io::Result<bool> {
        socket::nodelay(self.fd())
    }
}

mirror!(handle of TcpStream);
mirror!(timeouts of TcpStream);
mirror!(ttl of TcpStream);

/// After moving fewer bytes than asked for, a TCP stream has no more data, or no more room
/// (epoll(7), questions and answers). Zero proves nothing: it is the end, or zero bytes were asked
/// for.
#[inline]
fn left(n: usize, asked: usize) -> Left {
    if 0 < n && n < asked {
        Left::Nothing
    } else {
        Left::Unknown
    }
}

impl Read for &TcpStream {
    /// Reads what has arrived; suspends the ethread until there is data, or the read timeout is
    /// over (`TimedOut`). `Ok(0)` is the end.
    #[inline]
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let asked = buf.len();
        let left = |&n: &usize| left(n, asked);
        self.0.perform(Direction::Read, WaitKind::Read, left, |fd| {
            ops::recv(fd, buf, false)
        })
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        let left = |&n: &usize| left(n, asked);
        self.0.perform(Direction::Read, WaitKind::Read, left, |fd| {
            ops::read_vectored(fd, bufs)
        })
    }
}

impl Write for &TcpStream {
    /// Writes as much as the connection takes at once; suspends the ethread until there is room, or
    /// the write timeout is over (`TimedOut`).
    #[inline]
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let left = |&n: &usize| left(n, buf.len());
        self.0
            .perform(Direction::Write, WaitKind::Write, left, |fd| {
                ops::send(fd, buf)
            })
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let left = |&n: &usize| left(n, bufs.iter().map(|buf| buf.len()).sum());
        self.0
            .perform(Direction::Write, WaitKind::Write, left, |fd| {
                ops::send_vectored(fd, bufs)
            })
    }

    /// Does nothing: nothing is buffered here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

by_value!(impl Read for TcpStream);
by_value!(impl Write for TcpStream);

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TcpStream");
        if let Ok(addr) = self.local_addr() {
            debug.field("addr", &addr);
        }
        if let Ok(peer) = self.peer_addr() {
            debug.field("peer", &peer);
        }
        debug.field("fd", &self.fd().as_raw_fd()).finish()
    }
}
