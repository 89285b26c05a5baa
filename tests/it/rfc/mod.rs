//! The rules of RFC 9110 and RFC 9112, as the lists in `tests/rfc` name them.

pub(crate) mod chunked;
pub(crate) mod connection;
pub(crate) mod expect;
pub(crate) mod fields;
pub(crate) mod framing;
pub(crate) mod host;
pub(crate) mod request_line;
pub(crate) mod response;
pub(crate) mod support;
pub(crate) mod upgrade;
