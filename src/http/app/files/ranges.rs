//! The parts of a file that a request asks for (RFC 9110 section 14).
#![forbid(unsafe_code)]

use std::ops::Range;

/// With more ranges than these the whole file is sent.
const MOST_RANGES: usize = 16;

/// What a `Range` field asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// The field does not count.
    Whole,
    /// One or several parts, none empty, none overlapping another.
    Parts(Vec<Range<u64>>),
    /// None of the parts is in the file.
    Unsatisfiable,
}

impl Ranges {
    /// Reads a field of a request for a file of `len` bytes. A malformed field, one of another
    /// unit, and one that asks for many parts do not count.
    pub(super) fn parse(field: &[u8], len: u64) -> Self {
        let Some(list) = list_of_bytes(field) else {
            return Self::Whole;
        };
        let mut parts = Vec::new();
        let mut count = 0;
        for spec in list.split(',').map(|spec| spec.trim_matches([' ', '\t'])) {
            if spec.is_empty() {
                continue;
            }
            count += 1;
            match (part(spec, len), count > MOST_RANGES) {
                (None, _) | (_, true) => return Self::Whole,
                (Some(part), false) if part.is_empty() => {}
                (Some(part), false) => parts.push(part),
            }
        }
        if count == 0 {
            return Self::Whole;
        }
        if parts.is_empty() {
            return Self::Unsatisfiable;
        }
        Self::Parts(merged(parts))
    }
}

fn list_of_bytes(field: &[u8]) -> Option<&str> {
    let (unit, list) = str::from_utf8(field).ok()?.split_once('=')?;
    unit.eq_ignore_ascii_case("bytes").then_some(list)
}

/// A range of the list; empty if it is not in the file, `None` if it is malformed.
fn part(spec: &str, len: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let count = number(last)?;
        return Some(len.saturating_sub(count)..len);
    }
    let first = number(first)?;
    if last.is_empty() {
        return Some(first.min(len)..len);
    }
    let last = number(last)?;
    let end = last.saturating_add(1).min(len);
    (first <= last).then(|| first.min(end)..end)
}

/// Digits, at least one. What is too large for the type is behind the end of any file.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The ranges in the order of the request; if some overlap, in the order of the file, and those
/// that overlap or touch as one.
fn merged(parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted = parts.clone();
    sorted.sort_by_key(|part| part.start);
    if sorted.windows(2).all(|two| two[0].end <= two[1].start) {
        return parts;
    }
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for part in sorted {
        match merged.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => merged.push(part),
        }
    }
    merged
}

#[cfg(test)]
// A slice of one range is what is meant.
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(field: &str, expected: &[Range<u64>]) {
        let ranges = Ranges::parse(field.as_bytes(), 100);
        assert_eq!(ranges, Ranges::Parts(expected.to_vec()), "{field}");
    }

    #[test]
    fn each_form_of_a_range_is_read() {
        check("bytes=0-0", &[0..1]);
        check("bytes=10-19", &[10..20]);
        check("bytes=90-", &[90..100]);
        check("bytes=-10", &[90..100]);
        check("bytes=-1000", &[0..100]);
        check("bytes=90-1000", &[90..100]);
        check("bytes=0-18446744073709551615", &[0..100]);
        check("bytes=0-99999999999999999999999", &[0..100]);
        check("BYTES=5-6", &[5..7]);
    }

    #[test]
    fn several_ranges_keep_their_order() {
        check("bytes=50-59, 0-9", &[50..60, 0..10]);
        check("bytes=,0-1 ,\t, 3-4,", &[0..2, 3..5]);
        check("bytes=0-1,200-", &[0..2]);
    }

    #[test]
    fn ranges_that_overlap_become_one() {
        check("bytes=10-20,15-30", &[10..31]);
        check("bytes=50-,0-9,5-14", &[0..15, 50..100]);
        check("bytes=0-,0-,0-", &[0..100]);
    }

    #[test]
    fn what_is_malformed_does_not_count() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=2-1",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=0-1,x",
            "items=0-1",
            "bytes= =0-1",
            "bytes=1 - 2",
        ] {
            let ranges = Ranges::parse(field.as_bytes(), 100);
            assert_eq!(ranges, Ranges::Whole, "{field}");
        }
        assert_eq!(Ranges::parse(b"bytes=\xff-", 100), Ranges::Whole);
    }

    #[test]
    fn too_many_ranges_do_not_count() {
        let field = |count: u64| {
            let specs: Vec<_> = (0..count).map(|n| format!("{}-{}", 4 * n, 4 * n)).collect();
            format!("bytes={}", specs.join(","))
        };
        assert_eq!(Ranges::parse(field(17).as_bytes(), 100), Ranges::Whole);
        let Ranges::Parts(parts) = Ranges::parse(field(16).as_bytes(), 100) else {
            panic!("no parts")
        };
        assert_eq!(parts.len(), 16);
    }

    #[test]
    fn what_is_behind_the_end_cannot_be_satisfied() {
        for field in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=500-,-0"] {
            let ranges = Ranges::parse(field.as_bytes(), 100);
            assert_eq!(ranges, Ranges::Unsatisfiable, "{field}");
        }
        for field in ["bytes=0-", "bytes=-1"] {
            let ranges = Ranges::parse(field.as_bytes(), 0);
            assert_eq!(ranges, Ranges::Unsatisfiable, "{field}");
        }
    }

    proptest! {
        #[test]
        fn parts_are_in_the_file_and_do_not_overlap(
            field in "bytes=([0-9]{0,2}-[0-9]{0,3},?){0,5}",
            len in 0_u64..200,
        ) {
            if let Ranges::Parts(mut parts) = Ranges::parse(field.as_bytes(), len) {
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= len));
                parts.sort_by_key(|part| part.start);
                prop_assert!(parts.windows(2).all(|two| two[0].end <= two[1].start));
            }
        }
    }
}
