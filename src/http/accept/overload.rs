//! The 503 for a connection that is not served. The acceptor, which must not wait, writes it before
//! there is a request, a connection loop or a stack.
#![forbid(unsafe_code)]

use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use http::header::RETRY_AFTER;
use http::{StatusCode, Version};

use super::taskmaster::Taskmaster;
use crate::http::conn::connection::Connection;
use crate::http::conn::context::Context;
use crate::http::conn::socket::discard_arrived;
use crate::http::message::{IntoResponse, Response};
use crate::http::proto::encode::{AnswerTo, encode_head};
use crate::runtime::driver::{ops, socket};

/// The 503 response.
#[derive(Debug)]
pub(in crate::http) struct Overload {
    response: Response,
}

impl Overload {
    pub(in crate::http) fn new(taskmaster: &Taskmaster) -> Self {
        // RFC 9110 section 10.2.3: a number of seconds. Zero would make all clients retry at once.
        let seconds = taskmaster.retry_after.as_secs().max(1).to_string();
        Self {
            response: (
                StatusCode::SERVICE_UNAVAILABLE,
                [(RETRY_AFTER.as_str(), seconds)],
                taskmaster.busy_message.clone(),
            )
                .into_response(),
        }
    }

    /// The encoded answer: head and body.
    fn bytes(&self, context: &Context) -> Vec<u8> {
        let answer = AnswerTo {
            version: Version::HTTP_11,
            is_head: false,
            keep_alive: false,
        };
        let (status, headers, body) = (
            self.response.status(),
            self.response.headers(),
            self.response.body(),
        );
        let mut bytes = Vec::with_capacity(256);
        context.with_head_cache(|cache| {
            encode_head(&mut bytes, answer, status, headers, body.len(), cache)
        });
        bytes.extend_from_slice(body.as_bytes().unwrap_or_default());
        bytes
    }

    /// Answers, and lets the connection linger.
    pub(in crate::http) fn answer(&self, connection: &Rc<Connection>) {
        // The answer fits into the empty send buffer of a new socket. Errors are ignored: the peer
        // is gone.
        connection.stream.send_now(&self.bytes(&connection.context));
        connection.linger();
    }

    /// Answers, and closes the connection. For when no resources are left to let it linger. A peer
    /// that sends its request later gets a reset, and may lose the answer.
    pub(in crate::http) fn answer_and_close(&self, context: &Context, socket: OwnedFd) {
        let _ = ops::send(socket.as_fd(), &self.bytes(context));
        let _ = socket::shutdown(socket.as_fd(), Shutdown::Write);
        discard_arrived(socket.as_fd());
    }
}
