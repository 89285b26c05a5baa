//! A Unix datagram socket.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::super::socket::{Socket, with_pauses};
use crate::net::mirror::mirror;
use crate::runtime::base::wait::WaitKind;
use crate::runtime::driver::socket;
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
pub struct UnixDatagram(pub(in crate::net) Socket<std::os::unix::net::UnixDatagram>);

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
        socket::unix_bind(socket.0.fd(), addr)?;
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
        self.0.std().connect_addr(addr)
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
}

mirror!(socket of UnixDatagram, SocketAddr);
mirror!(pair of UnixDatagram, socket::unix_datagram_pair);
mirror!(peer of UnixDatagram, SocketAddr);
mirror!(shutdown of UnixDatagram);
mirror!(datagram of UnixDatagram, SocketAddr, socket::unix_addr);
