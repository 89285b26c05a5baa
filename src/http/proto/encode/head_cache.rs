//! The opening lines of a response head, cached from the last response.
//!
//! Most responses have one header of their own, the content type, and a server uses few of them. So
//! the lines for the status, this header, the date and the name of the server are kept, and a
//! response with the same values takes one copy. Lengths differ, so they come later. Other headers
//! may be secret and are not kept: response times must not reveal whether another client got the
//! same.
#![forbid(unsafe_code)]

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use crate::http::message::Headers;
use crate::http::proto::date::DateCache;

/// The opening of a server's responses.
pub(crate) struct HeadCache {
    date: DateCache,
    /// The status of the response whose lines are kept; `None` if there is none.
    of: Option<StatusCode>,
    /// Its content type: a copy, since dropping the value may be up to user code.
    content_type: Vec<u8>,
    lines: Vec<u8>,
}

impl HeadCache {
    /// Creates the opening as of `unix_secs`, seconds since 1970 in UTC, for a server of that name.
    pub(crate) fn new(unix_secs: u64, server: Option<&HeaderValue>) -> Self {
        Self {
            date: DateCache::new(unix_secs, server),
            of: None,
            content_type: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Updates the date; forgets the kept lines if the second has changed.
    #[inline]
    pub(crate) fn update(&mut self, unix_secs: u64) {
        if self.date.update(unix_secs) {
            self.of = None;
        }
    }

    pub(super) fn date(&self) -> &DateCache {
        &self.date
    }

    /// The lines of a response with this status and these headers, if they are kept.
    #[inline]
    pub(super) fn repeated_by(&self, status: StatusCode, headers: &Headers) -> Option<&[u8]> {
        let is_same = self.of == Some(status)
            && only_type(headers).is_some_and(|value| *value.as_bytes() == *self.content_type);
        is_same.then_some(&self.lines)
    }

    /// Keeps `lines`, which are those of a response with this status and these headers.
    pub(super) fn remember(&mut self, status: StatusCode, headers: &Headers, lines: &[u8]) {
        if let Some(content_type) = only_type(headers) {
            self.of = Some(status);
            self.content_type.clear();
            self.content_type.extend_from_slice(content_type.as_bytes());
            self.lines.clear();
            self.lines.extend_from_slice(lines);
        }
    }
}

/// The content type of a response that has no other header.
#[inline]
fn only_type(headers: &Headers) -> Option<&HeaderValue> {
    let (name, value) = headers.only()?;
    (*name == CONTENT_TYPE).then_some(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use http::header::LOCATION;

    use super::*;

    fn one(name: HeaderName, value: &str) -> Headers {
        let mut headers = Headers::new();
        headers.append(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn only_what_is_the_same_is_repeated() {
        let mut cache = HeadCache::new(0, None);
        let (ok, html) = (StatusCode::OK, one(CONTENT_TYPE, "text/html"));
        assert_eq!(cache.repeated_by(ok, &html), None);
        cache.remember(ok, &html, b"lines");
        assert_eq!(cache.repeated_by(ok, &html), Some(&b"lines"[..]));
        let again = one(CONTENT_TYPE, "text/html");
        assert_eq!(cache.repeated_by(ok, &again), Some(&b"lines"[..]));
        assert_eq!(cache.repeated_by(StatusCode::CREATED, &html), None);
        let mut more = html.clone();
        more.append(LOCATION, HeaderValue::from_static("/"));
        for other in [
            Headers::new(),
            one(LOCATION, "text/html"),
            one(CONTENT_TYPE, "text/htm"),
            one(CONTENT_TYPE, "text/plain"),
            more,
        ] {
            assert_eq!(cache.repeated_by(ok, &other), None, "{other:?}");
        }
    }

    #[test]
    fn nothing_but_a_type_is_kept() {
        let mut cache = HeadCache::new(0, None);
        let secret = one(http::header::SET_COOKIE, "id=1");
        cache.remember(StatusCode::OK, &secret, b"lines");
        assert!(cache.repeated_by(StatusCode::OK, &secret).is_none());
    }

    #[test]
    fn another_second_has_other_lines() {
        let mut cache = HeadCache::new(7, None);
        let html = one(CONTENT_TYPE, "text/html");
        cache.remember(StatusCode::OK, &html, b"lines");
        cache.update(7);
        assert!(cache.repeated_by(StatusCode::OK, &html).is_some());
        cache.update(8);
        assert!(cache.repeated_by(StatusCode::OK, &html).is_none());
    }
}
