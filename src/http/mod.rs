//! An HTTP/1.1 server: one ethread per connection, handlers that may wait.
//!
//! ```no_run
//! use ethreads::http::{Request, Server};
//!
//! fn main() -> std::io::Result<()> {
//!     Server::bind("127.0.0.1:8080")?.serve(|request: &mut Request| {
//!         format!("hello from {}\n", request.path())
//!     })
//! }
//! ```
//!
//! A handler is any `Fn(&mut Request) -> impl IntoResponse`. It runs in the ethread of its
//! connection: it may sleep, read files on the pool, or call another server, and nobody else waits
//! for it. Its panic is a 500 and a log line.
//!
//! A program that would rather be in charge itself reads requests from a [`WebServer`] and answers
//! them when it likes: see [`pull`].
//!
//! # What is spoken
//!
//! HTTP/1.1 and HTTP/1.0 by RFC 9110 and RFC 9112: persistent connections, pipelining, bodies with
//! `Content-Length` and in chunks, `Expect: 100-continue`, HEAD. Ambiguous framing is refused with
//! 400 and the connection closed. `Upgrade` is ignored unless the handler takes it up, with
//! [`Response::upgrade`]. CONNECT is not offered.
//!
//! # Limits
//!
//! Every size and every phase of a connection has one, on by default: see [`Limits`] and
//! [`Timeouts`].

#![forbid(unsafe_code)]

mod access_log;
mod body;
mod buffers;
mod client_connection;
mod config;
mod connection;
mod early;
mod error;
mod file;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod hooks;
pub(crate) mod message;
pub(crate) mod proto;
pub mod pull;
mod request;
mod server;
mod shared;
mod signals;
mod transport;
mod upgrade;

/// The vocabulary of the crate `http`, version 1.
pub use ::http::{HeaderName, HeaderValue, Method, StatusCode, Version};
pub use access_log::{CombinedLog, CommonLog};
pub use client_connection::ClientConnection;
pub use config::Timeouts;
pub use error::{Error, HandlerError, Result};
pub use handler::Handler;
pub use hooks::Exchange;
pub use message::{
    Body, BodyWriter, HeaderView, Headers, IntoResponse, MalformedPath, QueryPairs, Response,
    decode_path, query_pairs,
};
pub use proto::limits::Limits;
pub use pull::WebServer;
pub use request::{BodyReader, Request};
pub use server::{Server, ServerHandle};
pub use upgrade::Upgraded;
