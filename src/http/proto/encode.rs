//! Response heads and chunks.
//!
//! [`encode_head`] decides how the body is delimited, in a single function, and writes the matching
//! head. It runs once per response on the hot path: it copies pieces, formats nothing, and
//! allocates nothing but the growth of the output buffer.
#![forbid(unsafe_code)]

mod head_cache;

use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, SERVER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderName, HeaderValue, StatusCode, Version};

use super::date::DateCache;
use super::grammar::{is_token_byte, members};
use crate::http::message::Headers;
pub(crate) use head_cache::HeadCache;

/// The interim response that asks for the body (RFC 9110 section 15.2.1).
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The chunk of size zero and an empty trailer section, which end a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What a response head depends on besides the response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerTo {
    /// Version of the request.
    pub(crate) version: Version,
    /// Whether the method was HEAD.
    pub(crate) is_head: bool,
    /// Whether request and server let the connection live on.
    pub(crate) keep_alive: bool,
}

/// How the body that follows a response head is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseBody {
    /// Not at all, whatever body the handler gave.
    None,
    /// Exactly this many bytes; the sender closes the connection if it cannot send them.
    Length(u64),
    /// In chunks.
    Chunked,
    /// As it is, until the connection closes.
    UntilClose,
}

/// The decisions about a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) body: ResponseBody,
    /// Whether the connection lives on after this response.
    pub(crate) keep_alive: bool,
    /// The framing field that is sent; with HEAD it describes a body that is not sent.
    announced: Announced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    Nothing,
    Length(u64),
    Chunked,
}

/// The headers of a handler that the connection treats specially.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Special<'a> {
    /// `Content-Length`, where it is one well-formed number.
    length: Option<u64>,
    close: bool,
    /// Whether there is an option besides `close` to be sent.
    has_options: bool,
    date: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
}

/// Writes a response head to `out` and returns how the body must follow.
///
/// `status` is a final status or 101. `body_len` is the length of the handler's body if it is
/// known.
pub(crate) fn encode_head(
    out: &mut Vec<u8>,
    answer: AnswerTo,
    status: StatusCode,
    headers: &Headers,
    body_len: Option<u64>,
    cache: &mut HeadCache,
) -> Plan {
    let special = match cache.repeated_by(status, headers) {
        Some(lines) => {
            out.extend_from_slice(lines);
            Special::default()
        }
        None => {
            let start = out.len();
            let special = write_head_lines(out, status, headers, cache.date());
            if special == Special::default() {
                cache.remember(status, headers, &out[start..]);
            }
            special
        }
    };
    let plan = plan(answer, status, body_len, special.length, special.close);
    let persistence = persistence(answer.version, status, plan.keep_alive);
    let is_silent = persistence.is_empty() && !special.has_options;
    match plan.announced {
        Announced::Nothing => {}
        Announced::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            write_decimal(out, length);
            if is_silent {
                // The end of most heads, in one copy.
                out.extend_from_slice(b"\r\n\r\n");
                return plan;
            }
            out.extend_from_slice(b"\r\n");
        }
        Announced::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if special.has_options {
        write_options(out, persistence, headers);
    } else {
        out.extend_from_slice(match (is_silent, plan.keep_alive) {
            (true, _) => b"\r\n",
            (false, true) => b"connection: keep-alive\r\n\r\n",
            (false, false) => b"connection: close\r\n\r\n",
        });
    }
    plan
}

/// Writes the status line and the fields that do not depend on the request or the body.
#[inline(never)]
fn write_head_lines<'a>(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &'a Headers,
    date: &DateCache,
) -> Special<'a> {
    let mut special = Special::default();
    write_status_line(out, status);
    for (name, value) in headers.iter() {
        let (text, value) = (name.as_str().as_bytes(), value.as_bytes());
        // The length rules out nearly every header without comparing names.
        let may_be_special = matches!(text.len(), 4 | 6 | 7 | 10 | 14 | 17);
        if !(may_be_special && special.takes(name, value)) {
            write_field(out, text, value);
        }
    }
    match (special.date, special.server) {
        (None, None) => out.extend_from_slice(date.lines()),
        (date_value, server_value) => {
            write_field_or_line(out, b"date", date_value, date.date_line());
            write_field_or_line(out, b"server", server_value, date.server_line());
        }
    }
    special
}

/// Writes the head of a 200 behind which a tunnel begins: RFC 9110 section 9.3.6 forbids fields
/// about a body.
pub(crate) fn encode_tunnel_head(out: &mut Vec<u8>, headers: &Headers, cache: &HeadCache) {
    write_head_lines(out, StatusCode::OK, headers, cache.date());
    out.extend_from_slice(b"\r\n");
}

/// Writes a 103 (RFC 8297) with these fields, without those that describe a body or the connection:
/// RFC 9110 section 8.6 and RFC 9112 section 6.1 forbid the former in a 1xx.
pub(crate) fn encode_early_hints(
    out: &mut Vec<u8>,
    fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
) {
    out.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
    for (name, value) in fields {
        if !BELONGS_TO_FINAL.contains(&name) {
            write_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The fields that no interim response has.
const BELONGS_TO_FINAL: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    DATE,
];

/// The connection option that says whether the connection lives on, if it has to be sent.
#[inline]
fn persistence(version: Version, status: StatusCode, keep_alive: bool) -> &'static str {
    match (keep_alive, version) {
        // RFC 9112 section 9.3: silence means keep-alive to HTTP/1.1 and close to HTTP/1.0.
        (true, Version::HTTP_11) => "",
        (true, _) => "keep-alive",
        // The connection then speaks the other protocol.
        (false, _) if status == StatusCode::SWITCHING_PROTOCOLS => "",
        (false, _) => "close",
    }
}

/// Writes the Connection field of a response that has options besides those about persistence, and
/// the end of the head.
///
/// RFC 9110 section 7.6.1: fields about the connection are listed there. Which fields besides
/// Upgrade are of that kind only the handler knows, so the handler lists them.
#[cold]
fn write_options(out: &mut Vec<u8>, persistence: &str, headers: &Headers) {
    let listed = headers
        .get_all(&CONNECTION)
        .flat_map(|value| options(value.as_bytes()))
        .filter(|option| !is_about_persistence(option) && !option.eq_ignore_ascii_case(b"upgrade"));
    let upgrade = headers.contains(&UPGRADE).then_some(&b"upgrade"[..]);
    let all = [persistence.as_bytes()].into_iter().chain(upgrade);
    out.extend_from_slice(b"connection: ");
    let mut separator: &[u8] = b"";
    for option in all.chain(listed).filter(|option| !option.is_empty()) {
        out.extend_from_slice(separator);
        out.extend_from_slice(option);
        separator = b", ";
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// The members of a Connection field that are well-formed: tokens.
fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    members(value).filter(|option| option.iter().all(|&b| is_token_byte(b)))
}

/// Whether the connection itself decides about this option.
fn is_about_persistence(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"keep-alive")
}

/// Decides the framing of a response (RFC 9112 section 6.3, RFC 9110 section 8.6).
///
/// `declared` is the length that the handler has set, `close` whether it wants the connection
/// closed.
#[inline]
fn plan(
    answer: AnswerTo,
    status: StatusCode,
    body_len: Option<u64>,
    declared: Option<u64>,
    close: bool,
) -> Plan {
    let mut keep_alive = answer.keep_alive && !close;
    let (body, announced) = match status {
        // After 101 the connection speaks another protocol (RFC 9110 section 15.2.2).
        StatusCode::SWITCHING_PROTOCOLS => {
            keep_alive = false;
            (ResponseBody::None, Announced::Nothing)
        }
        // RFC 9112 section 6.3, item 1: these end with the head. A 304 may announce the length of
        // the 200 it stands for, but the body given here is not the body of that 200.
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => {
            (ResponseBody::None, Announced::Nothing)
        }
        // RFC 9110 section 15.3.6: no content, which has to be announced, unlike with 204.
        StatusCode::RESET_CONTENT => (ResponseBody::None, Announced::Length(0)),
        _ if answer.is_head => {
            let announced = match (body_len, declared) {
                // An empty body may mean that the handler left it out, for HEAD. Then the handler's
                // own length is the true one; without it no length may be announced.
                (Some(0), None) => Announced::Nothing,
                (Some(0) | None, Some(length)) | (Some(length), _) => Announced::Length(length),
                (None, None) if answer.version == Version::HTTP_10 => Announced::Nothing,
                (None, None) => Announced::Chunked,
            };
            (ResponseBody::None, announced)
        }
        _ => match body_len.or(declared) {
            Some(length) => (ResponseBody::Length(length), Announced::Length(length)),
            // RFC 9112 section 6.1: no transfer codings to HTTP/1.0.
            None if answer.version == Version::HTTP_10 => {
                keep_alive = false;
                (ResponseBody::UntilClose, Announced::Nothing)
            }
            None => (ResponseBody::Chunked, Announced::Chunked),
        },
    };
    Plan {
        body,
        keep_alive,
        announced,
    }
}

impl<'a> Special<'a> {
    /// Takes the header if [`encode_head`] writes or suppresses it itself.
    fn takes(&mut self, name: &HeaderName, value: &'a [u8]) -> bool {
        if *name == DATE {
            self.date.get_or_insert(value);
        } else if *name == SERVER {
            self.server.get_or_insert(value);
        } else if *name == CONNECTION {
            for option in options(value) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                // Upgrade is listed with the field of that name, and not without it.
                self.has_options |=
                    !is_about_persistence(option) && !option.eq_ignore_ascii_case(b"upgrade");
            }
        } else if *name == UPGRADE {
            // RFC 9110 section 7.8: Upgrade must be named in Connection.
            self.has_options = true;
            return false;
        } else if *name == CONTENT_LENGTH {
            let is_number = value.iter().all(u8::is_ascii_digit);
            let text = str::from_utf8(value).ok().filter(|_| is_number);
            self.length = self.length.or(text.and_then(|text| text.parse().ok()));
        } else {
            return *name == TRANSFER_ENCODING;
        }
        true
    }
}

/// Writes one chunk; nothing if `data` is empty, since an empty chunk would end the body.
pub(crate) fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        write_chunk_header(out, data.len() as u64);
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes the size line of a chunk; its data and a CRLF must follow.
///
/// # Panics
///
/// If `len` is zero: that would be the last chunk.
pub(crate) fn write_chunk_header(out: &mut Vec<u8>, len: u64) {
    assert_ne!(len, 0, "a chunk of size zero ends the body");
    let digits = (u64::BITS - len.leading_zeros()).div_ceil(4);
    for at in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(len >> (4 * at) & 0xf) as usize]);
    }
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    // One growth check for the field, not one per piece.
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_field_or_line(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>, line: &[u8]) {
    match value {
        Some(value) => write_field(out, name, value),
        None => out.extend_from_slice(line),
    }
}

fn write_status_line(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    // RFC 9112 section 4: the space is sent even if the reason phrase is empty.
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn write_decimal(out: &mut Vec<u8>, number: u64) {
    // Small lengths are written as copies of a constant size.
    let digit = |divisor: u64| b'0' + (number / divisor % 10) as u8;
    match number {
        0..10 => out.push(digit(1)),
        10..100 => out.extend_from_slice(&[digit(10), digit(1)]),
        100..1000 => out.extend_from_slice(&[digit(100), digit(10), digit(1)]),
        1000..10_000 => {
            out.extend_from_slice(&[digit(1000), digit(100), digit(10), digit(1)]);
        }
        _ => write_long_decimal(out, number),
    }
}

fn write_long_decimal(out: &mut Vec<u8>, mut number: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [0; 20];
    let mut start = digits.len();
    while start > 0 && (number != 0 || start == digits.len()) {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests;
