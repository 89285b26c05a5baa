//! Access log lines in widely used formats.
#![forbid(unsafe_code)]

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Version;

use crate::http::conn::hooks::Exchange;

/// The last second that has four year digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// An exchange as a line of the Common Log Format, without a line end.
///
/// ```text
/// 127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] "GET /page HTTP/1.1" 200 2326
/// ```
///
/// Quotation marks, backslashes and bytes that do not print are escaped, so that no client can
/// forge a line. Times are in UTC. An unknown value is a `-`: the peer on a Unix socket, and the
/// request line of input that was no request.
///
/// # Examples
///
/// ```no_run
/// use ethreads::http::{CommonLog, Request, Server};
///
/// Server::bind("127.0.0.1:8080")?
///     .on_response(|exchange| println!("{}", CommonLog(exchange)))
///     .serve(|_: &mut Request| "hello")?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CommonLog<'a>(pub &'a Exchange<'a>);

/// An exchange as a line of the Combined Log Format: [`CommonLog`] with the fields `Referer` and
/// `User-Agent` of the request.
///
/// ```text
/// 127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] "GET /page HTTP/1.1" 200 2326 "-" "curl/8.0"
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CombinedLog<'a>(pub &'a Exchange<'a>);

impl fmt::Display for CommonLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(exchange) = self;
        match exchange.peer() {
            Some(peer) => write!(f, "{}", peer.ip())?,
            None => f.write_char('-')?,
        }
        f.write_str(" - - ")?;
        write_time(f, exchange.time())?;
        f.write_char(' ')?;
        write_request_line(f, exchange)?;
        write!(f, " {} ", exchange.status().as_str())?;
        match exchange.bytes_sent() {
            0 => f.write_char('-'),
            bytes => write!(f, "{bytes}"),
        }
    }
}

impl fmt::Display for CombinedLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CommonLog(self.0).fmt(f)?;
        for name in ["referer", "user-agent"] {
            let value = self
                .0
                .request()
                .and_then(|request| request.headers().get(name));
            write!(f, " \"{}\"", Escaped(value.unwrap_or(b"-")))?;
        }
        Ok(())
    }
}

fn write_request_line(f: &mut fmt::Formatter<'_>, exchange: &Exchange<'_>) -> fmt::Result {
    let (Some(method), Some(target)) = (exchange.method(), exchange.target()) else {
        return f.write_str("\"-\"");
    };
    let version = if exchange.version() == Some(Version::HTTP_10) {
        "HTTP/1.0"
    } else {
        "HTTP/1.1"
    };
    write!(f, "\"{method} {} {version}\"", Escaped(target.as_bytes()))
}

/// `[day/month/year:hour:minute:second zone]`.
fn write_time(f: &mut impl Write, time: SystemTime) -> fmt::Result {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    // httpdate panics beyond `LAST_SECOND`; a clock that is so wrong must not cause a panic.
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    // As `Sun, 06 Nov 1994 08:49:37 GMT`.
    let date = httpdate::fmt_http_date(time);
    let mut words = date.split(' ').skip(1);
    let mut word = || words.next().unwrap_or_default();
    let (day, month, year, hour) = (word(), word(), word(), word());
    write!(f, "[{day}/{month}/{year}:{hour} +0000]")
}

/// Bytes escaped as Apache escapes them between quotation marks.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                b' '..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_logs_have_them() {
        let check = |seconds, expected: &str| {
            let mut text = String::new();
            write_time(&mut text, UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            assert_eq!(text, expected);
        };
        check(0, "[01/Jan/1970:00:00:00 +0000]");
        check(784_111_777, "[06/Nov/1994:08:49:37 +0000]");
        check(LAST_SECOND + 1, "[31/Dec/9999:23:59:59 +0000]");
    }

    #[test]
    fn nothing_breaks_out_of_its_quotation_marks() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(Escaped(bytes).to_string(), expected);
        };
        check(b"curl/8 (a; b)", "curl/8 (a; b)");
        check(br#"a" 200 "\"#, r#"a\" 200 \"\\"#);
        check(b"a\r\n\t\x00\x7f\xff", r"a\x0d\x0a\x09\x00\x7f\xff");
    }
}
