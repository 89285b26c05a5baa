//! The trailer section of a chunked body, as fields.
#![forbid(unsafe_code)]

use http::HeaderValue;
use http::header::{self, HeaderName};

use crate::http::message::Headers;

/// Fields that must not come after the body: by then the server, or an intermediary, has acted upon
/// them (RFC 9110 section 6.5.1: framing, routing, authentication, request modifiers, and how to
/// process the content).
const FORBIDDEN: [HeaderName; 32] = [
    // Framing, and the connection.
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::TE,
    header::CONNECTION,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    // Routing.
    header::HOST,
    header::FORWARDED,
    header::VIA,
    header::MAX_FORWARDS,
    // Authentication and origin.
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::WWW_AUTHENTICATE,
    header::PROXY_AUTHENTICATE,
    header::COOKIE,
    header::SET_COOKIE,
    header::ORIGIN,
    header::REFERER,
    // Modifiers of the request.
    header::EXPECT,
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    // How to process the content.
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_RANGE,
];

/// Prefix of the fields in which proxies describe the client.
const FORWARDED_PREFIX: &[u8] = b"x-forwarded-";

/// Cuts a trailer section into fields, and drops the forbidden ones.
///
/// `section` is what the decoder accepted: lines of `name:value` that end with CRLF.
pub(crate) fn parse_trailers(section: &[u8]) -> Headers {
    let mut fields = Headers::new();
    for line in section.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let name = &line[..colon];
        let prefix = name.get(..FORWARDED_PREFIX.len());
        if prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(FORWARDED_PREFIX)) {
            continue;
        }
        // The decoder has the same grammar as these types. If they ever differ, dropping a field is
        // better than a panic caused by a peer's bytes.
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value)
            && !FORBIDDEN.contains(&name)
        {
            fields.append(name, value);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(section: &str, expected: &[(&str, &str)]) {
        let fields = parse_trailers(section.as_bytes());
        let fields = fields
            .iter()
            .map(|(n, v)| (n.as_str(), v.to_str().unwrap()));
        assert_eq!(fields.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn fields_in_their_order() {
        check("", &[]);
        check("A:b\r\n", &[("a", "b")]);
        check(
            "x-sum: \t 1 2 \t\r\nempty:\r\nX-Sum:a:b\r\n",
            &[("x-sum", "1 2"), ("empty", ""), ("x-sum", "a:b")],
        );
    }

    #[test]
    fn what_must_not_trail_is_dropped_rfc9110_6_5_1() {
        for name in FORBIDDEN {
            check(&format!("{name}: 1\r\nx: 2\r\n"), &[("x", "2")]);
        }
        check("Transfer-Encoding: chunked\r\nX-Forwarded-For: a\r\n", &[]);
    }
}
