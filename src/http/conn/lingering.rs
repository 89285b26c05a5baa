//! Connections whose last answer is out, and whose peers may still be sending.
//!
//! Closing a socket with unread input resets the connection, and the reset destroys an answer that
//! the peer has not read yet. So only the write side is closed. The input is read and discarded
//! until the peer closes its side, is silent for too long, or has used up its time (RFC 9112
//! section 9.6).
//!
//! The registry of a server owns these connections. Each has an ethread that waits without a stack
//! and looks its connection up whenever it runs, so removing a connection from the registry closes
//! it at once. A lingering connection does not count as served, and has no buffer and no request.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::config::Timeouts;
use super::deadline::{Deadline, deadline_from_now, turn_began};
use super::stream::Stream;
use crate::http::admission::Counts;
use crate::runtime::base::wait::{NEVER, Outcome, deadline_after};
use crate::runtime::task::work::Work;
use crate::thread::{self, Thread};

/// The limit of lingering connections of one shard; beyond it the oldest is closed.
pub(in crate::http) const MOST_LINGERING: usize = 1024;

/// Bytes that are discarded from one connection before other ethreads run.
const SLICE: usize = 64 * 1024;

/// Bytes that one read discards.
const READ: usize = 8 * 1024;

/// The lingering connections of a server, on one shard.
pub(in crate::http) struct Lingering {
    timeouts: Timeouts,
    most: usize,
    pub(in crate::http) counts: Arc<Counts>,
    /// The key of the newest connection. Keys increase, so the oldest connection has the lowest.
    last: Cell<u64>,
    connections: RefCell<BTreeMap<u64, Entry>>,
    /// The buffer for discarded input; empty before its first use, and while in use.
    scratch: Cell<Box<[u8]>>,
    phase: Cell<Phase>,
    /// Unparked in a drain when no connection is left.
    watcher: RefCell<Option<Thread>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    /// No connection lingers any more.
    Stopped,
}

struct Entry {
    connection: Rc<dyn AsRef<Stream>>,
    /// When the connection is closed, whatever the peer does.
    end: Deadline,
}

impl Lingering {
    /// Creates the registry of a server that may have `most` lingering connections at a time.
    pub(in crate::http) fn new(timeouts: Timeouts, most: usize, counts: Arc<Counts>) -> Rc<Self> {
        Rc::new(Self {
            timeouts,
            most: most.clamp(1, MOST_LINGERING),
            counts,
            last: Cell::default(),
            connections: RefCell::default(),
            scratch: Cell::default(),
            phase: Cell::new(Phase::Serving),
            watcher: RefCell::default(),
        })
    }

    /// Ends a connection whose peer may still be sending. The registry owns the connection from
    /// here on: the caller must drop its references. Not a suspension point.
    pub(in crate::http) fn begin(self: &Rc<Self>, connection: Rc<dyn AsRef<Stream>>) {
        let stream = (*connection).as_ref();
        stream.shut_down_write();
        if self.phase.get() == Phase::Stopped {
            return stream.discard_arrived();
        }
        let now = deadline_from_now(Duration::ZERO);
        let end = deadline_after(now, self.total());
        let silent_until = deadline_after(now, self.silence());
        let work = Discarding {
            key: self.enter(Entry {
                connection: connection.clone(),
                end,
            }),
            silent_until,
            lingering: self.clone(),
        };
        let deadline = end.min(silent_until);
        let ethread = stream.spawn_parked("http-lingering", deadline, work);
        if let Err(error) = ethread {
            // The work is dropped, which closes the connection.
            log::debug!("a connection cannot linger: {error}");
        }
    }

    pub(in crate::http) fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }

    /// How long a peer may be silent. A drain waits for lingering connections, so it gives a silent
    /// peer no more time than a request that may be on its way.
    fn silence(&self) -> Duration {
        match self.phase.get() {
            Phase::Serving => self.timeouts.linger,
            _ => self.timeouts.linger.min(self.timeouts.in_flight),
        }
    }

    /// How long a connection may linger in total. In a drain, a peer that goes on sending gets the
    /// time that a silent peer gets otherwise.
    fn total(&self) -> Duration {
        match self.phase.get() {
            Phase::Serving => self.timeouts.linger_total,
            _ => self.timeouts.linger_total.min(self.timeouts.linger),
        }
    }

    /// Adds a connection, closing the oldest if there are too many; returns the key of the new one.
    fn enter(&self, entry: Entry) -> u64 {
        while self.connections.borrow().len() >= self.most {
            self.close_oldest();
        }
        let key = self.last.get() + 1;
        self.last.set(key);
        self.connections.borrow_mut().insert(key, entry);
        self.counts.lingering.fetch_add(1, Ordering::Relaxed);
        key
    }

    /// The connection of a key, and the end of its time; `None` if the connection was closed.
    fn get(&self, key: u64) -> Option<(Rc<dyn AsRef<Stream>>, Deadline)> {
        let connections = self.connections.borrow();
        let entry = connections.get(&key)?;
        Some((entry.connection.clone(), entry.end))
    }

    /// Closes the connection of a key, unless it is closed already.
    fn close(&self, key: u64) {
        let entry = self.connections.borrow_mut().remove(&key);
        self.finish(entry);
    }

    /// Closes the connection that has lingered for longest; false if there is none.
    pub(in crate::http) fn close_oldest(&self) -> bool {
        let oldest = self.connections.borrow_mut().pop_first();
        self.finish(oldest.map(|(_, entry)| entry))
    }

    fn finish(&self, entry: Option<Entry>) -> bool {
        let Some(Entry { connection, .. }) = entry else {
            return false;
        };
        (*connection).as_ref().discard_arrived();
        // The close wakes the connection's ethread, which finds its registry entry gone.
        drop(connection);
        self.counts.lingering.fetch_sub(1, Ordering::Relaxed);
        if self.is_empty()
            && let Some(watcher) = &*self.watcher.borrow()
        {
            watcher.unpark();
        }
        true
    }

    /// Shortens the time of lingering connections, present and future. `watcher` is unparked when
    /// the last of them is gone.
    pub(in crate::http) fn start_draining(&self, watcher: &Thread) {
        self.phase.set(Phase::Draining);
        *self.watcher.borrow_mut() = Some(watcher.clone());
        let end = deadline_from_now(self.total());
        for entry in self.connections.borrow_mut().values_mut() {
            entry.end = entry.end.min(end);
            (*entry.connection).as_ref().look_again();
        }
    }

    /// Closes all lingering connections, present and future.
    pub(in crate::http) fn stop(&self) {
        self.phase.set(Phase::Stopped);
        while self.close_oldest() {}
    }

    /// Reads and discards what has arrived, up to a slice.
    fn discard(&self, stream: &Stream) -> Progress {
        let mut scratch = self.scratch.take();
        if scratch.is_empty() {
            scratch = vec![0; READ].into_boxed_slice();
        }
        let mut discarded = 0;
        let progress = loop {
            match stream.read_now(&mut scratch, || NEVER) {
                Ok(0) => break Progress::End,
                Ok(got) => {
                    discarded += got;
                    if discarded >= SLICE {
                        break Progress::Slice;
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock if discarded > 0 => break Progress::Some,
                    io::ErrorKind::WouldBlock => break Progress::Nothing,
                    io::ErrorKind::Interrupted => {}
                    _ => break Progress::End,
                },
            }
        };
        self.scratch.set(scratch);
        progress
    }
}

/// The outcome of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Nothing,
    Some,
    /// A full slice: other ethreads run before the next read.
    Slice,
    /// The peer has closed its side, or is gone.
    End,
}

/// Reads and discards what the peer of a lingering connection sends, as the work of its ethread.
struct Discarding {
    key: u64,
    /// When the peer has been silent for too long.
    silent_until: Deadline,
    lingering: Rc<Lingering>,
}

impl Work<()> for Discarding {
    fn go_on(&mut self, outcome: Outcome) -> Option<()> {
        let mut late = outcome == Outcome::TimedOut;
        while let Some((connection, end)) = self.lingering.get(self.key) {
            if end <= turn_began() {
                break;
            }
            let stream = (*connection).as_ref();
            let progress = self.lingering.discard(stream);
            let granted = deadline_after(turn_began(), self.lingering.silence());
            self.silent_until = match progress {
                // The peer can cause a wake-up without input. That does not extend its time.
                Progress::Nothing => granted.min(self.silent_until),
                _ => granted,
            };
            match progress {
                Progress::End => break,
                Progress::Nothing if late => break,
                Progress::Slice => {
                    // Dropped first, so that a close meanwhile takes effect at once.
                    drop(connection);
                    thread::yield_now();
                    late = false;
                    continue;
                }
                Progress::Nothing | Progress::Some => {}
            }
            match stream.park_stackless(end.min(self.silent_until)) {
                Ok(true) => return None,
                Ok(false) => late = false,
                Err(_) => break,
            }
        }
        Some(())
    }
}

impl Drop for Discarding {
    fn drop(&mut self) {
        self.lingering.close(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::http::conn::socket::Family;

    struct Open(Stream);

    impl AsRef<Stream> for Open {
        fn as_ref(&self) -> &Stream {
            &self.0
        }
    }

    fn registry(most: usize) -> Rc<Lingering> {
        let timeouts = Timeouts {
            linger: Duration::MAX,
            linger_total: Duration::MAX,
            ..Timeouts::default()
        };
        Lingering::new(timeouts, most, Arc::default())
    }

    /// A peer whose connection lingers.
    fn begin(lingering: &Rc<Lingering>) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        ours.set_nonblocking(true).expect("it is a socket");
        lingering.begin(Rc::new(Open(Stream::socket(ours.into(), Family::Unix))));
        theirs
    }

    fn is_open(mut peer: &UnixStream) -> bool {
        peer.write_all(b"x").is_ok()
    }

    #[test]
    fn beyond_the_limit_the_oldest_is_closed() {
        let lingering = registry(2);
        let mut peers = Vec::new();
        for n in 1..=5_usize {
            peers.push(begin(&lingering));
            // Connections 1 and 2 run before they are closed; connection 3 does not.
            if n == 2 {
                thread::yield_now();
            }
            let open: Vec<_> = peers.iter().map(is_open).collect();
            let newest = |at: usize| at + 2 >= n;
            assert_eq!(open, (0..n).map(newest).collect::<Vec<_>>());
            assert_eq!(lingering.counts.lingering.load(Ordering::Relaxed), n.min(2));
        }
        lingering.stop();
        assert!(peers.iter().all(|peer| !is_open(peer)));
        // After `stop` no connection lingers.
        assert!(!is_open(&begin(&lingering)));
        crate::run().expect("all of them end");
        assert_eq!(Rc::strong_count(&lingering), 1);
    }

    #[test]
    fn what_is_sent_is_discarded_and_others_have_their_turn() {
        let lingering = registry(1);
        let mut peer = begin(&lingering);
        peer.set_nonblocking(true).expect("it is a socket");
        let mut turns = 0;
        let mut sent = 0;
        while sent < 16 * SLICE {
            match peer.write(&[b'x'; SLICE]) {
                Ok(got) => sent += got,
                Err(_) => {
                    turns += 1;
                    thread::yield_now();
                }
            }
        }
        assert!(turns >= 8, "{turns}");
        drop(peer);
        crate::run().expect("it ends");
        assert!(lingering.is_empty());
    }
}
