//! Conversions of the values that a handler returns into responses.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::response::{PLAIN_TEXT, expect_header};
use super::{Body, Headers, Response};

/// A value that converts into a response.
///
/// Text is sent as `text/plain; charset=utf-8`, bytes as `application/octet-stream`, a status
/// without a body. A tuple adds a status, headers or both to another value. They replace the status
/// of that value, and its headers of the same names. A name that occurs twice in the tuple is sent
/// twice.
///
/// # Examples
///
/// ```
/// use ethreads::http::IntoResponse;
/// use http::StatusCode;
///
/// let response = (StatusCode::OK, [("content-type", "text/html")], "<p>hi").into_response();
/// assert_eq!(response.headers().len(), 1);
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "returns `{Self}`, which is no response",
    note = "a response is text, bytes, `Json<T>`, a `StatusCode`, a `Response`, or a tuple that \
            adds a status or headers to one",
    note = "a handler that fails returns `ethreads::http::Result<T>`: `?` turns every error into \
            its `HandlerError`",
    note = "a handler blocks instead of waiting for a future: leave out `async` and `.await`"
)]
pub trait IntoResponse {
    /// Makes the response.
    fn into_response(self) -> Response;
}

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

// The content type as an argument: in place, the compiler builds it in a slower way.
#[inline]
fn with_type(content_type: HeaderValue, body: impl Into<Body>) -> Response {
    Response::typed(content_type, body.into())
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl<B: Into<Body>> IntoResponse for http::Response<B> {
    fn into_response(self) -> Response {
        self.into()
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::default()
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        Response::default().with_body(self)
    }
}

/// Values that are sent as they are, with this `Content-Type`.
macro_rules! typed {
    ($content_type:ident: $($(const $N:ident)? $Value:ty),+) => {$(
        impl$(<const $N: usize>)? IntoResponse for $Value {
            fn into_response(self) -> Response {
                with_type($content_type, self)
            }
        }
    )+};
}

typed!(PLAIN_TEXT: &'static str, String, Cow<'static, str>);
typed!(BYTES: &'static [u8], const N &'static [u8; N], Vec<u8>, Bytes);

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

impl<T: IntoResponse> IntoResponse for (StatusCode, T) {
    fn into_response(self) -> Response {
        self.1.into_response().with_status(self.0)
    }
}

/// Panics like [`Response::with_header`] on a malformed name or value.
impl<N, V, T, const COUNT: usize> IntoResponse for ([(N, V); COUNT], T)
where
    N: TryInto<HeaderName, Error: Into<http::Error>>,
    V: TryInto<HeaderValue, Error: Into<http::Error>>,
    T: IntoResponse,
{
    fn into_response(self) -> Response {
        let pair = |(name, value)| expect_header(name, value);
        let headers: Headers = self.0.into_iter().map(pair).collect();
        let mut response = self.1.into_response();
        for (name, _) in headers.iter() {
            response.headers_mut().remove(name);
        }
        response.headers_mut().extend(headers);
        response
    }
}

/// Panics like [`Response::with_header`] on a malformed name or value.
impl<N, V, T, const COUNT: usize> IntoResponse for (StatusCode, [(N, V); COUNT], T)
where
    N: TryInto<HeaderName, Error: Into<http::Error>>,
    V: TryInto<HeaderValue, Error: Into<http::Error>>,
    T: IntoResponse,
{
    fn into_response(self) -> Response {
        (self.1, self.2).into_response().with_status(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: impl IntoResponse, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let response = value.into_response();
        assert_eq!(response.status(), status);
        let got: Vec<_> = response.headers().iter().collect();
        let got: Vec<_> = got
            .iter()
            .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
            .collect();
        assert_eq!(got, headers);
        assert_eq!(response.body().as_bytes(), Some(body));
    }

    const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");
    const BYTES: (&str, &str) = ("content-type", "application/octet-stream");

    #[test]
    fn plain_values() {
        check((), 200, &[], b"");
        check(StatusCode::GONE, 410, &[], b"");
        check("a", 200, &[TEXT], b"a");
        check(String::from("a"), 200, &[TEXT], b"a");
        check(Cow::Borrowed("a"), 200, &[TEXT], b"a");
        check(b"a", 200, &[BYTES], b"a");
        check(b"a".as_slice(), 200, &[BYTES], b"a");
        check(vec![b'a'], 200, &[BYTES], b"a");
        check(Bytes::from_static(b"a"), 200, &[BYTES], b"a");
        check(Body::from("a"), 200, &[], b"a");
        check(Response::new(StatusCode::CREATED), 201, &[], b"");
        check(http::Response::new("a"), 200, &[], b"a");
    }

    #[test]
    fn tuples_override_what_they_wrap() {
        check((StatusCode::CREATED, "a"), 201, &[TEXT], b"a");
        check(
            ([("content-type", "text/css")], "a"),
            200,
            &[("content-type", "text/css")],
            b"a",
        );
        let cookies = [("set-cookie", "a=b"), ("set-cookie", "c=d")];
        check((cookies, ()), 200, &cookies, b"");
        let wrapped = (StatusCode::CREATED, [("x", "y")], (StatusCode::GONE, "a"));
        check(wrapped, 201, &[TEXT, ("x", "y")], b"a");
        check(([] as [(&str, &str); 0], "a"), 200, &[TEXT], b"a");
    }

    #[test]
    fn results_answer_with_either_side() {
        check(Ok::<_, StatusCode>("a"), 200, &[TEXT], b"a");
        check(Err::<&str, _>(StatusCode::NOT_FOUND), 404, &[], b"");
        check(
            Err::<(), _>((StatusCode::NOT_FOUND, "a")),
            404,
            &[TEXT],
            b"a",
        );
    }
}
