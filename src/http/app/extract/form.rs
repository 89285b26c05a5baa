//! HTML forms.
#![forbid(unsafe_code)]

use http::{HeaderValue, StatusCode};
use serde_core::Serialize;
use serde_core::de::DeserializeOwned;

use super::{has_type, wrong_type};
use crate::http::error::{HandlerError, Result};
use crate::http::exchange::extract::FromRequest;
use crate::http::exchange::request::Request;
use crate::http::message::{IntoResponse, Response};

/// The fields of a form as `application/x-www-form-urlencoded` (URL standard, section 5): the body
/// of a request, or of a response.
///
/// As an argument it reads the whole body, within the [limit](crate::http::App::body_limit).
/// Another type is answered with 415, and fields that do not fit `T` with 422. Names that are
/// repeated fill a [`Vec`].
///
/// # Examples
///
/// ```
/// use serde::Deserialize;
/// use ethreads::http::{App, Form, Request};
///
/// #[derive(Deserialize)]
/// struct Login {
///     name: String,
/// }
///
/// let app = App::new().post("/login", |Form(login): Form<Login>| format!("hello {}", login.name));
/// let response = app.call(Request::post("/login").form(&[("name", "ann")]).build()?);
/// assert_eq!(response.body().as_bytes(), Some(&b"hello ann"[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form<T>(pub T);

const FORM: &str = "application/x-www-form-urlencoded";

impl<T: DeserializeOwned + 'static> FromRequest for Form<T> {
    const READS_BODY: bool = true;

    fn from_request(request: &mut Request) -> Result<Self> {
        if !has_type(request, |kind| kind == FORM) {
            return wrong_type(request, FORM);
        }
        let bytes = request.bytes()?;
        serde_html_form::from_bytes(&bytes)
            .map(Self)
            .map_err(|error| {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                HandlerError::status(status, format!("form: {error}\n"))
            })
    }
}

impl<T: Serialize> IntoResponse for Form<T> {
    fn into_response(self) -> Response {
        match serde_html_form::to_string(&self.0) {
            Ok(body) => Response::typed(HeaderValue::from_static(FORM), body.into()),
            Err(error) => HandlerError::from(error).into_response(),
        }
    }
}
