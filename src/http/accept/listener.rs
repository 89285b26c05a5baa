//! A listening socket: accepting, the meaning of accept errors, and a descriptor that is reserved
//! for the case that there are no others.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::Location;

use crate::http::conn::socket::Family;
use crate::io::Watched;
use crate::runtime::base::wait::WaitKind;
use crate::runtime::driver::{ops, socket};
use crate::runtime::io::operation::{Left, Limit, Operation};
use crate::runtime::state::slots::Direction;

/// The backlog of each additional listener, the same as that of a single listener.
const BACKLOG: i32 = 1024;

/// The listening socket of a server, with its reserve descriptor.
#[derive(Debug)]
pub(in crate::http) struct Listener {
    socket: Watched<OwnedFd>,
    pub(in crate::http) family: Family,
    /// A descriptor that is held only to be given up: without a free descriptor a connection cannot
    /// even be refused.
    reserve: RefCell<Option<OwnedFd>>,
}

/// The outcome of waiting for a connection.
#[derive(Debug)]
pub(in crate::http) enum Accepted {
    Connection(OwnedFd, Option<SocketAddr>),
    /// A connection for which the reserve was given up, with the error of the first attempt. The
    /// caller closes the connection and then takes the reserve again.
    OnReserve(OwnedFd, io::Error),
    /// No connection is pending, and the caller asked not to wait.
    Nothing,
}

impl Listener {
    pub(in crate::http) fn new(socket: OwnedFd, family: Family) -> Self {
        // Fails only if this is no socket, which the first accept will report.
        let _ = ops::set_nonblocking(socket.as_fd(), true);
        Self {
            socket: Watched::new(socket),
            family,
            reserve: RefCell::default(),
        }
    }

    /// Opens `more` listeners on the same address; `None` if the port is not shared, or if the
    /// system would not divide the connections.
    pub(in crate::http) fn share(&self, more: usize) -> io::Result<Option<Vec<Self>>> {
        let fd = self.socket.fd();
        if !matches!(self.family, Family::Tcp) || !socket::divides_port_of(fd)? {
            return Ok(None);
        }
        let listen = || Ok(Self::new(socket::share_port(fd, BACKLOG)?, self.family));
        (0..more)
            .map(|_| listen())
            .collect::<io::Result<_>>()
            .map(Some)
    }

    /// Waits for a connection. If none is pending and `look` returns true, returns
    /// [`Accepted::Nothing`] instead of waiting. [`wake`](Self::wake) makes a waiting call check
    /// `look` again.
    pub(in crate::http) fn accept(&self, look: impl Fn() -> bool) -> io::Result<Accepted> {
        let operation = Operation {
            direction: Direction::Read,
            kind: WaitKind::Accept,
            limit: Limit::Never,
            location: Location::caller(),
        };
        self.socket.perform(
            operation,
            |_| Left::Unknown,
            |_| match self.accept_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && look() => {
                    Ok(Accepted::Nothing)
                }
                result => result,
            },
        )
    }

    /// Accepts a pending connection, on the reserve descriptor if need be; `WouldBlock` if none is
    /// pending.
    pub(in crate::http) fn accept_now(&self) -> io::Result<Accepted> {
        let connection = |(fd, address)| (fd, socket::inet_addr(address).ok());
        match ops::accept(self.socket.fd()).map(connection) {
            Ok((fd, peer)) => Ok(Accepted::Connection(fd, peer)),
            // Linux allocates a descriptor before it looks for a connection, so none may be
            // pending.
            Err(error) if ops::is_out_of_descriptors(&error) && self.reserve.take().is_some() => {
                match ops::accept(self.socket.fd()) {
                    Ok((fd, _)) => Ok(Accepted::OnReserve(fd, error)),
                    Err(error) => {
                        self.take_reserve();
                        Err(error)
                    }
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the reserve descriptor if it is missing and the system has one to give.
    pub(in crate::http) fn take_reserve(&self) {
        let mut reserve = self.reserve.borrow_mut();
        if reserve.is_none() {
            // The cheapest descriptor that is no file: a socket with no name and no peer.
            *reserve = socket::unix_datagram().ok();
        }
    }

    /// Makes a waiting [`accept`](Self::accept) check `look` again.
    pub(in crate::http) fn wake(&self) {
        self.socket.registration().nudge();
    }
}

/// The scope of an accept(2) error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum AcceptError {
    /// The connection that was to be accepted; the next accept may succeed.
    Connection,
    /// The process or the system; the condition may pass.
    Exhausted,
    /// The listener itself.
    Listener,
}

pub(in crate::http) fn classify(error: &io::Error) -> AcceptError {
    use io::ErrorKind as Kind;
    match error.kind() {
        // The errors that accept(2) lists, and those pending on the new socket, which it passes on.
        Kind::ConnectionAborted
        | Kind::ConnectionReset
        | Kind::ConnectionRefused
        | Kind::PermissionDenied
        | Kind::TimedOut
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::NetworkDown => AcceptError::Connection,
        Kind::OutOfMemory => AcceptError::Exhausted,
        _ if ops::is_out_of_descriptors(error) => AcceptError::Exhausted,
        Kind::InvalidInput | Kind::NotConnected | Kind::Unsupported => AcceptError::Listener,
        // EPROTO and the like have no kind of their own.
        _ if ops::is_connection_error(error) => AcceptError::Connection,
        _ => AcceptError::Listener,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An accept loop that ends at the first error of a peer is a denial of service.
    #[test]
    fn errors_of_accept_are_told_apart() {
        let check = |kind: io::ErrorKind, expected| {
            assert_eq!(classify(&kind.into()), expected, "{kind}");
        };
        check(io::ErrorKind::ConnectionAborted, AcceptError::Connection);
        check(io::ErrorKind::ConnectionReset, AcceptError::Connection);
        check(io::ErrorKind::PermissionDenied, AcceptError::Connection);
        check(io::ErrorKind::NetworkDown, AcceptError::Connection);
        check(io::ErrorKind::OutOfMemory, AcceptError::Exhausted);
        check(io::ErrorKind::InvalidInput, AcceptError::Listener);
        check(io::ErrorKind::Unsupported, AcceptError::Listener);
    }
}
