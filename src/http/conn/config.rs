//! The configuration of a server, and the defaults.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::http::exchange::forwarded::Forwarding;
use crate::http::proto::limits::Limits;
use crate::net::Network;
use crate::runtime::base::panic::{drop_payload, message};
use crate::thread;

/// How long a peer may take. Every phase of a connection has a limit.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::http::Timeouts;
///
/// let mut timeouts = Timeouts::default();
/// timeouts.idle = Duration::from_secs(15);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// From the end of one answer to the first byte of the next request; then the connection is
    /// closed without an answer. Default: [`Timeouts::IDLE`].
    pub idle: Duration,
    /// From the first byte of a request to the end of its head; then the answer is 408. This is a
    /// total, so a byte now and then does not extend it. Default: [`Timeouts::HEAD`].
    pub head: Duration,
    /// How long no byte of a request's body may arrive while the handler reads it; then the read
    /// fails. Default: [`Timeouts::BODY`].
    pub body: Duration,
    /// The average rate, in bytes per second, that a request's body must reach: a slower body times
    /// out, even if some byte always comes in time for [`body`](Self::body). Only the time in which
    /// the handler waits for the peer counts, and of that only the part beyond
    /// [`body_grace`](Self::body_grace). Zero means no minimum. Default: [`Timeouts::BODY_RATE`].
    pub body_rate: u32,
    /// How long a peer may keep the handler waiting in total before [`body_rate`](Self::body_rate)
    /// applies. Default: [`Timeouts::BODY_GRACE`].
    pub body_grace: Duration,
    /// How long the kernel may take no more of a response; then the connection is reset, so that
    /// the data in flight no longer takes memory. The kernel takes more when the peer has taken a
    /// good part of what the kernel holds. Default: [`Timeouts::WRITE`].
    pub write: Duration,
    /// How long after the last response the peer may neither send a byte nor close its side; then
    /// the connection is closed. Until then the input is discarded, since a close with unread input
    /// would destroy the response on its way (RFC 9112 section 9.6). A lingering connection does
    /// not count as served. Default: [`Timeouts::LINGER`].
    ///
    /// While the server drains, [`in_flight`](Self::in_flight) replaces this if it is shorter.
    pub linger: Duration,
    /// How long after the last response the peer may take to close its side, however much it sends;
    /// then the connection is closed. Default: [`Timeouts::LINGER_TOTAL`].
    ///
    /// While the server drains, [`linger`](Self::linger) replaces this if it is shorter.
    pub linger_total: Duration,
    /// How long a draining server waits for a request that is on its way to an idle connection, and
    /// for the peer to close a connection that has had its last response; then the connection is
    /// closed. Default: [`Timeouts::IN_FLIGHT`].
    pub in_flight: Duration,
}

impl Timeouts {
    /// 75 s, as nginx: longer than browsers pause between two clicks on one page.
    pub const IDLE: Duration = Duration::from_secs(75);

    /// 30 s, as hyper: a head is one packet or two, and retransmissions take seconds.
    pub const HEAD: Duration = Duration::from_secs(30);

    /// 30 s: an upload may pause for a while on a mobile network, but not for ever.
    pub const BODY: Duration = Duration::from_secs(30);

    /// 500 bytes per second, as Apache's mod_reqtimeout: slower than any modem, so that it affects
    /// only peers that hold connections for their own sake.
    pub const BODY_RATE: u32 = 500;

    /// 30 s: as long as one pause may be.
    pub const BODY_GRACE: Duration = Duration::from_secs(30);

    /// 30 s, as [`BODY`](Self::BODY).
    pub const WRITE: Duration = Duration::from_secs(30);

    /// 5 s, as nginx: retransmissions take seconds.
    pub const LINGER: Duration = Duration::from_secs(5);

    /// 30 s, as nginx: enough to send an upload to its end, for a client that reads only then.
    pub const LINGER_TOTAL: Duration = Duration::from_secs(30);

    /// 250 ms: longer than a round trip to the other side of the Earth.
    pub const IN_FLIGHT: Duration = Duration::from_millis(250);
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle: Self::IDLE,
            head: Self::HEAD,
            body: Self::BODY,
            body_rate: Self::BODY_RATE,
            body_grace: Self::BODY_GRACE,
            write: Self::WRITE,
            linger: Self::LINGER,
            linger_total: Self::LINGER_TOTAL,
            in_flight: Self::IN_FLIGHT,
        }
    }
}

/// The stack of an ethread that runs handlers. serde_json at its depth limit needs over 192 KiB in
/// a debug build; untouched pages cost nothing.
pub(crate) const HANDLER_STACK_SIZE: usize = 1 << 20;

/// How much of a large body is given to the kernel before other ethreads run. The kernel may take
/// megabytes at once, at a millisecond each; this adds up when many peers ask for large bodies.
const WRITE_SLICE: usize = 256 * 1024;

/// Everything that the connections of a server share and never change.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// The value of the `server` field.
    pub(crate) server: Option<HeaderValue>,
    pub(crate) stack_size: usize,
    /// Bytes of a body that are sent before other ethreads run.
    pub(crate) write_slice: usize,
    /// Whether a connection may have more than one request.
    pub(crate) persistent: bool,
    /// Whether a client that leaves ends the handler of its request, unless an app says otherwise.
    pub(crate) cancel_on_disconnect: bool,
    /// The peers that begin with a header of the PROXY protocol.
    pub(crate) proxies: Option<Arc<[Network]>>,
    /// The peers that may name the client of a request.
    pub(in crate::http) forwarding: Option<Arc<Forwarding>>,
    pub(crate) ethread_hooks: EthreadHooks,
}

/// User code that takes part in making the ethread of a connection.
#[derive(Clone, Default)]
pub(crate) struct EthreadHooks {
    pub(crate) client_name: Option<Arc<ClientName>>,
    pub(crate) around: Option<Arc<Around>>,
}

/// Names the ethread of a connection by the peer's address.
pub(crate) type ClientName = dyn Fn(Option<SocketAddr>) -> String + Send + Sync;

/// Called in that ethread, with the closure that serves the connection.
pub(crate) type Around = dyn Fn(&mut dyn FnMut()) + Send + Sync;

impl EthreadHooks {
    pub(crate) fn client_name(&self, peer: Option<SocketAddr>) -> String {
        if let Some(format) = &self.client_name {
            // Called by the acceptor, and at the end of the server: a panic must not end these.
            match thread::catch_panic(AssertUnwindSafe(|| format(peer))) {
                Ok(name) => return name,
                Err(payload) => {
                    let text = message(&*payload);
                    log::error!("the name of a connection panicked: {text}");
                    drop_payload(payload);
                }
            }
        }
        match peer {
            Some(peer) => format!("http-client {peer}"),
            None => "http-client unix".to_owned(),
        }
    }
}

impl fmt::Debug for EthreadHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EthreadHooks")
            .field("client_name", &self.client_name.is_some())
            .field("around", &self.around.is_some())
            .finish()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            server: Some(HeaderValue::from_static("ethreads")),
            stack_size: HANDLER_STACK_SIZE,
            write_slice: WRITE_SLICE,
            persistent: true,
            cancel_on_disconnect: false,
            proxies: None,
            forwarding: None,
            ethread_hooks: EthreadHooks::default(),
        }
    }
}
