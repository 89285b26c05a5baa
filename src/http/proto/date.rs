//! The `date` and `server` fields, formatted once per second.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

/// The last second that has four year digits, as IMF-fixdate demands.
const LAST_SECOND: u64 = 253_402_300_799;

/// `date: `, the date, CRLF.
const DATE_LINE_BYTES: usize = 6 + 29 + 2;

/// The field lines that all responses of a server share, ready-made: `date` and `server`.
///
/// RFC 9110 section 6.6.1 asks every origin server with a clock for `date`. Formatting the date
/// costs more than the rest of a small response head, so it is kept until the second changes. The
/// two lines are contiguous, so a response needs one copy.
#[derive(Clone)]
pub(crate) struct DateCache {
    second: u64,
    /// The `date` line, [`DATE_LINE_BYTES`] long, then the `server` line if there is one.
    lines: Vec<u8>,
}

impl DateCache {
    /// Formats the date of `unix_secs`, seconds since 1970 in UTC, and the name of the server.
    pub(crate) fn new(unix_secs: u64, server: Option<&HeaderValue>) -> Self {
        let mut lines = vec![0; DATE_LINE_BYTES];
        if let Some(server) = server {
            lines.extend_from_slice(b"server: ");
            lines.extend_from_slice(server.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        let mut this = Self {
            second: unix_secs,
            lines,
        };
        this.format();
        this
    }

    /// Formats the date again if the second has changed, and returns whether it has. Nearly free if
    /// not.
    #[inline]
    pub(crate) fn update(&mut self, unix_secs: u64) -> bool {
        let moves = self.second != unix_secs;
        if moves {
            self.second = unix_secs;
            self.format();
        }
        moves
    }

    /// Both lines, each with its line end.
    #[inline]
    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// The `date` line, as `date: Sun, 06 Nov 1994 08:49:37 GMT` with its line end.
    pub(crate) fn date_line(&self) -> &[u8] {
        &self.lines[..DATE_LINE_BYTES]
    }

    /// The `server` line with its line end, or nothing.
    pub(crate) fn server_line(&self) -> &[u8] {
        &self.lines[DATE_LINE_BYTES..]
    }

    #[cold]
    fn format(&mut self) {
        // httpdate panics outside the years 1970 to 9999. A clock that is so wrong must not end the
        // connections.
        let at = UNIX_EPOCH + Duration::from_secs(self.second.min(LAST_SECOND));
        let mut line = &mut self.lines[..DATE_LINE_BYTES];
        let written = write!(line, "date: {}\r\n", httpdate::HttpDate::from(at));
        debug_assert!(
            written.is_ok() && line.is_empty(),
            "an IMF-fixdate has 29 bytes"
        );
    }
}

impl fmt::Debug for DateCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.lines);
        f.debug_tuple("DateCache").field(&text).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unix_secs: u64, expected: &str) {
        let expected = format!("date: {expected}\r\n");
        assert_eq!(DateCache::new(unix_secs, None).lines(), expected.as_bytes());
        let mut moved = DateCache::new(unix_secs ^ 1, None);
        assert!(moved.update(unix_secs) && !moved.update(unix_secs));
        assert_eq!(moved.lines(), expected.as_bytes());
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
        let (far, last) = (
            DateCache::new(u64::MAX, None),
            DateCache::new(LAST_SECOND, None),
        );
        assert_eq!(far.lines(), last.lines());
    }

    #[test]
    fn the_server_line_stays_when_the_date_moves() {
        let mut cache = DateCache::new(0, Some(&HeaderValue::from_static("s/1")));
        cache.update(784_111_777);
        let date = b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        assert_eq!(cache.date_line(), date);
        assert_eq!(cache.server_line(), b"server: s/1\r\n");
        assert_eq!(cache.lines(), [&date[..], b"server: s/1\r\n"].concat());
    }
}
