//! The trait of request handlers.
#![forbid(unsafe_code)]

use super::request::Request;
use crate::http::message::{IntoResponse, Response};

/// Answers requests. Every `Fn(&mut Request) -> impl IntoResponse` is a handler.
///
/// A handler runs in the ethread of the connection, so it may wait: for its own database
/// connection, for another server, for time to pass. It need be neither `Send` nor `Sync`.
///
/// # Examples
///
/// A type with state of its own:
///
/// ```
/// use std::cell::Cell;
/// use ethreads::http::{Handler, IntoResponse, Request, Response};
///
/// #[derive(Default)]
/// struct Counter(Cell<u64>);
///
/// impl Handler for Counter {
///     fn handle(&self, _request: &mut Request) -> Response {
///         self.0.set(self.0.get() + 1);
///         format!("request number {}\n", self.0.get()).into_response()
///     }
/// }
/// ```
pub trait Handler: 'static {
    /// Answers a request.
    fn handle(&self, request: &mut Request) -> Response;
}

impl<F, R> Handler for F
where
    F: Fn(&mut Request) -> R + 'static,
    R: IntoResponse,
{
    fn handle(&self, request: &mut Request) -> Response {
        self(request).into_response()
    }
}
