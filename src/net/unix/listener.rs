//! A Unix socket that accepts connections.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;

use super::super::socket::{BACKLOG, Socket};
use super::UnixStream;
use crate::net::mirror::mirror;
use crate::runtime::base::wait::WaitKind;
use crate::runtime::driver::socket;
use crate::runtime::io::operation::Left;
use crate::runtime::io::source::check_world;
use crate::runtime::state::slots::Direction;

/// A Unix socket that accepts connections, as [`std::os::unix::net::UnixListener`]: where that
/// blocks the OS thread, this suspends the ethread.
///
/// `bind` makes the path, and nothing removes it: remove it before, or after.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use ethreads::net::{UnixListener, UnixStream};
///
/// let path = std::env::temp_dir().join(format!("ethreads-doc-{}.sock", std::process::id()));
/// let socket = path.clone();
/// let text = ethreads::run_main(move || {
///     let listener = UnixListener::bind(&socket)?;
///     ethreads::spawn(move || listener.accept()?.0.write_all(b"hello"));
///     let mut text = String::new();
///     UnixStream::connect(&socket)?.read_to_string(&mut text)?;
///     std::io::Result::Ok(text)
/// })?;
/// std::fs::remove_file(path)?;
/// assert_eq!(text?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UnixListener(Socket);

impl UnixListener {
    /// Listens on a new socket at a path.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if the path exists; `InvalidInput` if it is too long; `Unsupported` under the
    /// simulation driver.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Listens on an address.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<Self> {
        check_world()?;
        Ok(Self(Socket::new(socket::unix_listener(
            addr,
            BACKLOG as i32,
        )?)))
    }

    /// Accepts a connection; suspends the ethread until there is one. Of several waiting ethreads,
    /// the one that has waited longest is served first.
    ///
    /// # Errors
    ///
    /// Those of accept(2). Some are temporary (too many open files); the listener stays usable, and
    /// the call can be repeated.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here; no connection is lost.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (kind, left) = (WaitKind::Accept, |_: &_| Left::Unknown);
        let (fd, from) = self
            .0
            .perform(Direction::Read, kind, left, socket::unix_accept)?;
        Ok((UnixStream::from_socket(Socket::new(fd)), from))
    }

    /// Returns an iterator of [`accept`](Self::accept)ed connections, which never ends. Each step
    /// suspends the ethread like an accept.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Returns the address that is listened on.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::unix_local_addr(self.fd())
    }
}

mirror!(handle of UnixListener);

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("UnixListener");
        debug.field("fd", &self.fd().as_raw_fd());
        if let Ok(addr) = self.local_addr() {
            debug.field("local", &addr);
        }
        debug.finish()
    }
}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

/// The connections that a listener accepts. Made by [`UnixListener::incoming`].
#[derive(Debug)]
#[must_use = "nothing is accepted before the iterator is asked"]
pub struct Incoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<UnixStream>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}
