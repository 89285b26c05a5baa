//! The 503 of those who are not served: written before there is a request, a connection loop or a
//! stack, by somebody who must not wait.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{StatusCode, Version};

use super::message::{IntoResponse, Response};
use super::proto::encode::{AnswerTo, encode_head};
use super::shared::Shared;
use super::taskmaster::Taskmaster;
use super::transport::{Deadline, deadline_from_now};
use crate::runtime::driver::{ops, socket};

/// Refused connections that are kept for a while, at most. Fewer than the descriptors that the
/// default limits leave over.
const MOST_LINGERING: usize = 64;

/// Bytes that are discarded from one of them before it is closed, at most.
const DISCARD_LIMIT: usize = 256 * 1024;

/// The answer, and those who got it.
#[derive(Debug)]
pub(super) struct Refusal {
    response: Response,
    linger: Duration,
    /// In the order of their deadlines.
    lingering: RefCell<VecDeque<Lingering>>,
}

/// A refused connection whose peer may not have read its answer yet. Closing it over a request that
/// is still on its way would reset it, and with that destroy the answer (RFC 9112 section 9.6). It
/// costs a descriptor, and nobody waits for it.
#[derive(Debug)]
struct Lingering {
    socket: OwnedFd,
    deadline: Deadline,
}

impl Refusal {
    pub(super) fn new(taskmaster: &Taskmaster, linger: Duration) -> Self {
        // RFC 9110 section 10.2.3: a number of seconds. Less than one would ask for a storm.
        let seconds = taskmaster.retry_after.as_secs().max(1).to_string();
        Self {
            response: (
                StatusCode::SERVICE_UNAVAILABLE,
                [(RETRY_AFTER.as_str(), seconds)],
                taskmaster.busy_message.clone(),
            )
                .into_response(),
            linger,
            lingering: RefCell::default(),
        }
    }

    /// The whole answer.
    pub(super) fn bytes(&self, shared: &Shared) -> Vec<u8> {
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
        shared.with_opening(|opening| {
            encode_head(&mut bytes, answer, status, headers, body.len(), opening)
        });
        bytes.extend_from_slice(body.as_bytes().unwrap_or_default());
        bytes
    }

    /// Answers, and keeps the connection for a moment.
    pub(super) fn answer(&self, shared: &Shared, socket: OwnedFd) {
        let refused = self.send(shared, socket);
        let mut lingering = self.lingering.borrow_mut();
        if lingering.len() == MOST_LINGERING {
            lingering.pop_front();
        }
        lingering.push_back(refused);
    }

    /// Answers, and closes the connection.
    pub(super) fn answer_and_close(&self, shared: &Shared, socket: OwnedFd) {
        drop(self.send(shared, socket));
    }

    fn send(&self, shared: &Shared, socket: OwnedFd) -> Lingering {
        // It fits into the empty buffer of a new socket. A peer that is gone misses nothing.
        let _ = ops::send(socket.as_fd(), &self.bytes(shared));
        let _ = socket::shutdown(socket.as_fd(), Shutdown::Write);
        Lingering {
            socket,
            deadline: deadline_from_now(self.linger),
        }
    }

    /// Closes those whose time is over.
    pub(super) fn close_old(&self, now: Deadline) {
        let mut lingering = self.lingering.borrow_mut();
        while lingering
            .front()
            .is_some_and(|refused| refused.deadline <= now)
        {
            lingering.pop_front();
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let lingering = self.lingering.borrow();
        lingering.front().map(|refused| refused.deadline)
    }
}

impl Drop for Lingering {
    /// Takes in what has arrived, so that the close is no reset.
    fn drop(&mut self) {
        let mut scratch = [0; 4096];
        let mut discarded = 0;
        while discarded < DISCARD_LIMIT {
            match ops::recv(self.socket.as_fd(), &mut scratch, false) {
                Ok(0) | Err(_) => break,
                Ok(got) => discarded += got,
            }
        }
    }
}
