//! Making sockets, connecting them, and their addresses; what std has no call for, or none that is
//! non-blocking. All sockets made here are non-blocking and closed on exec.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::mem::offset_of;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
#[cfg(feature = "http")]
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketAddrUnix};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

/// How a listening socket is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen {
    /// Connections that may wait to be accepted; the system has a limit of its own.
    pub(crate) backlog: i32,
    pub(crate) reuse_port: bool,
    /// `None` is the system's default, on Linux net.ipv6.bindv6only.
    pub(crate) only_v6: Option<bool>,
}

fn open(domain: Domain, kind: Type) -> io::Result<Socket> {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    {
        Socket::new_raw(domain, kind.nonblocking().cloexec(), None)
    }
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    {
        let socket = Socket::new(domain, kind, None)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// A listening TCP socket.
pub(crate) fn tcp_listener(addr: &SocketAddr, options: Listen) -> io::Result<OwnedFd> {
    let socket = open(Domain::for_address(*addr), Type::STREAM)?;
    // As std does it: without this option, a restarted server cannot bind while connections of its
    // predecessor are in TIME-WAIT.
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if let (Some(only_v6), SocketAddr::V6(_)) = (options.only_v6, addr) {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&SockAddr::from(*addr))?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// Whether the system divides the connections among the listeners that share a port. Other systems
/// accept `SO_REUSEPORT`, but give all connections to the last listener.
#[cfg(feature = "http")]
pub(crate) const DIVIDES_SHARED_PORTS: bool = cfg!(target_os = "linux");

/// Whether the system divides the connections among this TCP listener and other listeners on its
/// address.
#[cfg(feature = "http")]
pub(crate) fn divides_port_of(listener: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(DIVIDES_SHARED_PORTS && SockRef::from(&listener).reuse_port()?)
}

/// Opens another listener on the address of `listener`, which shares its port.
#[cfg(feature = "http")]
pub(crate) fn share_port(listener: BorrowedFd<'_>, backlog: i32) -> io::Result<OwnedFd> {
    let first = SockRef::from(&listener);
    let addr = inet(first.local_addr()?)?;
    let only_v6 = addr.is_ipv6().then(|| first.only_v6()).transpose()?;
    tcp_listener(
        &addr,
        Listen {
            backlog,
            reuse_port: true,
            only_v6,
        },
    )
}

/// A TCP socket for [`connect`].
pub(crate) fn tcp(addr: &SocketAddr) -> io::Result<OwnedFd> {
    Ok(open(Domain::for_address(*addr), Type::STREAM)?.into())
}

pub(crate) fn udp(addr: &SocketAddr) -> io::Result<OwnedFd> {
    let socket = open(Domain::for_address(*addr), Type::DGRAM)?;
    socket.bind(&SockAddr::from(*addr))?;
    Ok(socket.into())
}

pub(crate) fn unix_stream() -> io::Result<OwnedFd> {
    Ok(open(Domain::UNIX, Type::STREAM)?.into())
}

pub(crate) fn unix_datagram() -> io::Result<OwnedFd> {
    Ok(open(Domain::UNIX, Type::DGRAM)?.into())
}

pub(crate) fn unix_listener(addr: &UnixAddr, backlog: i32) -> io::Result<OwnedFd> {
    let socket = unix_stream()?;
    unix_bind(std::os::fd::AsFd::as_fd(&socket), addr)?;
    SockRef::from(&socket).listen(backlog)?;
    Ok(socket)
}

pub(crate) fn unix_bind(fd: BorrowedFd<'_>, addr: &UnixAddr) -> io::Result<()> {
    Ok(rustix::net::bind(fd, &unix_to_rustix(addr)?)?)
}

pub(crate) fn unix_stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    unix_pair(Type::STREAM)
}

pub(crate) fn unix_datagram_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    unix_pair(Type::DGRAM)
}

fn unix_pair(kind: Type) -> io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) = Socket::pair(Domain::UNIX, kind, None)?;
    a.set_nonblocking(true)?;
    b.set_nonblocking(true)?;
    Ok((a.into(), b.into()))
}

/// Begins to connect. `WouldBlock` means that the attempt is in progress; [`connected`] returns its
/// result.
pub(crate) fn connect(fd: BorrowedFd<'_>, addr: &SocketAddr) -> io::Result<()> {
    match rustix::net::connect(fd, addr) {
        Ok(()) => Ok(()),
        Err(Errno::INPROGRESS) => Err(io::ErrorKind::WouldBlock.into()),
        // connect(2), "no more free local ports": nothing is in progress that could be waited for.
        Err(Errno::AGAIN) => Err(Errno::ADDRNOTAVAIL.into()),
        Err(error) => Err(error.into()),
    }
}

/// The result of an attempt to connect; `WouldBlock` while the attempt is in progress.
pub(crate) fn connected(fd: BorrowedFd<'_>) -> io::Result<()> {
    if let Err(error) = rustix::net::sockopt::socket_error(fd)? {
        return Err(error.into());
    }
    // No error does not prove success, as a wake-up may be spurious. A peer address does.
    match rustix::net::getpeername(fd) {
        Ok(_) => Ok(()),
        Err(Errno::NOTCONN) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}

/// Connects a Unix socket. The attempt never continues in the background: `WouldBlock` means that
/// the listener's backlog is full (unix(7)), and no event reports when it has room.
pub(crate) fn unix_connect(fd: BorrowedFd<'_>, addr: &UnixAddr) -> io::Result<()> {
    Ok(rustix::net::connect(fd, &unix_to_rustix(addr)?)?)
}

#[cfg(feature = "http")]
pub(crate) fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    inet(SockRef::from(&fd).local_addr()?)
}

#[cfg(feature = "http")]
pub(crate) fn peer_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    inet(SockRef::from(&fd).peer_addr()?)
}

#[cfg(feature = "http")]
fn inet(addr: SockAddr) -> io::Result<SocketAddr> {
    addr.as_socket().ok_or_else(not_inet)
}

/// The address of a peer as [`accept`](super::ops::accept) and [`recv_from`](super::ops::recv_from)
/// return it.
pub(crate) fn inet_addr(addr: Option<SocketAddrAny>) -> io::Result<SocketAddr> {
    addr.and_then(|addr| addr.try_into().ok())
        .ok_or_else(not_inet)
}

#[cold]
fn not_inet() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the address is neither IPv4 nor IPv6",
    )
}

/// As [`inet_addr`], of a Unix socket. A peer without a name has the unnamed address.
pub(crate) fn unix_addr(addr: Option<SocketAddrAny>) -> io::Result<UnixAddr> {
    // rustix takes an address without a name for an abstract name without bytes. Linux lets a peer
    // have a path of 108 bytes, whose terminator lies behind the end of a `sockaddr_un`: rustix
    // panics on it, and std has no address for it. Such a peer is shown as unnamed, and its
    // connection works as any other.
    let named = offset_of!(libc::sockaddr_un, sun_path) + 1..=size_of::<libc::sockaddr_un>();
    let addr = addr
        .filter(|addr| named.contains(&(addr.addr_len() as usize)))
        .and_then(|addr| SocketAddrUnix::try_from(addr).ok());
    #[cfg(target_os = "linux")]
    if let Some(name) = addr.as_ref().and_then(SocketAddrUnix::abstract_name) {
        return <UnixAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    let path = addr.as_ref().and_then(SocketAddrUnix::path_bytes);
    // An empty path is the unnamed address.
    UnixAddr::from_pathname(OsStr::from_bytes(path.unwrap_or_default()))
}

fn unix_to_rustix(addr: &UnixAddr) -> io::Result<SocketAddrUnix> {
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::linux::net::SocketAddrExt::as_abstract_name(addr) {
        return Ok(SocketAddrUnix::new_abstract_name(name)?);
    }
    match addr.as_pathname() {
        Some(path) => Ok(SocketAddrUnix::new(path)?),
        #[cfg(target_os = "linux")]
        None => Ok(SocketAddrUnix::new_unnamed()),
        #[cfg(not(target_os = "linux"))]
        None => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this system has no unnamed address to connect to",
        )),
    }
}

pub(crate) fn send_to(fd: BorrowedFd<'_>, buf: &[u8], addr: &SocketAddr) -> io::Result<usize> {
    Ok(rustix::net::sendto(fd, buf, super::ops::SEND, addr)?)
}

pub(crate) fn unix_send_to(fd: BorrowedFd<'_>, buf: &[u8], addr: &UnixAddr) -> io::Result<usize> {
    Ok(rustix::net::sendto(
        fd,
        buf,
        super::ops::SEND,
        &unix_to_rustix(addr)?,
    )?)
}

pub(crate) fn shutdown(fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
    SockRef::from(&fd).shutdown(how)
}

#[cfg(feature = "http")]
pub(crate) fn set_nodelay(fd: BorrowedFd<'_>, nodelay: bool) -> io::Result<()> {
    SockRef::from(&fd).set_tcp_nodelay(nodelay)
}

/// Makes the close of the socket a reset, which discards unsent data: tcp(7) and socket(7),
/// `SO_LINGER`.
#[cfg(feature = "http")]
pub(crate) fn reset_at_close(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).set_linger(Some(Duration::ZERO))
}
