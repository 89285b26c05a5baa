//! The rest of the way of a request, as a middleware sees it.
#![forbid(unsafe_code)]

use std::fmt;

use crate::http::exchange::request::Request;
use crate::http::message::Response;

/// What answers a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    /// `None` if no route matches.
    pub(super) route: Option<usize>,
    /// The number of the app that it belongs to.
    pub(super) scope: usize,
    /// The number of routes that match and were passed on.
    pub(super) passed: usize,
}

impl Match {
    /// Whether no route matches.
    pub(super) fn is_miss(self) -> bool {
        self.route.is_none()
    }
}

/// The rest of the way of a request.
pub(super) trait Way {
    /// Answers a request that has come this far.
    fn go_on(&self, request: &mut Request) -> Response;
}

/// The rest of the way of a request, behind a middleware. Given to the closure of
/// [`App::around`](crate::http::App::around).
#[derive(Clone, Copy)]
pub struct Next<'a> {
    pub(super) way: &'a dyn Way,
}

impl Next<'_> {
    /// Answers the request: runs the middleware inside of this one, and the handler. May be called
    /// again.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here if the handler waits.
    #[inline]
    pub fn run(&self, request: &mut Request) -> Response {
        self.way.go_on(request)
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}
