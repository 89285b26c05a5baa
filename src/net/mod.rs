//! TCP, UDP and Unix sockets with the names, signatures and errors of [`std::net`] and
//! [`std::os::unix::net`]: where those block the OS thread, these suspend the ethread.
//!
//! On an OS thread without ethreads the same calls block that OS thread, as std's do, so any thread
//! can use a socket. These sockets implement what std's do: [`Read`](std::io::Read) and
//! [`Write`](std::io::Write) by value and by reference, conversions from and to std's types and
//! [`OwnedFd`](std::os::fd::OwnedFd).
//!
//! # What differs from std
//!
//! * *Timeouts* fail with `TimedOut` on every system, where std has `WouldBlock` on Unix. This
//!   crate keeps them itself, so they are exact; a handle shares them with its clones, as in std.
//! * *`set_nonblocking`* is a flag of a handle and its clones. The descriptor itself is always
//!   non-blocking.
//! * *Conversions:* a descriptor that becomes a type of this module is switched to non-blocking,
//!   and all duplicates of it change too. Converted back, it is made blocking again, unless
//!   `set_nonblocking` was called.
//! * *Several addresses* of one [`TcpStream::connect`] race, where std tries them one after the
//!   other.
//! * *Host names* are looked up on a thread of the pool; for that reason [`ToSocketAddrs`] is a
//!   trait of this crate, with the same implementations.
//! * *Listeners* have a queue of 1,024 connections, where std has 128 or 4,096;
//!   [`TcpListener::builder`] sets another length.
//! * *Full Unix sockets:* the system has no event for room in the queue of a listener
//!   ([`UnixStream::connect`]) or of another socket ([`UnixDatagram::send_to`]), so these two calls
//!   try again after 1 to 16 ms.
//! * *Unwinding:* a call in a destructor while the ethread unwinds tries once, and fails with
//!   [`WouldPark`](crate::runtime::WouldPark) if it would have to wait.
//! * *Cancellation:* a cancelled ethread unwinds from the call in which it waits.
//! * *Simulation:* under the simulation driver no socket can be made (`Unsupported`).

mod addr;
mod convert;
mod mirror;
mod network;
mod proxy_header;
mod socket;
mod tcp;
mod udp;
pub mod unix;

pub use addr::ToSocketAddrs;
pub use network::Network;
pub use proxy_header::{ProxyHeader, ProxyHeaderError};
pub use tcp::{Incoming, ListenOptions, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};

/// Plain values, the same as in [`std::net`].
pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};
