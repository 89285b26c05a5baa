//! Responses to errors, for [`App::on_error`](crate::http::App::on_error).
//!
//! # Examples
//!
//! ```
//! use ethreads::http::{App, Request, error_pages};
//!
//! let app = App::new().on_error(error_pages::problem_json);
//! let response = app.call(Request::builder().target("/missing").build()?);
//! let body = str::from_utf8(response.body().as_bytes().unwrap())?;
//! assert_eq!(body, r#"{"title":"Not Found","status":404,"detail":"not found"}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

use crate::http::error::HandlerError;
use crate::http::exchange::request::Request;
use crate::http::message::{IntoResponse, Response};

/// The text of the error as plain text, as an app without a renderer answers.
pub fn text(error: &HandlerError, _: Option<&Request>) -> Response {
    error.answer()
}

/// A page with the status and the text of the error.
pub fn html(error: &HandlerError, _: Option<&Request>) -> Response {
    let status = error.status_code();
    let reason = status.canonical_reason().unwrap_or("Error");
    let mut text = String::new();
    for c in error.text().trim_end().chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            c => text.push(c),
        }
    }
    let code = status.as_u16();
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <title>{code} {reason}</title>\n<h1>{code} {reason}</h1>\n<p>{text}</p>\n</html>\n"
    );
    (status, [("content-type", "text/html; charset=utf-8")], page).into_response()
}

/// The error as `application/problem+json` (RFC 9457): its status, the reason phrase as the title,
/// and its text as the detail.
pub fn problem_json(error: &HandlerError, _: Option<&Request>) -> Response {
    let status = error.status_code();
    let title = status.canonical_reason().unwrap_or("Error");
    let text = error.text();
    let detail = Some(text.trim_end()).filter(|text| *text != title && !text.is_empty());
    // RFC 9457 section 3.1. Without a `type` it is `about:blank`, for which the title is the
    // reason.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut body = format!(
        r#"{{"title":{},"status":{}"#,
        quoted(title),
        status.as_u16()
    );
    if let Some(detail) = detail {
        body += &format!(r#","detail":{}"#, quoted(detail));
    }
    body.push('}');
    (status, [("content-type", "application/problem+json")], body).into_response()
}
