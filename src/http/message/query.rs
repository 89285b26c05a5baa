//! Percent-decoding of paths and queries.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;

/// Decodes the percent-escapes of a path.
///
/// `+` stays as it is: it means a space in queries only. Decode a path after cutting it into
/// segments, since an escaped `/` does not separate segments.
///
/// # Errors
///
/// [`MalformedPath`] if a `%` is not followed by two hexadecimal digits, or if the decoded bytes
/// are not UTF-8: a path names one resource, and guessing could name another.
///
/// # Examples
///
/// ```
/// use ethreads::http::decode_path;
///
/// assert_eq!(decode_path("/caf%C3%A9")?, "/café");
/// assert!(decode_path("/100%").is_err());
/// # Ok::<(), ethreads::http::MalformedPath>(())
/// ```
pub fn decode_path(path: &str) -> Result<Cow<'_, str>, MalformedPath> {
    let Some(first) = path.bytes().position(|byte| byte == b'%') else {
        return Ok(Cow::Borrowed(path));
    };
    let (plain, rest) = path.as_bytes().split_at(first);
    let mut decoded = Vec::with_capacity(path.len());
    decoded.extend_from_slice(plain);
    let mut rest = rest.iter();
    while let Some(&byte) = rest.next() {
        let byte = if byte == b'%' {
            let byte = escape(rest.as_slice()).ok_or(MalformedPath(()))?;
            rest.nth(1);
            byte
        } else {
            byte
        };
        decoded.push(byte);
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| MalformedPath(()))
}

/// A path with a broken percent-escape, or that is not UTF-8 when decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedPath(());

impl fmt::Display for MalformedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("path is not percent-encoded UTF-8")
    }
}

impl std::error::Error for MalformedPath {}

/// Takes a query string or form body apart into decoded pairs.
///
/// The format is `application/x-www-form-urlencoded` as the WHATWG URL standard parses it, which
/// never fails: `+` is a space, a `%` that begins no escape stands for itself, bytes that are not
/// UTF-8 become U+FFFD, a pair without `=` has an empty value, empty pairs are skipped. Pairs that
/// need no decoding are borrowed.
///
/// # Examples
///
/// ```
/// use ethreads::http::query_pairs;
///
/// let pairs: Vec<_> = query_pairs("q=green+threads&page=2&all").collect();
/// assert_eq!(pairs[0], ("q".into(), "green threads".into()));
/// assert_eq!(pairs[2], ("all".into(), "".into()));
/// ```
pub fn query_pairs(query: &str) -> QueryPairs<'_> {
    QueryPairs { rest: query }
}

/// The decoded pairs of a query, see [`query_pairs`].
#[derive(Clone, Debug)]
pub struct QueryPairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for QueryPairs<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = self.rest.split_once('&').unwrap_or((self.rest, ""));
            self.rest = rest;
            if !pair.is_empty() {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                return Some((decode_form(name), decode_form(value)));
            }
        }
        None
    }
}

fn decode_form(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(['%', '+']) else {
        return Cow::Borrowed(text);
    };
    let (plain, rest) = text.as_bytes().split_at(first);
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(plain);
    let mut rest = rest.iter();
    while let Some(&byte) = rest.next() {
        let byte = match (byte, escape(rest.as_slice())) {
            (b'+', _) => b' ',
            (b'%', Some(byte)) => {
                rest.nth(1);
                byte
            }
            (byte, _) => byte,
        };
        decoded.push(byte);
    }
    let lossy =
        |error: std::string::FromUtf8Error| String::from_utf8_lossy(error.as_bytes()).into_owned();
    Cow::Owned(String::from_utf8(decoded).unwrap_or_else(lossy))
}

/// The byte of the escape whose two digits `rest` begins with.
fn escape(rest: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*rest.get(at)?).to_digit(16);
    Some((digit(0)? << 4 | digit(1)?) as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_path(path: &str, expected: Option<&str>) {
        assert_eq!(decode_path(path).ok().as_deref(), expected, "{path}");
    }

    #[test]
    fn path_escapes_rfc3986_2_1() {
        check_path("/", Some("/"));
        check_path("/a+b", Some("/a+b"));
        check_path("/a%20b%2Fc", Some("/a b/c"));
        check_path("/%c3%A9", Some("/é"));
        check_path("%41", Some("A"));
        check_path("/%", None);
        check_path("/%4", None);
        check_path("/%4g", None);
        check_path("/%+1", None);
        check_path("/%ff", None);
    }

    #[track_caller]
    fn check_query(query: &str, expected: &[(&str, &str)]) {
        let pairs: Vec<_> = query_pairs(query).collect();
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(n, v)| (n.as_ref(), v.as_ref()))
            .collect();
        assert_eq!(pairs, expected, "{query}");
    }

    #[test]
    fn form_pairs_whatwg_url_5_1() {
        check_query("", &[]);
        check_query("a=1&b=2", &[("a", "1"), ("b", "2")]);
        check_query("&&a&=b&&", &[("a", ""), ("", "b")]);
        check_query("a=b=c", &[("a", "b=c")]);
        check_query("a+b=%2b%20", &[("a b", "+ ")]);
        check_query("a=%&b=%4&c=%zz", &[("a", "%"), ("b", "%4"), ("c", "%zz")]);
        check_query("a=%ff", &[("a", "\u{fffd}")]);
        check_query("a=1&a=2", &[("a", "1"), ("a", "2")]);
    }

    #[test]
    fn plain_pairs_are_borrowed() {
        let (name, value) = query_pairs("a=1").next().unwrap();
        assert!(matches!(
            (name, value),
            (Cow::Borrowed("a"), Cow::Borrowed("1"))
        ));
    }

    proptest! {
        #[test]
        fn escaping_every_byte_round_trips(text in ".*") {
            let escaped: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
            prop_assert_eq!(decode_path(&escaped).unwrap(), text.as_str());
            prop_assert_eq!(decode_form(&escaped), text);
        }

        #[test]
        fn decoding_never_panics(text in "[%+&=a0\u{e9}]*") {
            let _ = decode_path(&text);
            query_pairs(&text).for_each(drop);
        }
    }
}
