//! What a handler takes out of a request by naming a type.
#![forbid(unsafe_code)]

use std::any::{Any, TypeId, type_name};

use bytes::Bytes;
use http::{HeaderMap, Method, Version};

use super::body::RequestBody;
use super::request::Request;
use crate::http::error::Result;

/// A type that is made from a request, as an argument of a [handler](super::handler::IntoHandler).
///
/// Ready-made are `Path`, `Query`, `Json`, `Form`, `State` and `Extension` of
/// [`http`](crate::http), and of other types [`Method`], [`Version`], [`HeaderMap`], [`String`],
/// [`Vec<u8>`], [`Bytes`] and [`RequestBody`]. Any of them in a [`Result`] gives the handler the
/// error, which is otherwise the answer; in an [`Option`] it may be absent: see [`FromOptional`].
///
/// # Examples
///
/// ```
/// use ethreads::http::{App, FromRequest, HandlerError, Request, Result, StatusCode};
///
/// struct UserAgent(String);
///
/// impl FromRequest for UserAgent {
///     fn from_request(request: &mut Request) -> Result<Self> {
///         let missing = || HandlerError::status(StatusCode::BAD_REQUEST, "no user agent\n");
///         request.header("user-agent").map(|name| Self(name.into())).ok_or_else(missing)
///     }
/// }
///
/// let app = App::new().get("/", |UserAgent(name): UserAgent| format!("you use {name}\n"));
/// assert_eq!(app.call(Request::builder().build()?).status(), 400);
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken out of a request",
    label = "no extractor",
    note = "`Json<T>`, `Query<T>`, `Form<T>` and `Path<T>` need a `T` that implements \
            `serde::Deserialize`; a `&mut Request` must be the last argument"
)]
pub trait FromRequest: Sized + 'static {
    /// Whether [`from_request`](Self::from_request) reads the body. A handler with two such
    /// arguments does not compile.
    const READS_BODY: bool = false;

    /// Notes the values that an app must have for this: see [`Needs::state`].
    fn needs(needs: &mut Needs) {
        let _ = needs;
    }

    /// Makes the value. An extractor that reads the body suspends the caller until it has arrived.
    ///
    /// # Errors
    ///
    /// The answer to the request.
    fn from_request(request: &mut Request) -> Result<Self>;
}

/// An extractor of what may be absent, as an argument of type `Option<Self>`.
///
/// Absent is `None`; what is there and malformed is an error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be optional in a request",
    note = "`Result<{Self}>` gives the handler the error instead"
)]
pub trait FromOptional: Sized + 'static {
    /// As [`FromRequest::READS_BODY`].
    const READS_BODY: bool = false;

    /// Makes the value, if the request has it.
    ///
    /// # Errors
    ///
    /// The answer to a request in which the value is malformed.
    fn from_optional(request: &mut Request) -> Result<Option<Self>>;
}

/// The values that a handler needs of its app, collected before the app is served.
#[derive(Debug, Default)]
pub struct Needs {
    types: Vec<(TypeId, &'static str)>,
}

impl Needs {
    /// Notes that a value of type `T` must have been given to `App::with`.
    pub fn state<T: Any>(&mut self) {
        self.types.push((TypeId::of::<T>(), type_name::<T>()));
    }

    /// The name of the first type.
    pub(super) fn first(&self) -> Option<&'static str> {
        self.types.first().map(|(_, name)| *name)
    }

    /// The types, with their names.
    pub(in crate::http) fn types(&self) -> &[(TypeId, &'static str)] {
        &self.types
    }
}

impl<A: FromOptional> FromRequest for Option<A> {
    const READS_BODY: bool = A::READS_BODY;

    fn from_request(request: &mut Request) -> Result<Self> {
        A::from_optional(request)
    }
}

impl<A: FromRequest> FromRequest for Result<A> {
    const READS_BODY: bool = A::READS_BODY;

    fn needs(needs: &mut Needs) {
        A::needs(needs);
    }

    fn from_request(request: &mut Request) -> Result<Self> {
        Ok(A::from_request(request))
    }
}

impl FromRequest for Method {
    fn from_request(request: &mut Request) -> Result<Self> {
        Ok(request.method().clone())
    }
}

impl FromRequest for Version {
    fn from_request(request: &mut Request) -> Result<Self> {
        Ok(request.version())
    }
}

impl FromRequest for HeaderMap {
    fn from_request(request: &mut Request) -> Result<Self> {
        Ok(request.headers().to_header_map())
    }
}

/// The body as text: as [`Request::text`].
impl FromRequest for String {
    const READS_BODY: bool = true;

    fn from_request(request: &mut Request) -> Result<Self> {
        Ok(request.text()?)
    }
}

/// The body: as [`Request::bytes`].
impl FromRequest for Vec<u8> {
    const READS_BODY: bool = true;

    fn from_request(request: &mut Request) -> Result<Self> {
        Ok(request.bytes()?)
    }
}

/// The body: as [`Request::bytes`].
impl FromRequest for Bytes {
    const READS_BODY: bool = true;

    fn from_request(request: &mut Request) -> Result<Self> {
        Ok(request.bytes()?.into())
    }
}

/// The body, to be read as it arrives: as [`Request::take_body`].
impl FromRequest for RequestBody {
    const READS_BODY: bool = true;

    fn from_request(request: &mut Request) -> Result<Self> {
        Ok(request.take_body())
    }
}
