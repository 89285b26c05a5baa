//! TCP, UDP and Unix sockets with the names, signatures and errors of [`std::net`] and
//! [`std::os::unix::net`]: where those block the OS thread, these suspend the ethread.
//!
//! On an OS thread without ethreads the same calls block it, as std's do, so a socket can be
//! shared with any thread. Whatever std's sockets implement, these do: [`Read`](std::io::Read) and
//! [`Write`](std::io::Write) by value and by reference, conversions from and to std's types and
//! [`OwnedFd`](std::os::fd::OwnedFd).
//!
//! # What differs from std
//!
//! | | std | here |
//! | --- | --- | --- |
//! | an operation's timeout is over | `WouldBlock` on Unix, `TimedOut` on Windows | `TimedOut` |
//! | read and write timeouts | kept by the system, rounded to µs | kept here, exact, shared by clones |
//! | `set_nonblocking` | the descriptor's `O_NONBLOCK` | a flag of the handle and its clones; the descriptor is non-blocking always |
//! | a descriptor that is converted to a type of this module | stays as it is | is switched to non-blocking; converted back, it blocks again unless `set_nonblocking` was called |
//! | names | looked up on the calling thread | looked up on a pool thread |
//! | the queue of a listener | 128 or 4,096, as the version has it | 1,024; [`TcpListener::builder`] sets another |
//! | [`UnixStream::connect`] to a listener with a full queue, [`UnixDatagram::send_to`] to a full socket | wakes when there is room | tries again after 1 to 16 ms, as the system has no event for it |
//! | a call in a destructor while the ethread unwinds | blocks | tries once, and fails with [`WouldPark`](crate::runtime::WouldPark) if it would wait |
//! | a cancelled ethread | | unwinds from the call in which it waits |
//! | under the simulation driver | | sockets cannot be made: `Unsupported` |

mod addr;
mod convert;
mod socket;
mod tcp;
mod udp;
pub mod unix;

pub use addr::ToSocketAddrs;
pub use tcp::{Incoming, ListenOptions, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};

/// Plain values, the same as in [`std::net`].
pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};
