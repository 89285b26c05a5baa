//! UDP.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use super::addr::{ToSocketAddrs, each_addr, invalid};
use super::mirror::mirror;
use super::socket::Socket;
use crate::runtime::driver::{ops, socket};
use crate::runtime::io::source::check_world;
use crate::runtime::state::slots::Direction;

/// A UDP socket, as [`std::net::UdpSocket`]: where that blocks the OS thread, this suspends the
/// ethread.
///
/// # Examples
///
/// ```
/// use ethreads::net::UdpSocket;
///
/// ethreads::run_main(|| {
///     let server = UdpSocket::bind("127.0.0.1:0")?;
///     let client = UdpSocket::bind("127.0.0.1:0")?;
///     client.connect(server.local_addr()?)?;
///     ethreads::spawn(move || {
///         let mut buf = [0; 16];
///         let (n, from) = server.recv_from(&mut buf)?;
///         server.send_to(&buf[..n], from)
///     });
///     client.send(b"ping")?;
///     let mut buf = [0; 16];
///     let n = client.recv(&mut buf)?;
///     assert_eq!(&buf[..n], b"ping");
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UdpSocket(Socket);

impl UdpSocket {
    /// Makes a socket with the first of the addresses that can be bound; suspends the ethread for
    /// the look-up of a name.
    ///
    /// # Errors
    ///
    /// `AddrInUse` and so on, from the last address that was tried; `InvalidInput` if there was
    /// none; `Unsupported` under the simulation driver.
    ///
    /// # Cancellation
    ///
    /// A look-up is a suspension point: a cancelled ethread unwinds from it, and nothing is bound.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        check_world()?;
        let fd = each_addr(addr, |addr| socket::udp(&addr))?;
        Ok(Self(Socket::new(fd)))
    }

    /// Receives a datagram and its sender; suspends the ethread until one comes. Bytes that do not
    /// fit into the buffer are lost.
    ///
    /// # Errors
    ///
    /// `TimedOut` after the read timeout; errors of earlier datagrams.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here; no datagram is lost.
    #[track_caller]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.receive(buf, false)
    }

    /// Receives a datagram like [`recv_from`](Self::recv_from), but leaves it in the queue;
    /// suspends the ethread until one comes.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Cancellation
    ///
    /// As [`recv_from`](Self::recv_from).
    #[track_caller]
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.receive(buf, true)
    }

    #[track_caller]
    fn receive(&self, buf: &mut [u8], peek: bool) -> io::Result<(usize, SocketAddr)> {
        let (n, from) = self.0.read_with(|fd| ops::recv_from(fd, buf, peek))?;
        Ok((n, socket::inet_addr(from)?))
    }

    /// Sends a datagram to the first of the addresses; suspends the ethread until there is room
    /// for it, and before that for the look-up of a name.
    ///
    /// # Errors
    ///
    /// `InvalidInput` without an address; `TimedOut` after the write timeout; those of sendto(2).
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and nothing was sent.
    #[track_caller]
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        let addr = addr.to_socket_addrs()?.next();
        let addr = addr.ok_or_else(|| invalid("no addresses to send data to"))?;
        self.0.write_with(|fd| socket::send_to(fd, buf, &addr))
    }

    /// Connects the socket to an address, which [`send`](Self::send) sends to and
    /// [`recv`](Self::recv) receives from; suspends the ethread for the look-up of a name.
    ///
    /// # Errors
    ///
    /// Those of connect(2), from the last address that was tried; `InvalidInput` if there was
    /// none.
    ///
    /// # Cancellation
    ///
    /// A look-up is a suspension point: a cancelled ethread unwinds from it, and the socket stays
    /// as it was.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        each_addr(addr, |addr| socket::connect(self.fd(), &addr))
    }

    /// Sends a datagram to the connected address; suspends the ethread until there is room for it.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to); `ConnectionRefused` if no socket was at the address of an
    /// earlier datagram.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and nothing was sent.
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_with(|fd| ops::send(fd, buf))
    }

    /// Receives a datagram from the connected address; suspends the ethread until one comes.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Cancellation
    ///
    /// As [`recv_from`](Self::recv_from).
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|fd| ops::recv(fd, buf, false))
    }

    /// Receives a datagram like [`recv`](Self::recv), but leaves it in the queue; suspends the
    /// ethread until one comes.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Cancellation
    ///
    /// As [`recv_from`](Self::recv_from).
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|fd| ops::recv(fd, buf, true))
    }

    /// Returns the connected address.
    ///
    /// # Errors
    ///
    /// `NotConnected` without one.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        socket::peer_addr(self.fd())
    }

    /// Returns the socket's own address.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local_addr(self.fd())
    }
}

mirror!(handle of UdpSocket);
mirror!(timeouts of UdpSocket);
mirror!(ttl of UdpSocket);

/// Options.
impl UdpSocket {
    /// Allows datagrams to a broadcast address (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        socket::set_broadcast(self.fd(), broadcast)
    }

    /// Returns `SO_BROADCAST`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn broadcast(&self) -> io::Result<bool> {
        socket::broadcast(self.fd())
    }

    /// Sets whether multicast datagrams come back to this host (`IP_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        socket::set_multicast_loop_v4(self.fd(), on)
    }

    /// Returns `IP_MULTICAST_LOOP`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        socket::multicast_loop_v4(self.fd())
    }

    /// Sets how many networks a multicast datagram may cross (`IP_MULTICAST_TTL`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        socket::set_multicast_ttl_v4(self.fd(), ttl)
    }

    /// Returns `IP_MULTICAST_TTL`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        socket::multicast_ttl_v4(self.fd())
    }

    /// Sets whether multicast datagrams come back to this host (`IPV6_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        socket::set_multicast_loop_v6(self.fd(), on)
    }

    /// Returns `IPV6_MULTICAST_LOOP`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        socket::multicast_loop_v6(self.fd())
    }

    /// Joins a multicast group on an interface (`IP_ADD_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        socket::join_multicast_v4(self.fd(), group, interface)
    }

    /// Joins a multicast group on an interface (`IPV6_ADD_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        socket::join_multicast_v6(self.fd(), group, interface)
    }

    /// Leaves a multicast group (`IP_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        socket::leave_multicast_v4(self.fd(), group, interface)
    }

    /// Leaves a multicast group (`IPV6_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        socket::leave_multicast_v6(self.fd(), group, interface)
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("UdpSocket");
        if let Ok(addr) = self.local_addr() {
            debug.field("addr", &addr);
        }
        debug.field("fd", &self.fd().as_raw_fd()).finish()
    }
}
