//! A listening socket: accepting, what errors of that mean, and the descriptor that is kept for
//! the case that there is none.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::Location;

use super::transport::{Deadline, Family};
use crate::io::Watched;
use crate::runtime::base::wait::WaitKind;
use crate::runtime::driver::{ops, socket};
use crate::runtime::io::operation::{Left, Limit, Operation};
use crate::runtime::state::slots::Direction;

/// How many may wait to be accepted at each of several listeners, as at a single one.
const BACKLOG: i32 = 1024;

/// The socket of a server, with its reserve.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Watched<OwnedFd>,
    pub(super) family: Family,
    /// A descriptor that does nothing but wait to be given up: without one a connection cannot even
    /// be refused.
    reserve: RefCell<Option<OwnedFd>>,
}

/// What came of waiting for a connection.
#[derive(Debug)]
pub(super) enum Accepted {
    Connection(OwnedFd, Option<SocketAddr>),
    /// A connection for which the reserve was given up. It is to be closed, and then the reserve
    /// to be taken again.
    OnReserve(OwnedFd, io::Error),
    /// Nobody is waiting, and the caller wanted to know.
    Nobody,
}

impl Listener {
    pub(super) fn new(socket: OwnedFd, family: Family) -> Self {
        // Only what is no socket refuses, and the first accept will say so.
        let _ = ops::set_nonblocking(socket.as_fd(), true);
        Self {
            socket: Watched::new(socket),
            family,
            reserve: RefCell::default(),
        }
    }

    /// So many more listeners on the same address; `None` if its port is not shared, or the system
    /// would not divide the connections.
    pub(super) fn share(&self, more: usize) -> io::Result<Option<Vec<Self>>> {
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

    /// Waits for a connection, until `deadline`. With nobody there and `look` true it does not
    /// wait; [`wake`](Self::wake) lets it ask again.
    pub(super) fn accept(
        &self,
        deadline: Option<Deadline>,
        look: impl Fn() -> bool,
    ) -> io::Result<Accepted> {
        let operation = Operation {
            direction: Direction::Read,
            kind: WaitKind::Accept,
            limit: deadline.map_or(Limit::Never, Limit::At),
            location: Location::caller(),
        };
        self.socket.perform(
            operation,
            |_| Left::Unknown,
            |_| match self.accept_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && look() => {
                    Ok(Accepted::Nobody)
                }
                result => result,
            },
        )
    }

    /// Accepts one of those who wait, on the reserve if need be; `WouldBlock` if there are none.
    pub(super) fn accept_now(&self) -> io::Result<Accepted> {
        let connection = |(fd, address)| (fd, socket::inet_addr(address).ok());
        match ops::accept(self.socket.fd()).map(connection) {
            Ok((fd, peer)) => Ok(Accepted::Connection(fd, peer)),
            // Linux looks for a descriptor before it looks for a connection, so there may be none.
            Err(error) if ops::is_out_of_descriptors(&error) && self.give_reserve_up() => {
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

    /// Makes sure that there is a reserve, if the system has a descriptor for it.
    pub(super) fn take_reserve(&self) {
        let mut reserve = self.reserve.borrow_mut();
        if reserve.is_none() {
            // The cheapest that is no file: it has no name and no peer.
            *reserve = socket::unix_datagram().ok();
        }
    }

    fn give_reserve_up(&self) -> bool {
        self.reserve.take().is_some()
    }

    /// Lets the one who waits here ask again whether to wait.
    pub(super) fn wake(&self) {
        self.socket.registration().nudge();
    }
}

/// What an error of accept(2) is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcceptError {
    /// The connection that was to be accepted; the next one is another matter.
    Connection,
    /// The process or the system: it may pass.
    Exhausted,
    /// The listener itself.
    Listener,
}

pub(super) fn classify(error: &io::Error) -> AcceptError {
    use io::ErrorKind as Kind;
    match error.kind() {
        // The listed ones of accept(2), and those pending on the new socket, which it passes on.
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
