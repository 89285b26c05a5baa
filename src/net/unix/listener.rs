//! A Unix socket that accepts connections.

use std::fmt;
use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;

use super::super::socket::{BACKLOG, Socket};
use super::UnixStream;
use crate::net::mirror::mirror;
use crate::runtime::driver::socket;
use crate::runtime::io::source::check_world;

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
pub struct UnixListener(pub(in crate::net) Socket<std::os::unix::net::UnixListener>);

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
}

mirror!(socket of UnixListener, SocketAddr);
mirror!(listener of UnixListener, UnixStream, SocketAddr, socket::unix_addr);

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}
