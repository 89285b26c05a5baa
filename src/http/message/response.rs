//! The response a handler gives.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::io;
use std::mem;

#[cfg(feature = "cookie")]
use ::cookie::Cookie;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};

#[cfg(feature = "cookie")]
use super::cookies::{CookieError, set_cookie};
use super::{Body, Headers};

pub(super) const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A response: status, headers, body.
///
/// The connection adds what the protocol needs: `Date`, `Content-Length` or `Transfer-Encoding`,
/// and `Connection`. Where a handler sets these headers itself:
///
/// * `Content-Length`: ignored if the length of the body is known. For a stream it declares the
///   length, which the stream must keep. In an answer to HEAD without a body it is sent.
/// * `Transfer-Encoding`: ignored; the connection decides about chunking.
/// * `Connection`: `close` closes the connection after this response. Other options are sent,
///   except `keep-alive`, about which the connection decides. `upgrade` is sent with an `Upgrade`
///   header.
/// * `Date` and `Server`: replace those of the server.
///
/// The body is sent only if the status and the request allow one: not with 204, 205 and 304, and
/// not in an answer to HEAD. A status 1xx does not answer a request, except the 101 of
/// [`upgrade`](Self::upgrade): a 500 is sent instead.
///
/// All this applies to the response of a handler and to a response that is given to a
/// [`WebServer`](crate::http::WebServer).
///
/// # Examples
///
/// ```
/// use ethreads::http::Response;
/// use http::StatusCode;
///
/// let response = Response::new(StatusCode::CREATED)
///     .with_header("location", "/items/7")
///     .with_body("created\n");
/// assert_eq!(response.status(), 201);
/// ```
#[derive(Default)]
pub struct Response {
    status: StatusCode,
    headers: Headers,
    body: Body,
    /// What goes with the response and is not sent.
    aside: Option<Box<Aside>>,
}

/// What few responses carry, for the party that sends them.
#[derive(Default)]
struct Aside {
    /// The error that the response was made of, of a type that only its maker knows.
    error: Option<Box<dyn Any>>,
    held: Vec<Box<dyn Any>>,
}

impl Response {
    /// A 200 response with nothing but a type and a body, made in place.
    #[inline]
    pub(in crate::http) fn typed(content_type: HeaderValue, body: Body) -> Self {
        Self {
            status: StatusCode::OK,
            headers: Headers::single(CONTENT_TYPE, content_type),
            body,
            aside: None,
        }
    }

    /// Creates a response without headers or body.
    pub const fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: Headers::new(),
            body: Body::empty(),
            aside: None,
        }
    }

    /// Replaces the status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Sets a header, replacing one of the same name; [`Headers::append`] adds a repetition.
    ///
    /// # Panics
    ///
    /// If the name or the value is not allowed in a header, for example because of a line end. Use
    /// [`Response::try_with_header`] where they come from outside.
    #[must_use]
    #[track_caller]
    pub fn with_header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        let (name, value) = expect_header(name, value);
        self.headers.insert(name, value);
        self
    }

    /// Sets a header, replacing one of the same name, unless it is malformed.
    ///
    /// # Errors
    ///
    /// If the name or the value is not allowed in a header, for example because of a line end.
    pub fn try_with_header<N, V>(mut self, name: N, value: V) -> Result<Self, http::Error>
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        let (name, value) = header(name, value)?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Sets a cookie at the client: adds a `Set-Cookie` (RFC 6265 section 4.1), which keeps those
    /// that are there. A [removal](::cookie::CookieBuilder::removal) deletes the cookie of the same
    /// name, path and domain.
    ///
    /// # Panics
    ///
    /// If clients would not take the cookie: see [`CookieError`]. Use
    /// [`try_with_cookie`](Self::try_with_cookie) for values that come from outside.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::{Cookie, IntoResponse, SameSite, cookie::time::Duration};
    ///
    /// let id = Cookie::build(("id", "7")).http_only(true).same_site(SameSite::Lax);
    /// let response = "hello"
    ///     .into_response()
    ///     .with_cookie(id.max_age(Duration::days(30)))
    ///     .with_cookie(Cookie::build("old").path("/").removal());
    /// assert_eq!(response.headers().get_all(&http::header::SET_COOKIE).count(), 2);
    /// ```
    #[cfg(feature = "cookie")]
    #[must_use]
    #[track_caller]
    pub fn with_cookie(self, cookie: impl Into<Cookie<'static>>) -> Self {
        match self.try_with_cookie(cookie) {
            Ok(response) => response,
            Err(error) => panic!("{error}"),
        }
    }

    /// Sets a cookie at the client, as [`with_cookie`](Self::with_cookie).
    ///
    /// # Errors
    ///
    /// If clients would not take the cookie, for example because of a semicolon in its value.
    #[cfg(feature = "cookie")]
    pub fn try_with_cookie(
        mut self,
        cookie: impl Into<Cookie<'static>>,
    ) -> Result<Self, CookieError> {
        let value = set_cookie(&cookie.into())?;
        self.headers.append(http::header::SET_COOKIE, value);
        Ok(self)
    }

    /// Replaces the body; headers stay as they are.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Replaces the body by what `change` makes of it; headers stay as they are.
    ///
    /// A body that is not in memory cannot be looked at, but it can be
    /// [written](Body::write_to) through something else.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::{Body, IntoResponse};
    ///
    /// let response = "hello".into_response().map_body(|body| match body.as_bytes() {
    ///     Some(bytes) => bytes.to_ascii_uppercase().into(),
    ///     None => body,
    /// });
    /// assert_eq!(response.body().as_bytes(), Some(&b"HELLO"[..]));
    /// ```
    #[must_use]
    pub fn map_body(mut self, change: impl FnOnce(Body) -> Body) -> Self {
        self.body = change(self.body);
        self
    }

    /// Keeps `value` until the response has been sent, its body included, or has failed: a permit,
    /// a timer, a span. A body that is streamed is made after the handler has returned, so a guard
    /// in a variable of the handler ends too early.
    #[must_use]
    pub fn hold(mut self, value: impl Any) -> Self {
        self.aside().held.push(Box::new(value));
        self
    }

    fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// What is held of this type.
    pub(crate) fn held<T: Any>(&self) -> impl Iterator<Item = &T> {
        let held = self.aside.iter().flat_map(|aside| &aside.held);
        held.filter_map(|value| value.downcast_ref())
    }

    /// Has the sender look at what goes with the response.
    pub(crate) fn mark(&mut self) {
        self.aside();
    }

    /// Leaves the error of which the response was made.
    pub(crate) fn leave_error(&mut self, error: impl Any) {
        self.aside().error = Some(Box::new(error));
    }

    /// Whether there is anything for [`take_error`](Self::take_error), or held.
    #[inline]
    pub(crate) fn has_aside(&self) -> bool {
        self.aside.is_some()
    }

    /// Drops what goes with the response and is not sent.
    pub(crate) fn drop_aside(&mut self) {
        self.aside = None;
    }

    /// Takes the error of which the response was made, if it is of this type.
    pub(crate) fn take_error<E: Any>(&mut self) -> Option<E> {
        let error = &mut self.aside.as_mut()?.error;
        let taken = error.take_if(|error| error.is::<E>())?;
        taken.downcast().ok().map(|error| *error)
    }

    /// Returns the error of which the response was made, if it is of this type.
    pub(crate) fn error<E: Any>(&self) -> Option<&E> {
        self.aside.as_ref()?.error.as_ref()?.downcast_ref()
    }

    /// Holds what `other` has held, too.
    pub(crate) fn inherit_held(&mut self, other: &mut Self) {
        if let Some(aside) = &mut other.aside
            && !aside.held.is_empty()
        {
            self.aside().held.append(&mut mem::take(&mut aside.held));
        }
    }

    /// Returns a mutable reference to the status.
    pub fn status_mut(&mut self) -> &mut StatusCode {
        &mut self.status
    }

    /// Returns a mutable reference to the headers.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// Returns a mutable reference to the body.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers set so far; the connection adds its own when it sends them.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Returns the body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The answer to a request that the program has failed to answer.
    pub(crate) fn internal_error() -> Self {
        let text = "Internal Server Error".into();
        Self::typed(PLAIN_TEXT, text).with_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Replaces a response that does not answer a request (RFC 9110 section 15.2) with a 500, as
    /// the peer would go on waiting. This is the only fault that a response can have; `encode_head`
    /// makes everything else fit.
    ///
    /// # Errors
    ///
    /// What was wrong with it.
    pub(crate) fn make_final(&mut self) -> Result<(), NotFinal> {
        let status = self.status;
        let switches = status == StatusCode::SWITCHING_PROTOCOLS && self.body.takes_over();
        if !status.is_informational() || switches {
            return Ok(());
        }
        *self = Self::internal_error();
        Err(NotFinal(status))
    }

    /// Takes the response apart.
    pub fn into_parts(self) -> (StatusCode, Headers, Body) {
        (self.status, self.headers, self.body)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .finish()
    }
}

/// The fault of a response that answers no request.
#[derive(Debug)]
pub(crate) struct NotFinal(StatusCode);

impl fmt::Display for NotFinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the status {} does not answer a request", self.0)
    }
}

impl std::error::Error for NotFinal {}

impl From<NotFinal> for io::Error {
    fn from(fault: NotFinal) -> Self {
        Self::new(io::ErrorKind::InvalidInput, fault)
    }
}

impl<B: Into<Body>> From<http::Response<B>> for Response {
    fn from(response: http::Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers.into(),
            body: body.into(),
            aside: None,
        }
    }
}

impl From<Response> for http::Response<Body> {
    fn from(response: Response) -> Self {
        let mut converted = Self::new(response.body);
        *converted.status_mut() = response.status;
        *converted.headers_mut() = response.headers.into();
        converted
    }
}

/// Converts a header, and panics where the caller promised that it is well-formed.
#[track_caller]
pub(super) fn expect_header<N, V>(name: N, value: V) -> (HeaderName, HeaderValue)
where
    N: TryInto<HeaderName, Error: Into<http::Error>>,
    V: TryInto<HeaderValue, Error: Into<http::Error>>,
{
    match header(name, value) {
        Ok(header) => header,
        Err(error) => panic!("header of a response: {error}"),
    }
}

/// Converts a header.
pub(crate) fn header<N, V>(name: N, value: V) -> Result<(HeaderName, HeaderValue), http::Error>
where
    N: TryInto<HeaderName, Error: Into<http::Error>>,
    V: TryInto<HeaderValue, Error: Into<http::Error>>,
{
    Ok((
        name.try_into().map_err(Into::into)?,
        value.try_into().map_err(Into::into)?,
    ))
}

#[cfg(test)]
mod tests {
    use http::header::LOCATION;

    use super::*;

    #[test]
    fn is_built_in_any_order() {
        let response = Response::default()
            .with_header("Location", "/a")
            .with_body("b")
            .with_header(LOCATION, String::from("/b"))
            .with_status(StatusCode::SEE_OTHER);
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(response.headers().get(&LOCATION).unwrap(), "/b");
        assert_eq!(response.headers().len(), 1);
        assert_eq!(response.body().as_bytes(), Some(&b"b"[..]));
    }

    #[test]
    fn what_answers_no_request_becomes_a_500() {
        for code in [100, 101, 102, 103, 199] {
            let status = StatusCode::from_u16(code).unwrap();
            let mut response = Response::new(status).with_header("a", "b").with_body("c");
            let fault = response.make_final().unwrap_err();
            assert_eq!(
                fault.to_string(),
                format!("the status {status} does not answer a request")
            );
            assert_eq!(response.status(), 500);
            assert_eq!(
                response.body().as_bytes(),
                Some(&b"Internal Server Error"[..])
            );
        }
        for code in [200, 204, 205, 304, 404, 500, 999] {
            let mut response = Response::new(StatusCode::from_u16(code).unwrap()).with_body("c");
            response.make_final().unwrap();
            assert_eq!(response.status(), code);
        }
        let mut upgrade = Response::upgrade("other", drop);
        upgrade.make_final().unwrap();
        assert_eq!(upgrade.status(), 101);
    }

    #[test]
    fn header_injection_is_refused() {
        let attempt = |name: &str, value: &str| {
            Response::default()
                .try_with_header(name, value)
                .map(|r| r.headers().len())
        };
        assert!(attempt("location", "/a\r\nset-cookie: x=y").is_err());
        assert!(attempt("a: b\r\nc", "d").is_err());
        assert!(attempt("", "d").is_err());
        assert_eq!(attempt("a", "").unwrap(), 1);
    }

    #[test]
    #[should_panic(expected = "header of a response")]
    fn with_header_panics_on_a_line_end() {
        let _ = Response::default().with_header("a", "b\n");
    }

    #[test]
    fn converts_to_and_from_the_http_crate() {
        let theirs = http::Response::builder()
            .status(418)
            .header("content-type", "a/b")
            .body("c")
            .unwrap();
        let ours = Response::from(theirs);
        assert_eq!(ours.headers().get(&CONTENT_TYPE).unwrap(), "a/b");
        let theirs = http::Response::<Body>::from(ours);
        assert_eq!(theirs.status(), 418);
        assert_eq!(theirs.headers()[CONTENT_TYPE], "a/b");
        assert_eq!(theirs.body().as_bytes(), Some(&b"c"[..]));
    }
}
