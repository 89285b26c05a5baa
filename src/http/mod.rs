//! An HTTP/1.1 server: one ethread per connection, handlers that may wait.
//!
//! ```no_run
//! use ethreads::http::{App, Path, Server};
//!
//! fn main() -> std::io::Result<()> {
//!     let app = App::new()
//!         .get("/", || "hello\n")
//!         .get("/hello/{name}", |Path(name): Path<String>| format!("hello {name}\n"));
//!     Server::bind("127.0.0.1:8080")?.run(app)
//! }
//! ```
//!
//! An [`App`] has routes, middleware, state and one rendering of errors. A server without routes
//! takes a function in place of the app, `|request: &mut Request| ..`, and so does each route: see
//! [`IntoHandler`]. A handler runs in the ethread of its connection, so it may sleep, read files on
//! the pool, or call another server, and no other connection waits meanwhile. A panic in a handler
//! is answered with 500 and logged.
//!
//! A program without a handler reads requests from a [`WebServer`], and answers them at any time:
//! see [`pull`].
//!
//! # Protocol
//!
//! HTTP/1.1 and HTTP/1.0 by RFC 9110 and RFC 9112: persistent connections, pipelining, bodies with
//! `Content-Length` and in chunks, `Expect: 100-continue`, HEAD. Ambiguous framing is refused with
//! 400 and the connection closed. `Upgrade` is ignored unless the handler accepts it, with
//! [`Response::upgrade`]. CONNECT is refused with 501, unless the app has a route for it:
//! [`App::connect`].
//!
//! # Limits
//!
//! Every size and every phase of a connection has a limit, enabled by default. [`Server::limits`]
//! sets the [`Limits`], [`Server::timeouts`] the [`Timeouts`], and [`Server::taskmaster`] the other
//! limits:
//!
//! | Default | Value | What it bounds | Beyond it |
//! |---|---|---|---|
//! | [`Limits::HEAD_BYTES`] | 16 KiB | a request head | 431 |
//! | [`Limits::REQUEST_LINE_BYTES`] | 8 KiB | a request line | 414 |
//! | [`Limits::FIELDS`] | 100 | field lines in a head | 431 |
//! | [`Limits::BODY_BYTES`] | 2 MiB | a body that is collected into memory | 413 |
//! | [`Limits::CHUNK_EXTENSION_BYTES`] | 16 KiB | the chunk extensions of a body | 400 |
//! | [`Limits::TRAILER_BYTES`] | 8 KiB | the trailer section of a body | 431 |
//! | [`Timeouts::IDLE`] | 75 s | the pause between two requests | close |
//! | [`Timeouts::HEAD`] | 30 s | a head, from its first byte to its last | 408 |
//! | [`Timeouts::BODY`] | 30 s | a pause within a body | 408 |
//! | [`Timeouts::BODY_RATE`] | 500 bytes/s | the speed of a body, from below | 408 |
//! | [`Timeouts::BODY_GRACE`] | 30 s | waiting for a body before its speed counts | |
//! | [`Timeouts::WRITE`] | 30 s | a pause in which the peer takes nothing of an answer | reset |
//! | [`Timeouts::LINGER`] | 5 s | the peer's silence between the last answer and its end | close |
//! | [`Timeouts::LINGER_TOTAL`] | 30 s | all of the time between them | close |
//! | [`Timeouts::IN_FLIGHT`] | 250 ms | a drain's wait for requests that are on their way | close |
//! | [`Taskmaster::max_connections`] | by `ulimit -n` | open connections | an idle one goes |
//! | [`Taskmaster::MAX_THREADS`] | 10000 | requests that are handled | queue |
//! | [`Taskmaster::MAX_ACCEPT`] | 12500 | requests that are handled or queued | 503 |
//! | [`Taskmaster::QUEUE_TIMEOUT`] | 10 s | the wait in the queue | 503 |
//!
//! Two limits are fixed. Up to 64 KiB of a body that no handler has read are discarded to keep the
//! connection. After the last answer, further input from the peer is discarded, without a limit of
//! bytes. At most 1024 connections of a shard linger like this at a time, fewer if the process may
//! have few descriptors; beyond that the oldest lingering connection is closed.
//!
//! A timeout of a body is an error of the read that waits for the body. A handler that returns the
//! error with `?` answers 408.
//!
//! The [`Taskmaster`] decides how many connections are open, and how many requests are handled,
//! wait, or are refused. A process that has no descriptors left closes idle connections, answers
//! new ones with 503, and recovers by itself.
//!
//! # Shutdown
//!
//! [`Server::run`] serves until SIGTERM or SIGINT, [`Server::serve`] until [`ServerHandle::drain`].
//! Then no client can connect any more, and open connections are answered until a deadline.
//! [`ServerHandle::drained`] reports the connections that were cut at the deadline.

#![forbid(unsafe_code)]

mod accept;
mod admission;
mod app;
mod conn;
mod error;
mod exchange;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod message;
pub mod middleware;
pub(crate) mod proto;
pub mod pull;
mod server;
pub mod testing;
#[cfg(test)]
mod tests;

/// The crate `cookie`, version 0.18.
#[cfg(feature = "cookie")]
pub use ::cookie::{self, Cookie, SameSite};
/// Types of the crate `http`, version 1.
pub use ::http::{HeaderName, HeaderValue, Method, StatusCode, Version};
pub use accept::taskmaster::{ServerCounts, Taskmaster, TaskmasterError};
#[cfg(feature = "cookie-private")]
pub use app::extract::cookies::PrivateCookies;
#[cfg(feature = "cookie-signed")]
pub use app::extract::cookies::SignedCookies;
pub use app::extract::form::Form;
pub use app::extract::json::Json;
#[cfg(feature = "multipart")]
pub use app::extract::multipart::{Multipart, MultipartField, TempFile};
pub use app::extract::path::Path;
pub use app::extract::query::Query;
pub use app::extract::state::{Extension, State};
pub use app::files::Files;
#[cfg(feature = "tower")]
pub use app::service::request_body::ServiceBody;
#[cfg(feature = "tower-tokio")]
pub use app::service::tokio::{InTokio, ServiceExt};
pub use app::sse::{Event, Events, LastEventId, Sse};
pub use app::{App, Next, Plugin, error_pages};
pub use conn::config::Timeouts;
pub use conn::hooks::Exchange;
pub use conn::report::{CutConnection, CutState, DrainReport};
pub use conn::stream::Stream;
pub use conn::upgrade::Upgraded;
pub use error::{Error, HandlerError, Result};
pub use exchange::body::RequestBody;
pub use exchange::builder::{IntoRequest, RequestBuilder};
pub use exchange::client_connection::ClientConnection;
pub use exchange::draining::Draining;
pub use exchange::extract::{FromOptional, FromRequest, Needs};
pub use exchange::forwarded::ForwardedField;
pub use exchange::handler::{Handler, IntoHandler};
pub use exchange::request::{BodyReader, Request};
pub use exchange::request_id::RequestId;
#[cfg(feature = "cookie")]
pub use message::cookies::{CookieError, Cookies};
pub use message::{
    Body, BodyWriter, HeaderView, Headers, IntoResponse, MalformedPath, QueryPairs, Response,
    decode_path, query_pairs,
};
pub use proto::limits::Limits;
pub use pull::WebServer;
pub use server::Server;
pub use server::access_log::{CombinedLog, CommonLog, JsonLog};
pub use server::handle::ServerHandle;
pub use server::made::MadeHandler;
pub use server::sharded::ShardedServer;
