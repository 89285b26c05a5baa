//! From the path of a request to the path of a file.
#![forbid(unsafe_code)]

use crate::http::error::Result;
use crate::http::exchange::request::Request;
use crate::http::message::decode_path;

/// The file that a request names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Relative to the root, decoded; empty for the root itself.
    pub(super) path: String,
    /// Whether the path of the request ends in a slash.
    pub(super) is_dir: bool,
}

/// The part of the path that names the file: the `{*rest}` of the route, or else the whole path.
pub(super) fn rest_of(request: &Request) -> &str {
    let path = request.path();
    let route = request
        .route
        .as_ref()
        .filter(|route| route.params.last().is_some_and(|last| last.is_rest));
    match route {
        Some(route) => route.params(path).last().map_or(path, |(_, rest)| rest),
        None => path.strip_prefix('/').unwrap_or(path),
    }
}

impl Wanted {
    /// Decodes `rest`, segment by segment. `None` if it can name no file below the root, or if it
    /// names a hidden one and `hidden` is false.
    ///
    /// # Errors
    ///
    /// 400 for a broken escape, and for what is not UTF-8.
    pub(super) fn parse(rest: &str, hidden: bool) -> Result<Option<Self>> {
        let is_dir = rest.is_empty() || rest.ends_with('/');
        let mut path = String::with_capacity(rest.len() + 16);
        let names = rest.strip_suffix('/').unwrap_or(rest);
        // A lone slash is an empty segment.
        if names.is_empty() && !rest.is_empty() {
            return Ok(None);
        }
        for segment in names.split('/').filter(|_| !names.is_empty()) {
            let name = decode_path(segment)?;
            let is_name = !matches!(&*name, "" | "." | "..") && !name.contains(['/', '\0']);
            if !is_name || !hidden && name.starts_with('.') {
                return Ok(None);
            }
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&name);
        }
        Ok(Some(Self { path, is_dir }))
    }
}

/// Percent-encodes a name as one segment of a path.
pub(super) fn encode_segment(name: &str, into: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(byte.into());
            }
            _ => {
                into.push('%');
                into.push(HEX[usize::from(byte >> 4)].into());
                into.push(HEX[usize::from(byte & 15)].into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parsed(rest: &str, hidden: bool) -> Option<(String, bool)> {
        let wanted = Wanted::parse(rest, hidden).unwrap();
        wanted.map(|wanted| (wanted.path, wanted.is_dir))
    }

    #[test]
    fn names_are_decoded_after_they_are_split() {
        let is = |rest, path: &str, is_dir| {
            assert_eq!(parsed(rest, false), Some((path.to_owned(), is_dir)));
        };
        is("", "", true);
        is("a", "a", false);
        is("a/", "a", true);
        is("a/b%20c.txt", "a/b c.txt", false);
        is("caf%C3%A9/a..", "café/a..", false);
    }

    #[test]
    fn ways_out_of_the_root_name_nothing() {
        for rest in [
            "..",
            "../a",
            "a/..",
            "a/../b",
            "%2e%2e/a",
            "%2E.",
            ".",
            "a/./b",
            "a//b",
            "/",
            "//",
            "/a",
            "a%2Fb",
            "a%2f..%2fb",
            "a%00",
            "a/%2e",
        ] {
            assert_eq!(parsed(rest, true), None, "{rest}");
        }
    }

    #[test]
    fn dot_files_are_hidden_unless_wanted() {
        for rest in [".env", "a/.git/config", "%2eenv", "..a"] {
            assert_eq!(parsed(rest, false), None, "{rest}");
            assert!(parsed(rest, true).is_some(), "{rest}");
        }
    }

    #[test]
    fn broken_escapes_are_an_error() {
        for rest in ["%", "a%4", "%zz", "%ff"] {
            Wanted::parse(rest, false).expect_err(rest);
        }
    }

    #[test]
    fn segments_are_encoded_as_they_are_decoded() {
        let mut encoded = String::new();
        encode_segment("a b/é:<~", &mut encoded);
        assert_eq!(encoded, "a%20b%2F%C3%A9%3A%3C~");
        assert_eq!(decode_path(&encoded).unwrap(), "a b/é:<~");
    }
}
