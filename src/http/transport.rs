//! One connection's socket: reads and writes with a deadline.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::time::Duration;

use crate::bridge::spawn_at_rest;
use crate::io::Watched;
use crate::runtime::base::wait::{WaitKind, deadline_after};
use crate::runtime::driver::{file, ops, socket};
use crate::runtime::io::operation::{Left, Limit, Operation};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::park::{self};
use crate::runtime::state::slots::Direction;
use crate::runtime::task::join::JoinHandle;
use crate::runtime::task::work::Work;

/// The socket of a connection.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: Watched<OwnedFd>,
    family: Family,
}

/// What kind of socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Tcp,
    Unix,
}

/// A point in time on the shard's clock, in nanoseconds.
pub(crate) type Deadline = u64;

/// The deadline that is `timeout` from the beginning of this turn of the scheduler. It costs no
/// reading of the clock.
pub(crate) fn deadline_in(timeout: Duration) -> Deadline {
    deadline_after(turn_began(), timeout)
}

/// When this turn of the scheduler began, on the shard's clock.
pub(crate) fn turn_began() -> Deadline {
    current::with(|scheduler| scheduler.map_or(0, |scheduler| scheduler.turn_began()))
}

/// The deadline that is `timeout` from now, however long this turn has been going on.
pub(crate) fn deadline_from_now(timeout: Duration) -> Deadline {
    let now = current::with(|scheduler| scheduler.map_or(0, |scheduler| scheduler.clock()));
    deadline_after(now, timeout)
}

/// Bytes that are discarded from a socket right before its close, at most.
const DISCARD_LIMIT: usize = 256 * 1024;

/// Reads and discards what has arrived at a non-blocking socket, so that the close that follows is
/// no reset. Not a suspension point.
pub(crate) fn discard_arrived(socket: BorrowedFd<'_>) {
    let mut scratch = [0; 4096];
    let mut discarded = 0;
    while discarded < DISCARD_LIMIT {
        match ops::recv(socket, &mut scratch, false) {
            Ok(0) | Err(_) => break,
            Ok(got) => discarded += got,
        }
    }
}

impl Transport {
    /// Takes a non-blocking socket.
    pub(crate) fn new(fd: OwnedFd, family: Family) -> Self {
        if family == Family::Tcp {
            // A response goes out whole; waiting for more to send only delays it. Where the option
            // is refused the connection is gone already.
            let _ = socket::set_nodelay(fd.as_fd(), true);
        }
        Self {
            socket: Watched::new(fd),
            family,
        }
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Another descriptor of the same connection.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket.get().try_clone()
    }

    /// The peer's address, where the family has one.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        socket::peer_addr(self.socket.fd()).ok()
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        socket::local_addr(self.socket.fd()).ok()
    }

    /// A short result empties a TCP socket, and that only.
    fn left(&self, got: usize, wanted: usize) -> Left {
        match self.family {
            Family::Tcp if 0 < got && got < wanted => Left::Nothing,
            _ => Left::Unknown,
        }
    }

    /// Reads what is there, up to the length of `buffer`; fails with `WouldBlock` if nothing is.
    #[track_caller]
    #[inline]
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
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
    pub(crate) fn wait(&self, deadline: Deadline) -> io::Result<bool> {
        self.socket.wait(self.reading(Limit::At(deadline)))
    }

    /// Parks without a stack until there may be input, as the last act of a
    /// [`Work`](crate::runtime::task::work::Work); false if there may be some already.
    // Down to the park, as each request passes here: with two callers it would be calls else.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn rest(&self, deadline: Deadline) -> io::Result<bool> {
        self.socket.rest(self.reading(Limit::At(deadline)))
    }

    /// Begins an ethread that waits for input without a stack, as [`rest`](Self::rest) does.
    #[track_caller]
    pub(crate) fn spawn_at_rest(
        &self,
        name: &str,
        deadline: Deadline,
        work: impl Work<()> + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let (registration, operation) = (
            self.socket.registration(),
            self.reading(Limit::At(deadline)),
        );
        spawn_at_rest(
            registration,
            self.socket.fd(),
            operation,
            Some(name),
            |_| work,
        )
    }

    #[track_caller]
    fn reading(&self, limit: Limit) -> Operation {
        Operation {
            direction: Direction::Read,
            kind: WaitKind::Read,
            limit,
            location: Location::caller(),
        }
    }

    /// Reads what is there, up to the length of `buffer`; waits for something.
    #[track_caller]
    pub(crate) fn read(&self, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        self.read_within(buffer, Limit::At(deadline))
    }

    /// As [`read`](Self::read), with any limit.
    #[track_caller]
    pub(crate) fn read_within(&self, buffer: &mut [u8], limit: Limit) -> io::Result<usize> {
        let wanted = buffer.len();
        self.socket.perform(
            self.reading(limit),
            |&got| self.left(got, wanted),
            |fd| ops::recv(fd.as_fd(), buffer, false),
        )
    }

    /// Writes all of `head` and then all of `body`. The deadline begins anew with each piece that
    /// the peer takes. Between two pieces of `slice` bytes others have their turn.
    #[track_caller]
    pub(crate) fn write_all(
        &self,
        mut head: &[u8],
        mut body: &[u8],
        timeout: Duration,
        slice: usize,
    ) -> io::Result<()> {
        // Nearly every response goes out whole at the first try, which needs nothing of the
        // protocol for waiting but the budget: of a peer that always takes more.
        if body.is_empty() {
            let location = Location::caller();
            current::with(|scheduler| scheduler.map_or(Ok(()), |s| s.spend_budget(location)))?;
            match ops::send(self.socket.fd(), head) {
                Ok(sent) if sent == head.len() => return Ok(()),
                Ok(sent) => head = &head[sent..],
                // What passes is the loop's to deal with.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        while !head.is_empty() || !body.is_empty() {
            let operation = Operation {
                direction: Direction::Write,
                kind: WaitKind::Write,
                limit: Limit::After(timeout),
                location: Location::caller(),
            };
            let piece = &body[..body.len().min(slice)];
            let wanted = head.len() + piece.len();
            let written = self.socket.perform(
                operation,
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

    /// Writes what the peer takes at once; waits for that to be something.
    #[track_caller]
    pub(crate) fn write_within(&self, data: &[IoSlice<'_>], limit: Limit) -> io::Result<usize> {
        let operation = Operation {
            direction: Direction::Write,
            kind: WaitKind::Write,
            limit,
            location: Location::caller(),
        };
        let wanted = data.iter().map(|piece| piece.len()).sum();
        self.socket.perform(
            operation,
            |&got| self.left(got, wanted),
            |fd| ops::send_vectored(fd.as_fd(), data),
        )
    }

    /// Lets the kernel send some of a file; waits until it takes something. Zero is the end of the
    /// file.
    #[track_caller]
    pub(crate) fn send_file(
        &self,
        file: &File,
        offset: u64,
        count: usize,
        timeout: Duration,
    ) -> io::Result<usize> {
        let operation = Operation {
            direction: Direction::Write,
            kind: WaitKind::Write,
            limit: Limit::After(timeout),
            location: Location::caller(),
        };
        self.socket.perform(
            operation,
            |_| Left::Unknown,
            |socket| file::send_file(socket.as_fd(), file.as_fd(), offset, count),
        )
    }

    /// Sends what the kernel takes at once, which may be nothing. Not a suspension point. An error
    /// is left to the next one who sends.
    pub(crate) fn send_now(&self, data: &[u8]) -> usize {
        if data.is_empty() {
            0
        } else {
            ops::send(self.socket.fd(), data).unwrap_or(0)
        }
    }

    /// Ends one side of the connection, or both.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        socket::shutdown(self.socket.fd(), how)
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn shut_down_write(&self) {
        // A peer that is gone has nothing to be told.
        let _ = self.shutdown(Shutdown::Write);
    }

    /// Takes in what has arrived: see [`discard_arrived`].
    pub(crate) fn discard_arrived(&self) {
        discard_arrived(self.socket.fd());
    }

    /// Lets the end of the connection discard what the peer has not taken.
    pub(crate) fn reset_at_close(&self) {
        // Where the option is refused the connection is gone already.
        let _ = socket::reset_at_close(self.socket.fd());
    }

    /// Whether the peer has ended its side, or the connection is gone. One system call.
    pub(crate) fn peer_gone(&self) -> bool {
        // What cannot be asked is no connection any more.
        ops::is_hung_up(self.socket.fd()).unwrap_or(true)
    }

    /// Lets whoever waits here try again, as `stop` may be set by now.
    pub(crate) fn look_again(&self) {
        self.socket.registration().nudge();
    }
}
