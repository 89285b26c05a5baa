//! JSON, as a request's body and a response's.
#![forbid(unsafe_code)]

use http::{HeaderValue, StatusCode};
use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::error::Category;

use super::{has_type, wrong_type};
use crate::http::error::{HandlerError, Result};
use crate::http::exchange::extract::{FromOptional, FromRequest};
use crate::http::exchange::request::Request;
use crate::http::message::{IntoResponse, Response};

/// JSON (RFC 8259): the body of a request, read into a value, or a value as a response.
///
/// As an argument it reads the whole body, within the [limit](crate::http::App::body_limit). A type
/// other than `application/json`, or one that ends in `+json`, is answered with 415, malformed JSON
/// with 400, and JSON that does not fit `T` with 422. `Option<Json<T>>` is `None` without a body.
///
/// As a response it is the value under `application/json`; a value that cannot be serialized is
/// answered with 500.
///
/// # Examples
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use ethreads::http::{App, Json, Request};
///
/// #[derive(Deserialize, Serialize)]
/// struct Note {
///     text: String,
/// }
///
/// let app = App::new().post("/shout", |Json(note): Json<Note>| {
///     Json(Note { text: note.text.to_uppercase() })
/// });
/// let response = app.call(Request::post("/shout").json(&Note { text: "hi".into() }).build()?);
/// assert_eq!(response.body().as_bytes(), Some(&br#"{"text":"HI"}"#[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    const READS_BODY: bool = true;

    fn from_request(request: &mut Request) -> Result<Self> {
        if !has_type(request, |kind| {
            kind == "application/json" || kind.ends_with("+json")
        }) {
            return wrong_type(request, "application/json");
        }
        let bytes = request.bytes()?;
        serde_json::from_slice(&bytes).map(Self).map_err(malformed)
    }
}

impl<T: DeserializeOwned + 'static> FromOptional for Json<T> {
    const READS_BODY: bool = true;

    fn from_optional(request: &mut Request) -> Result<Option<Self>> {
        match request.header("content-type") {
            None if request.content_length() == Some(0) => Ok(None),
            _ => Self::from_request(request).map(Some),
        }
    }
}

#[cold]
fn malformed(error: serde_json::Error) -> HandlerError {
    let status = match error.classify() {
        Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
        Category::Io | Category::Syntax | Category::Eof => StatusCode::BAD_REQUEST,
    };
    HandlerError::status(status, format!("JSON: {error}\n"))
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        // Enough for most answers, so that the buffer does not grow step by step.
        let mut body = Vec::with_capacity(128);
        match serde_json::to_writer(&mut body, &self.0) {
            Ok(()) => Response::typed(HeaderValue::from_static("application/json"), body.into()),
            Err(error) => HandlerError::from(error).into_response(),
        }
    }
}
