//! The hooks of a server, which report its answers and errors.
//!
//! A server without hooks pays one check per request.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode, Version};

use super::connection::Connection;
use super::io::ConnIo;
use super::panics::guarded;
use crate::http::error::Error;
use crate::http::exchange::request::Request;
use crate::runtime::driver::wall_seconds;
use crate::time::Instant;

type OnResponse = dyn Fn(&Exchange<'_>) + Send + Sync;
type OnRefusal = dyn Fn(&Error, Option<SocketAddr>) + Send + Sync;

/// The closures that the program has given to a server.
#[derive(Clone, Default)]
pub(in crate::http) struct Hooks {
    pub(in crate::http) on_response: Option<Arc<OnResponse>>,
    pub(in crate::http) on_refusal: Option<Arc<OnRefusal>>,
}

/// A request and its answer. Given to the hook of
/// [`Server::on_response`](crate::http::Server::on_response).
#[derive(Debug)]
pub struct Exchange<'a> {
    request: Option<&'a Request>,
    peer: Option<SocketAddr>,
    status: StatusCode,
    bytes_sent: u64,
    time: SystemTime,
    duration: Duration,
    complete: bool,
}

impl<'a> Exchange<'a> {
    /// Returns the request; `None` if the input was no valid request and was refused.
    #[must_use]
    pub fn request(&self) -> Option<&'a Request> {
        self.request
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> Option<&'a Method> {
        self.request.map(Request::method)
    }

    /// Returns the target, as it was sent.
    #[must_use]
    pub fn target(&self) -> Option<&'a str> {
        self.request.map(Request::target)
    }

    /// Returns the version of the request.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.request.map(Request::version)
    }

    /// Returns a header field of the request, if there is one and it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.request.and_then(|request| request.header(name))
    }

    /// Returns the client's address; `None` on a Unix socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Returns the status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the length of the answer's body as far as it was sent, without the framing of
    /// chunks.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Returns when the head of the request had arrived, to the second.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// Returns the time from the arrival of the head until the answer was sent.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Whether the answer was sent completely. If not, the connection was closed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }
}

/// The hooks of one connection.
pub(in crate::http) struct Observer {
    hooks: Hooks,
    /// Read when the connection begins: the system no longer knows it once the connection is reset.
    peer: Cell<Option<SocketAddr>>,
    /// When the request that is being answered began.
    began: Cell<Option<(SystemTime, Instant)>>,
}

fn now() -> (SystemTime, Instant) {
    let since_epoch = Duration::from_secs(wall_seconds());
    (UNIX_EPOCH + since_epoch, Instant::now())
}

impl Observer {
    /// Creates the observer of a new connection, if the server has any hooks.
    pub(in crate::http) fn of(
        hooks: Option<&Hooks>,
        peer: impl FnOnce() -> Option<SocketAddr>,
    ) -> Option<Box<Self>> {
        hooks.map(|hooks| {
            Box::new(Self {
                hooks: hooks.clone(),
                peer: Cell::new(peer()),
                began: Cell::new(None),
            })
        })
    }

    /// Notes the peer that a proxy has told.
    #[cold]
    pub(in crate::http) fn set_peer(&self, peer: Option<SocketAddr>) {
        self.peer.set(peer);
    }

    /// Notes that a request has arrived.
    pub(in crate::http) fn begin(&self) {
        self.began.set(Some(now()));
    }

    /// Reports that a request was answered, or that the input was no request and was refused. The
    /// second call for a request does nothing.
    #[cold]
    #[inline(never)]
    pub(in crate::http) fn end(&self, io: &ConnIo, refused: bool, complete: bool) {
        let began = self.began.take();
        let Some(status) = io.answered.status else {
            return;
        };
        let Some((time, began)) = began.or_else(|| refused.then(now)) else {
            return;
        };
        let Some(hook) = &self.hooks.on_response else {
            return;
        };
        let exchange = Exchange {
            request: (!refused).then_some(&io.request),
            peer: self.peer.get(),
            status,
            bytes_sent: io.answered.bytes,
            time,
            duration: began.elapsed(),
            complete,
        };
        // The hook may wait, so the output collected so far goes out first. The next write
        // reports an error.
        let _ = io.connection.send_early();
        guarded("hook", || hook(&exchange));
    }

    /// Reports an error of the connection.
    #[cold]
    pub(in crate::http) fn report_error(&self, connection: &Rc<Connection>, error: &Error) {
        if let Some(hook) = &self.hooks.on_refusal {
            // The hook may wait, so the output collected so far goes out first. The next write
            // reports an error.
            let _ = connection.send_early();
            guarded("hook", || hook(error, self.peer.get()));
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("on_response", &self.on_response.is_some())
            .field("on_refusal", &self.on_refusal.is_some())
            .finish()
    }
}
