//! A Unix datagram socket.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::super::socket::{Socket, with_pauses};
use crate::net::mirror::mirror;
use crate::runtime::base::wait::WaitKind;
use crate::runtime::driver::{ops, socket};
use crate::runtime::io::operation::{Left, Limit};
use crate::runtime::io::source::check_world;
use crate::runtime::state::slots::Direction;

/// A Unix datagram socket, as [`std::os::unix::net::UnixDatagram`]: where that blocks the OS
/// thread, this suspends the ethread.
///
/// # Examples
///
/// ```
/// use ethreads::net::UnixDatagram;
///
/// ethreads::run_main(|| {
///     let (ours, theirs) = UnixDatagram::pair()?;
///     ethreads::spawn(move || theirs.send(b"hello"));
///     let mut buf = [0; 16];
///     let n = ours.recv(&mut buf)?;
///     assert_eq!(&buf[..n], b"hello");
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UnixDatagram(Socket);

impl UnixDatagram {
    /// Makes a socket at a path.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if the path exists; `InvalidInput` if it is too long; `Unsupported` under the
    /// simulation driver.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Makes a socket with an address.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<Self> {
        let socket = Self::unbound()?;
        socket::unix_bind(socket.fd(), addr)?;
        Ok(socket)
    }

    /// Makes a socket without an address.
    ///
    /// # Errors
    ///
    /// Those of socket(2); `Unsupported` under the simulation driver.
    pub fn unbound() -> io::Result<Self> {
        check_world()?;
        Ok(Self(Socket::new(socket::unix_datagram()?)))
    }

    /// Makes two sockets that are connected with each other.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2); `Unsupported` under the simulation driver.
    pub fn pair() -> io::Result<(Self, Self)> {
        check_world()?;
        let (a, b) = socket::unix_datagram_pair()?;
        Ok((Self(Socket::new(a)), Self(Socket::new(b))))
    }

    /// Connects to the socket at a path, which [`send`](Self::send) sends to and
    /// [`recv`](Self::recv) receives from.
    ///
    /// # Errors
    ///
    /// `NotFound`, `ConnectionRefused` and so on.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to an address; see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_addr(&self, addr: &SocketAddr) -> io::Result<()> {
        socket::unix_connect(self.fd(), addr)
    }

    /// Returns the socket's own address.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::unix_local_addr(self.fd())
    }

    /// Returns the connected address.
    ///
    /// # Errors
    ///
    /// `NotConnected` without one.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        socket::unix_peer_addr(self.fd())
    }

    /// Receives a datagram and its sender; suspends the ethread until one comes. Bytes that do not
    /// fit into the buffer are lost.
    ///
    /// # Errors
    ///
    /// `TimedOut` after the read timeout; those of recvfrom(2).
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here; no datagram is lost.
    #[track_caller]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.read_with(|fd| socket::unix_recv_from(fd, buf))
    }

    /// Receives a datagram; suspends the ethread until one comes. Bytes that do not fit into the
    /// buffer are lost.
    ///
    /// # Errors
    ///
    /// `TimedOut` after the read timeout; those of recv(2).
    ///
    /// # Cancellation
    ///
    /// As [`recv_from`](Self::recv_from).
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|fd| ops::recv(fd, buf, false))
    }

    /// Sends a datagram to the socket at a path; suspends the ethread until that socket has room
    /// for it.
    ///
    /// # Errors
    ///
    /// `NotFound`, `ConnectionRefused` and so on; `TimedOut` after the write timeout.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and nothing was sent.
    #[track_caller]
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        self.send_to_addr(buf, &SocketAddr::from_pathname(path)?)
    }

    /// Sends a datagram to an address; suspends the ethread until the socket there has room for it.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    ///
    /// # Cancellation
    ///
    /// As [`send_to`](Self::send_to).
    #[track_caller]
    pub fn send_to_addr(&self, buf: &[u8], addr: &SocketAddr) -> io::Result<usize> {
        // poll(2) reports room of this socket and of a connected peer, but of no other socket
        // (unix_dgram_poll of Linux).
        with_pauses(self.0.limit(Direction::Write), || {
            let (write, kind) = (Direction::Write, WaitKind::Write);
            self.0.perform_within(
                Limit::Now,
                write,
                kind,
                |_| Left::Unknown,
                |fd| socket::unix_send_to(fd, buf, addr),
            )
        })
    }

    /// Sends a datagram to the connected socket; suspends the ethread until that socket has room
    /// for it.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    ///
    /// # Cancellation
    ///
    /// As [`send_to`](Self::send_to).
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_with(|fd| ops::send(fd, buf))
    }

    /// Shuts down the reading half, the writing half or both. All waiters there are woken.
    ///
    /// # Errors
    ///
    /// Those of shutdown(2).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        socket::shutdown(self.fd(), how)
    }
}

mirror!(handle of UnixDatagram);
mirror!(timeouts of UnixDatagram);

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("UnixDatagram");
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
