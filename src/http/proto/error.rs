//! Why a message was refused, and with which status.
#![forbid(unsafe_code)]

use std::fmt;

use http::StatusCode;

/// A message that the protocol forbids or that this server refuses to guess about.
///
/// The peer is always at fault, and the connection always ends: the answer is
/// [`ProtoError::status`] with `Connection: close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtoError {
    RequestLine,
    RequestLineTooLong { limit: usize },
    MethodTooLong { limit: usize },
    VersionMalformed,
    VersionUnsupported,
    LineEnd,
    LineEndsMixed,
    LineFolded,
    FieldName,
    FieldValue,
    HeadTooLarge { limit: usize },
    TooManyFields { limit: usize },
    Target,
    Misdirected,
    ConnectRefused,
    HostMissing,
    HostRepeated,
    HostMalformed,
    LengthMalformed,
    LengthRepeated,
    LengthAndCoding,
    CodingMalformed,
    CodingOnHttp10,
    CodingNotChunkedLast,
    CodingRepeated,
    CodingUnknown,
    ExpectationUnknown,
    ChunkSize { got: u8 },
    ChunkSizeTooLarge,
    ChunkExtension { got: u8 },
    ChunkExtensionsTooLarge { limit: u32 },
    ChunkLineEnd { got: u8 },
    Trailer { got: u8 },
    TrailerTooLarge { limit: u32 },
}

impl ProtoError {
    /// The status to answer the peer with.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::RequestLineTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::VersionUnsupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            // RFC 6585 section 5; a trailer section is fields too.
            Self::HeadTooLarge { .. }
            | Self::TooManyFields { .. }
            | Self::TrailerTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            // RFC 9110 section 7.4.
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            // RFC 9112 section 3; RFC 9110 section 9.1: a method that is implemented for no
            // resource at all.
            Self::MethodTooLong { .. } | Self::ConnectRefused => StatusCode::NOT_IMPLEMENTED,
            // RFC 9112 section 6.1.
            Self::CodingUnknown => StatusCode::NOT_IMPLEMENTED,
            // RFC 9110 section 10.1.1.
            Self::ExpectationUnknown => StatusCode::EXPECTATION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether the message was refused for its size alone.
    pub(crate) const fn is_limit(self) -> bool {
        matches!(
            self,
            Self::RequestLineTooLong { .. }
                | Self::MethodTooLong { .. }
                | Self::HeadTooLarge { .. }
                | Self::TooManyFields { .. }
                | Self::ChunkExtensionsTooLarge { .. }
                | Self::TrailerTooLarge { .. }
        )
    }
}

impl fmt::Display for ProtoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let byte = |f: &mut fmt::Formatter<'_>, wanted: &str, got: u8| {
            write!(f, "expected {wanted}, got byte 0x{got:02x}")
        };
        let text = match *self {
            Self::RequestLineTooLong { limit } => {
                return write!(f, "request line is longer than {limit} bytes");
            }
            Self::MethodTooLong { limit } => {
                return write!(f, "method is longer than {limit} bytes");
            }
            Self::HeadTooLarge { limit } => {
                return write!(f, "request head is larger than {limit} bytes");
            }
            Self::TooManyFields { limit } => {
                return write!(f, "request head has more than {limit} fields");
            }
            Self::ChunkSize { got } => return byte(f, "a hexadecimal chunk size", got),
            Self::ChunkExtension { got } => return byte(f, "a chunk extension", got),
            Self::ChunkExtensionsTooLarge { limit } => {
                return write!(f, "chunk extensions are larger than {limit} bytes");
            }
            Self::ChunkLineEnd { got } => return byte(f, "CRLF in the chunk framing", got),
            Self::Trailer { got } => return byte(f, "a trailer field", got),
            Self::TrailerTooLarge { limit } => {
                return write!(f, "trailer section is larger than {limit} bytes");
            }
            Self::RequestLine => "expected `method target HTTP/1.1`",
            Self::VersionMalformed => "expected HTTP/1.1 or HTTP/1.0",
            Self::VersionUnsupported => "expected HTTP/1.1 or HTTP/1.0, got another version",
            Self::LineEnd => "expected CRLF, got a bare CR",
            Self::LineEndsMixed => "expected CRLF throughout, got a bare LF",
            Self::LineFolded => "expected a field, got a folded line",
            Self::FieldName => "expected a field name and a colon",
            Self::FieldValue => "expected a field value, got a control character",
            Self::Target => "request target is malformed for this method",
            Self::Misdirected => "expected a target of this server, got another URI",
            Self::ConnectRefused => "method CONNECT is not implemented",
            Self::HostMissing => "expected a host field, got none",
            Self::HostRepeated => "expected one host field, got several",
            Self::HostMalformed => "host is malformed",
            Self::LengthMalformed => "content-length is not a decimal number",
            Self::LengthRepeated => "expected one content-length, got several",
            Self::LengthAndCoding => "got both content-length and transfer-encoding",
            Self::CodingMalformed => "transfer-encoding is not a list of codings",
            Self::CodingOnHttp10 => "got transfer-encoding on HTTP/1.0",
            Self::CodingNotChunkedLast => "expected chunked as the last transfer coding",
            Self::CodingRepeated => "got the chunked transfer coding twice",
            Self::CodingUnknown => "expected chunked alone, got another coding",
            Self::ExpectationUnknown => "expected 100-continue, got another",
            Self::ChunkSizeTooLarge => "chunk size does not fit into 64 bits",
        };
        f.write_str(text)
    }
}

impl std::error::Error for ProtoError {}
