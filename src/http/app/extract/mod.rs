//! The extractors that know apps and formats.
#![forbid(unsafe_code)]

#[cfg(feature = "cookie")]
pub(in crate::http) mod cookies;
pub(in crate::http) mod form;
pub(in crate::http) mod json;
#[cfg(feature = "multipart")]
pub(in crate::http) mod multipart;
pub(in crate::http) mod path;
mod path_values;
pub(in crate::http) mod query;
pub(in crate::http) mod state;

use http::StatusCode;

use crate::http::error::{HandlerError, Result};
use crate::http::exchange::request::Request;

/// Whether the type of the request's body is one of those that `is_right` accepts; without
/// parameters, in lower case.
fn has_type(request: &Request, is_right: impl Fn(&str) -> bool) -> bool {
    let kind = request.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    is_right(&kind.to_ascii_lowercase())
}

/// The error of a body whose type is not the one that the handler reads (RFC 9110 section
/// 15.5.16).
fn wrong_type<T>(request: &Request, expected: &str) -> Result<T> {
    let kind = request.header("content-type").unwrap_or("none");
    let text = format!("expected a body of type {expected}, got {kind}\n");
    Err(HandlerError::status(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        text,
    ))
}
