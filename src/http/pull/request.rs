//! A request that has left its connection.

use std::fmt;
use std::mem;
use std::net::SocketAddr;

use http::{Method, Version};

use crate::http::error::Error;
use crate::http::exchange::request::Request as Connected;
use crate::http::message::{
    HeaderView, Headers, MalformedPath, QueryPairs, StoredFields, Target, decode_path, query_pairs,
    request_head,
};

/// A request as [`WebServer::read`](super::WebServer::read) returns it: whole, and with storage of
/// its own.
///
/// Its methods have the names of those of [`http::Request`](crate::http::Request), which belongs to
/// a connection and reads its body from there. This request can be kept, and sent to another OS
/// thread.
///
/// # Examples
///
/// ```
/// use ethreads::http::{Result, pull::Request};
///
/// fn upload(request: &mut Request) -> Result<String> {
///     let name = request.query_pairs().find(|(key, _)| key == "name");
///     let name = name.map_or("nobody".to_owned(), |(_, value)| value.into_owned());
///     let text = request.text()?;
///     Ok(format!("{name} sent {} characters\n", text.chars().count()))
/// }
/// ```
pub struct Request {
    method: Method,
    target: String,
    version: Version,
    fields: StoredFields,
    content_length: Option<u64>,
    body: Vec<u8>,
    trailers: Headers,
    peer_addr: Option<SocketAddr>,
    local_addr: Option<SocketAddr>,
}

impl Request {
    /// Receives the body of a request, and copies what its connection will use again.
    pub(super) fn receive(connected: &mut Connected) -> Result<Self, Error> {
        Ok(Self {
            // First: reading the body may move the buffer that the other values are views of.
            body: connected.bytes()?,
            method: connected.method().clone(),
            target: connected.target().to_owned(),
            version: connected.version(),
            fields: connected.headers().to_stored(),
            content_length: connected.content_length(),
            trailers: connected.trailers().clone(),
            peer_addr: connected.peer_addr(),
            local_addr: connected.local_addr(),
        })
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the target as it was sent: usually path and query, still percent-encoded.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the path, still percent-encoded. It begins with `/`, or is `*` for a server-wide
    /// OPTIONS.
    #[must_use]
    pub fn path(&self) -> &str {
        self.parsed_target().path
    }

    /// Returns the version: HTTP/1.0 or HTTP/1.1.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the header fields.
    #[must_use]
    pub fn headers(&self) -> HeaderView<'_> {
        self.fields.view()
    }

    /// Returns the peer's address; `None` on a Unix socket.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer_addr
    }

    /// Returns the address that the peer connected to; `None` on a Unix socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Returns the declared length of the body: 0 without one, `None` if it came in chunks.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Returns the fields that followed a chunked body: as
    /// [`http::Request::trailers`](crate::http::Request::trailers).
    #[must_use]
    pub fn trailers(&self) -> &Headers {
        &self.trailers
    }

    /// Returns the body, all of it, unless it was taken out.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Takes the body out.
    ///
    /// # Errors
    ///
    /// None: the body has come. The result is that of the other `Request`'s method, so that the
    /// same code works with both.
    pub fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        Ok(mem::take(&mut self.body))
    }

    /// Takes the body out, as text.
    ///
    /// # Errors
    ///
    /// If it is not UTF-8, which answers 400.
    pub fn text(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?).map_err(|_| Error::body_not_text())
    }
}

request_head!(Request);

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("version", &self.version)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}
