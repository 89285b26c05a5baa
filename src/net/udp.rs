//! UDP.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::addr::{ToSocketAddrs, each_addr, invalid};
use super::mirror::mirror;
use super::socket::Socket;
use crate::runtime::driver::socket;
use crate::runtime::io::operation::Left;
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
pub struct UdpSocket(pub(in crate::net) Socket<std::net::UdpSocket>);

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
        let (n, from) = self.0.recv_from(buf, true)?;
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
        let left = |_: &_| Left::Unknown;
        self.0
            .write_with(left, |fd| socket::send_to(fd, buf, &addr))
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
        each_addr(addr, |addr| socket::connect(self.0.fd(), &addr))
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
        self.0.recv(buf, true)
    }
}

mirror!(socket of UdpSocket, SocketAddr);
mirror!(peer of UdpSocket, SocketAddr);
mirror!(datagram of UdpSocket, SocketAddr, socket::inet_addr);
mirror!(ttl of UdpSocket);

// Options.
mirror!(calls of UdpSocket {
    /// Allows datagrams to a broadcast address (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn set_broadcast(&self, broadcast: bool) -> io::Result<()>;

    /// Returns `SO_BROADCAST`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    fn broadcast(&self) -> io::Result<bool>;

    /// Sets whether multicast datagrams come back to this host (`IP_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()>;

    /// Returns `IP_MULTICAST_LOOP`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    fn multicast_loop_v4(&self) -> io::Result<bool>;

    /// Sets how many networks a multicast datagram may cross (`IP_MULTICAST_TTL`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()>;

    /// Returns `IP_MULTICAST_TTL`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    fn multicast_ttl_v4(&self) -> io::Result<u32>;

    /// Sets whether multicast datagrams come back to this host (`IPV6_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()>;

    /// Returns `IPV6_MULTICAST_LOOP`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    fn multicast_loop_v6(&self) -> io::Result<bool>;

    /// Joins a multicast group on an interface (`IP_ADD_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()>;

    /// Joins a multicast group on an interface (`IPV6_ADD_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()>;

    /// Leaves a multicast group (`IP_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()>;

    /// Leaves a multicast group (`IPV6_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()>;
});
