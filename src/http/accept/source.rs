//! The source of a server's connections: its own listener, or another shard.
#![forbid(unsafe_code)]

use std::io;

use super::handover::Receiver;
use super::listener::{Accepted, Listener};
use crate::http::conn::socket::Family;
use crate::thread::Thread;

#[derive(Debug)]
pub(in crate::http) enum AcceptSource {
    Listener(Listener),
    Handed(Receiver),
}

impl AcceptSource {
    pub(in crate::http) fn family(&self) -> Family {
        match self {
            Self::Listener(listener) => listener.family,
            Self::Handed(receiver) => receiver.family,
        }
    }

    /// Returns the listener; `None` if the connections come from another shard.
    pub(in crate::http) fn listener(&self) -> Option<&Listener> {
        match self {
            Self::Listener(listener) => Some(listener),
            Self::Handed(_) => None,
        }
    }

    /// Sets the ethread that accepts.
    pub(in crate::http) fn accept_in(&self, ethread: &Thread) {
        if let Self::Handed(receiver) = self {
            receiver.receive_in(ethread);
        }
    }

    /// Waits for a connection. If none is pending and `look` returns true, returns
    /// `Accepted::Nothing` instead of waiting. [`wake`](Self::wake) makes a waiting call check
    /// `look` again.
    pub(in crate::http) fn accept(&self, look: impl Fn() -> bool) -> io::Result<Accepted> {
        match self {
            Self::Listener(listener) => listener.accept(look),
            Self::Handed(receiver) => receiver.accept(look),
        }
    }

    /// Accepts a pending connection, on the reserve descriptor if need be; `WouldBlock` if none is
    /// pending.
    pub(in crate::http) fn accept_now(&self) -> io::Result<Accepted> {
        match self {
            Self::Listener(listener) => listener.accept_now(),
            Self::Handed(receiver) => receiver.accept_now(),
        }
    }

    /// Stops the hand-over from another shard. Connections that are here already can still be
    /// accepted.
    pub(in crate::http) fn close(&self) {
        if let Self::Handed(receiver) = self {
            receiver.close();
        }
    }

    /// Whether the source ends once no connection is pending: a listener does when its server
    /// drains, a receiver when its sender has ended.
    pub(in crate::http) fn ends(&self, draining: bool) -> bool {
        match self {
            Self::Listener(_) => draining,
            Self::Handed(receiver) => receiver.has_ended(),
        }
    }

    /// Makes `ethread`, which waits in [`accept`](Self::accept), check again whether to wait.
    pub(in crate::http) fn wake(&self, ethread: Option<&Thread>) {
        match (self, ethread) {
            (Self::Listener(listener), _) => listener.wake(),
            (Self::Handed(_), Some(ethread)) => ethread.unpark(),
            (Self::Handed(_), None) => {}
        }
    }
}
