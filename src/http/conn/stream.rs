//! The stream of a connection: a socket, a stream in memory, or a stream of the program.
//!
//! The rest of the server does not distinguish the kinds: a stream says what it can do.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::boxed::{Boxed, FullDuplex, HalfDuplex, Io};
use super::deadline::Deadline;
use super::socket::{Family, Socket};
use crate::io::Duplex;
use crate::net::{TcpStream, UnixStream};
use crate::runtime::io::operation::Limit;
use crate::runtime::task::join::JoinHandle;
use crate::runtime::task::work::Work;

/// The stream of an HTTP connection, for
/// [`Server::serve_connection`](crate::http::Server::serve_connection).
///
/// Made by `From` of a TCP stream, a Unix stream or a [`Duplex`], and by [`boxed`](Self::boxed) or
/// [`half_duplex`](Self::half_duplex) of any other type.
///
/// # Examples
///
/// A Unix stream as it is, and behind a type of the program:
///
/// ```
/// use std::io::{self, Read, Write};
/// use ethreads::http::Stream;
/// use ethreads::net::UnixStream;
///
/// struct Logged(UnixStream);
///
/// impl Read for &Logged {
///     fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
///         let got = (&self.0).read(buf)?;
///         log::trace!("{got} bytes in");
///         Ok(got)
///     }
/// }
///
/// impl Write for &Logged {
///     fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
///         (&self.0).write(buf)
///     }
///
///     fn flush(&mut self) -> io::Result<()> {
///         (&self.0).flush()
///     }
/// }
///
/// # ethreads::run_main(|| {
/// let (one, other) = UnixStream::pair()?;
/// let streams = [Stream::from(one), Stream::boxed(Logged(other))];
/// # drop(streams);
/// # io::Result::Ok(())
/// # })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Stream(Kind);

/// The common kind alone is inline, as every idle connection has one.
enum Kind {
    Socket(Socket),
    Memory(Box<Duplex>),
    Boxed(Box<Boxed>),
}

impl Stream {
    /// Makes a stream of any type whose references can be read and written, such as a TLS stream
    /// with a lock of its own inside.
    ///
    /// A read and a write may wait at the same time, in two ethreads, if a handler has
    /// [taken](crate::http::Request::take_body) the body of its request. Time limits apply
    /// only to waits in calls of this crate. `WouldBlock` is an error that ends the
    /// connection.
    ///
    /// A read cannot be interrupted. One that waits for a taken body when its request has ended
    /// keeps the stream open until it returns, at the latest when the body's time limit is over,
    /// and ends the connection.
    pub fn boxed<T>(stream: T) -> Self
    where
        T: 'static,
        for<'a> &'a T: Read + Write,
    {
        Self::of_io(FullDuplex(stream))
    }

    /// Makes a stream of any type that can be read and written, but not at the same time: a write
    /// waits while a read waits. Otherwise as [`boxed`](Self::boxed).
    pub fn half_duplex<T: Read + Write + 'static>(stream: T) -> Self {
        Self::of_io(HalfDuplex::new(stream))
    }

    fn of_io(io: impl Io + 'static) -> Self {
        Self(Kind::Boxed(Box::new(Boxed::new(Box::new(io)))))
    }

    /// Makes a stream of a non-blocking socket.
    pub(in crate::http) fn socket(fd: OwnedFd, family: Family) -> Self {
        Self(Kind::Socket(Socket::new(fd, family)))
    }

    /// Whether reads and writes can be tried without waiting.
    #[inline]
    pub(in crate::http) fn can_try(&self) -> bool {
        !matches!(self.0, Kind::Boxed(_))
    }

    /// The address of the peer, where the stream has one.
    pub(in crate::http) fn peer_addr(&self) -> Option<SocketAddr> {
        self.as_socket()?.peer_addr()
    }

    /// The address on this side, where the stream has one.
    pub(in crate::http) fn local_addr(&self) -> Option<SocketAddr> {
        self.as_socket()?.local_addr()
    }

    fn as_socket(&self) -> Option<&Socket> {
        match &self.0 {
            Kind::Socket(socket) => Some(socket),
            Kind::Memory(_) | Kind::Boxed(_) => None,
        }
    }

    /// Duplicates the descriptor, if the stream is a socket of this family.
    pub(in crate::http) fn duplicate(&self, family: Family) -> Option<OwnedFd> {
        let socket = self.as_socket()?;
        (socket.family == family).then(|| socket.duplicate().ok())?
    }

    /// Reads bytes that have arrived; fails with `WouldBlock` if there are none. A stream that
    /// cannot try a read waits until `deadline` instead.
    #[track_caller]
    #[inline(always)]
    pub(in crate::http) fn read_now(
        &self,
        buffer: &mut [u8],
        deadline: impl FnOnce() -> Deadline,
    ) -> io::Result<usize> {
        match &self.0 {
            Kind::Socket(socket) => socket.read_now(buffer),
            Kind::Memory(duplex) => duplex.read_within(buffer, Limit::Now, || Ok(())),
            Kind::Boxed(boxed) => boxed.read(buffer, Limit::At(deadline()), || Ok(())),
        }
    }

    /// Waits for input, without reading it; false at the deadline. A stream that cannot try a read
    /// returns true at once.
    #[track_caller]
    pub(in crate::http) fn wait(&self, deadline: Deadline) -> io::Result<bool> {
        match &self.0 {
            Kind::Socket(socket) => socket.wait(deadline),
            Kind::Memory(duplex) => duplex.wait_readable(Limit::At(deadline)),
            Kind::Boxed(_) => Ok(true),
        }
    }

    /// Parks without a stack until there may be input: see [`Socket::park_stackless`]. Fails for
    /// other streams, which are served on the stack of their caller.
    // Inlined down to the park, as it runs for each request.
    #[inline(always)]
    #[track_caller]
    pub(in crate::http) fn park_stackless(&self, deadline: Deadline) -> io::Result<bool> {
        match &self.0 {
            Kind::Socket(socket) => socket.park_stackless(deadline),
            Kind::Memory(_) | Kind::Boxed(_) => Err(no_socket()),
        }
    }

    /// Spawns an ethread that waits for input without a stack. Fails if this is no socket.
    #[track_caller]
    pub(in crate::http) fn spawn_parked(
        &self,
        name: &str,
        deadline: Deadline,
        work: impl Work<()> + 'static,
    ) -> io::Result<JoinHandle<()>> {
        match self.as_socket() {
            Some(socket) => socket.spawn_parked(name, deadline, work),
            None => Err(no_socket()),
        }
    }

    /// Whether a close may discard output that the peer has not read: see
    /// [`lingering`](super::lingering).
    pub(in crate::http) fn lingers(&self) -> bool {
        self.as_socket().is_some()
    }

    /// Reads bytes that have arrived; waits if there are none. Calls `check` before each try; an
    /// error of `check` ends the read.
    #[track_caller]
    pub(in crate::http) fn read(
        &self,
        buffer: &mut [u8],
        limit: Limit,
        check: impl Fn() -> io::Result<()>,
    ) -> io::Result<usize> {
        match &self.0 {
            Kind::Socket(socket) => socket.read(buffer, limit, check),
            Kind::Memory(duplex) => duplex.read_within(buffer, limit, check),
            Kind::Boxed(boxed) => boxed.read(buffer, limit, check),
        }
    }

    /// Writes as many bytes as the stream accepts at once; waits until it accepts one.
    #[track_caller]
    pub(in crate::http) fn write(&self, bufs: &[IoSlice<'_>], limit: Limit) -> io::Result<usize> {
        match &self.0 {
            Kind::Socket(socket) => socket.write(bufs, limit),
            Kind::Memory(duplex) => duplex.write_within(bufs, limit),
            Kind::Boxed(boxed) => boxed.write(bufs, limit),
        }
    }

    /// Writes all of `head` and then all of `body`. `timeout` restarts whenever the stream accepts
    /// bytes. On a socket, other ethreads run between two pieces of `slice` bytes.
    #[track_caller]
    #[inline]
    pub(in crate::http) fn write_all(
        &self,
        head: &[u8],
        body: &[u8],
        timeout: Duration,
        slice: usize,
    ) -> io::Result<()> {
        match &self.0 {
            Kind::Socket(socket) => socket.write_all(head, body, timeout, slice),
            Kind::Memory(_) | Kind::Boxed(_) => {
                self.write_pieces(&mut [IoSlice::new(head), IoSlice::new(body)], timeout)
            }
        }
    }

    fn write_pieces(&self, mut pieces: &mut [IoSlice<'_>], timeout: Duration) -> io::Result<()> {
        let limit = Limit::After(timeout);
        while !pieces.iter().all(|piece| piece.is_empty()) {
            match self.write(pieces, limit)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => IoSlice::advance_slices(&mut pieces, written),
            }
        }
        self.flush(limit)
    }

    /// Flushes a boxed stream, which may have a buffer of its own.
    pub(in crate::http) fn flush(&self, limit: Limit) -> io::Result<()> {
        match &self.0 {
            Kind::Boxed(boxed) => boxed.flush(limit),
            Kind::Socket(_) | Kind::Memory(_) => Ok(()),
        }
    }

    /// Sends a part of a file by the kernel; waits until the kernel accepts a byte. Returns zero at
    /// the end of the file; fails with `Unsupported` where the kernel or the stream cannot.
    #[track_caller]
    pub(in crate::http) fn send_file(
        &self,
        file: &File,
        offset: u64,
        count: usize,
        timeout: Duration,
    ) -> io::Result<usize> {
        match self.as_socket() {
            Some(socket) => socket.send_file(file, offset, count, timeout),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends as many bytes as the stream accepts at once, possibly none. Not a suspension point. An
    /// error is reported by the next write.
    pub(in crate::http) fn send_now(&self, data: &[u8]) -> usize {
        match &self.0 {
            Kind::Socket(socket) => socket.send_now(data),
            Kind::Memory(duplex) => duplex.write_now(data),
            Kind::Boxed(_) => 0,
        }
    }

    /// As [`send_now`](Self::send_now), for data that more data follows at once: a socket sends
    /// both in one packet where it can. Other streams send nothing.
    pub(in crate::http) fn send_ahead(&self, data: &[u8]) -> usize {
        self.as_socket().map_or(0, |socket| socket.send_ahead(data))
    }

    /// Ends one side of the connection, or both. Fails only if the connection is gone.
    pub(in crate::http) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.0 {
            Kind::Socket(socket) => return socket.shutdown(how),
            Kind::Memory(duplex) => duplex.shutdown(how),
            Kind::Boxed(boxed) => boxed.shutdown(how),
        }
        Ok(())
    }

    /// Ends the write side, so that the peer sees the end of the stream.
    pub(in crate::http) fn shut_down_write(&self) {
        // The call fails only if the connection is gone.
        let _ = self.shutdown(Shutdown::Write);
    }

    /// Discards input that has arrived at a socket, so that the following close does not reset the
    /// connection. Not a suspension point.
    pub(in crate::http) fn discard_arrived(&self) {
        if let Some(socket) = self.as_socket() {
            socket.discard_arrived();
        }
    }

    /// Makes the close of a socket reset the connection, which discards output that the peer has
    /// not received.
    pub(in crate::http) fn reset_at_close(&self) {
        if let Some(socket) = self.as_socket() {
            socket.reset_at_close();
        }
    }

    /// Whether the peer has ended its side, or the connection is gone; false for a boxed stream,
    /// which shows that only to a read.
    pub(in crate::http) fn peer_gone(&self) -> bool {
        match &self.0 {
            Kind::Socket(socket) => socket.peer_gone(),
            Kind::Memory(duplex) => duplex.peer_gone(),
            Kind::Boxed(_) => false,
        }
    }

    /// Whether input has arrived that was not read. One system call.
    pub(in crate::http) fn has_input(&self) -> bool {
        self.as_socket().is_none_or(Socket::has_input)
    }

    /// Runs `f`, which is unwound when the peer has ended its side or is gone: `None` if that has
    /// happened. A boxed stream shows that only to a read, so `f` runs to its end.
    #[track_caller]
    pub(in crate::http) fn while_connected<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        match &self.0 {
            Kind::Socket(socket) => socket.while_connected(f),
            Kind::Memory(duplex) => duplex.while_connected(f),
            Kind::Boxed(_) => Some(f()),
        }
    }

    /// Makes the waiters of this stream try again, and check whether the connection has to close.
    pub(in crate::http) fn look_again(&self) {
        match &self.0 {
            Kind::Socket(socket) => socket.look_again(),
            Kind::Memory(duplex) => duplex.look_again(),
            Kind::Boxed(_) => {}
        }
    }
}

#[cold]
fn no_socket() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "a wait without a stack needs a socket",
    )
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::socket(stream.into(), Family::Tcp)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::socket(stream.into(), Family::Unix)
    }
}

impl From<Duplex> for Stream {
    fn from(stream: Duplex) -> Self {
        Self(Kind::Memory(Box::new(stream)))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Socket(socket) => socket.fmt(f),
            Kind::Memory(duplex) => duplex.fmt(f),
            Kind::Boxed(_) => f.write_str("Boxed"),
        }
    }
}
