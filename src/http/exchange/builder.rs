//! Requests that no connection has carried, for tests and for programs that call handlers
//! themselves.
#![forbid(unsafe_code)]

use std::io::Read;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, Version};
use serde_core::Serialize;

use super::body::{ReaderSource, RequestBody};
use super::received::Received;
use super::request::{Carrier, Request, RequestState};
use crate::http::error::Error;
use crate::http::message::header;
use crate::http::proto::ProtoError;
use crate::http::proto::limits::Limits;

/// Builds a [`Request`]. Made by [`Request::builder`].
#[derive(Debug)]
#[must_use = "`build` makes the request"]
pub struct RequestBuilder {
    method: Method,
    target: String,
    version: Version,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: RequestBody,
    /// The length of the body; `None` if it is not known.
    body_len: Option<usize>,
    addrs: Addrs,
}

/// The addresses of a request that was built.
#[derive(Clone, Copy, Debug, Default)]
struct Addrs {
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
}

impl Carrier for Addrs {
    fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    fn peer_gone(&self) -> bool {
        false
    }

    fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Request {
    /// Builds a request without a connection: `GET /` of HTTP/1.1, unless told otherwise.
    ///
    /// A handler cannot tell it from a request of a client, as the head is checked by the rules of
    /// the server.
    ///
    /// # Examples
    ///
    /// A test of a handler, without a socket:
    ///
    /// ```
    /// use ethreads::http::{App, Method, Request, Result};
    ///
    /// fn shout(request: &mut Request) -> Result<String> {
    ///     Ok(request.text()?.to_uppercase())
    /// }
    ///
    /// let request = Request::builder()
    ///     .method(Method::POST)
    ///     .target("/shout?loud=1")
    ///     .header("accept", "text/plain")
    ///     .body("hello")
    ///     .build()?;
    /// let response = App::new().post("/shout", shout).call(request);
    /// assert_eq!(response.body().as_bytes(), Some(&b"HELLO"[..]));
    /// # Ok::<(), ethreads::http::Error>(())
    /// ```
    pub fn builder() -> RequestBuilder {
        RequestBuilder::new(Method::GET, "/".to_owned())
    }

    /// Builds a GET of `target`: as [`builder`](Self::builder).
    pub fn get(target: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(Method::GET, target.into())
    }

    /// Builds a POST to `target`: as [`builder`](Self::builder).
    pub fn post(target: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(Method::POST, target.into())
    }

    /// Builds a PUT to `target`: as [`builder`](Self::builder).
    pub fn put(target: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(Method::PUT, target.into())
    }

    /// Builds a DELETE of `target`: as [`builder`](Self::builder).
    pub fn delete(target: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(Method::DELETE, target.into())
    }
}

impl RequestBuilder {
    pub(in crate::http) fn new(method: Method, target: String) -> Self {
        Self {
            method,
            target,
            version: Version::HTTP_11,
            fields: Vec::new(),
            body: RequestBody::default(),
            body_len: Some(0),
            addrs: Addrs::default(),
        }
    }

    /// Sets the method.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets the target: usually path and query, percent-encoded.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    /// Sets the version: HTTP/1.0 or HTTP/1.1.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Adds a header field. `Host` is `localhost` if it is not set, and the fields that delimit the
    /// body follow from the body.
    ///
    /// # Panics
    ///
    /// If the name or the value is not allowed in a header.
    #[track_caller]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        match header(name, value) {
            Ok(field) => self.fields.push(field),
            Err(error) => panic!("header of a request: {error}"),
        }
        self
    }

    /// Sets the body, which `Content-Length` then announces.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        let bytes = body.into();
        self.body_len = Some(bytes.len());
        self.body = RequestBody::of_bytes(bytes);
        self
    }

    /// Sets the body to `value` as JSON, with its type.
    ///
    /// # Panics
    ///
    /// If the value cannot be serialized.
    #[track_caller]
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.typed("application/json", body),
            Err(error) => panic!("body of a request: {error}"),
        }
    }

    /// Sets the body to the fields of a form, with its type.
    ///
    /// # Panics
    ///
    /// If the fields cannot be serialized.
    #[track_caller]
    pub fn form<T: Serialize + ?Sized>(self, fields: &T) -> Self {
        match serde_html_form::to_string(fields) {
            Ok(body) => self.typed("application/x-www-form-urlencoded", body),
            Err(error) => panic!("body of a request: {error}"),
        }
    }

    fn typed(self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.header(CONTENT_TYPE, content_type).body(body)
    }

    /// Sets a body of unknown length: `reader` is read as the handler reads the body.
    /// `Transfer-Encoding` announces it.
    pub fn body_reader(mut self, reader: impl Read + 'static) -> Self {
        self.body_len = None;
        self.body = RequestBody::of_source(Rc::new(ReaderSource::new(reader)));
        self
    }

    /// Sets the address that [`Request::peer_addr`] returns.
    pub fn peer_addr(mut self, addr: SocketAddr) -> Self {
        self.addrs.peer = Some(addr);
        self
    }

    /// Sets the address that [`Request::local_addr`] returns.
    pub fn local_addr(mut self, addr: SocketAddr) -> Self {
        self.addrs.local = Some(addr);
        self
    }

    pub(in crate::http) fn has(&self, name: &HeaderName) -> bool {
        self.fields.iter().any(|(field, _)| field == name)
    }

    pub(in crate::http) fn method_ref(&self) -> &Method {
        &self.method
    }

    pub(in crate::http) fn target_ref(&self) -> &str {
        &self.target
    }

    /// The request as a client sends it, unchecked: the head, the body, the length of the body if
    /// it is known, and whether the body is to be sent in chunks.
    pub(in crate::http) fn into_message(mut self) -> (Vec<u8>, RequestBody, Option<usize>, bool) {
        let chunked = self.body_len.is_none() && !self.has(&CONTENT_LENGTH);
        self.complete();
        (self.head(), self.body, self.body_len, chunked)
    }

    /// Adds the fields that follow from the rest.
    fn complete(&mut self) {
        if !self.has(&HOST) && self.version == Version::HTTP_11 {
            self.fields
                .push((HOST, HeaderValue::from_static("localhost")));
        }
        if self.has(&CONTENT_LENGTH) || self.has(&TRANSFER_ENCODING) {
            return;
        }
        match self.body_len {
            Some(0) => {}
            Some(len) => self.fields.push((CONTENT_LENGTH, len.into())),
            None => {
                let chunked = HeaderValue::from_static("chunked");
                self.fields.push((TRANSFER_ENCODING, chunked));
            }
        }
    }

    fn head(&self) -> Vec<u8> {
        let (method, target, version) = (&self.method, &self.target, self.version);
        let mut head = format!("{method} {target} {version:?}\r\n").into_bytes();
        for (name, value) in &self.fields {
            let parts = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
            head.extend(parts.concat());
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Makes the request.
    ///
    /// # Errors
    ///
    /// If a server with the default [`Limits`] would refuse the head, for example because of the
    /// form of the target or of contradicting fields.
    ///
    /// # Panics
    ///
    /// If the OS thread has no scheduler and none can be made.
    pub fn build(mut self) -> Result<Request, Error> {
        self.complete();
        let head = self.head();
        let mut state = RequestState::new();
        state.head.take_connect(true);
        let parsed = state.head.parse(&head, &Limits::default())?;
        // A target with a space or a line end would be taken for something else.
        if parsed != Some(head.len()) || state.head.target() != self.target {
            return Err(ProtoError::Target.into());
        }
        let mut request = Request::new(state, Rc::new(self.addrs));
        request.received = Received::of_head(head);
        request.body = self.body;
        Ok(request)
    }
}

/// A request, or a builder of one. Sealed.
pub trait IntoRequest: sealed::Sealed {
    /// Makes the request.
    ///
    /// # Panics
    ///
    /// As [`RequestBuilder::build`], and where that fails.
    fn into_request(self) -> Request;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Request {}
    impl Sealed for super::RequestBuilder {}
}

impl IntoRequest for Request {
    fn into_request(self) -> Request {
        self
    }
}

impl IntoRequest for RequestBuilder {
    #[track_caller]
    fn into_request(self) -> Request {
        match self.build() {
            Ok(request) => request,
            Err(error) => panic!("malformed request: {error}"),
        }
    }
}
