//! Connections that go on with another protocol (RFC 9110 section 7.8).
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderValue, StatusCode};

use super::connection::Connection;
use super::message::{Body, Content, IntoResponse, Response};
use super::proto::upgrade::{is_offered, may_switch};
use super::request::Request;
use super::transport::Family;
use crate::net::{TcpStream, UnixStream};
use crate::runtime::io::operation::Limit;
use crate::thread;

/// The closure of [`Response::upgrade`], as the content of a body.
type TakeOver = Box<dyn FnOnce(Upgraded)>;

impl Response {
    /// Makes an answer that switches the connection to another protocol, which `take_over` speaks.
    ///
    /// 101 (Switching Protocols) goes out, and then `take_over` is called in the ethread of the
    /// connection, with the raw stream. When it returns, the connection ends, also if the stream
    /// was kept; one that is to go on is turned [`into_tcp`](Upgraded::into_tcp). Add the fields
    /// that the protocol wants, such as `sec-websocket-accept`, with
    /// [`with_header`](Self::with_header).
    ///
    /// The client must have asked for it: if the request is not HTTP/1.1, or does not name
    /// `protocol` in its `Upgrade` field and that in its `Connection` field, then the answer is 426
    /// (Upgrade Required); see [`Request::offers_upgrade`]. What is left of the request's body is
    /// read before; if that is too much, the answer is 413. While the server drains it is 503.
    ///
    /// # Panics
    ///
    /// If `protocol` may not stand in a header.
    ///
    /// # Examples
    ///
    /// A protocol that gives back what it gets:
    ///
    /// ```
    /// use std::io;
    /// use ethreads::http::{IntoResponse, Request, Response};
    ///
    /// fn answer(request: &mut Request) -> Response {
    ///     if !request.offers_upgrade("echo") {
    ///         return "this could be an echo\n".into_response();
    ///     }
    ///     Response::upgrade("echo", |stream| {
    ///         if let Err(error) = io::copy(&mut &stream, &mut &stream) {
    ///             log::debug!("the echo fell silent: {error}");
    ///         }
    ///     })
    /// }
    /// ```
    #[must_use]
    #[track_caller]
    pub fn upgrade<V>(protocol: V, take_over: impl FnOnce(Upgraded) + 'static) -> Self
    where
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        let take_over: TakeOver = Box::new(take_over);
        Self::new(StatusCode::SWITCHING_PROTOCOLS)
            .with_header(UPGRADE, protocol)
            .with_body(Body::taking_over(Box::new(take_over)))
    }
}

impl Request {
    /// Whether the client offers to go on with another protocol on this connection, by the fields
    /// `Upgrade` and `Connection` (RFC 9110 section 7.8). Names of protocols are compared without
    /// regard to case; a version belongs to the name, as in `foo/2`.
    #[must_use]
    pub fn offers_upgrade(&self, protocol: &str) -> bool {
        is_offered(self.version(), self.headers(), protocol.as_bytes())
    }
}

/// What becomes of an answer that wants to switch protocols.
pub(super) enum Switch {
    /// It is answered with this instead.
    Refused(Response),
    /// 101 is to be sent, and then this is to be called.
    Agreed(TakeOver),
}

/// Takes the closure out of an answer that was made by [`Response::upgrade`], if everything else is
/// as it must be.
#[cold]
#[inline(never)]
pub(super) fn prepare(request: &mut Request, response: &mut Response) -> Switch {
    let take_over = match mem::take(response.body_mut()).into_content() {
        Content::TakeOver(content) => content.downcast::<TakeOver>().ok(),
        _ => None,
    };
    let Some(take_over) = take_over else {
        return Switch::Refused(Response::internal_error());
    };
    if !may_switch(request.version(), request.headers(), response.headers()) {
        // RFC 9110 section 15.5.22: the answer must say to what.
        let mut refusal = refusal(StatusCode::UPGRADE_REQUIRED);
        for protocol in response.headers().get_all(&UPGRADE) {
            refusal.headers_mut().append(UPGRADE, protocol.clone());
        }
        return Switch::Refused(refusal);
    }
    if request.io.context.is_draining() {
        return Switch::Refused(refusal(StatusCode::SERVICE_UNAVAILABLE));
    }
    // RFC 9110 section 7.8: the new protocol begins behind the whole request, and a 100 that is
    // due comes before the 101; reading the body sends it.
    if !request.io.is_done() && !request.io.drain() {
        return Switch::Refused(refusal(StatusCode::PAYLOAD_TOO_LARGE));
    }
    Switch::Agreed(*take_over)
}

fn refusal(status: StatusCode) -> Response {
    let reason = status.canonical_reason().unwrap_or_default();
    (status, format!("{reason}\n")).into_response()
}

/// Hands the connection to the new protocol, after the 101 was sent. Whether it is the server's to
/// end when this returns: the peer may still be sending then.
#[cold]
#[inline(never)]
pub(super) fn hand_over(request: &mut Request, take_over: TakeOver) -> bool {
    let io = &mut request.io;
    let connection = io.connection.clone();
    let ours = Rc::new(Cell::new(true));
    let upgraded = Upgraded {
        unread: io.take_unread(),
        at: Cell::new(0),
        read_timeout: Cell::new(None),
        write_timeout: Cell::new(Some(io.context.config.timeouts.write)),
        connection: connection.clone(),
        ours: ours.clone(),
    };
    connection.upgraded.set(true);
    if io.context.closes_idle() {
        // The drain told those who were there, and this one comes too late for it.
        let _ = connection.transport.shutdown(Shutdown::Read);
    }
    let call = AssertUnwindSafe(|| take_over(upgraded));
    if let Err(payload) = thread::catch_panic(call) {
        let text = crate::runtime::base::panic::message(&*payload);
        log::error!(
            "upgraded connection panicked in ethread {}: {text}",
            thread::current()
        );
    }
    let is_kept = Rc::strong_count(&ours) > 1;
    if is_kept {
        // The connection counts no more from here, so it ends here.
        let _ = connection.transport.shutdown(Shutdown::Both);
    }
    ours.get() && !is_kept
}

/// A connection that has left HTTP: the raw stream, beginning with what the client has sent behind
/// its request. Made by [`Response::upgrade`].
///
/// As with [`TcpStream`], a reference can read and write too, so that several ethreads can share
/// it. A read or write that is cancelled, or whose time is over, loses nothing. Dropping it tells
/// the client that nothing more comes.
///
/// When the server [drains](super::ServerHandle::drain), reads meet the end of the stream, as if
/// the client had ended its side; writes go on, so that the protocol can say goodbye.
pub struct Upgraded {
    connection: Rc<Connection>,
    unread: Box<[u8]>,
    /// How much of it was read.
    at: Cell<usize>,
    read_timeout: Cell<Option<Duration>>,
    write_timeout: Cell<Option<Duration>>,
    /// Whether dropping this ends the stream. Its owners tell whether the stream was kept.
    ours: Rc<Cell<bool>>,
}

impl Upgraded {
    /// Returns the bytes that have arrived with the request and were not read yet. Reading begins
    /// with them.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.unread[self.at.get()..]
    }

    /// Returns the client's address; `None` on a Unix socket.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.connection.transport.peer_addr()
    }

    /// Returns the address that the client connected to; `None` on a Unix socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.connection.transport.local_addr()
    }

    /// Sets how long a read may wait before it fails with `TimedOut`; `None`, the default, is for
    /// ever, since it is up to the protocol how long its connections may be silent.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) {
        self.read_timeout.set(timeout);
    }

    /// Sets how long a write may wait before it fails with `TimedOut`; `None` is for ever. The
    /// default is the server's [`Timeouts::write`](super::Timeouts::write).
    pub fn set_write_timeout(&self, timeout: Option<Duration>) {
        self.write_timeout.set(timeout);
    }

    /// Ends the reading half, the writing half or both, as [`TcpStream::shutdown`].
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.connection.transport.shutdown(how)
    }

    /// Turns it into a [`TcpStream`], for what wants one; gives it back if it is a Unix socket, if
    /// there are [`buffered`](Self::buffered) bytes, or if the process has no descriptor left.
    ///
    /// The stream has a descriptor of its own (dup(2)). The server's is closed when the closure of
    /// [`Response::upgrade`] returns; the client sees the end when both are closed.
    ///
    /// # Errors
    ///
    /// The connection itself, in these cases.
    pub fn into_tcp(self) -> Result<TcpStream, Self> {
        match self.duplicate(Family::Tcp) {
            Some(socket) => Ok(socket.into()),
            None => Err(self),
        }
    }

    /// Turns it into a [`UnixStream`]: as [`into_tcp`](Self::into_tcp), for a Unix socket.
    ///
    /// # Errors
    ///
    /// As [`into_tcp`](Self::into_tcp).
    pub fn into_unix(self) -> Result<UnixStream, Self> {
        match self.duplicate(Family::Unix) {
            Some(socket) => Ok(socket.into()),
            None => Err(self),
        }
    }

    fn duplicate(&self, family: Family) -> Option<std::os::fd::OwnedFd> {
        let transport = &self.connection.transport;
        if transport.family() != family || !self.buffered().is_empty() {
            return None;
        }
        let socket = transport.duplicate().ok()?;
        self.ours.set(false);
        Some(socket)
    }
}

impl Read for &Upgraded {
    /// Reads what has arrived; suspends the ethread until something has, or the read timeout is
    /// over (`TimedOut`). `Ok(0)` is the end.
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let unread = self.buffered();
        if !unread.is_empty() {
            let got = unread.len().min(buf.len());
            buf[..got].copy_from_slice(&unread[..got]);
            self.at.set(self.at.get() + got);
            return Ok(got);
        }
        let limit = self.read_timeout.get().map_or(Limit::Never, Limit::After);
        self.connection.transport.read_within(buf, limit)
    }
}

impl Write for &Upgraded {
    /// Writes what the connection takes at once; suspends the ethread until that is something, or
    /// the write timeout is over (`TimedOut`).
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let limit = self.write_timeout.get().map_or(Limit::Never, Limit::After);
        self.connection.transport.write_within(bufs, limit)
    }

    /// Does nothing: nothing is buffered here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Upgraded {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for Upgraded {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        if self.ours.get() {
            self.connection.transport.shut_down_write();
        }
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded")
            .field("peer", &self.peer_addr())
            .field("buffered", &self.buffered().len())
            .finish_non_exhaustive()
    }
}
