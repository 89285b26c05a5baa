//! Authentication by a password (RFC 7617) and by a token (RFC 6750).
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::hint::black_box;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};

use crate::http::app::{App, Plugin};
use crate::http::error::{HandlerError, Result};
use crate::http::exchange::request::Request;
use crate::http::message::IntoResponse;

type Check = dyn Fn(&mut Request) -> Result<()>;

/// Refuses the requests without valid credentials. Made by [`basic_auth`] and [`bearer_auth`].
pub struct Authentication {
    scheme: &'static str,
    check: Box<Check>,
}

impl Plugin for Authentication {
    fn apply_to(self, app: App) -> App {
        app.around(move |request, next| match (self.check)(request) {
            Ok(()) => next.run(request),
            Err(error) => error.into_response(),
        })
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// Asks for a name and a password (HTTP Basic, RFC 7617), which browsers show a dialog for.
///
/// `check` gets both, and returns what the program knows of the user, which is
/// [inserted](Request::insert) into the request: handlers take it by
/// [`Extension`](crate::http::Extension). `None` refuses the request with 401 and
/// `WWW-Authenticate`, and so do missing and malformed credentials; an error is the answer. The
/// closure may wait, for a database or for [`blocking`](crate::bridge::blocking), where the slow
/// hash of a password belongs.
///
/// The password crosses the network as it is, so the connection must be encrypted, by a proxy in
/// front for example. A browser that asks by CORS sends its preflight without credentials: apply
/// CORS first, so that it is outside.
///
/// # Panics
///
/// If the realm has characters other than those of printable ASCII.
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::{basic_auth, secrets_equal};
/// use ethreads::http::{App, Extension, Request};
///
/// #[derive(Clone)]
/// struct User(String);
///
/// let check = |name: &str, password: &str| {
///     let is_right = name == "ann" && secrets_equal(password, "sesame");
///     Ok(is_right.then(|| User(name.to_owned())))
/// };
/// let app = App::new()
///     .get("/", |Extension(User(name)): Extension<User>| format!("hello {name}\n"))
///     .apply(basic_auth("the cave", check));
///
/// let refused = app.call(Request::get("/"));
/// assert_eq!(refused.status(), 401);
/// let challenge = refused.headers().get(&http::header::WWW_AUTHENTICATE).unwrap();
/// assert_eq!(challenge, r#"Basic realm="the cave", charset="UTF-8""#);
/// // "ann:sesame" as base64.
/// let request = Request::get("/").header("authorization", "Basic YW5uOnNlc2FtZQ==").build()?;
/// assert_eq!(app.call(request).body().as_bytes(), Some(&b"hello ann\n"[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[track_caller]
pub fn basic_auth<T, F>(realm: &str, check: F) -> Authentication
where
    T: Any,
    F: Fn(&str, &str) -> Result<Option<T>> + 'static,
{
    let challenge = format!("Basic realm={}, charset=\"UTF-8\"", quoted(realm));
    let check = move |request: &mut Request| {
        let given = credentials(request, "basic").and_then(name_and_password);
        let user = match &given {
            Some((name, password)) => check(name, password)?,
            None => None,
        };
        admit(request, user, &challenge)
    };
    Authentication {
        scheme: "Basic",
        check: Box::new(check),
    }
}

/// Asks for a token in `Authorization: Bearer ...` (RFC 6750), as interfaces for programs do.
///
/// `check` gets the token, and returns what the program knows of its bearer: see [`basic_auth`],
/// which is alike in everything else. The challenge of a request with a token that is refused says
/// `error="invalid_token"`, that of a request without one does not.
///
/// # Panics
///
/// If the realm has characters other than those of printable ASCII.
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::{bearer_auth, secrets_equal};
/// use ethreads::http::{App, Request};
///
/// let check = |token: &str| Ok(secrets_equal(token, "1234").then_some("the only client"));
/// let app = App::new().get("/", || "hello\n").apply(bearer_auth("api", check));
///
/// let request = Request::get("/").header("authorization", "Bearer 1234").build()?;
/// assert_eq!(app.call(request).status(), 200);
/// let request = Request::get("/").header("authorization", "Bearer 1235").build()?;
/// assert_eq!(app.call(request).status(), 401);
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[track_caller]
pub fn bearer_auth<T, F>(realm: &str, check: F) -> Authentication
where
    T: Any,
    F: Fn(&str) -> Result<Option<T>> + 'static,
{
    let challenge = format!("Bearer realm={}", quoted(realm));
    let invalid = format!("{challenge}, error=\"invalid_token\"");
    let check = move |request: &mut Request| {
        let Some(given) = credentials(request, "bearer") else {
            return admit(request, None::<T>, &challenge);
        };
        let bearer = if is_token68(given) {
            check(given)?
        } else {
            None
        };
        admit(request, bearer, &invalid)
    };
    Authentication {
        scheme: "Bearer",
        check: Box::new(check),
    }
}

/// Inserts what is known of the user, or refuses the request.
fn admit<T: Any>(request: &mut Request, user: Option<T>, challenge: &str) -> Result<()> {
    if let Some(user) = user {
        request.insert(user);
        return Ok(());
    }
    // It is printable ASCII.
    let challenge = HeaderValue::try_from(challenge)?;
    let error = HandlerError::status(StatusCode::UNAUTHORIZED, "authentication required\n");
    Err(error.with_header(WWW_AUTHENTICATE, challenge))
}

/// Compares secrets, such as a password or a token, in a time that does not depend on where they
/// differ.
///
/// `==` ends at the first difference. A client that measures the time of many answers could so
/// guess a secret byte by byte. The time of this comparison depends on the lengths, which are not
/// kept secret.
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::secrets_equal;
///
/// assert!(secrets_equal("sesame", b"sesame"));
/// assert!(!secrets_equal("sesame", "sesamE"));
/// assert!(!secrets_equal("sesame", "sesam"));
/// ```
#[must_use]
pub fn secrets_equal(a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> bool {
    let (a, b) = (a.as_ref(), b.as_ref());
    if a.len() != b.len() {
        return false;
    }
    // The compiler must not find out that the rest cannot change the result.
    let differ = |sum: u8, (a, b): (&u8, &u8)| black_box(sum | (a ^ b));
    black_box(a.iter().zip(b).fold(0, differ)) == 0
}

/// RFC 9110 section 11.4: the credentials of a request, if they are of this scheme.
fn credentials<'a>(request: &'a Request, scheme: &str) -> Option<&'a str> {
    let mut fields = request.headers().get_all("authorization");
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return None;
    };
    let (have, rest) = str::from_utf8(field).ok()?.split_once(' ')?;
    let rest = rest.trim_matches(' ');
    have.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// RFC 7617 section 2: base64 of a name, a colon and a password.
fn name_and_password(credentials: &str) -> Option<(String, String)> {
    let text = String::from_utf8(decode_base64(credentials)?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// RFC 9110 section 11.2: `token68`.
fn is_token68(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

/// Decodes base64 (RFC 4648 section 4), with or without the signs at its end.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let has_end = digits.len() < text.len();
    if has_end && (!text.len().is_multiple_of(4) || text.len() - digits.len() > 2) {
        return None;
    }
    let mut decoded = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits: u32 = 0;
        for place in 0..4 {
            bits <<= 6;
            if let Some(digit) = group.get(place) {
                bits |= u32::from(value_of(*digit)?);
            }
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        // A single digit is less than a byte, and what is left of the last one must be zero.
        let count = group.len() * 6 / 8;
        if count == 0 || bytes[count..].iter().any(|byte| *byte != 0) {
            return None;
        }
        decoded.extend_from_slice(&bytes[..count]);
    }
    Some(decoded)
}

fn value_of(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// RFC 9110 section 5.6.4: a quoted string.
#[track_caller]
fn quoted(text: &str) -> String {
    let is_printable = |c: char| c == ' ' || c.is_ascii_graphic();
    assert!(
        text.chars().all(is_printable),
        "the realm {text:?} is not printable ASCII"
    );
    let mut quoted = String::from('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;
    use std::rc::Rc;

    use super::*;
    use crate::http::{Extension, Response};

    #[derive(Clone)]
    struct User(String);

    fn basic() -> App {
        let check = |name: &str, password: &str| match name {
            "broken" => Err(io::Error::other("no database").into()),
            _ => Ok((password == "p:w").then(|| User(name.to_owned()))),
        };
        App::new()
            .get("/", |Extension(User(name)): Extension<User>| name)
            .apply(basic_auth("a \"b\" \\", check))
    }

    fn call(app: &App, fields: &[&str]) -> Response {
        let mut request = Request::get("/");
        for field in fields {
            request = request.header("authorization", *field);
        }
        app.call(request)
    }

    fn challenge(response: &Response) -> &str {
        let value = response.headers().get(&WWW_AUTHENTICATE);
        value.map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn a_name_and_a_password_are_checked() {
        let app = basic();
        // "ann:p:w", with and without the sign at its end, and "ünn:p:w".
        for (field, name) in [
            ("Basic YW5uOnA6dw==", "ann"),
            ("bASIC   YW5uOnA6dw", "ann"),
            ("Basic w7xubjpwOnc=", "ünn"),
        ] {
            let response = call(&app, &[field]);
            assert_eq!(response.status(), 200, "{field}");
            assert_eq!(response.body().as_bytes(), Some(name.as_bytes()));
        }
    }

    #[test]
    fn other_credentials_get_a_challenge() {
        let app = basic();
        for fields in [
            &[][..],
            &["Basic"],
            &["Basic "],
            &["Bearer YW5uOnA6dw=="],
            &["BasicYW5uOnA6dw=="],
            // Another password, no colon, no base64, not UTF-8.
            &["Basic YW5uOnA6eA=="],
            &["Basic YW5u"],
            &["Basic YW5uOnA6d!=="],
            &["Basic /zpwOnc="],
            // Which of two is meant?
            &["Basic YW5uOnA6dw==", "Basic YW5uOnA6dw=="],
        ] {
            let response = call(&app, fields);
            assert_eq!(response.status(), 401, "{fields:?}");
            let expected = r#"Basic realm="a \"b\" \\", charset="UTF-8""#;
            assert_eq!(challenge(&response), expected);
        }
    }

    #[test]
    fn an_error_of_the_check_is_the_answer() {
        // "broken:p".
        let response = call(&basic(), &["Basic YnJva2VuOnA="]);
        assert_eq!(response.status(), 500);
        assert_eq!(challenge(&response), "");
    }

    #[test]
    fn a_token_is_checked() {
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let check = move |token: &str| {
            count.set(count.get() + 1);
            Ok((token == "a-Z0._~+/==").then(|| User("ann".to_owned())))
        };
        let app = App::new()
            .get("/", |Extension(User(name)): Extension<User>| name)
            .apply(bearer_auth("api", check));
        assert_eq!(call(&app, &["Bearer a-Z0._~+/=="]).status(), 200);
        assert_eq!(asked.get(), 1);
        for (fields, expected) in [
            (&[][..], r#"Bearer realm="api""#),
            (&["Basic YW5u"], r#"Bearer realm="api""#),
            (
                &["bearer x"],
                r#"Bearer realm="api", error="invalid_token""#,
            ),
            (
                &["bearer x y"],
                r#"Bearer realm="api", error="invalid_token""#,
            ),
            (
                &["bearer =="],
                r#"Bearer realm="api", error="invalid_token""#,
            ),
        ] {
            let response = call(&app, fields);
            assert_eq!(response.status(), 401, "{fields:?}");
            assert_eq!(challenge(&response), expected, "{fields:?}");
        }
        // The malformed ones did not reach the check.
        assert_eq!(asked.get(), 2);
    }

    #[test]
    #[should_panic(expected = "the realm \"ä\" is not printable ASCII")]
    fn a_realm_is_ascii() {
        let _ = bearer_auth("ä", |_| Ok(Some(())));
    }

    #[test]
    fn base64_is_decoded_strictly() {
        let decode = |text| decode_base64(text).map(|bytes| String::from_utf8(bytes).unwrap());
        for (text, expected) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zg", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(expected), "{text}");
        }
        for bad in [
            "Z", "Zh==", "Zm9=", "Zg=", "Zg===", "====", "Zm 8=", "Zm9-", "Z===",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn secrets_are_equal_if_all_their_bytes_are() {
        assert!(secrets_equal("", ""));
        assert!(secrets_equal([0, 255], [0, 255]));
        for (a, b) in [
            ("a", ""),
            ("a", "b"),
            ("ab", "bb"),
            ("ab", "aa"),
            ("a\0", "a"),
        ] {
            assert!(!secrets_equal(a, b), "{a} {b}");
        }
    }
}
