//! Where a server's connections come from: its own listener, or another shard.
#![forbid(unsafe_code)]

use std::io;

use super::handover::Receiver;
use super::listener::{Accepted, Listener};
use super::transport::{Deadline, Family};
use crate::thread::Thread;

#[derive(Debug)]
pub(super) enum Inlet {
    Listener(Listener),
    Handed(Receiver),
}

impl Inlet {
    pub(super) fn family(&self) -> Family {
        match self {
            Self::Listener(listener) => listener.family,
            Self::Handed(receiver) => receiver.family,
        }
    }

    /// Its socket, if it has one.
    pub(super) fn listener(&self) -> Option<&Listener> {
        match self {
            Self::Listener(listener) => Some(listener),
            Self::Handed(_) => None,
        }
    }

    /// The ethread that accepts.
    pub(super) fn accept_in(&self, ethread: &Thread) {
        if let Self::Handed(receiver) = self {
            receiver.receive_in(ethread);
        }
    }

    /// Waits for a connection, until `deadline`. With nobody there and `look` true it does not
    /// wait; [`wake`](Self::wake) lets it ask again.
    pub(super) fn accept(
        &self,
        deadline: Option<Deadline>,
        look: impl Fn() -> bool,
    ) -> io::Result<Accepted> {
        match self {
            Self::Listener(listener) => listener.accept(deadline, look),
            Self::Handed(receiver) => receiver.accept(deadline, look),
        }
    }

    /// Accepts one of those who wait, on the reserve if need be; `WouldBlock` if there are none.
    pub(super) fn accept_now(&self) -> io::Result<Accepted> {
        match self {
            Self::Listener(listener) => listener.accept_now(),
            Self::Handed(receiver) => receiver.accept_now(),
        }
    }

    /// Nobody comes from another shard from here on; whoever is here can still be accepted.
    pub(super) fn close(&self) {
        if let Self::Handed(receiver) = self {
            receiver.close();
        }
    }

    /// Whether it ends as soon as nobody waits there: a listener when its server drains, what comes
    /// from elsewhere when that has ended.
    pub(super) fn ends(&self, draining: bool) -> bool {
        match self {
            Self::Listener(_) => draining,
            Self::Handed(receiver) => receiver.has_ended(),
        }
    }

    /// Lets the one who waits here, which is `ethread`, ask again whether to wait.
    pub(super) fn wake(&self, ethread: Option<&Thread>) {
        match (self, ethread) {
            (Self::Listener(listener), _) => listener.wake(),
            (Self::Handed(_), Some(ethread)) => ethread.unpark(),
            (Self::Handed(_), None) => {}
        }
    }
}
