//! What a server tells about its work: answers given, and errors met.
//!
//! A server without hooks pays one look for them at each request.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode, Version};

use super::conn_io::ConnIo;
use super::error::Error;
use super::request::Request;
use crate::runtime::base::panic::{drop_payload, message};
use crate::runtime::driver::wall_seconds;
use crate::thread;
use crate::time::Instant;

type OnResponse = dyn Fn(&Exchange<'_>) + Send + Sync;
type OnError = dyn Fn(&Error, Option<SocketAddr>) + Send + Sync;

/// The closures that a server was given.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    pub(super) on_response: Option<Arc<OnResponse>>,
    pub(super) on_error: Option<Arc<OnError>>,
}

/// A request and its answer. Given to the hook of [`Server::on_response`].
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
    /// Returns the request; `None` if what came was none, and was refused.
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

    /// Returns when the head of the request had arrived, by the second.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// Returns how long it took from there until the answer was sent.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Whether the answer was sent to its end. If not, the connection was closed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }
}

/// The hooks of one connection.
pub(super) struct Observer {
    hooks: Hooks,
    /// Asked for at the beginning: of a connection that was reset nobody knows any more.
    peer: Option<SocketAddr>,
    /// The request that is being answered.
    began: Cell<Option<Began>>,
}

#[derive(Clone, Copy)]
struct Began {
    wall_seconds: u64,
    at: Instant,
}

impl Began {
    fn now() -> Self {
        Self {
            wall_seconds: wall_seconds(),
            at: Instant::now(),
        }
    }
}

impl Observer {
    /// The observer of a new connection, if the server has any hooks.
    pub(super) fn of(
        hooks: Option<&Hooks>,
        peer: impl FnOnce() -> Option<SocketAddr>,
    ) -> Option<Box<Self>> {
        hooks.map(|hooks| {
            Box::new(Self {
                hooks: hooks.clone(),
                peer: peer(),
                began: Cell::new(None),
            })
        })
    }

    /// A request has arrived.
    pub(super) fn begin(&self) {
        self.began.set(Some(Began::now()));
    }

    /// A request was answered, or was none and refused. Does nothing the second time.
    #[cold]
    #[inline(never)]
    pub(super) fn end(&self, request: &Request, refused: bool, complete: bool) {
        let began = self.began.take();
        let Some(status) = request.io.answered.status else {
            return;
        };
        let began = match began {
            Some(began) => began,
            None if refused => Began::now(),
            None => return,
        };
        let Some(hook) = &self.hooks.on_response else {
            return;
        };
        let exchange = Exchange {
            request: (!refused).then_some(request),
            peer: self.peer,
            status,
            bytes_sent: request.io.answered.bytes,
            time: UNIX_EPOCH + Duration::from_secs(began.wall_seconds),
            duration: began.at.elapsed(),
            complete,
        };
        // The hook may wait.
        request.io.send_early();
        shielded(|| hook(&exchange));
    }
}

impl Observer {
    /// Tells of an error of the connection.
    #[cold]
    pub(super) fn report_error(&self, io: &ConnIo, error: &Error) {
        if let Some(hook) = &self.hooks.on_error {
            // The hook may wait.
            io.send_early();
            shielded(|| hook(error, self.peer));
        }
    }
}

/// Calls a hook; its panic must not cost the connection.
fn shielded(hook: impl FnOnce()) {
    if let Err(payload) = thread::catch_panic(AssertUnwindSafe(hook)) {
        let text = message(&*payload);
        log::error!("hook panicked in ethread {}: {text}", thread::current());
        drop_payload(payload);
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("on_response", &self.on_response.is_some())
            .field("on_error", &self.on_error.is_some())
            .finish()
    }
}
