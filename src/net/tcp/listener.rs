//! A TCP socket that accepts connections.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::net::SocketAddr;

use super::super::addr::{ToSocketAddrs, each_addr};
use super::super::socket::{BACKLOG, Socket};
use super::TcpStream;
use crate::net::mirror::mirror;
use crate::runtime::driver::socket::{self, Listen};
use crate::runtime::io::source::check_world;

/// A TCP socket that accepts connections, as [`std::net::TcpListener`]: where that blocks the OS
/// thread, this suspends the ethread.
///
/// # Examples
///
/// An echo server: one ethread for each connection.
///
/// ```no_run
/// use std::io;
/// use ethreads::net::TcpListener;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     ethreads::run_main(|| {
///         let listener = TcpListener::bind("127.0.0.1:7777")?;
///         for stream in listener.incoming() {
///             let stream = stream?;
///             ethreads::spawn(move || io::copy(&mut &stream, &mut &stream));
///         }
///         Ok(())
///     })?
/// }
/// ```
pub struct TcpListener(pub(in crate::net) Socket<std::net::TcpListener>);

impl TcpListener {
    /// Listens on the first of the addresses that can be bound; suspends the ethread for the
    /// look-up of a name.
    ///
    /// As with std, `SO_REUSEADDR` is set, port 0 lets the system choose, and `[::]` takes IPv4
    /// connections too if that is the system's default. The queue holds 1,024 connections; see
    /// [`builder`](Self::builder) for another length.
    ///
    /// # Errors
    ///
    /// `AddrInUse`, `PermissionDenied` and so on, from the last address that was tried;
    /// `InvalidInput` if there was none; `Unsupported` under the simulation driver.
    ///
    /// # Cancellation
    ///
    /// A look-up is a suspension point: a cancelled ethread unwinds from it, and nothing is bound.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        Self::builder().bind(addr)
    }

    /// Returns the settings of a listener, to be changed before it is bound.
    pub fn builder() -> ListenOptions {
        ListenOptions::default()
    }
}

mirror!(socket of TcpListener, SocketAddr);
mirror!(listener of TcpListener, TcpStream, SocketAddr, socket::inet_addr);
mirror!(ttl of TcpListener);

impl FusedIterator for Incoming<'_> {}

/// Settings of a listener that std does not offer. Made by [`TcpListener::builder`].
///
/// # Examples
///
/// Two listeners on one port, between which the system divides the connections:
///
/// ```
/// use ethreads::net::TcpListener;
///
/// let first = TcpListener::builder().reuse_port(true).bind("127.0.0.1:0")?;
/// let second = TcpListener::builder().reuse_port(true).bind(first.local_addr()?)?;
/// assert_eq!(first.local_addr()?, second.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing before `bind`"]
pub struct ListenOptions {
    backlog: u32,
    reuse_port: bool,
    only_v6: Option<bool>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: BACKLOG,
            reuse_port: false,
            only_v6: None,
        }
    }
}

impl ListenOptions {
    /// Sets how many connections may wait to be accepted; the default is 1,024. The system has a
    /// limit of its own, on Linux net.core.somaxconn.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets whether other sockets of the same user that have this option may listen on the address
    /// too (`SO_REUSEPORT`); the system divides the connections among them. The default is false.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Sets whether an IPv6 listener refuses IPv4 connections (`IPV6_V6ONLY`); the default is the
    /// system's, on Linux usually false.
    pub fn only_v6(mut self, only: bool) -> Self {
        self.only_v6 = Some(only);
        self
    }

    /// Listens on the first of the addresses that can be bound; suspends the ethread for the
    /// look-up of a name.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`].
    ///
    /// # Cancellation
    ///
    /// As [`TcpListener::bind`].
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(&self, addr: A) -> io::Result<TcpListener> {
        check_world()?;
        let listen = Listen {
            backlog: i32::try_from(self.backlog).unwrap_or(i32::MAX),
            reuse_port: self.reuse_port,
            only_v6: self.only_v6,
        };
        let fd = each_addr(addr, |addr| socket::tcp_listener(&addr, listen))?;
        Ok(TcpListener(Socket::new(fd)))
    }
}
