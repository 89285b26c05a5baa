//! The 503 for a request that is not handled, or for a connection that is not served. The acceptor,
//! which must not wait, writes the latter before there is a request, a connection loop or a stack.
#![forbid(unsafe_code)]

use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{StatusCode, Version};

use super::connection::Connection;
use super::context::Context;
use super::log_period::LogPeriod;
use super::socket::discard_arrived;
use crate::http::message::{IntoResponse, Response};
use crate::http::proto::encode::{AnswerTo, encode_head};
use crate::runtime::driver::{ops, socket};

/// The 503 response.
#[derive(Debug)]
pub(in crate::http) struct Overload {
    retry_after: String,
    message: String,
    log: LogPeriod,
}

impl Overload {
    pub(in crate::http) fn new(retry_after: Duration, message: &str) -> Self {
        // RFC 9110 section 10.2.3: a number of seconds. Zero would make all clients retry at once.
        let seconds = retry_after.as_secs().max(1);
        Self {
            retry_after: seconds.to_string(),
            message: message.to_owned(),
            log: LogPeriod::default(),
        }
    }

    pub(in crate::http) fn response(&self) -> Response {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [(RETRY_AFTER.as_str(), self.retry_after.clone())],
            self.message.clone(),
        )
            .into_response()
    }

    /// Logs that a connection or a request gets the answer.
    pub(in crate::http) fn log(&self, what: &str, why: &str, context: &Context) {
        self.log.tell(|times| {
            let counts = &context.counts;
            log::warn!("refused {times} {what} with 503: {why}; {counts:?}");
        });
    }

    /// The encoded answer: head and body.
    fn bytes(&self, context: &Context) -> Vec<u8> {
        let answer = AnswerTo {
            version: Version::HTTP_11,
            is_head: false,
            keep_alive: false,
        };
        let response = self.response();
        let (status, headers, body) = (response.status(), response.headers(), response.body());
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
