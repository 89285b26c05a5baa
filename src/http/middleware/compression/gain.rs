//! Whether a response gains by compression.
#![forbid(unsafe_code)]

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderName, StatusCode};

use crate::http::message::Response;
use crate::http::proto::grammar::members;

/// A body in memory up to this length is compressed at once, so that its compressed length is
/// known. A longer one would keep the other ethreads from running.
pub(super) const WHOLE: usize = 64 * 1024;

/// The digests of a body, which hold for the bytes that are sent (RFC 9530, RFC 3230, RFC 1864).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// How a response that may gain is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gain {
    /// At once.
    Whole,
    /// As it is made. The length is that of `Content-Length`, where the body does not know its own.
    Stream { declared: Option<u64> },
    /// Not at all: the handler has left out the body, as the method is HEAD.
    Head,
}

/// Returns how to compress a response; `None` if it is to be sent as it is.
pub(super) fn may_gain(
    response: &Response,
    is_head: bool,
    min_size: u64,
    types: &dyn Fn(&str) -> bool,
) -> Option<Gain> {
    let status = response.status();
    let has_no_body = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::PARTIAL_CONTENT,
        StatusCode::NOT_MODIFIED,
    ];
    if status.is_informational() || has_no_body.contains(&status) {
        return None;
    }
    let body = response.body();
    let (mut content_type, mut declared) = (None, None);
    for (name, value) in response.headers().iter() {
        let value = value.as_bytes();
        if *name == CONTENT_TYPE {
            content_type = content_type.or(str::from_utf8(value).ok());
        } else if *name == CONTENT_LENGTH {
            declared = declared.or(length(value));
        } else if *name == CONTENT_ENCODING || *name == CONTENT_RANGE {
            return None;
        } else if *name == CACHE_CONTROL {
            if members(value).any(|option| option.eq_ignore_ascii_case(b"no-transform")) {
                return None;
            }
        } else if DIGESTS.contains(name) {
            return None;
        }
    }
    let is_left_out = is_head && body.is_empty();
    let len = match body.len() {
        Some(0) if is_left_out => declared,
        None => declared,
        known => known,
    };
    if len.is_some_and(|len| len < min_size) || len == Some(0) || is_left_out && len.is_none() {
        return None;
    }
    let essence = content_type?.split(';').next().unwrap_or_default().trim();
    if !types(essence) {
        return None;
    }
    Some(match body.as_bytes() {
        _ if is_left_out => Gain::Head,
        Some(bytes) if bytes.len() <= WHOLE => Gain::Whole,
        _ => Gain::Stream {
            declared: declared.filter(|_| body.len().is_none()),
        },
    })
}

/// The value of `Content-Length`, as a connection reads it.
fn length(value: &[u8]) -> Option<u64> {
    let is_number = value.iter().all(u8::is_ascii_digit);
    str::from_utf8(value)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

/// Whether a type gains: a text, or something else with much repetition.
pub(super) fn is_text(essence: &str) -> bool {
    /// Without `text/`, and the types that end with `+json` or `+xml`.
    const TYPES: [&str; 19] = [
        "application/atom+xml",
        "application/javascript",
        "application/json",
        "application/ld+json",
        "application/ndjson",
        "application/rtf",
        "application/toml",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/xml",
        "application/yaml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/svg+xml",
        "image/vnd.microsoft.icon",
        "image/x-icon",
    ];
    let ends_with = |end: &str| {
        let start = essence.len().checked_sub(end.len());
        start
            .and_then(|start| essence.get(start..))
            .is_some_and(|e| e.eq_ignore_ascii_case(end))
    };
    let is_text = essence
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("text/"));
    is_text
        || TYPES.iter().any(|name| essence.eq_ignore_ascii_case(name))
        || ends_with("+json")
        || ends_with("+xml")
}
