//! The `Date` field, formatted once per second.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

/// The last second that has four year digits, as IMF-fixdate demands.
const LAST_SECOND: u64 = 253_402_300_799;

const PREFIX: &[u8; 6] = b"date: ";

/// A ready-made `date` field line.
///
/// RFC 9110 section 6.6.1 asks every origin server with a clock for this field. Formatting it
/// costs more than the rest of a small response head, so it is kept until the second changes.
#[derive(Clone)]
pub(crate) struct DateCache {
    second: u64,
    /// `date: `, the 29 bytes of the date, CRLF: one copy of a constant size when encoding.
    line: [u8; 37],
}

impl DateCache {
    /// Formats the date of `unix_secs`, seconds since 1970 in UTC.
    pub(crate) fn new(unix_secs: u64) -> Self {
        let mut this = Self {
            second: unix_secs,
            line: [0; 37],
        };
        this.format();
        this
    }

    /// Moves to another second; free of cost while it is the same one.
    #[inline]
    pub(crate) fn update(&mut self, unix_secs: u64) {
        if self.second != unix_secs {
            self.second = unix_secs;
            self.format();
        }
    }

    /// The whole field line, `date: Sun, 06 Nov 1994 08:49:37 GMT` with CRLF.
    #[inline]
    pub(crate) fn line(&self) -> &[u8; 37] {
        &self.line
    }

    #[cold]
    fn format(&mut self) {
        // httpdate panics outside the years 1970 to 9999; a clock that is that wrong must not take
        // the connections down.
        let at = UNIX_EPOCH + Duration::from_secs(self.second.min(LAST_SECOND));
        self.line[..6].copy_from_slice(PREFIX);
        let written = write!(&mut self.line[6..35], "{}", httpdate::HttpDate::from(at));
        debug_assert!(written.is_ok(), "an IMF-fixdate has 29 bytes");
        self.line[35..].copy_from_slice(b"\r\n");
    }
}

impl fmt::Debug for DateCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DateCache")
            .field(&String::from_utf8_lossy(&self.line[6..35]))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unix_secs: u64, expected: &str) {
        let expected = format!("date: {expected}\r\n");
        assert_eq!(DateCache::new(unix_secs).line(), expected.as_bytes());
        let mut moved = DateCache::new(unix_secs ^ 1);
        moved.update(unix_secs);
        assert_eq!(moved.line(), expected.as_bytes());
    }

    #[test]
    fn imf_fixdate_rfc9110_5_6_7() {
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT");
        check(LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn a_clock_beyond_the_year_9999_does_not_panic() {
        assert_eq!(
            DateCache::new(u64::MAX).line(),
            DateCache::new(LAST_SECOND).line()
        );
    }
}
