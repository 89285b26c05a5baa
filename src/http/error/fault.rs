//! The one error of the HTTP layer, grouped by the party at fault.
#![forbid(unsafe_code)]

use std::error::Error as StdError;
use std::{fmt, io};

use http::StatusCode;

use crate::http::message::{IntoResponse, Response};
use crate::http::proto::ProtoError;

/// Why a request could not be read or a response not be sent.
///
/// The predicates tell the party at fault, which decides what to do: exactly one of
/// [`is_peer`](Self::is_peer), [`is_user`](Self::is_user), [`is_io`](Self::is_io),
/// [`is_limit`](Self::is_limit) and [`is_timeout`](Self::is_timeout) is true. The text is for
/// people and may change.
///
/// An `Error` survives a conversion to [`io::Error`] and back: reading a request's body returns
/// `io::Error`s that wrap an `Error`, and `Error::from` takes it out again.
///
/// # Examples
///
/// ```
/// use std::io;
/// use ethreads::http::{Error, Request};
///
/// fn discard(request: &mut Request) -> &'static str {
///     match io::copy(&mut request.body(), &mut io::sink()).map_err(Error::from) {
///         Ok(_) => "thank you\n",
///         Err(error) if error.is_timeout() => "too slow\n",
///         Err(_) => "what was that?\n",
///     }
/// }
/// ```
pub struct Error {
    // Boxed so that results stay one word large.
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Peer(Peer),
    User(User),
    Io(io::ErrorKind),
    Limit(Limit),
    Timeout(Phase),
}

/// What the peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Malformed(ProtoError),
    /// The peer closed the connection within a request head.
    HeadIncomplete,
    /// The body is not the UTF-8 that the handler asked for.
    BodyNotText,
    /// The peer closed the connection before the body was complete.
    BodyIncomplete {
        got: u64,
        expected: Option<u64>,
    },
    /// The body is no form.
    #[cfg(feature = "multipart")]
    FormMalformed(&'static str),
}

/// What the handler did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    BodyTooLong {
        declared: u64,
    },
    BodyTooShort {
        declared: u64,
        got: u64,
    },
    /// The source of a response body failed.
    SourceFailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Syntax(ProtoError),
    Body {
        limit: u64,
    },
    #[cfg(feature = "multipart")]
    Form(FormLimit, u64),
}

/// The limits of a form with files.
#[cfg(feature = "multipart")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormLimit {
    /// The whole of it, in bytes.
    Body,
    /// The number of its fields.
    Parts,
    /// The header of a field, in bytes.
    Header,
    /// A field, in bytes.
    Field,
    /// A field in memory, in bytes.
    Memory,
}

/// What a connection was waiting for when it timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The rest of a request head.
    Head,
    /// More of a request body.
    Body,
    /// Space to send more of a response.
    Write,
}

impl Error {
    /// The peer closed the connection within a request head.
    pub(crate) fn head_incomplete() -> Self {
        Kind::Peer(Peer::HeadIncomplete).into()
    }

    /// The body is not text.
    pub(crate) fn body_not_text() -> Self {
        Kind::Peer(Peer::BodyNotText).into()
    }

    /// The peer closed the connection after `got` bytes of the body.
    pub(crate) fn body_incomplete(got: u64, expected: Option<u64>) -> Self {
        Kind::Peer(Peer::BodyIncomplete { got, expected }).into()
    }

    /// The request of this body has ended.
    pub(crate) fn body_revoked() -> Self {
        let kind = io::ErrorKind::ConnectionAborted;
        let text = "request body read after the end of its request";
        Self::wrap(Kind::Io(kind), io::Error::new(kind, text))
    }

    /// The body is larger than the `limit` of the caller.
    pub(crate) fn body_too_large(limit: u64) -> Self {
        Kind::Limit(Limit::Body { limit }).into()
    }

    /// The body is no form, for this reason.
    #[cfg(feature = "multipart")]
    pub(crate) fn form_malformed(reason: &'static str) -> Self {
        Kind::Peer(Peer::FormMalformed(reason)).into()
    }

    /// A form exceeds one of its limits.
    #[cfg(feature = "multipart")]
    pub(crate) fn form_limit(what: FormLimit, limit: u64) -> Self {
        Kind::Limit(Limit::Form(what, limit)).into()
    }

    /// The body of a form is larger than its `limit`.
    #[cfg(feature = "multipart")]
    pub(crate) fn form_too_large(limit: u64) -> Self {
        Self::form_limit(FormLimit::Body, limit)
    }

    /// The handler's stream went on after the length it had declared.
    pub(crate) fn response_too_long(declared: u64) -> Self {
        Kind::User(User::BodyTooLong { declared }).into()
    }

    /// The handler's stream ended before the length it had declared.
    pub(crate) fn response_too_short(declared: u64, got: u64) -> Self {
        Kind::User(User::BodyTooShort { declared, got }).into()
    }

    /// The file, reader or writer of a response body failed with this error.
    pub(crate) fn response_failed(error: io::Error) -> Self {
        Self::wrap(Kind::User(User::SourceFailed), error)
    }

    /// This phase timed out.
    pub(crate) fn timeout(phase: Phase) -> Self {
        Kind::Timeout(phase).into()
    }

    /// Returns the error of the stream itself, where that is the cause; otherwise wraps this.
    pub(crate) fn into_io(self) -> io::Error {
        let Inner { kind, source } = *self.inner;
        match (kind, source) {
            (Kind::Io(_), Some(source)) if source.is::<io::Error>() => {
                *source.downcast().expect("it is one")
            }
            (kind, source) => Self::new(kind, source).into(),
        }
    }

    /// Whether the peer violated the protocol or closed the connection too early.
    pub fn is_peer(&self) -> bool {
        matches!(self.inner.kind, Kind::Peer(_))
    }

    /// Whether user code is at fault, for example by a body of another length than declared, or a
    /// body whose reader, writer or file failed.
    pub fn is_user(&self) -> bool {
        matches!(self.inner.kind, Kind::User(_))
    }

    /// Whether the connection itself failed; [`source`](StdError::source) is the [`io::Error`].
    pub fn is_io(&self) -> bool {
        matches!(self.inner.kind, Kind::Io(_))
    }

    /// Whether the peer sent more of something than is accepted.
    pub fn is_limit(&self) -> bool {
        matches!(self.inner.kind, Kind::Limit(_))
    }

    /// Whether the peer was too slow.
    pub fn is_timeout(&self) -> bool {
        matches!(self.inner.kind, Kind::Timeout(_))
    }

    /// Returns the status to answer the peer with.
    ///
    /// `None` if the peer is not at fault, or if it can no longer be answered.
    pub fn status(&self) -> Option<StatusCode> {
        match self.inner.kind {
            Kind::Peer(Peer::Malformed(error)) | Kind::Limit(Limit::Syntax(error)) => {
                Some(error.status())
            }
            // RFC 9112 section 8: an incomplete request. A half-closed peer may still listen.
            Kind::Peer(Peer::BodyIncomplete { .. } | Peer::HeadIncomplete | Peer::BodyNotText) => {
                Some(StatusCode::BAD_REQUEST)
            }
            #[cfg(feature = "multipart")]
            Kind::Peer(Peer::FormMalformed(_)) => Some(StatusCode::BAD_REQUEST),
            Kind::Limit(Limit::Body { .. }) => Some(StatusCode::PAYLOAD_TOO_LARGE),
            #[cfg(feature = "multipart")]
            Kind::Limit(Limit::Form(..)) => Some(StatusCode::PAYLOAD_TOO_LARGE),
            Kind::Timeout(Phase::Head | Phase::Body) => Some(StatusCode::REQUEST_TIMEOUT),
            Kind::Timeout(Phase::Write) | Kind::User(_) | Kind::Io(_) => None,
        }
    }

    /// The answer to a request that is refused with this error (RFC 9110 section 15.5).
    pub(in crate::http) fn answer(&self) -> Response {
        let status = self.status().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reason = status.canonical_reason().unwrap_or_default();
        (status, format!("{reason}: {self}\n")).into_response()
    }

    /// Returns the `Error` that `error` wraps; otherwise wraps `error` in one of this kind.
    fn wrap(kind: Kind, error: io::Error) -> Self {
        error
            .downcast()
            .unwrap_or_else(|error| Self::new(kind, Some(Box::new(error))))
    }

    fn new(kind: Kind, source: Option<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            inner: Box::new(Inner { kind, source }),
        }
    }

    /// The kind of the [`io::Error`] that wraps this error.
    fn io_kind(&self) -> io::ErrorKind {
        match self.inner.kind {
            Kind::Peer(Peer::BodyIncomplete { .. } | Peer::HeadIncomplete) => {
                io::ErrorKind::UnexpectedEof
            }
            Kind::Peer(Peer::Malformed(_) | Peer::BodyNotText) | Kind::Limit(Limit::Syntax(_)) => {
                io::ErrorKind::InvalidData
            }
            #[cfg(feature = "multipart")]
            Kind::Peer(Peer::FormMalformed(_)) => io::ErrorKind::InvalidData,
            Kind::Limit(Limit::Body { .. }) => io::ErrorKind::FileTooLarge,
            #[cfg(feature = "multipart")]
            Kind::Limit(Limit::Form(..)) => io::ErrorKind::FileTooLarge,
            Kind::User(_) => io::ErrorKind::InvalidInput,
            Kind::Timeout(_) => io::ErrorKind::TimedOut,
            Kind::Io(kind) => kind,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("http::Error");
        tuple.field(&self.inner.kind);
        if let Some(source) = &self.inner.source {
            tuple.field(source);
        }
        tuple.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inner.kind {
            Kind::Peer(Peer::Malformed(error)) | Kind::Limit(Limit::Syntax(error)) => error.fmt(f),
            Kind::Peer(Peer::BodyIncomplete { got, expected }) => match expected {
                Some(expected) => write!(
                    f,
                    "expected a body of {expected} bytes, got {got} before the end"
                ),
                None => write!(f, "expected the last chunk, got {got} bytes before the end"),
            },
            Kind::Peer(Peer::HeadIncomplete) => {
                f.write_str("expected the rest of a request head, got the end of the stream")
            }
            Kind::Peer(Peer::BodyNotText) => f.write_str("expected a body of UTF-8 text"),
            Kind::Limit(Limit::Body { limit }) => {
                write!(f, "request body is larger than {limit} bytes")
            }
            #[cfg(feature = "multipart")]
            Kind::Peer(Peer::FormMalformed(reason)) => f.write_str(reason),
            #[cfg(feature = "multipart")]
            Kind::Limit(Limit::Form(what, limit)) => match what {
                FormLimit::Body => write!(
                    f,
                    "the form is larger than {limit} bytes, which `App::body_limit` sets"
                ),
                FormLimit::Parts => write!(
                    f,
                    "the form has more than {limit} fields, which `Multipart::part_limit` sets"
                ),
                FormLimit::Header => write!(
                    f,
                    "the header of a field is larger than {limit} bytes, which \
                     `Multipart::header_limit` sets"
                ),
                FormLimit::Field => write!(
                    f,
                    "a field is larger than {limit} bytes, which `Multipart::field_limit` sets"
                ),
                FormLimit::Memory => write!(
                    f,
                    "a field in memory is larger than {limit} bytes, which \
                     `Multipart::memory_limit` sets"
                ),
            },
            Kind::User(User::BodyTooLong { declared }) => {
                write!(f, "expected a response body of {declared} bytes, got more")
            }
            Kind::User(User::BodyTooShort { declared, got }) => {
                write!(f, "expected a response body of {declared} bytes, got {got}")
            }
            Kind::User(User::SourceFailed) => f.write_str("the source of a response body failed"),
            Kind::Timeout(phase) => f.write_str(match phase {
                Phase::Head => "timed out reading a request head",
                Phase::Body => "timed out reading a request body",
                Phase::Write => "timed out writing a response",
            }),
            // One level only: the source prints the cause.
            Kind::Io(_) => f.write_str("connection failed"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self::new(kind, None)
    }
}

impl From<ProtoError> for Error {
    fn from(error: ProtoError) -> Self {
        if error.is_limit() {
            Kind::Limit(Limit::Syntax(error)).into()
        } else {
            Kind::Peer(Peer::Malformed(error)).into()
        }
    }
}

/// Takes out the `Error` that the `io::Error` wraps; otherwise wraps the `io::Error`.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::wrap(Kind::Io(error.kind()), error)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.io_kind(), error)
    }
}

#[cfg(test)]
mod tests;
