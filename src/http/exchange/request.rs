//! The request that a handler receives.
#![forbid(unsafe_code)]

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::ptr;
use std::rc::Rc;

use http::{Method, Version};

use super::body::RequestBody;
use super::client_connection::ClientConnection;
use super::draining::Draining;
use super::forwarded::{ClientInfo, Forwarding};
use super::received::Received;
use super::route::{Route, Scope, Values};
use crate::http::error::Error;
#[cfg(feature = "cookie")]
use crate::http::message::cookies::Cookies;
use crate::http::message::{
    HeaderView, Headers, MalformedPath, QueryPairs, Target, decode_path, query_pairs, request_head,
};
use crate::http::proto::framing::BodyLength;
use crate::http::proto::head::RequestHead;

/// A request: its head, its body, and the connection that it came over.
///
/// The head stays in the buffer that received it, and the methods refer to that buffer. The body is
/// read on demand: [`body`](Self::body) reads it as a stream, [`bytes`](Self::bytes) and
/// [`text`](Self::text) collect it, up to the server's limit, and [`take_body`](Self::take_body)
/// makes it readable while the response is sent.
///
/// A request belongs to its connection. If a handler overwrites it with another request, such as
/// one of [`builder`](Self::builder), the connection ends after the response.
///
/// # Examples
///
/// ```
/// use ethreads::http::{Request, Result};
///
/// fn upload(request: &mut Request) -> Result<String> {
///     let name = request.query_pairs().find(|(key, _)| key == "name");
///     let name = name.map_or("nobody".to_owned(), |(_, value)| value.into_owned());
///     let kind = request.header("content-type").unwrap_or("something").to_owned();
///     let body = request.bytes()?;
///     Ok(format!("{name} sent {} bytes of {kind}\n", body.len()))
/// }
/// ```
pub struct Request {
    pub(in crate::http) state: Box<RequestState>,
    pub(in crate::http) received: Received,
    pub(in crate::http) body: RequestBody,
    carrier: Rc<dyn Carrier>,
    /// Whether the handler ends when the client leaves.
    cancels: bool,
    /// `cancels` of a request that no app has seen.
    cancels_by_default: bool,
    /// `None` if the request was not routed, or was rewritten since.
    pub(in crate::http) route: Option<Rc<Route>>,
    values: Option<Box<Values>>,
}

/// The connection of a request, whatever its protocol.
pub(in crate::http) trait Carrier {
    fn peer_addr(&self) -> Option<SocketAddr>;
    fn local_addr(&self) -> Option<SocketAddr>;

    /// Whether the peer has ended its side, or is gone.
    fn peer_gone(&self) -> bool;

    /// Sends the responses to earlier requests; suspends the caller until they are sent.
    fn flush(&self) -> Result<(), Error>;

    /// Which peers may name the client; `None` if none may.
    fn forwarding(&self) -> Option<&Forwarding> {
        None
    }

    /// Tells when the server drains; `None` without a server.
    fn draining(&self) -> Option<Draining> {
        None
    }

    /// Runs `f`, which is unwound when the peer leaves: false if that has happened.
    fn while_connected(&self, f: &mut dyn FnMut()) -> bool {
        f();
        true
    }

    /// Sends the head of an interim response, and what is collected before it.
    fn send_interim(&self, head: &[u8]) -> Result<(), Error> {
        let _ = head;
        Ok(())
    }
}

/// The state that a connection keeps from one request to the next.
pub(in crate::http) struct RequestState {
    pub(in crate::http) head: RequestHead,
    pub(in crate::http) connection: ClientConnection,
}

impl RequestState {
    pub(in crate::http) fn new() -> Box<Self> {
        Box::new(Self {
            head: RequestHead::new(),
            connection: ClientConnection::new(),
        })
    }
}

impl Request {
    #[inline(always)]
    pub(in crate::http) fn new(state: Box<RequestState>, carrier: Rc<dyn Carrier>) -> Self {
        Self {
            state,
            received: Received::default(),
            body: RequestBody::default(),
            carrier,
            cancels: false,
            cancels_by_default: false,
            route: None,
            values: None,
        }
    }

    /// Sets whether the handlers of this connection end when the client leaves.
    #[inline(always)]
    pub(in crate::http) fn cancel_by_default(&mut self, cancels: bool) {
        self.cancels_by_default = cancels;
        self.cancels = cancels;
    }

    /// Whether the handler of the request ends when the client leaves.
    #[inline(always)]
    pub(in crate::http) fn cancels(&self) -> bool {
        self.cancels
    }

    /// Sets whether the handler ends when the client leaves, until the request has been answered.
    pub(in crate::http) fn set_cancels(&mut self, cancels: bool) {
        self.cancels = cancels;
    }

    /// Runs `f`, which is unwound when the client leaves: `None` if that has happened.
    pub(in crate::http) fn while_connected<R>(
        &mut self,
        f: impl FnOnce(&mut Self) -> R,
    ) -> Option<R> {
        let carrier = self.carrier.clone();
        let (mut f, mut result) = (Some(f), None);
        let is_connected = carrier.while_connected(&mut || {
            if let Some(f) = f.take() {
                result = Some(f(self));
            }
        });
        result.filter(|_| is_connected)
    }

    /// Lets go of the route, when the request has been answered.
    #[inline(always)]
    pub(in crate::http) fn end_exchange(&mut self) {
        if self.route.is_some() {
            self.route = None;
            self.cancels = self.cancels_by_default;
        }
    }

    /// Whether values were inserted.
    #[inline(always)]
    pub(in crate::http) fn has_values(&self) -> bool {
        self.values.is_some()
    }

    /// Drops the values that were inserted.
    pub(in crate::http) fn drop_values(&mut self) {
        self.values = None;
    }

    /// Whether this is the request that `carrier` has received, and no other one.
    #[inline(always)]
    pub(in crate::http) fn is_of<C: Carrier>(&self, carrier: &Rc<C>) -> bool {
        ptr::addr_eq(Rc::as_ptr(&self.carrier), Rc::as_ptr(carrier))
    }

    /// Sends the responses to earlier requests; see [`Carrier::flush`].
    pub(in crate::http) fn flush(&self) -> Result<(), Error> {
        self.carrier.flush()
    }

    /// Sends the head of an interim response; see [`Carrier::send_interim`].
    pub(super) fn send_interim(&self, head: &[u8]) -> Result<(), Error> {
        self.carrier.send_interim(head)
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.state.head.method()
    }

    /// Returns the target as it was sent: usually path and query, still percent-encoded.
    #[must_use]
    pub fn target(&self) -> &str {
        self.state.head.target()
    }

    /// Returns the path, still percent-encoded. It begins with `/`, or is `*` for a server-wide
    /// OPTIONS.
    #[must_use]
    pub fn path(&self) -> &str {
        // Nearly every target has this form.
        match self.state.head.origin_path() {
            Some(path) => path,
            None => self.parsed_target().path,
        }
    }

    /// Returns the version: HTTP/1.0 or HTTP/1.1.
    #[must_use]
    pub fn version(&self) -> Version {
        self.state.head.version()
    }

    /// Returns the header fields.
    #[must_use]
    pub fn headers(&self) -> HeaderView<'_> {
        self.state.head.headers(self.received.head())
    }

    /// Returns the cookies.
    #[cfg(feature = "cookie")]
    #[must_use]
    pub fn cookies(&self) -> Cookies {
        Cookies::of(self.headers())
    }

    /// Returns the peer's address; `None` for a stream without one, such as a Unix socket. Behind a
    /// trusted proxy that speaks the PROXY protocol, it is that of the proxy's client: see
    /// [`Server::proxy_protocol`](crate::http::Server::proxy_protocol).
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.carrier.peer_addr()
    }

    /// Returns the address of the client: that of the peer, or the one that trusted proxies name in
    /// a field of the request; see
    /// [`Server::trust_forwarded`](crate::http::Server::trust_forwarded). `None` if there is
    /// neither.
    #[must_use]
    pub fn client_addr(&self) -> Option<IpAddr> {
        self.client().address
    }

    /// Returns the scheme that the client has used, `http` or `https`: that of the connection,
    /// unless a trusted proxy tells another one; see
    /// [`Server::trust_forwarded`](crate::http::Server::trust_forwarded).
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.client().scheme.unwrap_or("http")
    }

    fn client(&self) -> ClientInfo {
        let peer = self.peer_addr().map(|peer| peer.ip());
        match self.carrier.forwarding() {
            Some(forwarding) => forwarding.client(peer, self.headers()),
            None => ClientInfo {
                address: peer,
                scheme: None,
            },
        }
    }

    /// Returns the address that the peer connected to; `None` for a stream without one, such as a
    /// Unix socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.carrier.local_addr()
    }

    /// Returns the connection that this request came over: its number, its name, and values that
    /// stay with it from one request to the next.
    #[must_use]
    pub fn connection(&self) -> &ClientConnection {
        &self.state.connection
    }

    /// Returns the connection that this request came over, to store values with it.
    pub fn connection_mut(&mut self) -> &mut ClientConnection {
        &mut self.state.connection
    }

    /// Whether the client has ended its side of the connection, or reset it.
    ///
    /// For handlers that run for long without a read or a write, which would fail. The call never
    /// waits, and costs at most one system call. It also returns true for a client that ends its
    /// side after its request and still reads, as `nc -N` does; such a client gets the response.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::{HandlerError, Request, Result, StatusCode};
    ///
    /// fn search(request: &mut Request) -> Result<String> {
    ///     let mut found = String::new();
    ///     for shelf in 0..100 {
    ///         if request.peer_gone() {
    ///             // nginx's status for this case, which the client never reads.
    ///             let status = StatusCode::from_u16(499)?;
    ///             return Err(HandlerError::status(status, "the client has left"));
    ///         }
    ///         found.push_str(&look_through(shelf));
    ///     }
    ///     Ok(found)
    /// }
    /// # fn look_through(_: u32) -> String { String::new() }
    /// ```
    #[must_use]
    pub fn peer_gone(&self) -> bool {
        self.carrier.peer_gone()
    }

    /// Returns what tells that the server drains, for handlers and bodies that go on for long. A
    /// request that no server has received never learns of a drain.
    #[must_use]
    pub fn draining(&self) -> Draining {
        self.carrier.draining().unwrap_or_else(Draining::new)
    }

    /// Returns the declared length of the body: 0 without a body, `None` if it is chunked.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        match self.state.head.framing().body {
            BodyLength::None => Some(0),
            BodyLength::Known(length) => Some(length),
            BodyLength::Chunked => None,
        }
    }

    /// Returns the body as a stream, without a limit on its length.
    ///
    /// A read suspends the ethread until bytes arrive. If the client waits for a 100 before it
    /// sends the body (`Expect: 100-continue`, RFC 9110 section 10.1.1), the first read sends the
    /// 100. An `io::Error` of a read wraps an [`Error`], so `?` in a handler answers with its
    /// status.
    pub fn body(&mut self) -> BodyReader<'_> {
        BodyReader {
            body: &mut self.body,
            received: &mut self.received,
        }
    }

    /// Takes the rest of the body out of the request, to read it while the response is sent, or in
    /// another ethread. An empty body remains in the request.
    ///
    /// The length is not limited. If the client waits for a 100 before it sends the body, this call
    /// sends the 100. Once the response has been sent, reads of the body fail, and so does a read
    /// that waits at that time. An unread rest of at most 64 KiB is discarded; with a longer rest
    /// the connection is closed. The same is true if the handler drops the body.
    ///
    /// # Examples
    ///
    /// An echo, whose memory does not depend on the length of the body:
    ///
    /// ```
    /// use ethreads::http::{Body, Request};
    ///
    /// fn echo(request: &mut Request) -> Body {
    ///     Body::reader(request.take_body())
    /// }
    /// ```
    pub fn take_body(&mut self) -> RequestBody {
        self.body.take_from(&mut self.received)
    }

    /// Reads the rest of the body, suspending the caller until all of it has arrived.
    ///
    /// # Errors
    ///
    /// If the body is longer than [`App::body_limit`](crate::http::App::body_limit), or
    /// [`Limits::body_bytes`](crate::http::Limits::body_bytes) without one, which answers 413; if
    /// the peer closes within the body, breaks the protocol, or takes too long.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and its connection is closed.
    pub fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let declared = self.content_length();
        let limit = self.scope().and_then(Scope::body_limit);
        self.body.collect(&mut self.received, declared, limit)
    }

    /// Reads the rest of the body as text, suspending the caller until all of it has arrived.
    ///
    /// # Errors
    ///
    /// As [`Request::bytes`]; and if the body is not UTF-8, which answers 400.
    ///
    /// # Cancellation
    ///
    /// As [`Request::bytes`].
    pub fn text(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?).map_err(|_| Error::body_not_text())
    }

    /// Returns the fields that followed a chunked body, such as a checksum (RFC 9112 section
    /// 7.1.2).
    ///
    /// Empty until the body has been read to its end. Fields that must not be trailers are left
    /// out: fields of framing, routing and authentication, and modifiers of the request (RFC 9110
    /// section 6.5.1). Trailers are not headers, and are never merged with the headers.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::{Request, Result};
    /// use ::http::HeaderName;
    ///
    /// fn upload(request: &mut Request) -> Result<String> {
    ///     let body = request.bytes()?;
    ///     let sum = request.trailers().get(&HeaderName::from_static("x-checksum"));
    ///     Ok(format!("{} bytes, checksum {sum:?}\n", body.len()))
    /// }
    /// ```
    #[must_use]
    pub fn trailers(&self) -> &Headers {
        self.body.trailers()
    }
}

request_head!(Request);

/// Routing, and values that are kept with the request.
impl Request {
    /// The maximum length of a body that is collected, in bytes.
    #[cfg(feature = "multipart")]
    pub(in crate::http) fn body_limit(&self) -> u64 {
        let limit = self.scope().and_then(Scope::body_limit);
        limit.unwrap_or_else(|| self.body.limit())
    }

    pub(in crate::http) fn scope(&self) -> Option<&Scope> {
        self.route.as_ref().map(|route| &*route.scope)
    }

    /// Returns the pattern of the route that matches the request, such as `/users/{id}`; `None` if
    /// none does, and for a handler that was not routed by an [`App`](crate::http::App).
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.route.as_ref()?.pattern.as_deref()
    }

    /// Returns a parameter of the route, percent-decoded.
    ///
    /// The extractor `Path` converts parameters into numbers and structs.
    ///
    /// # Errors
    ///
    /// If the decoded parameter is not UTF-8. The error converts into a handler's error, which
    /// answers 400.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::{App, Request, Result};
    ///
    /// fn hello(request: &mut Request) -> Result<String> {
    ///     let name = request.param("name")?.unwrap_or_default();
    ///     Ok(format!("hello {name}\n"))
    /// }
    ///
    /// let app = App::new().get("/hello/{name}", hello);
    /// let response = app.call(Request::builder().target("/hello/J%C3%BCrgen").build()?);
    /// assert_eq!(response.body().as_bytes(), Some("hello Jürgen\n".as_bytes()));
    /// # Ok::<(), ethreads::http::Error>(())
    /// ```
    pub fn param(&self, name: &str) -> Result<Option<Cow<'_, str>>, MalformedPath> {
        let Some(route) = &self.route else {
            return Ok(None);
        };
        let found = route.params(self.path()).find(|(have, _)| *have == name);
        found.map(|(_, value)| decode_path(value)).transpose()
    }

    /// Keeps a value with the request, for the handlers and hooks that see it later; returns the
    /// value of this type that it replaces. The value is dropped when the request has been
    /// answered.
    pub fn insert<T: Any>(&mut self, value: T) -> Option<T> {
        self.values.get_or_insert_default().insert(value)
    }

    /// Returns the value of this type that was [inserted](Self::insert).
    #[must_use]
    pub fn value<T: Any>(&self) -> Option<&T> {
        self.values.as_ref()?.get()
    }

    /// Returns the value of this type that was [inserted](Self::insert).
    pub fn value_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.values.as_mut()?.get_mut()
    }

    /// Takes out the value of this type that was [inserted](Self::insert).
    pub fn remove<T: Any>(&mut self) -> Option<T> {
        self.values.as_mut()?.remove()
    }

    /// Replaces the method. A middleware that does so has the request matched to a route again.
    ///
    /// The answer to a HEAD of the peer has no body, also after this.
    ///
    /// # Errors
    ///
    /// If the target is none that this method may have: `*` is for OPTIONS only, and CONNECT has a
    /// form of its own.
    pub fn set_method(&mut self, method: Method) -> Result<(), Error> {
        let target = self.target().to_owned();
        self.rewrite(method, &target)
    }

    /// Replaces the target: path and query, percent-encoded. A middleware that does so has the
    /// request matched to a route again.
    ///
    /// # Errors
    ///
    /// If `target` is not one that a request can have.
    pub fn set_target(&mut self, target: &str) -> Result<(), Error> {
        let method = self.method().clone();
        self.rewrite(method, target)
    }

    fn rewrite(&mut self, method: Method, target: &str) -> Result<(), Error> {
        self.state.head.rewrite(method, target)?;
        self.route = None;
        Ok(())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", self.method())
            .field("target", &self.target())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// The body of a request as a stream. Made by [`Request::body`].
///
/// A read suspends the ethread until bytes arrive.
pub struct BodyReader<'a> {
    body: &'a mut RequestBody,
    received: &'a mut Received,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.body.read_from(self.received, buf)?)
    }
}

impl fmt::Debug for BodyReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader").finish_non_exhaustive()
    }
}
