//! A server's handle, for other ethreads and OS threads.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::bridge::{RemoteSuspended, suspend};
use crate::http::accept::taskmaster::ServerCounts;
use crate::http::admission::Counts;
use crate::http::conn::report::DrainReport;
use crate::runtime::base::error::WouldPark;
use crate::runtime::base::on_drop::OnDrop;
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::unwind::as_io;
use crate::runtime::task::thread::{Thread, WeakThread};

/// Ends a server, and reports its state. Made by [`Server::handle`](crate::http::Server::handle).
#[derive(Clone, Debug)]
pub struct ServerHandle {
    control: Arc<Control>,
}

/// What a server and its handles share.
#[derive(Default)]
pub(in crate::http) struct Control {
    state: Mutex<State>,
    /// Notified when a drain is requested and when the server has ended, for OS threads without
    /// ethreads.
    changed: Condvar,
    pub(in crate::http) counts: Arc<Counts>,
    /// The controls of its shards, once the server is served on several.
    shards: OnceLock<Box<[Arc<Self>]>>,
}

impl fmt::Debug for Control {
    /// Leaves out the locked state, since the writer may call back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// The drain that was requested: how long it may take.
    drain: Option<Duration>,
    /// The ethreads that are unparked when a drain is requested.
    told: Vec<WeakThread>,
    /// Set once the server will never be served again; with the report, if it ended in order.
    ended: Option<Option<DrainReport>>,
    /// Ethreads that wait for an event.
    waiting: Vec<(Event, RemoteSuspended<()>)>,
}

impl ServerHandle {
    pub(in crate::http) fn new(control: Arc<Control>) -> Self {
        Self { control }
    }

    /// Asks the server to drain. The server accepts the connections that are pending, stops
    /// listening, answers the requests that have begun or are on their way, closes idle
    /// connections, and cuts what is left after `grace`.
    /// [`Server::serve`](crate::http::Server::serve) then returns. This method does not wait for
    /// the end; [`drained`](Self::drained) does.
    ///
    /// Connections that wait for their turn are served meanwhile, and answered with 503 after
    /// `grace` at the latest; so are connections that have not been accepted by then.
    ///
    /// A second call does nothing. A call before the server is served takes effect when it is.
    pub fn drain(&self, grace: Duration) {
        self.control.ask_to_drain(grace);
    }

    /// Suspends the caller until the server has ended, and returns the report of its drain. On an
    /// OS thread without ethreads it blocks.
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
    /// A cancelled caller unwinds from here; the server is not affected.
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
        self.wait(Event::End)?;
        match self.control.report() {
            Some(report) => Ok(report),
            None => Err(io::Error::other("the server has ended without a drain")),
        }
    }

    /// Whether the server drains, or has ended.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.control.lock().has_happened(Event::Drain)
    }

    /// Suspends the caller until the server drains, or has ended in another way. On an OS thread
    /// without ethreads it blocks. A handler waits by
    /// [`Request::draining`](crate::http::Request::draining), which can be part of a `select!`.
    ///
    /// # Errors
    ///
    /// `Other` with the source [`WouldPark`] if the server does not drain and the caller unwinds.
    ///
    /// # Panics
    ///
    /// In a closure given to [`suspend`], if the server does not drain.
    ///
    /// # Cancellation
    ///
    /// A cancelled caller unwinds from here; the server is not affected.
    ///
    /// # Examples
    ///
    /// Other work of the program ends with the server:
    ///
    /// ```
    /// use std::time::Duration;
    /// use ethreads::http::{Request, Server};
    /// use ethreads::thread;
    ///
    /// ethreads::run_main(|| {
    ///     let server = Server::bind("127.0.0.1:0")?;
    ///     let (handle, told) = (server.handle(), server.handle());
    ///     let collects = thread::spawn(|| thread::sleep(Duration::from_secs(3600)));
    ///     let ends = thread::spawn(move || {
    ///         told.draining()?;
    ///         collects.cancel();
    ///         std::io::Result::Ok(())
    ///     });
    ///     ethreads::spawn(move || server.serve(|_: &mut Request| "hello"));
    ///     handle.drain(Duration::from_secs(5));
    ///     ends.join().expect("it does not panic")
    /// })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn draining(&self) -> io::Result<()> {
        self.wait(Event::Drain)
    }

    /// Waits for an event, unless it has happened.
    #[track_caller]
    fn wait(&self, event: Event) -> io::Result<()> {
        if self.control.lock().has_happened(event) {
            return Ok(());
        }
        check_unwinding()?;
        as_io(|| {
            self.control.wait(event);
            Ok(())
        })
    }

    /// Returns how many connections the server has.
    #[must_use]
    pub fn counts(&self) -> ServerCounts {
        self.control.counts()
    }
}

/// What a handle waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Drain,
    End,
}

impl State {
    fn has_happened(&self, event: Event) -> bool {
        self.ended.is_some() || (event == Event::Drain && self.drain.is_some())
    }
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the server is served on several shards, each with a control of its own.
    pub(in crate::http) fn spread(&self, shards: Box<[Arc<Self>]>) {
        let set = self.shards.set(shards);
        debug_assert!(set.is_ok(), "a server is served once");
    }

    /// The report of the drain; `None` if there was no drain, or it is not over.
    pub(in crate::http) fn report(&self) -> Option<DrainReport> {
        self.lock().ended.clone().flatten()
    }

    pub(in crate::http) fn counts(&self) -> ServerCounts {
        let mut counts = ServerCounts::of(&self.counts);
        for shard in self.shards.get().into_iter().flatten() {
            counts.add(&shard.counts);
        }
        counts
    }

    /// See [`ServerHandle::drain`].
    pub(in crate::http) fn ask_to_drain(&self, grace: Duration) {
        let mut state = self.lock();
        state.drain.get_or_insert(grace);
        for ethread in &state.told {
            ethread.unpark();
        }
        self.wake(state);
    }

    /// Wakes the waiters whose event has happened.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let waiting = std::mem::take(&mut state.waiting);
        let (due, left) = waiting
            .into_iter()
            .partition(|(event, _)| state.has_happened(*event));
        state.waiting = left;
        drop(state);
        self.changed.notify_all();
        let due: Vec<(Event, RemoteSuspended<()>)> = due;
        for (_, ethread) in due {
            ethread.resume(());
        }
    }

    /// The grace of the drain that was requested.
    pub(in crate::http) fn drain(&self) -> Option<Duration> {
        self.lock().drain
    }

    /// Registers `ethread`, which is unparked when a drain is requested, until the returned value
    /// is dropped.
    pub(in crate::http) fn tell<'a>(&'a self, ethread: &Thread) -> OnDrop<impl Fn() + use<'a>> {
        self.lock().told.push(ethread.downgrade());
        let id = ethread.id();
        OnDrop(move || self.lock().told.retain(|told| told.id() != id))
    }

    /// As [`tell`](Self::tell), for the ethread that serves: dropping the returned value ends the
    /// server.
    pub(in crate::http) fn attach<'a>(&'a self, server: &Thread) -> OnDrop<impl Fn() + use<'a>> {
        let told = self.tell(server);
        OnDrop(move || {
            // Captured, so that it lasts as long as this guard.
            let _told = &told;
            self.end(None);
        })
    }

    /// Wakes all waiters, as the server has ended. The first report is kept.
    pub(in crate::http) fn end(&self, report: Option<DrainReport>) {
        let mut state = self.lock();
        state.ended.get_or_insert(report);
        self.wake(state);
    }

    #[track_caller]
    fn wait(&self, event: Event) {
        if current::with(|scheduler| scheduler.is_some()) {
            suspend(|me| {
                let mut state = self.lock();
                if !state.has_happened(event) {
                    state.waiting.push((event, me.into_remote()));
                } else {
                    drop(state);
                    // Cannot fail: the ethread waits, and nothing else can resume it.
                    let _ = me.resume(());
                }
            });
            return;
        }
        let waited = self
            .changed
            .wait_while(self.lock(), |state| !state.has_happened(event));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Fails while the caller unwinds, as it must not wait then.
#[track_caller]
pub(in crate::http) fn check_unwinding() -> io::Result<()> {
    if std::thread::panicking() {
        let location = Location::caller();
        return Err(io::Error::other(WouldPark { location }));
    }
    Ok(())
}
