//! What all sockets have in common: the socket of std, the settings that its clones share, and the
//! operations.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::io::Watched;
use crate::runtime::base::error::WouldPark;
use crate::runtime::base::wait::WaitKind;
use crate::runtime::driver::{ops, socket};
use crate::runtime::io::operation::{Left, Limit, Operation};
use crate::runtime::io::registration::Registration;
use crate::runtime::io::source::Source;
use crate::runtime::scheduler::park;
use crate::runtime::state::slots::Direction;
use crate::time::Instant;

/// A non-blocking socket over a socket type of std. Options and addresses are calls of std; the
/// operations are the driver's.
#[derive(Debug)]
pub(super) struct Socket<S: AsFd> {
    watched: Watched<S>,
    /// Made by the first setting or clone, so that a connection with neither does not pay for it.
    settings: OnceLock<Arc<Settings>>,
}

/// The state that std keeps with the open file description, and that clones therefore share.
#[derive(Debug, Default)]
struct Settings {
    /// Nanoseconds; zero is no timeout.
    read_timeout: AtomicU64,
    write_timeout: AtomicU64,
    nonblocking: AtomicBool,
}

impl Settings {
    fn nanos(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Read => &self.read_timeout,
            Direction::Write => &self.write_timeout,
        }
    }

    #[inline]
    fn timeout(&self, direction: Direction) -> Option<Duration> {
        match self.nanos(direction).load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

impl<S: AsFd> AsFd for Socket<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watched.fd()
    }
}

impl<S: AsFd> Source for Socket<S> {
    fn registration(&self) -> &Registration {
        self.watched.registration()
    }
}

impl<S: AsFd + From<OwnedFd>> Socket<S> {
    /// Takes a descriptor that is non-blocking already.
    #[inline]
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self {
            watched: Watched::new(S::from(fd)),
            settings: OnceLock::new(),
        }
    }

    /// Takes a socket from elsewhere.
    pub(super) fn adopt(fd: OwnedFd) -> Self {
        // A descriptor that refuses this is no socket; its first operation returns the error.
        let _ = ops::set_nonblocking(fd.as_fd(), true);
        Self::new(fd)
    }

    #[inline]
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.watched.fd()
    }

    pub(super) fn std(&self) -> &S {
        self.watched.get()
    }

    /// Gives the socket away in the blocking mode that the program has chosen.
    pub(super) fn into_inner(self) -> S {
        let nonblocking = self.is_nonblocking();
        let socket = self.watched.into_inner();
        // As in `adopt`: only a descriptor that is no socket refuses.
        let _ = ops::set_nonblocking(socket.as_fd(), nonblocking);
        socket
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        let fd = self.fd().try_clone_to_owned()?;
        let settings = self.settings().clone();
        Ok(Self {
            watched: Watched::new(S::from(fd)),
            settings: OnceLock::from(settings),
        })
    }

    fn settings(&self) -> &Arc<Settings> {
        self.settings.get_or_init(Arc::default)
    }

    fn is_nonblocking(&self) -> bool {
        self.settings
            .get()
            .is_some_and(|settings| settings.nonblocking.load(Ordering::Relaxed))
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        self.settings()
            .nonblocking
            .store(nonblocking, Ordering::Relaxed);
    }

    pub(super) fn timeout(&self, direction: Direction) -> Option<Duration> {
        self.settings.get()?.timeout(direction)
    }

    pub(super) fn set_timeout(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        Limit::within(timeout)?;
        // 2^64 ns are 584 years.
        let nanos = timeout.map_or(0, |timeout| {
            u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)
        });
        self.settings()
            .nanos(direction)
            .store(nanos, Ordering::Relaxed);
        Ok(())
    }

    #[inline]
    pub(super) fn limit(&self, direction: Direction) -> Limit {
        match self.settings.get() {
            None => Limit::Never,
            Some(settings) if settings.nonblocking.load(Ordering::Relaxed) => Limit::Now,
            Some(settings) => settings
                .timeout(direction)
                .map_or(Limit::Never, Limit::After),
        }
    }

    /// Runs `try_once` until its result is not `WouldBlock`, within the socket's own limit.
    #[inline]
    #[track_caller]
    fn perform<R>(
        &self,
        direction: Direction,
        kind: WaitKind,
        left: impl Fn(&R) -> Left,
        try_once: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        self.perform_within(self.limit(direction), direction, kind, left, try_once)
    }

    #[inline]
    #[track_caller]
    pub(super) fn perform_within<R>(
        &self,
        limit: Limit,
        direction: Direction,
        kind: WaitKind,
        left: impl Fn(&R) -> Left,
        mut try_once: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        let operation = Operation {
            direction,
            kind,
            limit,
            location: Location::caller(),
        };
        self.watched
            .perform(operation, left, |fd| try_once(fd.as_fd()))
    }

    /// Accepts a connection.
    #[inline]
    #[track_caller]
    pub(super) fn accept<T: AsFd + From<OwnedFd>>(
        &self,
    ) -> io::Result<(Socket<T>, Option<ops::PeerAddr>)> {
        let (read, kind) = (Direction::Read, WaitKind::Accept);
        let (fd, from) = self.perform(read, kind, |_| Left::Unknown, ops::accept)?;
        Ok((Socket::new(fd), from))
    }

    /// Reads from a stream; `left` says what `n` bytes of those asked for leave.
    #[inline]
    #[track_caller]
    pub(super) fn read(
        &self,
        buf: &mut [u8],
        left: impl Fn(usize, usize) -> Left,
    ) -> io::Result<usize> {
        let asked = buf.len();
        self.read_with(|&n| left(n, asked), |fd| ops::recv(fd, buf, false))
    }

    /// As [`Socket::read`].
    #[track_caller]
    pub(super) fn read_vectored(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        left: impl Fn(usize, usize) -> Left,
    ) -> io::Result<usize> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        self.read_with(|&n| left(n, asked), |fd| ops::read_vectored(fd, bufs))
    }

    /// Writes to a stream; `left` is that of [`Socket::read`].
    #[inline]
    #[track_caller]
    pub(super) fn write(
        &self,
        buf: &[u8],
        left: impl Fn(usize, usize) -> Left,
    ) -> io::Result<usize> {
        self.write_with(|&n| left(n, buf.len()), |fd| ops::send(fd, buf))
    }

    /// As [`Socket::write`].
    #[track_caller]
    pub(super) fn write_vectored(
        &self,
        bufs: &[IoSlice<'_>],
        left: impl Fn(usize, usize) -> Left,
    ) -> io::Result<usize> {
        let left = |&n: &usize| left(n, bufs.iter().map(|buf| buf.len()).sum());
        self.write_with(left, |fd| ops::send_vectored(fd, bufs))
    }

    /// Receives from a connected peer; with `peek` the data stays in the socket.
    #[track_caller]
    pub(super) fn recv(&self, buf: &mut [u8], peek: bool) -> io::Result<usize> {
        self.read_with(|_| Left::Unknown, |fd| ops::recv(fd, buf, peek))
    }

    /// Receives a datagram; with `peek` it stays in the socket.
    #[track_caller]
    pub(super) fn recv_from(
        &self,
        buf: &mut [u8],
        peek: bool,
    ) -> io::Result<(usize, Option<ops::PeerAddr>)> {
        self.read_with(|_| Left::Unknown, |fd| ops::recv_from(fd, buf, peek))
    }

    /// Sends a datagram to the connected peer.
    #[track_caller]
    pub(super) fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.write_with(|_| Left::Unknown, |fd| ops::send(fd, buf))
    }

    #[inline]
    #[track_caller]
    fn read_with<R>(
        &self,
        left: impl Fn(&R) -> Left,
        try_once: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        self.perform(Direction::Read, WaitKind::Read, left, try_once)
    }

    #[inline]
    #[track_caller]
    pub(super) fn write_with<R>(
        &self,
        left: impl Fn(&R) -> Left,
        try_once: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        self.perform(Direction::Write, WaitKind::Write, left, try_once)
    }

    /// Connects: `start` begins the attempt, and the socket's error is the outcome.
    #[track_caller]
    pub(super) fn connect(
        &self,
        limit: Limit,
        start: impl Fn(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut started = false;
        // An interrupted connect goes on (connect(2)), so it is not started twice.
        let try_once = |fd: BorrowedFd<'_>| match std::mem::replace(&mut started, true) {
            false => start(fd),
            true => socket::connected(fd),
        };
        self.perform_within(
            limit,
            Direction::Write,
            WaitKind::Connect,
            |_| Left::Unknown,
            try_once,
        )
    }
}

/// How many connections may wait to be accepted. With a short queue, a burst makes TCP clients send
/// their SYN again a second later.
pub(super) const BACKLOG: u32 = 1024;

/// The longest pause of [`with_pauses`], and so the longest delay of a waiter.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// Repeats `try_once`, with pauses, while it returns `WouldBlock`: for what the kernel has no event
/// for.
#[track_caller]
pub(super) fn with_pauses<R>(
    limit: Limit,
    mut try_once: impl FnMut() -> io::Result<R>,
) -> io::Result<R> {
    let location = Location::caller();
    let mut deadline = None;
    let mut pause = Duration::ZERO;
    loop {
        match try_once() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match limit {
                Limit::Now => return Err(error),
                _ if std::thread::panicking() => {
                    return Err(io::Error::other(WouldPark { location }));
                }
                Limit::After(timeout) => {
                    let now = Instant::now();
                    let deadline = *deadline.get_or_insert_with(|| now.checked_add(timeout));
                    if deadline.is_some_and(|deadline| deadline <= now) {
                        let message = "the peer's queue stayed full";
                        return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                    }
                    let left = deadline.map_or(pause, |deadline| deadline.duration_since(now));
                    park::pause(pause.min(left), location)?;
                }
                Limit::Never | Limit::At(_) => park::pause(pause, location)?,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => return result,
        }
        // The first pause is only a yield: the peer may be the next ethread.
        pause = (pause * 2).clamp(Duration::from_millis(1), LONGEST_PAUSE);
    }
}
