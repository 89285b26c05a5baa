//! An app as a handler.
#![forbid(unsafe_code)]

use std::io;

use http::Method;

use super::builder::App;
use super::render;
use crate::http::error::Error;
use crate::http::exchange::builder::IntoRequest;
use crate::http::exchange::handler::Handler;
use crate::http::exchange::request::Request;
use crate::http::message::Response;

impl Handler for App {
    #[inline]
    fn handle(&self, request: &mut Request) -> Response {
        self.table().answer(request)
    }

    fn prepare(&self) -> io::Result<()> {
        self.check_needs()
    }

    fn takes_connect(&self) -> bool {
        self.table().methods().methods.contains(&Method::CONNECT)
    }

    fn refuse(&self, error: &Error, head: Option<&Request>) -> Response {
        render::refuse(self.table(), error, head)
    }

    fn cancels_inside(&self) -> bool {
        true
    }
}

impl App {
    /// Answers a request without a server, as in a test: as a handler does.
    ///
    /// A handler that waits needs an ethread; outside of one, this runs the event loop of the OS
    /// thread meanwhile, as [`Server::serve`](crate::http::Server::serve) does.
    ///
    /// # Panics
    ///
    /// If the request is malformed; if a handler needs a value that the app does not have, with the
    /// error that serving would return.
    #[track_caller]
    pub fn call(&self, request: impl IntoRequest) -> Response {
        if let Err(error) = self.check_needs() {
            panic!("{error}");
        }
        self.table().answer_guarded(&mut request.into_request())
    }
}
