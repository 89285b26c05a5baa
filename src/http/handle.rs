//! A server's handle: what other ethreads and OS threads can ask of it.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::admission::Counts;
use super::report::DrainReport;
use super::taskmaster::ServerCounts;
use crate::bridge::{RemoteSuspended, suspend};
use crate::runtime::base::error::WouldPark;
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::unwind::as_io;
use crate::runtime::task::thread::{Thread, WeakThread};

/// Ends a server, and knows how it fares. Made by [`Server::handle`](super::Server::handle).
#[derive(Clone, Debug)]
pub struct ServerHandle {
    control: Arc<Control>,
}

/// What a server and its handles share.
#[derive(Default)]
pub(super) struct Control {
    state: Mutex<State>,
    /// Told when the server has ended, for OS threads without ethreads.
    ended: Condvar,
    pub(super) counts: Arc<Counts>,
    /// Those of its shards, once it is served on several.
    shards: OnceLock<Box<[Arc<Self>]>>,
}

impl fmt::Debug for Control {
    /// Without what is locked: the writer may call back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// The drain that was asked for, and how long it may take.
    drain: Option<Duration>,
    /// The ethread that serves.
    server: Option<WeakThread>,
    /// It will never be served again; with the report, if that was in order.
    ended: Option<Option<DrainReport>>,
    /// Ethreads that wait for the end.
    waiting: Vec<RemoteSuspended<()>>,
}

impl ServerHandle {
    pub(super) fn new(control: Arc<Control>) -> Self {
        Self { control }
    }

    /// Asks the server to drain: it takes the connections that are waiting to be accepted, stops
    /// listening, answers the requests that have begun or are on their way, closes idle
    /// connections, and cuts what is left after `grace`. [`Server::serve`](super::Server::serve)
    /// returns then. Does not wait for that; [`drained`](Self::drained) does.
    ///
    /// Those who wait for their turn are served meanwhile, and answered with 503 at the latest
    /// after `grace`; so are those whom nobody has accepted until then.
    ///
    /// A second call does nothing. One that comes before the server is served takes effect when it
    /// is.
    pub fn drain(&self, grace: Duration) {
        self.control.ask_to_drain(grace);
    }

    /// Suspends the caller until the server has ended, and tells how its drain went. On an OS
    /// thread without ethreads it blocks.
    ///
    /// # Errors
    ///
    /// `Other` if the server has ended in another way, or was dropped without having been served;
    /// `Other` with the source [`WouldPark`] if it has not ended and the caller unwinds.
    ///
    /// # Panics
    ///
    /// In a closure given to [`suspend`], if the server has not ended.
    ///
    /// # Cancellation
    ///
    /// A cancelled caller unwinds from here; the server does not notice.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ethreads::http::{Request, Server};
    ///
    /// ethreads::run_main(|| {
    ///     let server = Server::bind("127.0.0.1:0")?;
    ///     let handle = server.handle();
    ///     ethreads::spawn(move || server.serve(|_: &mut Request| "hello"));
    ///     handle.drain(Duration::from_secs(5));
    ///     let report = handle.drained()?;
    ///     assert!(report.cut.is_empty());
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn drained(&self) -> io::Result<DrainReport> {
        if self.control.lock().ended.is_none() {
            if std::thread::panicking() {
                let location = Location::caller();
                return Err(io::Error::other(WouldPark { location }));
            }
            as_io(|| {
                self.control.wait();
                Ok(())
            })?;
        }
        match self.control.report() {
            Some(report) => Ok(report),
            None => Err(io::Error::other("the server has ended without a drain")),
        }
    }

    /// Returns how many connections the server has.
    #[must_use]
    pub fn counts(&self) -> ServerCounts {
        self.control.counts()
    }
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the server is served on several shards, each with a control of its own.
    pub(super) fn spread(&self, shards: Box<[Arc<Self>]>) {
        let set = self.shards.set(shards);
        debug_assert!(set.is_ok(), "a server is served once");
    }

    /// How the drain went; `None` if there was none, or it is not over.
    pub(super) fn report(&self) -> Option<DrainReport> {
        self.lock().ended.clone().flatten()
    }

    pub(super) fn counts(&self) -> ServerCounts {
        let mut counts = ServerCounts::default();
        counts.add(&self.counts);
        for shard in self.shards.get().into_iter().flatten() {
            counts.add(&shard.counts);
        }
        counts
    }

    /// See [`ServerHandle::drain`].
    pub(super) fn ask_to_drain(&self, grace: Duration) {
        let mut state = self.lock();
        state.drain.get_or_insert(grace);
        if let Some(server) = &state.server {
            server.unpark();
        }
    }

    /// The drain that was asked for.
    pub(super) fn drain(&self) -> Option<Duration> {
        self.lock().drain
    }

    /// `server` is unparked when a drain is asked for, until the value that this returns is
    /// dropped.
    pub(super) fn attach(&self, server: &Thread) -> Attached<'_> {
        self.lock().server = Some(server.downgrade());
        Attached(self)
    }

    /// Tells all who wait that the server has ended. The first report stays.
    pub(super) fn end(&self, report: Option<DrainReport>) {
        let mut state = self.lock();
        state.ended.get_or_insert(report);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.ended.notify_all();
        for ethread in waiting {
            ethread.resume(());
        }
    }

    #[track_caller]
    fn wait(&self) {
        if current::with(|scheduler| scheduler.is_some()) {
            suspend(|me| {
                let mut state = self.lock();
                if state.ended.is_none() {
                    state.waiting.push(me.into_remote());
                } else {
                    drop(state);
                    // It waits, as nobody else has the means to resume it.
                    let _ = me.resume(());
                }
            });
            return;
        }
        let ended = self
            .ended
            .wait_while(self.lock(), |state| state.ended.is_none());
        drop(ended.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Takes the server's ethread out of the control when serving ends, however it does.
pub(super) struct Attached<'a>(&'a Control);

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.0.lock().server = None;
        self.0.end(None);
    }
}
