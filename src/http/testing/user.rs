//! What the requests of a test client have in common.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::cookies::Jar;
use crate::http::error::Error;
use crate::http::exchange::handler::Handler;
use crate::http::exchange::request::Request;
use crate::http::message::Response;
use crate::http::server::Server;

/// An application, and one user of it.
pub(super) struct User {
    pub(super) site: Rc<Site>,
    pub(super) cookies: RefCell<Jar>,
}

impl User {
    pub(super) fn new(site: Rc<Site>) -> Self {
        Self {
            site,
            cookies: RefCell::default(),
        }
    }
}

/// What clients of the same application share.
pub(super) struct Site {
    pub(super) server: Server,
    pub(super) handler: SharedHandler,
}

/// One handler for all connections.
#[derive(Clone)]
pub(super) struct SharedHandler(pub(super) Rc<dyn Handler>);

impl Handler for SharedHandler {
    fn handle(&self, request: &mut Request) -> Response {
        self.0.handle(request)
    }

    fn prepare(&self) -> io::Result<()> {
        self.0.prepare()
    }

    fn takes_connect(&self) -> bool {
        self.0.takes_connect()
    }

    fn refuse(&self, error: &Error, head: Option<&Request>) -> Response {
        self.0.refuse(error, head)
    }

    fn cancels_inside(&self) -> bool {
        self.0.cancels_inside()
    }
}
