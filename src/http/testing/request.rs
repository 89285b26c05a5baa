//! A request of a test client.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::net::Shutdown;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderName, HeaderValue, Method, Version};
use serde_core::Serialize;

use super::answer::ClientResponse;
use super::user::User;
use super::wire;
use crate::http::exchange::builder::RequestBuilder;
use crate::io::{Duplex, duplex};
use crate::runtime::base::on_drop::OnDrop;
use crate::thread::Builder;

/// The bytes that are on their way in each direction.
const CAPACITY: usize = 64 * 1024;

/// A request that a [`Client`](super::Client) is to send.
#[must_use = "`send` sends the request"]
pub struct ClientRequest<'a> {
    user: &'a User,
    request: RequestBuilder,
}

impl<'a> ClientRequest<'a> {
    pub(super) fn new(user: &'a User, request: RequestBuilder) -> Self {
        Self { user, request }
    }

    fn map(mut self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        self.request = change(self.request);
        self
    }

    /// Sets the version: HTTP/1.0 or HTTP/1.1.
    pub fn version(self, version: Version) -> Self {
        self.map(|request| request.version(version))
    }

    /// Adds a header field. `Host` is `localhost` if it is not set, and the fields that delimit the
    /// body follow from the body. A `Cookie` replaces the cookies of the client.
    ///
    /// # Panics
    ///
    /// If the name or the value is not allowed in a header.
    #[track_caller]
    pub fn header<N, V>(self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        let Self { user, request } = self;
        Self::new(user, request.header(name, value))
    }

    /// Sets the body, which `Content-Length` then announces.
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        self.map(|request| request.body(body))
    }

    /// Sets the body to `value` as JSON, with its type.
    ///
    /// # Panics
    ///
    /// If the value cannot be serialized.
    #[track_caller]
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let Self { user, request } = self;
        Self::new(user, request.json(value))
    }

    /// Sets the body to the fields of a form, with its type.
    ///
    /// # Panics
    ///
    /// If the fields cannot be serialized.
    #[track_caller]
    pub fn form<T: Serialize + ?Sized>(self, fields: &T) -> Self {
        let Self { user, request } = self;
        Self::new(user, request.form(fields))
    }

    /// Sets a body that `reader` yields, sent as it comes: in chunks, or under the `Content-Length`
    /// that was set by [`header`](Self::header). An ethread of its own reads and sends it, while
    /// the response may already arrive. An error of the reader breaks the request off.
    pub fn body_reader(self, reader: impl Read + 'static) -> Self {
        self.map(|request| request.body_reader(reader))
    }

    /// Sends the request, and suspends the caller until the head of the response has arrived, with
    /// its body if the response announces a length of at most 1 MiB.
    ///
    /// When the body has arrived, the connection has ended, so that the hooks of the server and the
    /// destructors of [held](crate::http::Response::hold) values have run. A body of another length
    /// arrives while it is read from the [`ClientResponse`].
    ///
    /// # Panics
    ///
    /// Where [`try_send`](Self::try_send) fails.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and the connection is closed.
    #[track_caller]
    pub fn send(self) -> ClientResponse {
        match self.try_send() {
            Ok(response) => response,
            Err(error) => panic!("no response: {error}"),
        }
    }

    /// Sends the request as [`send`](Self::send), and suspends the caller; for a request that may
    /// have no response.
    ///
    /// # Errors
    ///
    /// If serving fails at once, for example because the app lacks a value that its handlers need;
    /// if the connection ends before the response, or within a body of an announced length; if no
    /// ethread can be spawned. `Other` with the source
    /// [`WouldPark`](crate::runtime::WouldPark) while the caller unwinds.
    ///
    /// # Panics
    ///
    /// With a panic that ended the connection: that of an
    /// [`around_connections`](crate::http::Server::around_connections) closure, for example. The
    /// panic of a handler is a response of 500.
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send).
    #[track_caller]
    pub fn try_send(self) -> io::Result<ClientResponse> {
        let Self { user, mut request } = self;
        let path = path_of(&request).to_owned();
        if let Some(cookies) = user.cookies.borrow().field(&path)
            && !request.has(&COOKIE)
            && let Ok(value) = HeaderValue::try_from(cookies)
        {
            request = request.header(COOKIE, value);
        }
        let is_head = request.method_ref() == Method::HEAD;
        let (near, far) = duplex(CAPACITY);
        let near = Rc::new(near);
        let site = user.site.clone();
        let stack = site.server.plan.config.stack_size;
        let builder = Builder::new().name("http-client in memory");
        let served = builder
            .stack_size(stack)
            .spawn(move || site.server.serve_connection(far, site.handler.clone()))?;
        upload(&near, request)?;
        let response = ClientResponse::receive(near, served, is_head)?;
        let mut cookies = user.cookies.borrow_mut();
        for value in response.headers().get_all(&SET_COOKIE) {
            cookies.take(value, &path);
        }
        drop(cookies);
        Ok(response)
    }
}

fn path_of(request: &RequestBuilder) -> &str {
    let target = request.target_ref();
    target.split(['?', '#']).next().unwrap_or(target)
}

/// Sends the request: at once if it cannot wait, else in an ethread of its own.
fn upload(stream: &Rc<Duplex>, request: RequestBuilder) -> io::Result<()> {
    let message = wire::Outgoing::new(request);
    if message.len().is_some_and(|len| len <= CAPACITY) {
        // The server may have ended already; its response, or the lack of it, says so.
        let _ = message.send(stream);
        return Ok(());
    }
    let stream = stream.clone();
    let upload = move || {
        let is_complete = Cell::new(false);
        // The server must not wait for the rest, also if the reader panics.
        let _end = OnDrop(|| {
            if !is_complete.get() {
                stream.shutdown(Shutdown::Write);
            }
        });
        match message.send(&stream) {
            Ok(()) => is_complete.set(true),
            Err(error) => log::debug!("the upload of a test client ended: {error}"),
        }
    };
    Builder::new().name("http-client upload").spawn(upload)?;
    Ok(())
}

impl fmt::Debug for ClientRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRequest")
            .field("method", self.request.method_ref())
            .field("target", &self.request.target_ref())
            .finish_non_exhaustive()
    }
}
