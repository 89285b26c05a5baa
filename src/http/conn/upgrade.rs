//! Connections that switch to another protocol (RFC 9110 section 7.8).
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderValue, Method, StatusCode};

use super::connection::Connection;
use super::io::ConnIo;
use super::panics::guarded;
use super::socket::Family;
use crate::http::exchange::request::{Carrier, Request};
use crate::http::message::{Body, Content, IntoResponse, Response};
use crate::http::proto::upgrade::{is_offered, may_switch};
use crate::net::{TcpStream, UnixStream};
use crate::runtime::io::by_value::by_value;
use crate::runtime::io::operation::Limit;

/// The closure of [`Response::upgrade`], as the content of a body.
pub(super) type TakeOver = Box<dyn FnOnce(Upgraded)>;

/// The closure of [`Response::tunnel`], as the content of a body.
struct Tunnel(TakeOver);

impl Response {
    /// Makes an answer that switches the connection to another protocol, which `take_over` speaks.
    ///
    /// The server sends 101 (Switching Protocols), and then calls `take_over` in the ethread of the
    /// connection, with the raw stream. When `take_over` returns, the connection ends, even if the
    /// program has kept the stream; to keep the connection, turn the stream
    /// [`into_tcp`](Upgraded::into_tcp). Add the fields that the protocol wants, such as
    /// `sec-websocket-accept`, with [`with_header`](Self::with_header).
    ///
    /// The client must have offered the protocol: the request must be HTTP/1.1, its `Upgrade` field
    /// must name `protocol`, and its `Connection` field must name `upgrade`. Otherwise the answer
    /// is 426 (Upgrade Required); see [`Request::offers_upgrade`]. The rest of the request's body
    /// is read first; if it is too long, the answer is 413. While the server drains, the answer is
    /// 503.
    ///
    /// # Panics
    ///
    /// If `protocol` is no valid header value.
    ///
    /// # Examples
    ///
    /// A protocol that echoes its input:
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

impl Response {
    /// Makes the answer to a CONNECT that begins a tunnel (RFC 9110 section 9.3.6), which `relay`
    /// serves.
    ///
    /// The server sends 200, and then calls `relay` in the ethread of the connection, with the raw
    /// stream. All else is as with [`upgrade`](Self::upgrade): when `relay` returns, the connection
    /// ends. A `Content-Length` or `Transfer-Encoding` is not sent. As an answer to another method
    /// it is a mistake, and a 500 is sent instead. While the server drains, the answer is 503.
    ///
    /// See [`App::connect`](crate::http::App::connect), or, without an app,
    /// [`Handler::takes_connect`](crate::http::Handler::takes_connect).
    #[must_use]
    pub fn tunnel(relay: impl FnOnce(Upgraded) + 'static) -> Self {
        let relay = Tunnel(Box::new(relay));
        let mut response = Self::new(StatusCode::OK).with_body(Body::taking_over(Box::new(relay)));
        response.mark();
        response
    }
}

impl Request {
    /// Whether the client offers to switch this connection to `protocol`, with the fields `Upgrade`
    /// and `Connection` (RFC 9110 section 7.8). The case of protocol names does not matter; a
    /// version is part of the name, as in `foo/2`.
    #[must_use]
    pub fn offers_upgrade(&self, protocol: &str) -> bool {
        is_offered(self.version(), self.headers(), protocol.as_bytes())
    }
}

/// The outcome of an answer that asks to switch protocols.
pub(in crate::http) enum Switch {
    /// This response is sent instead.
    Refused(Response),
    /// 101 is sent, and then this closure is called.
    Agreed(TakeOver),
    /// 200 is sent, and then this closure is called.
    Tunnel(TakeOver),
}

/// Gives a response that begins a tunnel the status by which the connection knows one that it is
/// handed over with. The status is not sent.
#[cold]
pub(in crate::http) fn mark_tunnel(response: &mut Response) {
    if response.body().takes_over_as::<Tunnel>() && response.status().is_success() {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    }
}

/// Takes the closure out of an answer that was made by [`Response::upgrade`], if the switch is
/// allowed.
#[cold]
#[inline(never)]
pub(in crate::http) fn prepare(io: &mut ConnIo, response: &mut Response) -> Switch {
    let Content::TakeOver(content) = mem::take(response.body_mut()).into_content() else {
        return Switch::Refused(Response::internal_error());
    };
    let take_over = match content.downcast::<Tunnel>() {
        Ok(tunnel) => return prepare_tunnel(io, *tunnel),
        Err(content) => content.downcast::<TakeOver>(),
    };
    let Ok(take_over) = take_over else {
        return Switch::Refused(Response::internal_error());
    };
    let request = &io.request;
    if !may_switch(request.version(), request.headers(), response.headers()) {
        // RFC 9110 section 15.5.22: the answer must name the protocols.
        let mut refusal = refusal(StatusCode::UPGRADE_REQUIRED);
        for protocol in response.headers().get_all(&UPGRADE) {
            refusal.headers_mut().append(UPGRADE, protocol.clone());
        }
        return Switch::Refused(refusal);
    }
    if io.connection.context.draining.get() {
        return Switch::Refused(refusal(StatusCode::SERVICE_UNAVAILABLE));
    }
    // RFC 9110 section 7.8: the new protocol begins behind the whole request, and a 100 that is
    // due comes before the 101; reading the body sends it.
    if !io.drain() {
        return Switch::Refused(refusal(StatusCode::PAYLOAD_TOO_LARGE));
    }
    Switch::Agreed(*take_over)
}

fn prepare_tunnel(io: &mut ConnIo, Tunnel(relay): Tunnel) -> Switch {
    if *io.request.method() != Method::CONNECT {
        log::error!(
            "a handler gave a tunnel as the answer to {}",
            io.request.method()
        );
        return Switch::Refused(Response::internal_error());
    }
    if io.connection.context.draining.get() {
        return Switch::Refused(refusal(StatusCode::SERVICE_UNAVAILABLE));
    }
    // RFC 9110 section 9.3.6: content of a CONNECT has no meaning, but it is not of the tunnel.
    if !io.drain() {
        return Switch::Refused(refusal(StatusCode::PAYLOAD_TOO_LARGE));
    }
    Switch::Tunnel(relay)
}

fn refusal(status: StatusCode) -> Response {
    let reason = status.canonical_reason().unwrap_or_default();
    (status, format!("{reason}\n")).into_response()
}

/// Hands the connection to the new protocol, after the 101 was sent. Returns whether the server
/// still has to end the connection, whose peer may be sending.
#[cold]
#[inline(never)]
pub(in crate::http) fn hand_over(io: &mut ConnIo, take_over: TakeOver) -> bool {
    let connection = io.connection.clone();
    let ours = Rc::new(Cell::new(true));
    let upgraded = Upgraded {
        unread: io.take_unread(),
        at: Cell::new(0),
        read_timeout: Cell::new(None),
        write_timeout: Cell::new(Some(connection.context.config.timeouts.write)),
        connection: connection.clone(),
        ours: ours.clone(),
    };
    connection.upgraded.set(true);
    if connection.context.closes_idle.get() {
        // The drain has already ended the reading halves of upgraded connections, and missed this
        // one.
        let _ = connection.stream.shutdown(Shutdown::Read);
    }
    guarded("upgraded connection", || take_over(upgraded));
    let is_kept = Rc::strong_count(&ours) > 1;
    if is_kept {
        // The server does not count the connection from here on, so the connection ends here.
        let _ = connection.stream.shutdown(Shutdown::Both);
    }
    ours.get() && !is_kept
}

/// A connection that has left HTTP: the raw stream, beginning with the bytes that the client sent
/// behind its request. Made by [`Response::upgrade`].
///
/// As with [`TcpStream`], a reference can read and write too, so that several ethreads can share
/// the stream. A read or write that is cancelled or times out loses no data. Dropping the stream
/// ends its write side, so that the client sees the end.
///
/// When the server [drains](crate::http::ServerHandle::drain), reads return the end of the stream,
/// as if the client had ended its side. Writes still work, so that the protocol can close in order.
pub struct Upgraded {
    connection: Rc<Connection>,
    unread: Box<[u8]>,
    /// How much of `unread` was read.
    at: Cell<usize>,
    read_timeout: Cell<Option<Duration>>,
    write_timeout: Cell<Option<Duration>>,
    /// Whether dropping this ends the stream. The reference count shows whether the program has
    /// kept the stream.
    ours: Rc<Cell<bool>>,
}

impl Upgraded {
    /// Returns the bytes that arrived with the request and have not been read yet. Reads return
    /// these bytes first.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.unread[self.at.get()..]
    }

    /// Returns the client's address; `None` on a Unix socket.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        Carrier::peer_addr(&*self.connection)
    }

    /// Returns the address that the client connected to; `None` on a Unix socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        Carrier::local_addr(&*self.connection)
    }

    /// Sets how long a read may wait before it fails with `TimedOut`; `None` means for ever. That
    /// is the default, since the protocol decides how long its connections may be silent.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) {
        self.read_timeout.set(timeout);
    }

    /// Sets how long a write may wait before it fails with `TimedOut`; `None` means for ever. The
    /// default is the server's [`Timeouts::write`](crate::http::Timeouts::write).
    pub fn set_write_timeout(&self, timeout: Option<Duration>) {
        self.write_timeout.set(timeout);
    }

    /// Ends the reading half, the writing half or both, as [`TcpStream::shutdown`].
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.connection.stream.shutdown(how)
    }

    /// Turns the connection into a [`TcpStream`]. Fails if the connection is a Unix socket, if
    /// there are [`buffered`](Self::buffered) bytes, or if the process has no descriptor left.
    ///
    /// The stream has a descriptor of its own (dup(2)). The server's descriptor is closed when the
    /// closure of [`Response::upgrade`] returns; the client sees the end when both are closed.
    ///
    /// # Errors
    ///
    /// The connection itself, in these cases.
    pub fn into_tcp(self) -> Result<TcpStream, Self> {
        self.duplicate(Family::Tcp).map(Into::into).ok_or(self)
    }

    /// Turns the connection into a [`UnixStream`]: as [`into_tcp`](Self::into_tcp), for a Unix
    /// socket.
    ///
    /// # Errors
    ///
    /// As [`into_tcp`](Self::into_tcp).
    pub fn into_unix(self) -> Result<UnixStream, Self> {
        self.duplicate(Family::Unix).map(Into::into).ok_or(self)
    }

    fn duplicate(&self, family: Family) -> Option<std::os::fd::OwnedFd> {
        if !self.buffered().is_empty() {
            return None;
        }
        let socket = self.connection.stream.duplicate(family)?;
        self.ours.set(false);
        Some(socket)
    }
}

impl Read for &Upgraded {
    /// Reads what has arrived; suspends the ethread until something has, or until the read timeout
    /// is over (`TimedOut`). `Ok(0)` is the end of the stream.
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
        self.connection.stream.read(buf, limit, || Ok(()))
    }
}

impl Write for &Upgraded {
    /// Writes what the connection takes at once; suspends the ethread until it takes something, or
    /// until the write timeout is over (`TimedOut`).
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let limit = self.write_timeout.get().map_or(Limit::Never, Limit::After);
        self.connection.stream.write(bufs, limit)
    }

    /// Does nothing: nothing is buffered here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

by_value!(impl Read for Upgraded);
by_value!(impl Write for Upgraded);

impl Drop for Upgraded {
    fn drop(&mut self) {
        if self.ours.get() {
            self.connection.stream.shut_down_write();
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
