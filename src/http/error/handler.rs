//! The error type that lets a handler use `?`.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::error::Error as StdError;
use std::panic::Location;
use std::{fmt, io, result};

use http::header::CONNECTION;
use http::{HeaderName, HeaderValue, StatusCode};

use super::causes::WithCauses;
use super::fault::Error;
use crate::http::message::{Headers, IntoResponse, MalformedPath, Response};

/// The result of a handler, or of a function that a handler calls with `?`.
pub type Result<T, E = HandlerError> = result::Result<T, E>;

/// The error of a handler: any error at all, or a status to answer with.
///
/// `?` turns every [`std::error::Error`] into a `HandlerError`. The answer is a 500. The log gets a
/// line with the text of the error, of its causes, and the place of the `?`; the peer sees nothing
/// of it. Errors that came from reading the request are answered with their own
/// [status](Error::status) and text, as 413 for a body that is too large, wherever they are in the
/// chain of causes.
///
/// Like other errors of this kind it does not implement [`std::error::Error`] itself.
///
/// # Examples
///
/// ```
/// use ethreads::http::{self, HandlerError};
/// use ::http::StatusCode;
///
/// fn count(path: &str) -> http::Result<String> {
///     if path.contains("..") {
///         return Err(HandlerError::status(StatusCode::FORBIDDEN, "no way up"));
///     }
///     let text = std::fs::read_to_string(path)?;
///     Ok(format!("{} lines\n", text.lines().count()))
/// }
/// ```
pub struct HandlerError {
    // Boxed so that results stay one word large.
    inner: Box<Inner>,
}

struct Inner {
    status: StatusCode,
    /// The text of the answer.
    message: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError>>,
    headers: Headers,
    location: &'static Location<'static>,
    /// Whether the log has it already.
    is_logged: bool,
    /// Of a request that its handler passes on: how many routes have done so.
    passed: Option<usize>,
}

impl HandlerError {
    /// Makes an answer of this status, with `message` as its text.
    ///
    /// The peer can read the message.
    #[track_caller]
    pub fn status(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(status, Some(message.into()), None)
    }

    #[track_caller]
    fn new(
        status: StatusCode,
        message: Option<Cow<'static, str>>,
        source: Option<Box<dyn StdError>>,
    ) -> Self {
        Self {
            inner: Box::new(Inner {
                status,
                message,
                source,
                headers: Headers::new(),
                location: Location::caller(),
                is_logged: false,
                passed: None,
            }),
        }
    }

    /// Passes the request on to the next route that matches it, as returned by a handler of an
    /// [`App`](crate::http::App). If no other route matches, the answer is a 404.
    ///
    /// What the handler has read of the body is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::{App, HandlerError, Path, Request, Result};
    ///
    /// fn page(Path(name): Path<String>) -> Result<String> {
    ///     match name.as_str() {
    ///         "about" => Ok("about us\n".to_owned()),
    ///         _ => Err(HandlerError::pass_on()),
    ///     }
    /// }
    ///
    /// let app = App::new().get("/{name}", page).get("/{*path}", || "from the disk\n");
    /// let response = app.call(Request::builder().target("/logo.png").build()?);
    /// assert_eq!(response.body().as_bytes(), Some(&b"from the disk\n"[..]));
    /// # Ok::<(), ethreads::http::Error>(())
    /// ```
    #[track_caller]
    pub fn pass_on() -> Self {
        let mut error = Self::status(StatusCode::NOT_FOUND, "not found\n");
        error.inner.passed = Some(0);
        error
    }

    /// The answer to a request whose client has left: nginx's status, which is not registered.
    #[cold]
    pub(in crate::http) fn client_left() -> Self {
        let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        let error = Self::status(status, "client closed the connection\n");
        error.with_header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// The refusal of a request, as the error of a handler.
    pub(in crate::http) fn refusal(error: &Error) -> Self {
        let status = error.status().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reason = status.canonical_reason().unwrap_or_default();
        Self::status(status, format!("{reason}: {error}\n"))
    }

    /// A 500 for an error that the log has already.
    pub(in crate::http) fn logged(error: impl StdError + 'static) -> Self {
        let mut error = Self::from(error);
        error.inner.is_logged = true;
        error
    }

    /// Adds a header field to the response, such as `WWW-Authenticate` or `Retry-After`.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.inner.headers.append(name, value);
        self
    }

    /// The header fields that the response gets.
    pub(in crate::http) fn headers(&self) -> &Headers {
        &self.inner.headers
    }

    /// The number of routes that have passed the request on, if this error does so.
    pub(in crate::http) fn passed(&self) -> Option<usize> {
        self.inner.passed
    }

    /// Notes the number of routes that have passed the request on; `None` makes it an error.
    pub(in crate::http) fn set_passed(&mut self, passed: Option<usize>) {
        self.inner.passed = passed;
    }

    /// The response without a renderer: the text, under the status.
    pub(in crate::http) fn answer(&self) -> Response {
        let mut response = self.text().into_response().with_status(self.inner.status);
        for (name, _) in self.inner.headers.iter() {
            response.headers_mut().remove(name);
        }
        response.headers_mut().extend(self.inner.headers.clone());
        response
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Returns the status it is answered with.
    pub fn status_code(&self) -> StatusCode {
        self.inner.status
    }

    /// Returns the text of the answer.
    ///
    /// That is the message, if one was given. Of an error that is the fault of the peer it is the
    /// reason phrase of the status and the text of that error; of other errors it is the reason
    /// phrase alone.
    pub fn text(&self) -> Cow<'static, str> {
        if let Some(message) = &self.inner.message {
            return message.clone();
        }
        let reason = self.inner.status.canonical_reason().unwrap_or_default();
        // RFC 9110 section 15.5: the answer explains what the peer did wrong.
        match self.inner.source.as_deref().and_then(fault_of) {
            Some((_, fault)) => format!("{reason}: {fault}\n").into(),
            None => Cow::Borrowed(reason),
        }
    }

    /// Replaces the status that a foreign error is answered with.
    pub(in crate::http) fn set_status(&mut self, status: StatusCode) {
        self.inner.status = status;
    }

    /// Whether the status was not chosen, but is that of an error that nothing is known of.
    pub(in crate::http) fn is_foreign(&self) -> bool {
        self.inner.message.is_none() && self.inner.status == StatusCode::INTERNAL_SERVER_ERROR
    }

    /// Writes the error to the log. May panic, as the text of its cause is code of the program.
    pub(in crate::http) fn log(&self) {
        let Inner {
            status, location, ..
        } = &*self.inner;
        if self.inner.is_logged {
            return;
        }
        if status.is_server_error() {
            log::error!("handler failed at {location}: {self}");
        } else {
            log::debug!("handler answered {status} at {location}: {self}");
        }
    }

    /// Returns the error it was made from.
    pub fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref()
    }
}

impl<E: StdError + 'static> From<E> for HandlerError {
    // The caller is then the place of the `?`.
    #[track_caller]
    fn from(error: E) -> Self {
        let status = fault_of(&error).map_or(StatusCode::INTERNAL_SERVER_ERROR, |fault| fault.0);
        Self::new(status, None, Some(error.into()))
    }
}

impl IntoResponse for HandlerError {
    fn into_response(self) -> Response {
        let mut response = self.answer();
        // It is logged once the response is final, and an app may render it in another way.
        response.leave_error(self);
        response
    }
}

/// Logs the error that a response was made of, when the response is final. May panic, as the text
/// of the error is code of the program.
#[cold]
pub(in crate::http) fn log_error_of(response: &mut Response) {
    if let Some(error) = response.take_error::<HandlerError>() {
        error.log();
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("status", &self.inner.status)
            .field("message", &self.inner.message)
            .field("source", &self.inner.source)
            .field("location", &format_args!("{}", self.inner.location))
            .finish()
    }
}

/// The message and all causes, separated by colons.
impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.inner.message, self.source().map(WithCauses)) {
            (Some(message), Some(causes)) => write!(f, "{message}: {causes}"),
            (Some(message), None) => f.write_str(message),
            (None, Some(causes)) => causes.fmt(f),
            (None, None) => Ok(()),
        }
    }
}

/// The first error in the chain that is about the request, and its status.
fn fault_of<'a>(
    error: &'a (dyn StdError + 'static),
) -> Option<(StatusCode, &'a (dyn StdError + 'static))> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // `io::Error::source` skips the very error that it wraps.
        let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
        let ours = error
            .downcast_ref::<Error>()
            .or_else(|| wrapped.and_then(|wrapped| wrapped.downcast_ref()));
        if let Some(ours) = ours
            && let Some(status) = ours.status()
        {
            return Some((status, ours));
        }
        if error.is::<MalformedPath>() {
            return Some((StatusCode::BAD_REQUEST, error));
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail<E: StdError + 'static>(error: E) -> Result<()> {
        Err(error)?;
        Ok(())
    }

    #[track_caller]
    fn check<E: StdError + 'static>(error: E, status: u16, body: &str) {
        let response = fail(error).into_response();
        assert_eq!(response.status(), status);
        assert_eq!(response.body().as_bytes(), Some(body.as_bytes()));
    }

    #[test]
    fn other_errors_do_not_leak() {
        check(io::Error::other("secret"), 500, "Internal Server Error");
        check(fmt::Error, 500, "Internal Server Error");
    }

    #[test]
    fn errors_of_the_request_keep_their_status() {
        let told = "Payload Too Large: request body is larger than 1 bytes\n";
        check(Error::body_too_large(1), 413, told);
        check(io::Error::from(Error::body_too_large(1)), 413, told);
        let nested = io::Error::other(Outer(Error::body_too_large(1).into()));
        check(Outer(nested), 413, told);
        check(Outer(Error::body_too_large(1).into()), 413, told);
        check(Error::response_too_long(1), 500, "Internal Server Error");
        check(
            crate::http::message::decode_path("%").unwrap_err(),
            400,
            "Bad Request: path is not percent-encoded UTF-8\n",
        );
    }

    #[test]
    fn an_explicit_status_shows_its_message() {
        let error = HandlerError::status(StatusCode::CONFLICT, "taken").with_source("by what");
        assert_eq!(error.status_code(), 409);
        assert_eq!(error.to_string(), "taken: by what");
        let response = error.into_response();
        assert_eq!(response.status(), 409);
        assert_eq!(response.body().as_bytes(), Some(&b"taken"[..]));
    }

    #[test]
    fn remembers_the_place_of_the_question_mark() {
        let line = line!() + 2;
        fn attempt() -> Result<()> {
            Err(fmt::Error)?;
            Ok(())
        }
        let error = attempt().unwrap_err();
        assert_eq!(error.inner.location.line(), line);
        assert!(format!("{error:?}").contains("handler.rs:"));
    }

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }
}
