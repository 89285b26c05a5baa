//! A TCP connection.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::panic::Location;
use std::time::Duration;

use super::super::addr::{ToSocketAddrs, invalid};
use super::super::socket::Socket;
use super::race;
use crate::net::mirror::mirror;
use crate::runtime::driver::socket;
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
pub struct TcpStream(pub(in crate::net) Socket<std::net::TcpStream>);

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
        let limit = Limit::within(Some(timeout))?;
        check_world()?;
        Self::connect_within(addr, limit)
    }

    #[track_caller]
    fn connect_within(addr: &SocketAddr, limit: Limit) -> io::Result<Self> {
        let stream = Self(Socket::new(socket::tcp(addr)?));
        stream.0.connect(limit, |fd| socket::connect(fd, addr))?;
        Ok(stream)
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
        self.0.recv(buf, true)
    }
}

mirror!(socket of TcpStream, SocketAddr);
mirror!(peer of TcpStream, SocketAddr);
mirror!(shutdown of TcpStream);
mirror!(stream of TcpStream, left);
mirror!(ttl of TcpStream);
mirror!(calls of TcpStream {
    /// Sets `TCP_NODELAY`: small writes are sent at once (Nagle's algorithm is off).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn set_nodelay(&self, nodelay: bool) -> io::Result<()>;

    /// Returns `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    fn nodelay(&self) -> io::Result<bool>;
});

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
