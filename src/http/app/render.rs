//! How an app renders the errors of its handlers.
#![forbid(unsafe_code)]

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::iter;

use http::StatusCode;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, HeaderName,
    HeaderValue,
};

use super::error_pages::panic_page;
use super::spec::OnError;
use super::table::Table;
use crate::http::conn::panics::{guarded, log_panic};
use crate::http::error::{Error, HandlerError, log_error_of};
use crate::http::exchange::request::Request;
use crate::http::message::{Headers, IntoResponse, Response};
use crate::runtime::base::panic::{drop_payload, message, take_place};

/// Renders the error that a response was made of, by the rules of an app and those around it.
#[cold]
#[inline(never)]
pub(super) fn render(table: &Table, scope: usize, request: &Request, response: &mut Response) {
    let is_final = |error: &HandlerError| error.passed().is_none();
    if !response.error().is_some_and(is_final) {
        return;
    }
    let Some(mut error) = response.take_error::<HandlerError>() else {
        return;
    };
    let mut is_changed = false;
    if response.status() != error.status_code() {
        // The handler has put another status around the error.
        error.set_status(response.status());
    } else if error.is_foreign()
        && let Some(source) = error.source()
        && let Some(status) = status_of(table, scope, source)
    {
        error.set_status(status);
        is_changed = true;
    }
    guarded("text of an error", || error.log());
    if let Some(panicked) = error
        .source()
        .and_then(|source| source.downcast_ref::<Panicked>())
        && table.enclosing(scope).any(|scope| scope.shows_panics)
    {
        let mut page = panic_page(&panicked.0, panicked.1.as_deref(), request);
        add_fields(&mut page, response.headers());
        page.inherit_held(response);
        *response = page;
        return;
    }
    if !is_changed && renderer(table, scope).is_none() {
        // It is the answer of the error, with what the handler has added.
        return;
    }
    let mut rendered = answer(table, scope, &error, Some(request));
    add_fields(&mut rendered, response.headers());
    rendered.inherit_held(response);
    *response = rendered;
}

/// The fields that describe a body, which are those of the body that was rendered. `Content-Range`
/// is none of them: that of a 416 tells the length of the resource (RFC 9110 section 15.5.17).
const DESCRIBE_BODY: [HeaderName; 4] = [
    CONTENT_TYPE,
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
];

/// Adds the fields of an error to the response that was rendered for it, but for those that
/// describe the body.
fn add_fields(rendered: &mut Response, fields: &Headers) {
    let is_of_body = |name: &&HeaderName| DESCRIBE_BODY.contains(name);
    let names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
    for name in names.into_iter().filter(|name| !is_of_body(name)) {
        rendered.headers_mut().remove(name);
    }
    for (name, value) in fields.iter().filter(|(name, _)| !is_of_body(name)) {
        rendered.headers_mut().append(name.clone(), value.clone());
    }
}

/// Notes in a response how many routes have passed the request on.
pub(super) fn pass_on(response: &mut Response, passed: usize) {
    if let Some(mut error) = response.take_error::<HandlerError>() {
        error.set_passed(Some(passed));
        response.leave_error(error);
    }
}

/// Renders the response to a request that all routes have passed on, as an error.
#[cold]
#[inline(never)]
pub(super) fn end_passing(table: &Table, scope: usize, request: &Request, response: &mut Response) {
    if let Some(mut error) = response.take_error::<HandlerError>() {
        error.set_passed(None);
        response.leave_error(error);
        render(table, scope, request, response);
    }
}

/// The status that an app gives to an error or one of its causes.
fn status_of(table: &Table, scope: usize, error: &(dyn StdError + 'static)) -> Option<StatusCode> {
    let mut rules = table.enclosing(scope).flat_map(|scope| &scope.status_of);
    let apply = || rules.find_map(|rule| causes(error).find_map(|cause| rule(cause)));
    guarded("status of an error", apply).flatten()
}

/// An error and its causes, and what an `io::Error` wraps.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let chain = iter::successors(Some(error), |&error| StdError::source(error));
    chain.flat_map(|error| {
        // `io::Error::source` skips the very error that it wraps.
        let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
        iter::once(error).chain(wrapped.map(|wrapped| wrapped as _))
    })
}

/// The response to an error.
fn answer(
    table: &Table,
    scope: usize,
    error: &HandlerError,
    request: Option<&Request>,
) -> Response {
    let render = |render: &OnError| guarded("error renderer", || render(error, request));
    let mut response = match renderer(table, scope).and_then(render) {
        Some(mut response) => {
            guarded("text of an error", || log_error_of(&mut response));
            response
        }
        None => error.answer(),
    };
    add_fields(&mut response, error.headers());
    response
}

/// The nearest renderer of errors.
fn renderer(table: &Table, scope: usize) -> Option<&OnError> {
    let mut scopes = table.enclosing(scope);
    scopes.find_map(|scope| scope.on_error.as_deref())
}

/// The response to a request that the server refuses.
#[cold]
pub(super) fn refuse(table: &Table, error: &Error, head: Option<&Request>) -> Response {
    answer(table, 0, &HandlerError::refusal(error), head)
}

/// The response of a handler that has panicked, as one that has failed.
#[cold]
#[inline(never)]
pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let text = message(&*payload).to_owned();
    log_panic("handler", &*payload);
    drop_payload(payload);
    // The handler may have left the body within a chunk.
    HandlerError::logged(Panicked(text, take_place()))
        .with_header(CONNECTION, HeaderValue::from_static("close"))
        .into_response()
}

/// The panic of a handler: its message, and its place if that is known.
#[derive(Debug)]
struct Panicked(String, Option<String>);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handler panicked: {}", self.0)
    }
}

impl StdError for Panicked {}
