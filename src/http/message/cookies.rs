//! The cookies of a request, and the checks of those that a response sets (RFC 6265).
#![forbid(unsafe_code)]

use std::fmt::{self, Write};

use ::cookie::{Cookie, SameSite};
use http::{HeaderName, HeaderValue};

use super::HeaderView;

/// The cookies of a request, in the order in which the client has sent them (RFC 6265 section
/// 5.4).
///
/// As an argument of a handler it never fails: a request without cookies has an empty list, and a
/// pair without a name or with bytes that are not UTF-8 is left out. Values are as they were sent;
/// quotation marks and percent signs belong to them. Clients send names and values only, so the
/// attributes that a cookie was set with are not known.
///
/// [`Response::with_cookie`](crate::http::Response::with_cookie) sets cookies. A client can change
/// its cookies: see `SignedCookies` and `PrivateCookies` for values that it cannot.
///
/// # Examples
///
/// ```
/// use ethreads::http::{App, Cookie, Cookies, IntoResponse, Request, Response};
///
/// fn greet(cookies: Cookies) -> Response {
///     match cookies.get("name") {
///         Some(name) => format!("hello again, {name}\n").into_response(),
///         None => "hello\n".into_response().with_cookie(Cookie::build(("name", "ann")).path("/")),
///     }
/// }
///
/// let app = App::new().get("/", greet);
/// let first = app.call(Request::get("/"));
/// let set = first.headers().get(&http::header::SET_COOKIE).unwrap();
/// assert_eq!(set, "name=ann; Path=/");
/// let second = app.call(Request::get("/").header("cookie", "lang=en; name=ann").build()?);
/// assert_eq!(second.body().as_bytes(), Some(&b"hello again, ann\n"[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cookies {
    /// The pairs, separated by semicolons.
    pairs: String,
}

impl Cookies {
    pub(in crate::http) fn of(headers: HeaderView<'_>) -> Self {
        let mut pairs = String::new();
        for field in headers.get_all("cookie") {
            for pair in field.split(|byte| *byte == b';') {
                if let Ok(pair) = str::from_utf8(pair) {
                    pairs.push_str(pair);
                    pairs.push(';');
                }
            }
        }
        Self { pairs }
    }

    /// Returns the value of the first cookie of this name. Of several, clients send the one with
    /// the longest path first.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.iter().find(|(have, _)| *have == name);
        found.map(|(_, value)| value)
    }

    /// Returns all cookies as (name, value).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.split(';').filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let (name, value) = (trim(name), trim(value));
            (!name.is_empty()).then_some((name, value))
        })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// RFC 6265 section 5.2: the white space around names and values.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The names; values are often secrets.
impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookies")?;
        f.debug_set()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Why a cookie cannot be set. A client would take something else than what was meant, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieError {
    name: String,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Name,
    Value(char),
    Attribute(&'static str, char),
    Expires,
    Prefix(&'static str),
    Insecure(&'static str),
    Size(usize),
}

impl fmt::Display for CookieError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cookie {:?} cannot be set: ", self.name)?;
        match &self.fault {
            Fault::Name => f.write_str("its name is not a token (RFC 6265 section 4.1.1)"),
            Fault::Value(c) => write!(
                f,
                "its value contains {c:?}; encode the value, for example as base64 or by percent \
                 signs"
            ),
            Fault::Attribute(attribute, c) => write!(f, "its {attribute} contains {c:?}"),
            Fault::Expires => f.write_str("its Expires is no date with a year of four digits"),
            Fault::Prefix(needed) => write!(f, "clients ignore a name like this without {needed}"),
            Fault::Insecure(attribute) => {
                write!(f, "clients ignore {attribute} without Secure")
            }
            Fault::Size(bytes) => write!(
                f,
                "name and value have {bytes} bytes, and clients keep {MOST_BYTES}"
            ),
        }
    }
}

impl std::error::Error for CookieError {}

/// RFC 6265bis section 5.6: the bytes of a name and a value that clients keep.
const MOST_BYTES: usize = 4096;

/// The value of a `Set-Cookie` for this cookie.
pub(super) fn set_cookie(cookie: &Cookie<'_>) -> Result<HeaderValue, CookieError> {
    let fail = |fault| {
        Err(CookieError {
            name: cookie.name().to_owned(),
            fault,
        })
    };
    if let Some(fault) = fault_of(cookie) {
        return fail(fault);
    }
    let mut text = String::new();
    // A date is all that has no text.
    if write!(text, "{cookie}").is_err() {
        return fail(Fault::Expires);
    }
    HeaderValue::try_from(text).or_else(|_| fail(Fault::Expires))
}

fn fault_of(cookie: &Cookie<'_>) -> Option<Fault> {
    let (name, value) = (cookie.name(), cookie.value());
    // The name of a field is a token, too.
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Some(Fault::Name);
    }
    let quoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    if let Some(c) = quoted.unwrap_or(value).chars().find(|c| !is_octet(*c)) {
        return Some(Fault::Value(c));
    }
    if name.len() + value.len() > MOST_BYTES {
        return Some(Fault::Size(name.len() + value.len()));
    }
    for (attribute, text) in [("Path", cookie.path()), ("Domain", cookie.domain())] {
        let text = text.unwrap_or_default();
        if let Some(c) = text.chars().find(|c| !is_attribute(*c)) {
            return Some(Fault::Attribute(attribute, c));
        }
    }
    // What the crate writes: these two imply it unless the program has said otherwise.
    let is_cross_site = cookie.same_site() == Some(SameSite::None);
    let is_partitioned = cookie.partitioned() == Some(true);
    let is_secure = is_partitioned || cookie.secure().unwrap_or(is_cross_site);
    if is_cross_site && !is_secure {
        return Some(Fault::Insecure("SameSite=None"));
    }
    let has_prefix = |prefix: &str| {
        let start = name.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let is_host = has_prefix("__Host-");
    if (is_host || has_prefix("__Secure-")) && !is_secure {
        return Some(Fault::Prefix("Secure"));
    }
    if is_host && (cookie.path() != Some("/") || cookie.domain().is_some()) {
        return Some(Fault::Prefix("Path=/, or with a Domain"));
    }
    None
}

/// RFC 6265 section 4.1.1: `cookie-octet`.
fn is_octet(c: char) -> bool {
    matches!(c, '!' | '#'..='+' | '-'..=':' | '<'..='[' | ']'..='~')
}

/// RFC 6265 section 4.1.1: `av-octet`.
fn is_attribute(c: char) -> bool {
    matches!(c, ' '..=':' | '<'..='~')
}

#[cfg(test)]
mod tests {
    use ::cookie::time::{Duration, OffsetDateTime};
    use http::header::SET_COOKIE;

    use super::super::{Response, Span};
    use super::*;
    use crate::http::message::Field;

    fn cookies(lines: &[&[u8]]) -> Cookies {
        let mut buf = b"Cookie".to_vec();
        let mut places = Vec::new();
        for line in lines {
            places.push((buf.len(), line.len()));
            buf.extend_from_slice(line);
        }
        let field = |(at, len): &(usize, usize)| Field {
            name: Span::of(&buf[..6], &buf),
            value: Span::of(&buf[*at..at + len], &buf),
        };
        let fields: Vec<_> = places.iter().map(field).collect();
        Cookies::of(HeaderView::new(&buf, &fields))
    }

    fn pairs(lines: &[&[u8]]) -> Vec<(String, String)> {
        let cookies = cookies(lines);
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        cookies.iter().map(owned).collect()
    }

    #[test]
    fn cookies_are_read_from_all_fields() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs(&[b"a=1; b=\"2\"", b"c=%203", b"A=4;\ta = 5 "]),
            [
                pair("a", "1"),
                pair("b", "\"2\""),
                pair("c", "%203"),
                pair("A", "4"),
                pair("a", "5")
            ]
        );
        assert_eq!(pairs(&[b"a=b=c;d="]), [pair("a", "b=c"), pair("d", "")]);
        // Without a name, without a value, not UTF-8.
        assert_eq!(pairs(&[b"=x; y;; \xff=1; z=\xff; k=v"]), [pair("k", "v")]);
        assert_eq!(pairs(&[]), []);
    }

    #[test]
    fn the_first_of_a_name_is_found() {
        let found = cookies(&[b"a=1; b=2; a=3"]);
        assert_eq!(found.get("a"), Some("1"));
        assert_eq!(found.get("b"), Some("2"));
        assert_eq!(found.get("B"), None);
        assert!(!found.is_empty());
        assert!(cookies(&[b"; ;"]).is_empty());
        assert_eq!(format!("{found:?}"), r#"Cookies{"a", "b", "a"}"#);
    }

    #[track_caller]
    fn text(cookie: impl Into<Cookie<'static>>) -> String {
        match set_cookie(&cookie.into()) {
            Ok(value) => value.to_str().unwrap().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn attributes_are_sent() {
        let cookie = Cookie::build(("a", "1"))
            .path("/x y")
            .domain("example.org")
            .http_only(true)
            .secure(true)
            .same_site(SameSite::Strict)
            .max_age(Duration::hours(1))
            .expires(OffsetDateTime::UNIX_EPOCH);
        assert_eq!(
            text(cookie),
            "a=1; HttpOnly; SameSite=Strict; Secure; Path=/x y; Domain=example.org; \
             Max-Age=3600; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        );
        assert_eq!(
            text(Cookie::build(("a", "1")).same_site(SameSite::None)),
            "a=1; SameSite=None; Secure"
        );
    }

    #[test]
    fn what_a_client_would_not_take_is_refused() {
        let fail = |cookie: Cookie<'static>, expected: &str| {
            let name = cookie.name().to_owned();
            let text = text(cookie);
            let start = format!("cookie {name:?} cannot be set: ");
            assert_eq!(text.strip_prefix(&start), Some(expected), "{text}");
        };
        let name = "its name is not a token (RFC 6265 section 4.1.1)";
        for bad in ["", "a b", "a=b", "a;b", "ä", "a\r\n"] {
            fail(Cookie::new(bad, "1"), name);
        }
        for (bad, c) in [
            ("a;b", ";"),
            ("a b", " "),
            ("a\r\nset-cookie: b=c", "\\r"),
            ("\"a", "\\\""),
            ("a,b", ","),
            ("\"a\\b\"", "\\\\"),
            ("ä", "ä"),
        ] {
            let value = format!(
                "its value contains '{}'; encode the value, for example as base64 or by percent \
                 signs",
                if c == "\\\"" { "\"" } else { c }
            );
            fail(Cookie::new("a", bad), &value);
        }
        let build = || Cookie::build(("a", "1"));
        fail(build().path("/;Secure").build(), "its Path contains ';'");
        fail(build().domain("a\n").build(), "its Domain contains '\\n'");
        fail(
            build().same_site(SameSite::None).secure(false).build(),
            "clients ignore SameSite=None without Secure",
        );
        let prefixed = |name: &'static str| Cookie::build((name, "1"));
        for name in ["__Secure-a", "__host-a"] {
            fail(
                prefixed(name).build(),
                "clients ignore a name like this without Secure",
            );
        }
        let host = "clients ignore a name like this without Path=/, or with a Domain";
        fail(prefixed("__Host-a").secure(true).build(), host);
        let elsewhere = prefixed("__Host-a").secure(true).path("/").domain("a");
        fail(elsewhere.build(), host);
        assert_eq!(
            text(prefixed("__Host-a").secure(true).path("/")),
            "__Host-a=1; Secure; Path=/"
        );
        fail(
            Cookie::new("a", "x".repeat(4096)),
            "name and value have 4097 bytes, and clients keep 4096",
        );
        assert_eq!(text(Cookie::new("a", "x".repeat(4095))).len(), 4097);
    }

    #[test]
    fn each_cookie_has_a_line_of_its_own() {
        let response = Response::default()
            .with_cookie(("a", "1"))
            .with_cookie(Cookie::build("b").path("/").removal());
        let lines: Vec<_> = response.headers().get_all(&SET_COOKIE).collect();
        assert_eq!(lines[0], "a=1");
        let removal = lines[1].to_str().unwrap();
        assert!(
            removal.starts_with("b=; Path=/; Max-Age=0; Expires="),
            "{removal}"
        );
        assert_eq!(lines.len(), 2);
    }

    #[test]
    #[should_panic(expected = "cookie \"a\" cannot be set: its value contains ';'")]
    fn with_cookie_panics_where_try_fails() {
        let _ = Response::default().with_cookie(("a", ";"));
    }
}
