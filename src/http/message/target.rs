//! The request target and the host it may name.
#![forbid(unsafe_code)]

use http::Method;

/// A request target taken apart (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Host and port of an absolute-form target. RFC 9112 section 3.2.2: it then takes precedence,
    /// and the host field is ignored.
    pub(crate) authority: Option<&'a str>,
    /// The path, still percent-encoded: begins with `/`, or is `*` for the asterisk-form.
    pub(crate) path: &'a str,
    /// What follows the first `?`, still percent-encoded.
    pub(crate) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Takes `text` apart; `None` if it is no target that `method` may have.
    ///
    /// `text` is a word of a request line, so has no whitespace or control characters.
    ///
    /// The authority-form belongs to CONNECT alone, which has no other form. The path is then `/`,
    /// as that of a URI whose path is empty.
    pub(crate) fn parse(method: &Method, text: &'a str) -> Option<Self> {
        if !has_target_bytes_only(text) {
            return None;
        }
        if *method == Method::CONNECT {
            return authority_form_is_valid(text).then_some(Self {
                authority: Some(text),
                path: "/",
                query: None,
            });
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
        let (authority, rest) = split_authority(strip_scheme(text)?)?;
        // RFC 9112 section 3.2.4: tells a proxy what the asterisk-form tells a server.
        if rest.is_empty() && *method == Method::OPTIONS {
            return Some(Self {
                authority: Some(authority),
                path: "*",
                query: None,
            });
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

/// The length of the path that a target in origin-form begins with (RFC 9112 section 3.2.1), the
/// form of nearly every request; `None` if it is in another form or malformed.
#[inline]
pub(crate) fn leading_path(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'/') {
        return None;
    }
    // A single pass checks each byte and finds the query.
    match bytes
        .iter()
        .position(|&byte| KIND[usize::from(byte)] != PLAIN)
    {
        None => Some(bytes.len()),
        Some(at) if bytes[at] == b'?' && has_target_bytes_only(&text[at..]) => Some(at),
        Some(_) => None,
    }
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetFault {
    /// It has none of the forms that the method may have.
    Malformed,
    /// It is a URI of another scheme, so it does not belong to this server.
    Misdirected,
}

/// Tells what is wrong with a target that [`Target::parse`] does not take.
///
/// RFC 9110 section 7.4: a request for an https resource must be refused if it did not come over a
/// secured connection, and this server speaks no TLS. A request for `ftp:` is misdirected too.
#[cold]
pub(crate) fn target_fault(text: &str) -> TargetFault {
    let is_scheme = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    };
    match text.split_once("://") {
        Some((scheme, rest))
            if is_scheme(scheme)
                && !scheme.eq_ignore_ascii_case("http")
                && split_authority(rest).is_some()
                && has_target_bytes_only(rest) =>
        {
            TargetFault::Misdirected
        }
        _ => TargetFault::Malformed,
    }
}

/// Whether `text` is `uri-host ":" port`, the target of CONNECT (RFC 9112 section 3.2.3), with
/// neither of them empty.
pub(crate) fn authority_form_is_valid(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(_, port)| {
        !port.is_empty()
            && port.bytes().all(|b| b.is_ascii_digit())
            && authority_is_valid(text.as_bytes())
    })
}

/// Fragments are never sent (RFC 9112 section 3.2). Bytes that are not ASCII must be escaped, as
/// must quotes and angle brackets. So must some other bytes that browsers do not escape by the URL
/// standard, as the brackets in `?a[]=1`: these are unambiguous and pass.
fn has_target_bytes_only(text: &str) -> bool {
    text.bytes().all(|byte| KIND[usize::from(byte)] != REFUSED)
}

/// What a byte may be in a target.
const KIND: [u8; 256] = {
    let mut table = [REFUSED; 256];
    let mut byte = 0;
    while byte < 256 {
        let is_refused = matches!(byte as u8, b'#' | b'"' | b'<' | b'>');
        if (byte as u8).is_ascii_graphic() && !is_refused {
            table[byte] = PLAIN;
        }
        byte += 1;
    }
    table[b'?' as usize] = QUESTION_MARK;
    table
};

const PLAIN: u8 = 0;
const QUESTION_MARK: u8 = 1;
const REFUSED: u8 = 2;

/// RFC 9110 section 4.2.3: the scheme is case-insensitive.
fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    scheme.eq_ignore_ascii_case("http").then_some(rest)
}

/// Splits what follows the scheme into host and port, and the rest.
///
/// RFC 9110 sections 4.2.1 and 4.2.2: an empty host makes an http or https URI invalid.
fn split_authority(text: &str) -> Option<(&str, &str)> {
    let end = text.find(['/', '?']).unwrap_or(text.len());
    let (authority, rest) = text.split_at(end);
    let is_valid = !authority.is_empty() && authority_is_valid(authority.as_bytes());
    is_valid.then_some((authority, rest))
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
/// Empty is valid: RFC 9112 section 3.2 has it for targets without an authority. A port without a
/// host is not: it would make an http URI that RFC 9110 section 4.2.1 demands to refuse. User
/// information (`user@`) is not part of it, and RFC 9110 section 4.2.4 has it refused.
#[inline]
pub(crate) fn authority_is_valid(text: &[u8]) -> bool {
    // Names and IPv4 addresses have plain bytes only, up to the port.
    match text.iter().position(|&byte| !IS_PLAIN[usize::from(byte)]) {
        None => true,
        Some(at) if text[at] == b':' => at != 0 && port_is_valid(&text[at + 1..]),
        Some(0) if text[0] == b'[' => literal_is_valid(&text[1..]),
        Some(_) => escaped_name_is_valid(text),
    }
}

/// RFC 3986 section 3.2.3: `*DIGIT`, for which TCP has 16 bits.
#[inline]
fn port_is_valid(port: &[u8]) -> bool {
    let append = |number: u32, &byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(number * 10 + digit).filter(|&number| number <= u32::from(u16::MAX))
    };
    port.iter().try_fold(0, append).is_some()
}

/// `address "]" [ ":" port ]`, what follows the opening bracket of an IP literal.
fn literal_is_valid(text: &[u8]) -> bool {
    let Some(end) = text.iter().position(|&b| b == b']') else {
        return false;
    };
    let address = str::from_utf8(&text[..end]).unwrap_or_default();
    let port_is_valid = match &text[end + 1..] {
        [] => true,
        [b':', port @ ..] => port_is_valid(port),
        _ => false,
    };
    port_is_valid && (address.parse::<std::net::Ipv6Addr>().is_ok() || is_future_address(address))
}

/// RFC 3986 section 3.2.2: `"v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )`.
fn is_future_address(text: &str) -> bool {
    let text = text.strip_prefix(['v', 'V']);
    let Some((version, address)) = text.and_then(|text| text.split_once('.')) else {
        return false;
    };
    let is_address = |b: u8| IS_PLAIN[usize::from(b)] || b == b':';
    !version.is_empty()
        && version.bytes().all(|b| b.is_ascii_hexdigit())
        && !address.is_empty()
        && address.bytes().all(is_address)
}

/// A name with percent-escapes, perhaps a port.
fn escaped_name_is_valid(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return true,
            [b':', port @ ..] => return port_is_valid(port),
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if IS_PLAIN[usize::from(*byte)] => rest,
            _ => return false,
        }
    }
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
        let leading = expected.filter(|target| text.starts_with(target.path));
        assert_eq!(
            leading_path(text),
            leading.map(|target| target.path.len()),
            "{text}"
        );
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
        check("/a?b[]={c|d}", Some((None, "/a", Some("b[]={c|d}"))));
        for byte in ['"', '<', '>'] {
            check(&format!("/a{byte}"), None);
        }
    }

    #[test]
    fn absolute_form_rfc9112_3_2_2() {
        check("http://a", Some((Some("a"), "/", None)));
        check("HTTP://a:1/b?c", Some((Some("a:1"), "/b", Some("c"))));
        check("http://a?c", Some((Some("a"), "/", Some("c"))));
        check("http://[::1]:80/", Some((Some("[::1]:80"), "/", None)));
        check("http:///b", None);
        check("http://:80/b", None);
        check("http://u@a/", None);
        check("http:/a", None);
        check("a:80", None);
    }

    #[test]
    fn other_schemes_are_misdirected_rfc9110_7_4() {
        for text in ["https://a", "HTTPS://a/b?c", "ftp://a/", "a+b.1-c://x"] {
            check(text, None);
            assert_eq!(target_fault(text), TargetFault::Misdirected, "{text}");
        }
        for text in [
            "https://",
            "https://a#b",
            "https:///a",
            "https://u@a",
            "1a://b",
            "://a",
            "a:b",
            "http://",
            "http://u@a",
            "*",
        ] {
            check(text, None);
            assert_eq!(target_fault(text), TargetFault::Malformed, "{text}");
        }
    }

    #[test]
    fn authority_form_rfc9112_3_2_3() {
        for valid in ["a:80", "[::1]:443", "1.2.3.4:0"] {
            assert!(authority_form_is_valid(valid), "{valid}");
        }
        for invalid in [
            "a", "a:", ":80", "a:x", "a:65536", "/", "a:80/", "u@a:80", "[::1]", "*",
        ] {
            assert!(!authority_form_is_valid(invalid), "{invalid}");
        }
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
        // Of an absolute-form with nothing behind the authority.
        for (text, path) in [("http://a", "*"), ("http://a/", "/"), ("http://a?b", "/")] {
            let target = Target::parse(&Method::OPTIONS, text);
            assert_eq!(target.map(|target| target.path), Some(path), "{text}");
        }
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
            "[::ffff:1.2.3.4]",
            "[v1.a:b]:80",
            "%e4.org",
            "a!$&'()*+,;=~",
            "xn--bcher-kva.example",
        ] {
            check_authority(valid, true);
        }
        for invalid in [
            "a b",
            "a/b",
            "u@a",
            "a:b",
            "a:80:80",
            "a:-1",
            "a:65536",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[]",
            "[a]",
            "[v.a]",
            "[v1.]",
            "[v1a]",
            "[fe80::1%25a]",
            ":80",
            ":",
            "a[::1]",
            "%e",
            "%zz",
            "a\\b",
            "a#",
            "a?b",
            "\u{e4}",
            "a,b c",
        ] {
            check_authority(invalid, false);
        }
    }
}
