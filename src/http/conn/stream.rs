//! What a connection is carried by: a socket, a stream in memory, or a stream of the user.
//!
//! The rest of the server asks a stream what it can do, and never names a descriptor.
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

/// A stream that HTTP is spoken on, for
/// [`Server::serve_connection`](crate::http::Server::serve_connection).
///
/// TCP streams, Unix streams and [`Duplex`]es convert into it. Others go into a box.
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
    /// A read and a write may wait at the same time, in two ethreads, where a handler has
    /// [taken](crate::http::Request::take_body) the body of its request. Time limits hold only
    /// where the stream waits by calls of this crate.
    pub fn boxed<T>(stream: T) -> Self
    where
        T: 'static,
        for<'a> &'a T: Read + Write,
    {
        Self::of_io(FullDuplex(stream))
    }

    /// Makes a stream of any type that can be read and written, one at a time: while a read waits,
    /// a write waits too. Otherwise as [`boxed`](Self::boxed).
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

    /// Another descriptor of the same connection, if it is a socket of this family.
    pub(in crate::http) fn duplicate(&self, family: Family) -> Option<OwnedFd> {
        let socket = self.as_socket()?;
        (socket.family() == family).then(|| socket.duplicate().ok())?
    }

    /// Reads what has arrived, up to the length of `buffer`; fails with `WouldBlock` if nothing
    /// has. Waits until `deadline` where a read cannot be tried.
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

    /// Waits for input, without reading it; false at the deadline. Returns at once where a read
    /// cannot be tried.
    #[track_caller]
    pub(in crate::http) fn wait(&self, deadline: Deadline) -> io::Result<bool> {
        match &self.0 {
            Kind::Socket(socket) => socket.wait(deadline),
            Kind::Memory(duplex) => duplex.wait_readable(Limit::At(deadline)),
            Kind::Boxed(_) => Ok(true),
        }
    }

    /// Parks without a stack until there may be input: see
    /// [`Socket::park_stackless`]. Streams that are no sockets are served on their caller's stack.
    // Inlined down to the park, as each request passes here.
    #[inline(always)]
    #[track_caller]
    pub(in crate::http) fn park_stackless(&self, deadline: Deadline) -> io::Result<bool> {
        match &self.0 {
            Kind::Socket(socket) => socket.park_stackless(deadline),
            Kind::Memory(_) | Kind::Boxed(_) => Err(no_socket()),
        }
    }

    /// Spawns an ethread that waits for input without a stack. Only sockets can.
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

    /// Whether a close may destroy what the peer has not read yet: see
    /// [`lingering`](super::lingering).
    pub(in crate::http) fn lingers(&self) -> bool {
        self.as_socket().is_some()
    }

    /// Reads what has arrived, up to the length of `buffer`; waits if nothing has. Each try calls
    /// `check` first, and an error of it ends the read.
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

    /// Writes what the peer takes at once; waits until it takes something.
    #[track_caller]
    pub(in crate::http) fn write(&self, bufs: &[IoSlice<'_>], limit: Limit) -> io::Result<usize> {
        match &self.0 {
            Kind::Socket(socket) => socket.write(bufs, limit),
            Kind::Memory(duplex) => duplex.write_within(bufs, limit),
            Kind::Boxed(boxed) => boxed.write(bufs, limit),
        }
    }

    /// Writes all of `head` and then all of `body`. `timeout` starts anew with each piece that the
    /// peer takes. Other ethreads run between two pieces of `slice` bytes.
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

    /// Has a stream of a user send what it has buffered itself.
    pub(in crate::http) fn flush(&self, limit: Limit) -> io::Result<()> {
        match &self.0 {
            Kind::Boxed(boxed) => boxed.flush(limit),
            Kind::Socket(_) | Kind::Memory(_) => Ok(()),
        }
    }

    /// Has the kernel send a part of a file; waits until the kernel takes something. Returns zero
    /// at the end of the file; fails with `Unsupported` where the kernel cannot.
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

    /// Sends what is taken at once, which may be nothing. Not a suspension point. An error is left
    /// to the next write to report.
    pub(in crate::http) fn send_now(&self, data: &[u8]) -> usize {
        match &self.0 {
            Kind::Socket(socket) => socket.send_now(data),
            Kind::Memory(duplex) => duplex.write_now(data),
            Kind::Boxed(_) => 0,
        }
    }

    /// Ends one side of the connection, or both. What fails is gone already.
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
        // The call fails only if the peer is gone.
        let _ = self.shutdown(Shutdown::Write);
    }

    /// Reads and discards what has arrived, so that the following close does not reset the
    /// connection. Not a suspension point.
    pub(in crate::http) fn discard_arrived(&self) {
        if let Some(socket) = self.as_socket() {
            socket.discard_arrived();
        }
    }

    /// Makes the close reset the connection, which discards the output that the peer has not taken.
    pub(in crate::http) fn reset_at_close(&self) {
        if let Some(socket) = self.as_socket() {
            socket.reset_at_close();
        }
    }

    /// Whether the peer has ended its side, or the connection is gone; false where that cannot be
    /// known without a read.
    pub(in crate::http) fn peer_gone(&self) -> bool {
        match &self.0 {
            Kind::Socket(socket) => socket.peer_gone(),
            Kind::Memory(duplex) => duplex.peer_gone(),
            Kind::Boxed(_) => false,
        }
    }

    /// Makes the waiters of this stream try again, as idle connections may have to close by now.
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
        "only a socket can be waited for without a stack",
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
