//! One connection's socket: reads and writes with a deadline.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::panic::Location;
use std::time::Duration;

use crate::net::{TcpStream, UnixStream};
use crate::runtime::current;
use crate::runtime::driver::ops;
use crate::runtime::source::{Direction, Left, Limit, Operation, Registration, Source};
use crate::runtime::wait::WaitKind;

/// The socket of a connection.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A point in time on the shard's clock, in nanoseconds.
pub(crate) type Deadline = u64;

/// The deadline that is `timeout` from the beginning of this turn of the scheduler. It costs no
/// reading of the clock.
pub(crate) fn deadline_in(timeout: Duration) -> Deadline {
    let now = current::with(|scheduler| scheduler.map_or(0, |scheduler| scheduler.turn_began()));
    now.saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
}

impl Transport {
    /// The peer's address, where the family has one.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    fn registration(&self) -> &Registration {
        match self {
            Self::Tcp(stream) => stream.registration(),
            Self::Unix(stream) => stream.registration(),
        }
    }

    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }

    /// A short result empties a TCP socket, and that only.
    fn left(&self, got: usize, wanted: usize) -> Left {
        match self {
            Self::Tcp(_) if 0 < got && got < wanted => Left::Nothing,
            _ => Left::Unknown,
        }
    }

    /// Waits for input and reads it into the buffer that `buffer` makes. That is called for each
    /// try, so that nobody holds one while waiting; `wait_is_on` is called before the wait.
    #[track_caller]
    #[inline]
    pub(crate) fn read_with<B: AsMut<[u8]>>(
        &self,
        deadline: Deadline,
        mut take: impl FnMut() -> B,
        mut give_back: impl FnMut(B),
    ) -> io::Result<(B, usize)> {
        let operation = Operation {
            direction: Direction::Read,
            kind: WaitKind::Read,
            limit: Limit::At(deadline),
            location: Location::caller(),
        };
        let left = |(got, wanted, _): &(usize, usize, B)| self.left(*got, *wanted);
        let (got, _, buffer) =
            self.registration().perform(self.fd(), operation, left, || {
                let mut buffer = take();
                let room = buffer.as_mut();
                let wanted = room.len();
                match ops::recv(self.fd(), room, false) {
                    Ok(got) => Ok((got, wanted, buffer)),
                    Err(error) => {
                        give_back(buffer);
                        Err(error)
                    }
                }
            })?;
        Ok((buffer, got))
    }

    /// Reads what is there, up to the length of `buffer`; waits for something.
    #[track_caller]
    pub(crate) fn read(&self, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        let operation = Operation {
            direction: Direction::Read,
            kind: WaitKind::Read,
            limit: Limit::At(deadline),
            location: Location::caller(),
        };
        let wanted = buffer.len();
        self.registration().perform(
            self.fd(),
            operation,
            |&got| self.left(got, wanted),
            || ops::recv(self.fd(), buffer, false),
        )
    }

    /// Writes all of `head` and then all of `body`. The deadline begins anew with each piece that
    /// the peer takes.
    #[track_caller]
    pub(crate) fn write_all(
        &self,
        mut head: &[u8],
        mut body: &[u8],
        timeout: Duration,
    ) -> io::Result<()> {
        while !head.is_empty() || !body.is_empty() {
            let operation = Operation {
                direction: Direction::Write,
                kind: WaitKind::Write,
                limit: Limit::After(timeout),
                location: Location::caller(),
            };
            let wanted = head.len() + body.len();
            let written = self.registration().perform(
                self.fd(),
                operation,
                |&got| self.left(got, wanted),
                || match (head, body) {
                    (head, []) => ops::send(self.fd(), head),
                    ([], body) => ops::send(self.fd(), body),
                    (head, body) => ops::send_vectored(
                        self.fd(),
                        &[IoSlice::new(head), IoSlice::new(body)],
                    ),
                },
            )?;
            let of_head = written.min(head.len());
            head = &head[of_head..];
            body = &body[written - of_head..];
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn shut_down_write(&self) {
        let how = std::net::Shutdown::Write;
        // A peer that is gone has nothing to be told.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
    }

    /// Lets the reader meet the end of the stream, after what has already been received.
    pub(crate) fn shut_down_read(&self) {
        let how = std::net::Shutdown::Read;
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        };
    }
}
