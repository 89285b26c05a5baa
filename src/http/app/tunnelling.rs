//! Routes of CONNECT.
#![forbid(unsafe_code)]

use std::io;

use crate::http::exchange::handler::Handler;
use crate::http::exchange::request::Request;
use crate::http::message::Response;

/// The handler of a route of CONNECT. Whatever has a status of success tells the client that the
/// tunnel has begun (RFC 9110 section 9.3.6), so no other response may have one.
pub(super) struct Tunnelling<H>(pub(super) H);

impl<H: Handler> Handler for Tunnelling<H> {
    fn handle(&self, request: &mut Request) -> Response {
        let response = self.0.handle(request);
        if response.status().is_success() && !response.body().takes_over() {
            log::error!(
                "a handler answered CONNECT with {}, and no tunnel",
                response.status()
            );
            return Response::internal_error();
        }
        response
    }

    fn prepare(&self) -> io::Result<()> {
        self.0.prepare()
    }
}
