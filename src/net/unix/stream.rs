//! Unix stream sockets.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::super::socket::{Socket, with_pauses};
use crate::net::mirror::mirror;
use crate::runtime::driver::socket;
use crate::runtime::io::by_value::by_value;
use crate::runtime::io::operation::{Left, Limit};
use crate::runtime::io::source::check_world;
use crate::runtime::state::slots::Direction;

/// A Unix stream socket, as [`std::os::unix::net::UnixStream`]. Calls suspend the ethread instead
/// of blocking the OS thread.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use ethreads::net::UnixStream;
///
/// ethreads::run_main(|| {
///     let (mut ours, mut theirs) = UnixStream::pair()?;
///     ethreads::spawn(move || theirs.write_all(b"hello"));
///     let mut text = String::new();
///     ours.read_to_string(&mut text)?;
///     assert_eq!(text, "hello");
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UnixStream(pub(in crate::net) Socket<std::os::unix::net::UnixStream>);

impl UnixStream {
    /// Connects to the socket at a path; suspends the ethread while the listener's queue is full.
    ///
    /// # Errors
    ///
    /// `NotFound`, `ConnectionRefused` and so on; `InvalidInput` for a path that is too long;
    /// `Unsupported` under the simulation driver.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and the attempt ends.
    #[track_caller]
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to an address; suspends the ethread while the listener's queue is full.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancellation
    ///
    /// As [`connect`](Self::connect).
    #[track_caller]
    pub fn connect_addr(addr: &SocketAddr) -> io::Result<Self> {
        check_world()?;
        let socket = Socket::new(socket::unix_stream()?);
        with_pauses(Limit::Never, || socket::unix_connect(socket.fd(), addr))?;
        Ok(Self(socket))
    }
}

mirror!(socket of UnixStream, SocketAddr);
mirror!(pair of UnixStream, socket::unix_stream_pair);
mirror!(peer of UnixStream, SocketAddr);
mirror!(shutdown of UnixStream);
// A short read may end at a change of the writer's credentials (unix(7)), so it does not prove that
// the next read would block.
mirror!(stream of UnixStream, |_, _| Left::Unknown);
