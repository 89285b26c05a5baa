//! The HTTP/1.1 protocol as functions of bytes.
//!
//! Nothing in this module depends on a socket, a clock, an ethread or a buffer pool: bytes go in,
//! values come out, and the connection loop waits. So every rule can be tested byte by byte and
//! fuzzed, and holds over TCP, TLS or a simulated network alike.
//!
//! The reading of RFC 9112 is strict. A message that two recipients could understand differently
//! is refused with a 4xx or 5xx status, and the connection is closed after it, because where the
//! next message would begin is then in doubt. Every [`ProtoError`] is of that kind.
//!
//! A request travels through the modules in this order:
//!
//! * [`head`] finds the end of the head, cuts it into offsets and checks it;
//! * [`framing`] decides where the body ends and whether the connection lives on; `codings` reads
//!   the list of transfer codings for it;
//! * `grammar` defines for these which bytes are allowed where;
//! * [`chunked`] takes a chunked body apart, and [`trailers`] what follows it;
//! * [`encode`] writes the response head and the chunks, with the line from [`date`]; [`upgrade`]
//!   decides whether the response may be a 101; [`accept_encoding`] tells which content codings it
//!   may be in.
#![forbid(unsafe_code)]

pub(crate) mod accept_encoding;
pub(crate) mod chunked;
mod codings;
pub(crate) mod date;
pub(crate) mod encode;
pub(crate) mod error;
pub(crate) mod framing;
pub(crate) mod grammar;
pub(crate) mod head;
pub(crate) mod limits;
pub(crate) mod trailers;
pub(crate) mod upgrade;

pub(crate) use error::ProtoError;
