//! Access log lines in widely used formats.
#![forbid(unsafe_code)]

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, Version};

use crate::http::conn::hooks::Exchange;
use crate::http::exchange::request::Request;
use crate::http::exchange::request_id::RequestId;

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

/// An exchange as a JSON object in one line, without a line end.
///
/// ```json
/// {"time":"2000-10-10T13:55:36Z","peer":"127.0.0.1","method":"GET","target":"/page","route":null,
///  "version":"HTTP/1.1","status":200,"bytes":2326,"duration_us":1041,"complete":true,
///  "request_id":null,"referer":null,"user_agent":"curl/8.0"}
/// ```
///
/// The fields are always these, in this order; an unknown value is `null`. The time is that at
/// which the head of the request had arrived, in UTC. The duration is in microseconds, until the
/// whole body was sent. The route is the pattern of an [`App`](crate::http::App), and the id that
/// of [`request_id`](crate::http::middleware::request_id). Bytes that are no UTF-8 are replaced by
/// U+FFFD.
///
/// # Examples
///
/// ```no_run
/// use ethreads::http::{App, JsonLog, Server};
/// use ethreads::http::middleware::request_id;
///
/// Server::bind("127.0.0.1:8080")?
///     .on_response(|exchange| println!("{}", JsonLog(exchange)))
///     .serve(App::new().get("/", || "hello\n").apply(request_id()))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct JsonLog<'a>(pub &'a Exchange<'a>);

impl fmt::Display for JsonLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(exchange) = self;
        let request = exchange.request();
        let field = |name| request.and_then(|request| request.headers().get(name));
        f.write_str("{\"time\":\"")?;
        write_json_time(f, exchange.time())?;
        f.write_str("\",\"peer\":")?;
        match exchange.peer() {
            Some(peer) => write!(f, "\"{}\"", peer.ip())?,
            None => f.write_str("null")?,
        }
        let method = exchange.method().map(Method::as_str);
        let version = exchange.version().map(version_text);
        for (name, value) in [
            ("method", method),
            ("target", exchange.target()),
            ("route", request.and_then(Request::route)),
            ("version", version),
        ] {
            write!(f, ",\"{name}\":{}", Quoted(value.map(str::as_bytes)))?;
        }
        write!(
            f,
            ",\"status\":{},\"bytes\":{},\"duration_us\":{},\"complete\":{}",
            exchange.status().as_u16(),
            exchange.bytes_sent(),
            exchange.duration().as_micros(),
            exchange.is_complete()
        )?;
        let id = request.and_then(|request| request.value::<RequestId>());
        for (name, value) in [
            ("request_id", id.map(|id| id.as_str().as_bytes())),
            ("referer", field("referer")),
            ("user_agent", field("user-agent")),
        ] {
            write!(f, ",\"{name}\":{}", Quoted(value))?;
        }
        f.write_char('}')
    }
}

/// A text as a JSON string (RFC 8259 section 7), or `null`.
struct Quoted<'a>(Option<&'a [u8]>);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = self.0 else {
            return f.write_str("null");
        };
        f.write_char('"')?;
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' | '\\' => write!(f, "\\{c}")?,
                    // Some readers of logs take U+0085, U+2028 and U+2029 as line ends.
                    c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                        write!(f, "\\u{:04x}", u32::from(c))?;
                    }
                    c => f.write_char(c)?,
                }
            }
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        f.write_char('"')
    }
}

fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

fn write_request_line(f: &mut fmt::Formatter<'_>, exchange: &Exchange<'_>) -> fmt::Result {
    let (Some(method), Some(target)) = (exchange.method(), exchange.target()) else {
        return f.write_str("\"-\"");
    };
    let version = exchange.version().map_or("HTTP/1.1", version_text);
    write!(f, "\"{method} {} {version}\"", Escaped(target.as_bytes()))
}

/// The parts of a time as logs have them: day, month, year, and the time of the day.
fn parts_of(time: SystemTime) -> [String; 4] {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    // httpdate panics beyond `LAST_SECOND`; a clock that is so wrong must not cause a panic.
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    // As `Sun, 06 Nov 1994 08:49:37 GMT`.
    let date = httpdate::fmt_http_date(time);
    let mut words = date.split(' ').skip(1);
    let mut word = || words.next().unwrap_or_default();
    [word(), word(), word(), word()].map(str::to_owned)
}

/// `[day/month/year:hour:minute:second zone]`.
fn write_time(f: &mut impl Write, time: SystemTime) -> fmt::Result {
    let [day, month, year, hour] = parts_of(time);
    write!(f, "[{day}/{month}/{year}:{hour} +0000]")
}

/// RFC 3339: `year-month-dayThour:minute:secondZ`.
fn write_json_time(f: &mut impl Write, time: SystemTime) -> fmt::Result {
    let [day, month, year, hour] = parts_of(time);
    let month = 1 + MONTHS.iter().position(|name| *name == month).unwrap_or(0);
    write!(f, "{year}-{month:02}-{day}T{hour}Z")
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

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
    fn times_in_json_are_those_of_rfc3339() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (784_111_777, "1994-11-06T08:49:37Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (LAST_SECOND, "9999-12-31T23:59:59Z"),
        ] {
            let mut text = String::new();
            write_json_time(&mut text, UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn strings_in_json_are_escaped() {
        let text = |bytes: &[u8]| Quoted(Some(bytes)).to_string();
        assert_eq!(Quoted(None).to_string(), "null");
        assert_eq!(text(b"a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(text(b"a\r\n\0\x7f"), r#""a\u000d\u000a\u0000\u007f""#);
        assert_eq!(text("ä\u{85}\u{2028}".as_bytes()), "\"ä\\u0085\\u2028\"");
        assert_eq!(
            text(b"a\xff\xc3b\xe2\x82"),
            "\"a\u{fffd}\u{fffd}b\u{fffd}\""
        );
        for byte in 0..=u8::MAX {
            let parsed = serde_json::from_str::<String>(&text(&[b'a', byte])).unwrap();
            assert_eq!(parsed, String::from_utf8_lossy(&[b'a', byte]));
        }
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
