//! Hands connections from the shard that accepts them to the shards that serve them.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::listener::Accepted;
use crate::http::conn::socket::Family;
use crate::runtime::task::thread::WeakThread;
use crate::thread;

/// An accepted connection on its way to a shard.
pub(in crate::http) type Handed = (OwnedFd, Option<SocketAddr>);

/// The limit of connections on their way to a shard: as many as the queue of a listener holds.
/// While a shard is that far behind, further connections wait in the listener's queue.
const MOST: usize = 1024;

/// The accepting side. Dropping it ends the receiver, once the receiver has taken what is queued.
#[derive(Debug)]
pub(in crate::http) struct Sender {
    shared: Arc<Shared>,
    /// The limit of connections on their way.
    most: usize,
}

/// The serving side, in place of a listener.
#[derive(Debug)]
pub(in crate::http) struct Receiver {
    shared: Arc<Shared>,
    pub(in crate::http) family: Family,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    connections: VecDeque<Handed>,
    /// The sender was dropped.
    ended: bool,
    /// The receiver takes no more connections.
    closed: bool,
    /// The ethread that receives.
    receiver: Option<WeakThread>,
}

/// Creates the two sides.
pub(in crate::http) fn handover(family: Family) -> (Sender, Receiver) {
    handover_of(family, MOST)
}

/// As [`handover`], with room for `most` connections.
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

impl Sender {
    /// Hands a connection over.
    ///
    /// # Errors
    ///
    /// If the receiver takes no more connections, or too many are on their way. Returns the
    /// connection.
    pub(in crate::http) fn send(&self, connection: Handed) -> Result<(), TrySendError<Handed>> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(TrySendError::Disconnected(connection));
        }
        if state.connections.len() >= self.most {
            return Err(TrySendError::Full(connection));
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
    pub(in crate::http) fn accept(&self, look: impl Fn() -> bool) -> io::Result<Accepted> {
        loop {
            match self.accept_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            if look() {
                return Ok(Accepted::Nothing);
            }
            thread::park();
        }
    }

    /// Takes a queued connection; `WouldBlock` if there is none.
    pub(in crate::http) fn accept_now(&self) -> io::Result<Accepted> {
        match self.shared.lock().connections.pop_front() {
            Some((socket, peer)) => Ok(Accepted::Connection(socket, peer)),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Takes no more connections: a later one goes back to the sender.
    pub(in crate::http) fn close(&self) {
        self.shared.lock().closed = true;
    }

    /// Whether the sender was dropped. Connections sent before that may still be queued.
    pub(in crate::http) fn has_ended(&self) -> bool {
        self.shared.lock().ended
    }

    /// Sets the ethread that waits here, which the sender wakes.
    pub(in crate::http) fn receive_in(&self, ethread: &thread::Thread) {
        self.shared.lock().receiver = Some(ethread.downgrade());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        // Closing sockets may take a while, and the sender would wait for the lock.
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
        // Sends after the queue was found empty, before its end is checked.
        let look = || {
            if let Some(sender) = sender.take() {
                sender.send(connection()).expect("the receiver lives");
            }
            receiver.has_ended()
        };
        assert!(matches!(receiver.accept(look), Ok(Accepted::Nothing)));
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
        assert!(matches!(
            sender.send(connection()),
            Err(TrySendError::Full(_))
        ));
        receiver.accept_now().expect("there are many");
        assert!(sender.send(connection()).is_ok());
    }

    #[test]
    fn a_connection_that_is_not_taken_goes_back() {
        let (sender, receiver) = handover(Family::Unix);
        sender.send(connection()).expect("the receiver lives");
        receiver.close();
        assert!(sender.send(connection()).is_err());
        assert!(receiver.accept_now().is_ok(), "what was here before");
        let (sender, receiver) = handover(Family::Unix);
        drop(receiver);
        assert!(sender.send(connection()).is_err());
    }
}
