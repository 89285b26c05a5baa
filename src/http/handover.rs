//! Connections that one shard accepts and others serve.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::listener::Accepted;
use super::transport::{Deadline, Family, deadline_from_now};
use crate::runtime::task::thread::WeakThread;
use crate::thread;

/// An accepted connection, on its way.
pub(super) type Handed = (OwnedFd, Option<SocketAddr>);

/// Connections on their way to a shard, at most: as many as wait in the queue of a listener. Where
/// a shard is so far behind, those who come are better off there.
const MOST: usize = 1024;

/// The side that accepts. Dropping it ends the other one, when that has taken what is here.
#[derive(Debug)]
pub(super) struct Sender {
    shared: Arc<Shared>,
    /// Connections on their way, at most.
    most: usize,
}

/// The side that serves, in place of a listener.
#[derive(Debug)]
pub(super) struct Receiver {
    shared: Arc<Shared>,
    pub(super) family: Family,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    connections: VecDeque<Handed>,
    /// Nobody sends any more.
    ended: bool,
    /// Nobody receives any more.
    closed: bool,
    /// The ethread that receives.
    receiver: Option<WeakThread>,
}

/// Makes the two sides.
pub(super) fn handover(family: Family) -> (Sender, Receiver) {
    handover_of(family, MOST)
}

/// With room for so many.
fn handover_of(family: Family, most: usize) -> (Sender, Receiver) {
    let shared = Arc::<Shared>::default();
    let sender = Sender {
        shared: shared.clone(),
        most,
    };
    (sender, Receiver { shared, family })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&self) {
        if let Some(receiver) = &self.receiver {
            receiver.unpark();
        }
    }
}

/// Why a connection comes back.
#[derive(Debug)]
pub(super) enum SendError {
    /// Nobody receives any more.
    Closed(Handed),
    /// There are too many on their way.
    Full(Handed),
}

impl Sender {
    /// Hands a connection over.
    ///
    /// # Errors
    ///
    /// With the connection, if nobody receives any more, or too many are on their way.
    pub(super) fn send(&self, connection: Handed) -> Result<(), SendError> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(SendError::Closed(connection));
        }
        if state.connections.len() >= self.most {
            return Err(SendError::Full(connection));
        }
        state.connections.push_back(connection);
        state.wake();
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        state.wake();
    }
}

impl Receiver {
    /// As [`Listener::accept`](super::listener::Listener::accept).
    pub(super) fn accept(
        &self,
        deadline: Option<Deadline>,
        look: impl Fn() -> bool,
    ) -> io::Result<Accepted> {
        loop {
            match self.accept_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            if look() {
                return Ok(Accepted::Nobody);
            }
            match deadline {
                None => thread::park(),
                Some(deadline) => {
                    let now = deadline_from_now(Duration::ZERO);
                    if deadline <= now {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    thread::park_timeout(Duration::from_nanos(deadline - now));
                }
            }
        }
    }

    /// Takes one of those who are here; `WouldBlock` if there are none.
    pub(super) fn accept_now(&self) -> io::Result<Accepted> {
        match self.shared.lock().connections.pop_front() {
            Some((socket, peer)) => Ok(Accepted::Connection(socket, peer)),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Takes no more: what comes from here on goes back.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
    }

    /// Whether nobody sends any more. What was sent before that may still be here.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.lock().ended
    }

    /// Says who waits here, and is woken by what comes.
    pub(super) fn receive_in(&self, ethread: &thread::Thread) {
        self.shared.lock().receiver = Some(ethread.downgrade());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        // Closing a socket may take a moment, and the other side would wait for the lock.
        let connections = std::mem::take(&mut state.connections);
        drop(state);
        drop(connections);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::driver::socket::unix_stream_pair;

    fn connection() -> Handed {
        (unix_stream_pair().expect("there are descriptors").0, None)
    }

    #[test]
    fn what_comes_right_before_the_end_is_still_there() {
        let (sender, receiver) = handover(Family::Unix);
        let sender = std::cell::Cell::new(Some(sender));
        // Between the look into the queue and the one at the end.
        let look = || {
            if let Some(sender) = sender.take() {
                sender.send(connection()).expect("somebody receives");
            }
            receiver.has_ended()
        };
        assert!(matches!(receiver.accept(None, look), Ok(Accepted::Nobody)));
        let last = receiver.accept_now();
        assert!(matches!(last, Ok(Accepted::Connection(..))), "{last:?}");
        assert!(receiver.accept_now().is_err());
    }

    #[test]
    fn a_shard_that_is_behind_gets_no_more() {
        let (sender, receiver) = handover_of(Family::Unix, 3);
        for _ in 0..3 {
            sender.send(connection()).expect("there is room");
        }
        assert!(matches!(sender.send(connection()), Err(SendError::Full(_))));
        receiver.accept_now().expect("there are many");
        assert!(sender.send(connection()).is_ok());
    }

    #[test]
    fn what_nobody_takes_goes_back() {
        let (sender, receiver) = handover(Family::Unix);
        sender.send(connection()).expect("somebody receives");
        receiver.close();
        assert!(sender.send(connection()).is_err());
        assert!(receiver.accept_now().is_ok(), "what was here before");
        let (sender, receiver) = handover(Family::Unix);
        drop(receiver);
        assert!(sender.send(connection()).is_err());
    }
}
