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

use http::StatusCode;

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
    let text = escape(error.text().trim_end());
    let code = status.as_u16();
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <title>{code} {reason}</title>\n<h1>{code} {reason}</h1>\n<p>{text}</p>\n</html>\n"
    );
    (status, [("content-type", "text/html; charset=utf-8")], page).into_response()
}

/// The page, or the text, about a panic of a handler.
pub(super) fn panic_page(message: &str, place: Option<&str>, request: &Request) -> Response {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let place = place.unwrap_or("an unknown place");
    let line = format!("{} {}", request.method(), request.target());
    let route = request.route().unwrap_or("none");
    let accept = request.header("accept").unwrap_or_default();
    if !accept.contains("text/html") {
        let text = format!(
            "handler panicked at {place}:\n{message}\n\nrequest: {line}\nroute: {route}\n\
             This text is sent in debug builds only.\n"
        );
        return (status, text).into_response();
    }
    let [place, message, line, route] = [place, message, &line, route].map(escape);
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <title>handler panicked</title>\n<h1>handler panicked at {place}</h1>\n\
         <pre>{message}</pre>\n<p>request: <code>{line}</code></p>\n\
         <p>route: <code>{route}</code></p>\n\
         <p>This page is sent in debug builds only.</p>\n</html>\n"
    );
    (status, [("content-type", "text/html; charset=utf-8")], page).into_response()
}

/// A text as the content of an element of HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
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
