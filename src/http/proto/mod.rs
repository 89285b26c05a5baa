//! The HTTP/1.1 protocol as functions of bytes.
//!
//! Nothing in here knows a socket, a clock, an ethread or a buffer pool: bytes go in, values come
//! out, and the connection loop does the waiting. So every rule can be tested byte by byte and
//! fuzzed, and holds over TCP, TLS or a simulated network alike.
//!
//! The reading of RFC 9112 is strict. A message that two recipients could understand differently
//! is refused with a 4xx or 5xx status, and the connection is closed after it, because where the
//! next message would begin is then in doubt. Every [`ProtoError`] is of that kind.
//!
//! A request travels through the modules in this order:
//!
//! * [`head`] finds the end of the head, cuts it into offsets and checks it;
//! * [`framing`] decides where the body ends and whether the connection may live on, with the help
//!   of `codings`, which reads the one list that decides it;
//! * `grammar` tells these which bytes may stand where;
//! * [`chunked`] takes a chunked body apart, and [`trailers`] what follows it;
//! * [`encode`] writes the response head and the chunks, with the line from [`date`]; [`upgrade`]
//!   has a say in whether it may be a 101.
#![forbid(unsafe_code)]

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
