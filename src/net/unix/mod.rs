//! Unix sockets, as [`std::os::unix::net`].

mod datagram;
mod listener;
mod stream;

pub use datagram::UnixDatagram;
pub use listener::{Incoming, UnixListener};
/// The address of a Unix socket: a path, an abstract name, or none.
pub use std::os::unix::net::SocketAddr;
pub use stream::UnixStream;
