//! The validators of a file, and the conditions of a request on them (RFC 9110 section 13).
#![forbid(unsafe_code)]

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

use crate::http::message::HeaderView;
use crate::http::proto::accept_encoding::Coding;

/// What tells one state of a file from another.
#[derive(Debug)]
pub(super) struct Validators {
    /// With its quotes.
    tag: String,
    /// In whole seconds since the Unix epoch.
    modified: u64,
}

/// How a request is answered that asks for an existing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// With the file; the `Range` field counts only if `ranges`.
    Send { ranges: bool },
    /// With a 304.
    NotModified,
    /// With a 412.
    Failed,
}

impl Validators {
    /// The tag is made of the length and of the time of the last change, down to nanoseconds. It
    /// is strong: representations in several codings have different tags.
    pub(super) fn new(metadata: &Metadata, coding: Option<Coding>) -> Self {
        Self::of(
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.len(),
            coding,
        )
    }

    fn of(seconds: i64, nanos: i64, len: u64, coding: Option<Coding>) -> Self {
        let (dash, coding) = match coding {
            Some(coding) => ("-", coding.name()),
            None => ("", ""),
        };
        Self {
            tag: format!("\"{seconds:x}-{nanos:x}-{len:x}{dash}{coding}\""),
            modified: u64::try_from(seconds).unwrap_or(0),
        }
    }

    pub(super) fn tag(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.tag).ok()
    }

    /// The value of `Last-Modified`, which is never in the future (RFC 9110 section 8.8.2.1).
    pub(super) fn last_modified(&self, now: u64) -> Option<HeaderValue> {
        let time = UNIX_EPOCH.checked_add(Duration::from_secs(self.modified.min(now)))?;
        // The year 9999 is the last one that the format can tell.
        let is_told = self.modified.min(now) < 253_402_300_800;
        let text = is_told.then(|| httpdate::fmt_http_date(time))?;
        HeaderValue::try_from(text).ok()
    }

    /// The order of RFC 9110 section 13.2.2, for GET and HEAD.
    pub(super) fn judge(&self, headers: HeaderView<'_>) -> Verdict {
        if headers.contains("if-match") {
            if !self.matches(headers, "if-match", true) {
                return Verdict::Failed;
            }
        } else if let Some(date) = date(headers, "if-unmodified-since")
            && self.modified > date
        {
            return Verdict::Failed;
        }
        if headers.contains("if-none-match") {
            if self.matches(headers, "if-none-match", false) {
                return Verdict::NotModified;
            }
        } else if let Some(date) = date(headers, "if-modified-since")
            && self.modified <= date
        {
            return Verdict::NotModified;
        }
        let ranges = match headers.get("if-range") {
            None => true,
            Some(value) if value.starts_with(b"\"") => value == self.tag.as_bytes(),
            // A weak tag never matches. A date must be the very one that was sent.
            Some(value) if value.starts_with(b"W/") => false,
            Some(_) => date(headers, "if-range") == Some(self.modified),
        };
        Verdict::Send { ranges }
    }

    /// Whether one of the tags in the field is that of the file.
    fn matches(&self, headers: HeaderView<'_>, name: &str, strongly: bool) -> bool {
        let is_this = |(is_weak, tag): (bool, &[u8])| {
            tag == b"*" || tag == self.tag.as_bytes() && !(is_weak && strongly)
        };
        headers.get_all(name).flat_map(tags).any(is_this)
    }
}

/// The tags of a list, each with its quotes, and whether it is weak. The list ends where it is
/// malformed.
fn tags(list: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    let mut rest = list;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        if rest.trim_ascii_end() == b"*" {
            return Some((false, std::mem::take(&mut rest).trim_ascii_end()));
        }
        let (is_weak, tag) = match rest.strip_prefix(b"W/") {
            Some(tag) => (true, tag),
            None => (false, rest),
        };
        let inner = tag.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')?;
        let (tag, after) = tag.split_at(end + 2);
        rest = after;
        Some((is_weak, tag))
    })
}

/// The date in a field, in seconds since the Unix epoch. `None` if it is malformed or repeated:
/// then the field does not count.
fn date(headers: HeaderView<'_>, name: &str) -> Option<u64> {
    let mut values = headers.get_all(name);
    let value = values.next().filter(|_| values.next().is_none())?;
    let time: SystemTime = httpdate::parse_http_date(str::from_utf8(value).ok()?).ok()?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::exchange::request::Request;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    const WHOLE: Verdict = Verdict::Send { ranges: false };
    const RANGES: Verdict = Verdict::Send { ranges: true };

    fn judged(headers: &[(&str, &str)]) -> Verdict {
        let validators = Validators::of(784_111_777, 10, 255, None);

        let request = headers
            .iter()
            .fold(Request::builder(), |builder, (name, value)| {
                let tag = &*validators.tag;
                builder.header(*name, value.replace("TAG", tag))
            });
        validators.judge(request.build().unwrap().headers())
    }

    #[track_caller]
    fn check(headers: &[(&str, &str)], expected: Verdict) {
        assert_eq!(judged(headers), expected, "{headers:?}");
    }

    #[test]
    fn without_conditions_the_file_is_sent() {
        check(&[], RANGES);
    }

    #[test]
    fn if_match_compares_strongly() {
        check(&[("if-match", "TAG")], RANGES);
        check(&[("if-match", "*")], RANGES);
        check(&[("if-match", "\"a\", TAG")], RANGES);
        check(&[("if-match", "\"a\""), ("if-match", "TAG")], RANGES);
        check(&[("if-match", "W/TAG")], Verdict::Failed);
        check(&[("if-match", "\"a\"")], Verdict::Failed);
        check(&[("if-match", "nonsense")], Verdict::Failed);
        check(&[("if-match", "")], Verdict::Failed);
    }

    #[test]
    fn if_none_match_compares_weakly() {
        check(&[("if-none-match", "TAG")], Verdict::NotModified);
        check(&[("if-none-match", "W/TAG")], Verdict::NotModified);
        check(
            &[("if-none-match", "\"a,b\" ,, W/\"c\",TAG")],
            Verdict::NotModified,
        );
        check(&[("if-none-match", "*")], Verdict::NotModified);
        check(&[("if-none-match", "\"a\"")], RANGES);
        check(&[("if-none-match", "TA\"")], RANGES);
    }

    #[test]
    fn dates_are_compared_in_seconds() {
        check(&[("if-modified-since", BEFORE)], RANGES);
        check(&[("if-modified-since", THEN)], Verdict::NotModified);
        check(&[("if-modified-since", AFTER)], Verdict::NotModified);
        check(&[("if-unmodified-since", BEFORE)], Verdict::Failed);
        check(&[("if-unmodified-since", THEN)], RANGES);
        check(&[("if-unmodified-since", AFTER)], RANGES);
    }

    #[test]
    fn dates_that_are_malformed_or_repeated_do_not_count() {
        check(&[("if-modified-since", "tomorrow")], RANGES);
        check(
            &[("if-modified-since", AFTER), ("if-modified-since", AFTER)],
            RANGES,
        );
        check(&[("if-unmodified-since", "0")], RANGES);
    }

    #[test]
    fn tags_go_before_dates() {
        check(
            &[("if-match", "TAG"), ("if-unmodified-since", BEFORE)],
            RANGES,
        );
        check(
            &[("if-none-match", "\"a\""), ("if-modified-since", AFTER)],
            RANGES,
        );
        let both = [("if-match", "\"a\""), ("if-none-match", "TAG")];
        check(&both, Verdict::Failed);
        let both = [("if-match", "TAG"), ("if-none-match", "TAG")];
        check(&both, Verdict::NotModified);
        let both = [
            ("if-unmodified-since", BEFORE),
            ("if-modified-since", AFTER),
        ];
        check(&both, Verdict::Failed);
    }

    #[test]
    fn if_range_needs_the_very_same_file() {
        check(&[("if-range", "TAG")], RANGES);
        check(&[("if-range", THEN)], RANGES);
        check(&[("if-range", "W/TAG")], WHOLE);
        check(&[("if-range", "\"a\"")], WHOLE);
        check(&[("if-range", BEFORE)], WHOLE);
        check(&[("if-range", AFTER)], WHOLE);
        check(&[("if-range", "nonsense")], WHOLE);
        check(
            &[("if-range", "TAG"), ("if-none-match", "TAG")],
            Verdict::NotModified,
        );
    }

    #[test]
    fn last_modified_is_never_in_the_future() {
        let validators = Validators::of(784_111_777, 0, 0, None);
        let value = |now| validators.last_modified(now).unwrap();
        assert_eq!(value(u64::MAX), THEN);
        assert_eq!(value(784_111_776), BEFORE);
        let old = Validators::of(-5, 0, 0, None).last_modified(9).unwrap();
        assert_eq!(old, "Thu, 01 Jan 1970 00:00:00 GMT");
        let late = Validators::of(i64::MAX, 0, 0, None);
        assert_eq!(late.last_modified(u64::MAX), None);
    }

    #[test]
    fn each_coding_has_a_tag_of_its_own() {
        let tags = [
            None,
            Some(Coding::Brotli),
            Some(Coding::Gzip),
            Some(Coding::Zstd),
        ];
        let tags = tags.map(|coding| Validators::of(1, 2, 3, coding).tag);
        assert_eq!(
            tags,
            [
                "\"1-2-3\"",
                "\"1-2-3-br\"",
                "\"1-2-3-gzip\"",
                "\"1-2-3-zstd\""
            ]
        );
    }
}
