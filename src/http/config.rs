//! What a server can be told, and the defaults.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::proto::limits::Limits;
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
    /// From the end of one answer to the first byte of the next request; the connection is then
    /// closed without a word. Default: [`Timeouts::IDLE`].
    pub idle: Duration,
    /// From the first byte of a request to the end of its head; then the answer is 408. Counts in
    /// total, so that a byte now and then does not prolong it. Default: [`Timeouts::HEAD`].
    pub head: Duration,
    /// Without a byte of a request's body while the handler reads it; then the read fails.
    /// Default: [`Timeouts::BODY`].
    pub body: Duration,
    /// Bytes a second that a request's body must come at: whoever is slower in all is timed out,
    /// even if some byte always comes in time for [`body`](Self::body). Only the time counts in
    /// which the handler waits for the peer, and of that only what is beyond
    /// [`body_grace`](Self::body_grace). Zero asks for none. Default: [`Timeouts::BODY_RATE`].
    pub body_rate: u32,
    /// How long a peer may keep the handler waiting in all, before [`body_rate`](Self::body_rate)
    /// is asked for. Default: [`Timeouts::BODY_GRACE`].
    pub body_grace: Duration,
    /// Without the kernel taking more of a response, which it does when the peer has taken a good
    /// part of what it has; then the connection is reset, so that what is on its way takes no
    /// memory any more. Default: [`Timeouts::WRITE`].
    pub write: Duration,
    /// After the last response, without a byte of the peer's and without its closing its side;
    /// then the connection is closed. Until then what the peer sends is discarded, since a close
    /// over it would destroy the response on its way (RFC 9112 section 9.6). A connection that
    /// lingers like this is not among those that are served. Default: [`Timeouts::LINGER`].
    ///
    /// While the server drains, [`in_flight`](Self::in_flight) takes the place of this if it is
    /// shorter.
    pub linger: Duration,
    /// After the last response, for the peer to close its side, however much it sends; then the
    /// connection is closed. Default: [`Timeouts::LINGER_TOTAL`].
    ///
    /// While the server drains, [`linger`](Self::linger) takes the place of this if it is shorter.
    pub linger_total: Duration,
    /// When the server drains, for a request that is on its way to an idle connection, and for the
    /// peer's end of one that has had its last response; then that is closed. Default:
    /// [`Timeouts::IN_FLIGHT`].
    pub in_flight: Duration,
}

impl Timeouts {
    /// 75 s, as nginx: longer than browsers pause between two clicks on one page.
    pub const IDLE: Duration = Duration::from_secs(75);

    /// 30 s, as hyper: a head is one packet or two, and retransmissions take seconds.
    pub const HEAD: Duration = Duration::from_secs(30);

    /// 30 s: an upload may pause for a while on a mobile network, but not for ever.
    pub const BODY: Duration = Duration::from_secs(30);

    /// 500 bytes a second, as Apache's mod_reqtimeout: slower than any modem, so that only those
    /// are hit who hold connections for its own sake.
    pub const BODY_RATE: u32 = 500;

    /// 30 s: what one pause may take.
    pub const BODY_GRACE: Duration = Duration::from_secs(30);

    /// 30 s, as the body's.
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

/// Of a large body the kernel is given so much at a time, and then the others have their turn. It
/// may take megabytes at once, a millisecond for each; those add up when many ask for much.
const WRITE_SLICE: usize = 256 * 1024;

/// Everything that the connections of a server share and never change.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// The value of the `server` field.
    pub(crate) server: Option<HeaderValue>,
    pub(crate) stack_size: usize,
    /// Bytes of a body that are sent before others have their turn.
    pub(crate) write_slice: usize,
    /// Whether a connection may have more than one request.
    pub(crate) persistent: bool,
    pub(crate) ethread_hooks: EthreadHooks,
}

/// What the user has a say in when an ethread for a connection is made.
#[derive(Clone, Default)]
pub(crate) struct EthreadHooks {
    pub(crate) client_name: Option<Arc<ClientName>>,
    pub(crate) around: Option<Arc<Around>>,
}

/// Names the ethread of a connection by the peer's address.
pub(crate) type ClientName = dyn Fn(Option<SocketAddr>) -> String + Send + Sync;

/// Is called in that ethread, with what serves the connection.
pub(crate) type Around = dyn Fn(&mut dyn FnMut()) + Send + Sync;

impl EthreadHooks {
    pub(crate) fn client_name(&self, peer: Option<SocketAddr>) -> String {
        if let Some(format) = &self.client_name {
            // It is called by the acceptor, and by what ends the server.
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
            ethread_hooks: EthreadHooks::default(),
        }
    }
}
