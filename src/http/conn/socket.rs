//! A socket as the stream of a connection: reads and writes with a limit.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::time::Duration;

use super::deadline::Deadline;
use crate::bridge::spawn_parked;
use crate::io::Watched;
use crate::runtime::base::wait::WaitKind;
use crate::runtime::driver::{file, ops, socket};
use crate::runtime::io::operation::{Left, Limit, Operation};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::park::{self};
use crate::runtime::state::slots::Direction;
use crate::runtime::task::join::JoinHandle;
use crate::runtime::task::work::Work;

/// The socket of a connection.
#[derive(Debug)]
pub(in crate::http) struct Socket {
    socket: Watched<OwnedFd>,
    pub(super) family: Family,
}

/// The kind of a connection's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Family {
    Tcp,
    Unix,
}

/// The most bytes that are discarded from a socket right before its close.
const DISCARD_LIMIT: usize = 256 * 1024;

/// Reads and discards what has arrived at a non-blocking socket, so that the following close does
/// not reset the connection. Not a suspension point.
pub(in crate::http) fn discard_arrived(socket: BorrowedFd<'_>) {
    let mut scratch = [0; 4096];
    let mut discarded = 0;
    while discarded < DISCARD_LIMIT {
        match ops::recv(socket, &mut scratch, false) {
            Ok(0) | Err(_) => break,
            Ok(got) => discarded += got,
        }
    }
}

impl Socket {
    /// Takes a non-blocking socket.
    pub(in crate::http) fn new(fd: OwnedFd, family: Family) -> Self {
        if family == Family::Tcp {
            // A response is sent whole, so waiting for more output would only delay it. The option
            // is refused only if the connection is gone.
            let _ = socket::set_nodelay(fd.as_fd(), true);
        }
        Self {
            socket: Watched::new(fd),
            family,
        }
    }

    /// Another descriptor of the same connection.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket.get().try_clone()
    }

    /// The peer's address, where the family has one.
    pub(super) fn peer_addr(&self) -> Option<SocketAddr> {
        socket::peer_addr(self.socket.fd()).ok()
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        socket::local_addr(self.socket.fd()).ok()
    }

    /// Returns what a result proves about the next try: after a short one a TCP socket would block,
    /// but a Unix socket may not.
    fn left(&self, got: usize, wanted: usize) -> Left {
        match self.family {
            Family::Tcp if 0 < got && got < wanted => Left::Nothing,
            _ => Left::Unknown,
        }
    }

    /// Reads what has arrived, up to the length of `buffer`; fails with `WouldBlock` if nothing
    /// has.
    #[track_caller]
    #[inline(always)]
    pub(super) fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len();
        self.socket.try_now(
            Direction::Read,
            Location::caller(),
            |&got| self.left(got, wanted),
            |fd| ops::recv(fd.as_fd(), buffer, false),
        )
    }

    /// Waits for input, without reading it; false at the deadline.
    #[track_caller]
    pub(super) fn wait(&self, deadline: Deadline) -> io::Result<bool> {
        self.socket.wait(reading(Limit::At(deadline)))
    }

    /// Parks without a stack until there may be input, as the last act of a
    /// [`Work`](crate::runtime::task::work::Work); false if input may have arrived already.
    // Inlined down to the park, as each request passes here. Otherwise the compiler would emit
    // calls, as there are two callers.
    #[inline(always)]
    #[track_caller]
    pub(super) fn park_stackless(&self, deadline: Deadline) -> io::Result<bool> {
        self.socket.park_stackless(reading(Limit::At(deadline)))
    }

    /// Spawns an ethread that waits for input without a stack, as
    /// [`park_stackless`](Self::park_stackless) does.
    #[track_caller]
    pub(super) fn spawn_parked(
        &self,
        name: &str,
        deadline: Deadline,
        work: impl Work<()> + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let registration = self.socket.registration();
        let operation = reading(Limit::At(deadline));
        let socket = self.socket.fd();
        spawn_parked(registration, socket, operation, Some(name), |_| work)
    }

    /// Reads what has arrived, up to the length of `buffer`; waits if nothing has. Each try calls
    /// `check` first, and an error of it ends the read.
    #[track_caller]
    pub(super) fn read(
        &self,
        buffer: &mut [u8],
        limit: Limit,
        check: impl Fn() -> io::Result<()>,
    ) -> io::Result<usize> {
        let wanted = buffer.len();
        self.socket.perform(
            reading(limit),
            |&got| self.left(got, wanted),
            |fd| {
                check()?;
                ops::recv(fd.as_fd(), buffer, false)
            },
        )
    }

    /// Writes all of `head` and then all of `body`. `timeout` starts anew with each piece that the
    /// peer takes. Other ethreads run between two pieces of `slice` bytes.
    #[track_caller]
    pub(super) fn write_all(
        &self,
        mut head: &[u8],
        mut body: &[u8],
        timeout: Duration,
        slice: usize,
    ) -> io::Result<()> {
        // Nearly every response is sent whole by the first try. It needs no part of the protocol
        // for waiting except the budget, which bounds a peer that always takes more.
        if body.is_empty() {
            let location = Location::caller();
            current::with(|scheduler| scheduler.map_or(Ok(()), |s| s.spend_budget(location)))?;
            match ops::send(self.socket.fd(), head) {
                Ok(sent) if sent == head.len() => return Ok(()),
                Ok(sent) => head = &head[sent..],
                // The loop below handles transient errors.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        while !head.is_empty() || !body.is_empty() {
            let piece = &body[..body.len().min(slice)];
            let wanted = head.len() + piece.len();
            let written = self.socket.perform(
                writing(Limit::After(timeout)),
                |&got| self.left(got, wanted),
                |fd| match (head, piece) {
                    (head, []) => ops::send(fd.as_fd(), head),
                    ([], piece) => ops::send(fd.as_fd(), piece),
                    (head, piece) => {
                        ops::send_vectored(fd.as_fd(), &[IoSlice::new(head), IoSlice::new(piece)])
                    }
                },
            )?;
            let of_head = written.min(head.len());
            head = &head[of_head..];
            body = &body[written - of_head..];
            if written == wanted && !body.is_empty() {
                park::pause(Duration::ZERO, Location::caller())?;
            }
        }
        Ok(())
    }

    /// Writes what the peer takes at once; waits until it takes something.
    #[track_caller]
    pub(super) fn write(&self, data: &[IoSlice<'_>], limit: Limit) -> io::Result<usize> {
        let wanted = data.iter().map(|piece| piece.len()).sum();
        self.socket.perform(
            writing(limit),
            |&got| self.left(got, wanted),
            |fd| ops::send_vectored(fd.as_fd(), data),
        )
    }

    /// Has the kernel send a part of a file; waits until the kernel takes something. Returns zero
    /// at the end of the file.
    #[track_caller]
    pub(super) fn send_file(
        &self,
        file: &File,
        offset: u64,
        count: usize,
        timeout: Duration,
    ) -> io::Result<usize> {
        self.socket.perform(
            writing(Limit::After(timeout)),
            |_| Left::Unknown,
            |socket| file::send_file(socket.as_fd(), file.as_fd(), offset, count),
        )
    }

    /// Sends what the kernel takes at once, which may be nothing. Not a suspension point. An error
    /// is left to the next write to report.
    pub(super) fn send_now(&self, data: &[u8]) -> usize {
        if data.is_empty() {
            0
        } else {
            ops::send(self.socket.fd(), data).unwrap_or(0)
        }
    }

    /// As [`send_now`](Self::send_now), for data that more data follows at once.
    pub(super) fn send_ahead(&self, data: &[u8]) -> usize {
        ops::send_ahead(self.socket.fd(), data).unwrap_or(0)
    }

    /// Ends one side of the connection, or both.
    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        socket::shutdown(self.socket.fd(), how)
    }

    /// Reads and discards what has arrived: see [`discard_arrived`].
    pub(super) fn discard_arrived(&self) {
        discard_arrived(self.socket.fd());
    }

    /// Makes the close reset the connection, which discards the output that the peer has not taken.
    pub(super) fn reset_at_close(&self) {
        // The option is refused only if the connection is gone.
        let _ = socket::reset_at_close(self.socket.fd());
    }

    /// Whether the peer has ended its side, or the connection is gone. One system call.
    pub(super) fn peer_gone(&self) -> bool {
        // If the socket cannot be polled, the connection is gone.
        ops::is_hung_up(self.socket.fd()).unwrap_or(true)
    }

    /// Whether input, or its end, has arrived. One system call.
    pub(super) fn has_input(&self) -> bool {
        let peeked = ops::recv(self.socket.fd(), &mut [0], true);
        !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Runs `f` until the peer has ended its side or is gone.
    #[track_caller]
    pub(super) fn while_connected<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        self.socket.while_connected(Location::caller(), f)
    }

    /// Makes the waiters of this socket try again, as idle connections may have to close by now.
    pub(super) fn look_again(&self) {
        self.socket.registration().nudge();
    }
}

#[track_caller]
fn reading(limit: Limit) -> Operation {
    Operation {
        direction: Direction::Read,
        kind: WaitKind::Read,
        limit,
        location: Location::caller(),
    }
}

#[track_caller]
fn writing(limit: Limit) -> Operation {
    Operation {
        direction: Direction::Write,
        kind: WaitKind::Write,
        limit,
        location: Location::caller(),
    }
}
