//! The request target and the host it may name.
#![forbid(unsafe_code)]

use http::Method;

/// A request target taken apart (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Host and port of an absolute-form target. RFC 9112 section 3.2.2: it then rules, and the
    /// host field is ignored.
    pub(crate) authority: Option<&'a str>,
    /// The path, still percent-encoded: begins with `/`, or is `*` for the asterisk-form.
    pub(crate) path: &'a str,
    /// What follows the first `?`, still percent-encoded.
    pub(crate) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Whether `text` is a target that `method` may have.
    #[inline]
    pub(crate) fn is_valid(method: &Method, text: &str) -> bool {
        // The form of nearly every request; nothing needs to be taken apart to know it is valid.
        if text.starts_with('/') {
            has_target_bytes_only(text)
        } else {
            Self::parse(method, text).is_some()
        }
    }

    /// Takes `text` apart; `None` if it is no target that `method` may have.
    ///
    /// The authority-form belongs to CONNECT, which no server of this library answers, so it is
    /// not recognised.
    pub(crate) fn parse(method: &Method, text: &'a str) -> Option<Self> {
        if !has_target_bytes_only(text) {
            return None;
        }
        if text.starts_with('/') {
            return Some(Self::from_path_and_query(None, text));
        }
        if text == "*" {
            // RFC 9112 section 3.2.4: only for a server-wide OPTIONS.
            let only_options = *method == Method::OPTIONS;
            return only_options.then_some(Self {
                authority: None,
                path: text,
                query: None,
            });
        }
        let rest = strip_scheme(text)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // RFC 9110 section 4.2.1: an empty host makes an http URI invalid.
        if authority.is_empty()
            || authority.starts_with(':')
            || !authority_is_valid(authority.as_bytes())
        {
            return None;
        }
        Some(Self::from_path_and_query(Some(authority), rest))
    }

    fn from_path_and_query(authority: Option<&'a str>, text: &'a str) -> Self {
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        // RFC 9110 section 4.2.3: an empty path is the same as `/`.
        let path = if path.is_empty() { "/" } else { path };
        Self {
            authority,
            path,
            query,
        }
    }
}

/// Whether all bytes may stand in a target: visible ASCII but for `#`, as fragments are never sent
/// (RFC 9112 section 3.2). Quotes, braces and the like are no URI characters either, but reach
/// servers in queries typed by hand and have one meaning only.
#[inline]
fn has_target_bytes_only(text: &str) -> bool {
    // Without a way out at the first offence the compiler looks at many bytes at once.
    text.bytes().fold(true, |all, byte| all & byte.is_ascii_graphic() & (byte != b'#'))
}

/// RFC 9110 section 4.2.3: the scheme is case-insensitive. Other schemes are for proxies.
fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known.then_some(rest)
}

/// `unreserved / sub-delims` of RFC 3986, what a host name consists of but for escapes.
const IS_PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            byte as u8,
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~'
                | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        );
        byte += 1;
    }
    table
};

/// Whether `text` is `uri-host [ ":" port ]`, the value of a host field (RFC 9110 section 7.2).
///
/// Empty is valid: RFC 9112 section 3.2 has it for targets without an authority. User information
/// (`user@`) is not part of it, and RFC 9110 section 4.2.4 advises against accepting it.
#[inline]
pub(crate) fn authority_is_valid(text: &[u8]) -> bool {
    let classes = text
        .iter()
        .fold(0, |all, &byte| all | HOST_BYTES[usize::from(byte)]);
    classes == PLAIN || (classes == SPECIAL && special_authority_is_valid(text))
}

fn special_authority_is_valid(text: &[u8]) -> bool {
    let port = if text.first() == Some(&b'[') {
        let Some(end) = text.iter().position(|&b| b == b']') else {
            return false;
        };
        let (address, rest) = (&text[1..end], &text[end + 1..]);
        let is_address = str::from_utf8(address)
            .is_ok_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        if !is_address {
            return false;
        }
        match rest.split_first() {
            None => return true,
            Some((b':', port)) => port,
            Some(_) => return false,
        }
    } else {
        let mut parts = text.splitn(2, |&b| b == b':');
        let host = parts.next().unwrap_or_default();
        if !escapes_are_valid(host) {
            return false;
        }
        parts.next().unwrap_or_default()
    };
    // RFC 3986 section 3.2.3: port = *DIGIT, and TCP has 16 bits for it.
    port.iter().all(u8::is_ascii_digit) && (port.is_empty() || parse_port(port).is_some())
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether each `%` begins an escape, and no bracket is in it.
fn escapes_are_valid(host: &[u8]) -> bool {
    !host.iter().any(|b| matches!(b, b'[' | b']'))
        && host.split(|&b| b == b'%').skip(1).all(
            |after| matches!(after, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(Option<&str>, &str, Option<&str>)>) {
        let expected = expected.map(|(authority, path, query)| Target {
            authority,
            path,
            query,
        });
        assert_eq!(Target::parse(&Method::GET, text), expected, "{text}");
    }

    #[test]
    fn origin_form_rfc9112_3_2_1() {
        check("/", Some((None, "/", None)));
        check("/a/b", Some((None, "/a/b", None)));
        check("/a?", Some((None, "/a", Some(""))));
        check("/a?b=c?d", Some((None, "/a", Some("b=c?d"))));
        check("//a", Some((None, "//a", None)));
        check("/%2F", Some((None, "/%2F", None)));
        check("a", None);
        check("", None);
        check("?a", None);
        check("/a#b", None);
        check("/\u{e9}", None);
        check("/a b", None);
    }

    #[test]
    fn absolute_form_rfc9112_3_2_2() {
        check("http://a", Some((Some("a"), "/", None)));
        check("HTTPS://a:1/b?c", Some((Some("a:1"), "/b", Some("c"))));
        check("http://a?c", Some((Some("a"), "/", Some("c"))));
        check("http://[::1]:80/", Some((Some("[::1]:80"), "/", None)));
        check("http:///b", None);
        check("http://:80/b", None);
        check("http://u@a/", None);
        check("ftp://a/", None);
        check("http:/a", None);
        check("a:80", None);
    }

    #[test]
    fn asterisk_form_rfc9112_3_2_4() {
        check("*", None);
        let expected = Target {
            authority: None,
            path: "*",
            query: None,
        };
        assert_eq!(Target::parse(&Method::OPTIONS, "*"), Some(expected));
        assert_eq!(Target::parse(&Method::OPTIONS, "*a"), None);
    }

    #[track_caller]
    fn check_authority(text: &str, expected: bool) {
        assert_eq!(authority_is_valid(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn host_values_rfc9110_7_2() {
        for valid in [
            "",
            "localhost",
            "example.org:8080",
            "a_b.c",
            "127.0.0.1:80",
            "a:",
            "[::1]",
            "[::1]:80",
            "[fe80::1:2]:65535",
            "%e4.org",
            "a!$&'()*+,;=~",
            "xn--bcher-kva.example",
        ] {
            check_authority(valid, true);
        }
        for invalid in [
            "a b", "a/b", "u@a", "a:b", "a:80:80", "a:-1", "a:65536", "::1", "[::1", "[::1]x",
            "[::1]:x", "[]", "[a]", "a[::1]", "%e", "%zz", "a\\b", "a#", "a?b", "\u{e4}", "a,b c",
        ] {
            check_authority(invalid, false);
        }
    }
}
