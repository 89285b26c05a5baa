//! The settings of a server, and serving: an acceptor, and an ethread per connection.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::accept_source::AcceptSource;
use super::acceptor::Acceptor;
use super::admission::GlobalLimit;
use super::as_root::AsRoot;
use super::config::{Config, Timeouts};
use super::drain::Drain;
use super::error::Error;
use super::handle::{Control, ServerHandle};
use super::handler::Handler;
use super::hooks::{Exchange, Hooks};
use super::lingering::Lingering;
use super::listener::Listener;
use super::proto::limits::Limits;
use super::state::ServerState;
use super::taskmaster::{ServerCounts, Taskmaster};
use super::transport::Family;
use crate::net::{TcpListener, ToSocketAddrs, UnixListener};
use crate::runtime::base::error::WouldPark;
use crate::runtime::driver::ops;
use crate::runtime::scheduler::unwind::as_io;
use crate::runtime::task::join::JoinHandle;
use crate::thread;

/// An HTTP server that listens. [`serve`](Self::serve) answers its requests.
///
/// # Examples
///
/// Inside a test, on a port that the system chooses:
///
/// ```
/// use std::io::{Read, Write};
/// use std::time::Duration;
/// use ethreads::http::{Request, Server};
/// use ethreads::{net::TcpStream, thread};
///
/// ethreads::run_main(|| {
///     let server = Server::bind("127.0.0.1:0")?;
///     let (address, handle) = (server.local_addr()?, server.handle());
///     let served = thread::spawn(move || {
///         server.serve(|request: &mut Request| format!("hello from {}", request.path()))
///     });
///     let mut client = TcpStream::connect(address)?;
///     client.write_all(b"GET /here HTTP/1.0\r\n\r\n")?;
///     let mut answer = String::new();
///     client.read_to_string(&mut answer)?;
///     assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
///     assert!(answer.ends_with("\r\n\r\nhello from /here"));
///     handle.drain(Duration::from_secs(1));
///     served.join().expect("serving does not panic")
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    /// `None` once the server has been served.
    source: RefCell<Option<AcceptSource>>,
    pub(super) plan: Plan,
    control: Arc<Control>,
    share: Share,
}

impl fmt::Debug for Server {
    /// Leaves out the borrowed state, since the writer may call back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// The settings of a server. Each shard that serves it has a copy.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) local_addr: Option<SocketAddr>,
    pub(super) config: Config,
    pub(super) taskmaster: Taskmaster,
    listener_name: Option<String>,
    pub(super) drain_grace: Duration,
    hooks: Option<Box<Hooks>>,
}

/// How a server relates to its copies on other shards.
#[derive(Clone, Debug)]
pub(super) enum Share {
    /// There are no other shards.
    Alone,
    /// Each of this many shards has its own limits.
    Each(usize),
    /// The limits hold for all of this many shards together.
    GlobalLimit(Arc<GlobalLimit>, usize),
}

impl Server {
    /// The default of [`drain_grace`](Self::drain_grace): 8 s, as containers are killed after 10 s,
    /// and the program may have work to do after the drain.
    pub const DRAIN_GRACE: Duration = Duration::from_secs(8);

    /// Listens on a TCP address, with `SO_REUSEADDR` and a backlog of 1024. With port 0 the system
    /// chooses the port; see [`local_addr`](Self::local_addr). A name is resolved, which suspends
    /// the caller.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`].
    ///
    /// # Cancellation
    ///
    /// As [`TcpListener::bind`].
    #[track_caller]
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(TcpListener::bind(address)?.into())
    }

    fn new(listener: OwnedFd, family: Family, local_addr: Option<SocketAddr>) -> Self {
        let plan = Plan {
            local_addr,
            config: Config::default(),
            taskmaster: Taskmaster::default(),
            listener_name: None,
            drain_grace: Self::DRAIN_GRACE,
            hooks: None,
        };
        let source = AcceptSource::Listener(Listener::new(listener, family));
        Self::of(plan, source, Arc::default(), Share::Alone)
    }

    pub(super) fn of(
        plan: Plan,
        source: AcceptSource,
        control: Arc<Control>,
        share: Share,
    ) -> Self {
        Self {
            source: RefCell::new(Some(source)),
            plan,
            control,
            share,
        }
    }

    /// Takes the source; an error if the server has been served.
    pub(super) fn take_source(&self) -> io::Result<AcceptSource> {
        self.source.take().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotConnected,
                "this server has been served before; bind another one",
            )
        })
    }

    pub(super) fn put_source(&self, source: AcceptSource) {
        *self.source.borrow_mut() = Some(source);
    }

    pub(super) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Sets the size limits of requests.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.plan.config.limits = limits;
        self
    }

    /// Sets how long a peer may take in each phase of a connection.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.plan.config.timeouts = timeouts;
        self
    }

    /// Sets the taskmaster, which decides which connections are served, and when. The default is
    /// [`Taskmaster::per_connection`].
    ///
    /// Unless the taskmaster is single-threaded, serving raises the process's soft limit of
    /// descriptors (`RLIMIT_NOFILE`) to the hard one.
    #[must_use]
    pub fn taskmaster(mut self, taskmaster: Taskmaster) -> Self {
        self.plan.taskmaster = taskmaster;
        self
    }

    /// Sets the `Server` header field; `None` leaves it out. The default is `ethreads`.
    #[must_use]
    pub fn server_header(mut self, value: impl Into<Option<HeaderValue>>) -> Self {
        self.plan.config.server = value.into();
        self
    }

    /// Sets the usable stack size, in bytes, of the ethreads that run handlers. The default is
    /// 1 MiB, of which only touched pages cost memory.
    #[must_use]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.plan.config.stack_size = bytes;
        self
    }

    /// Sets how long a drain that a signal begins may take; see [`run`](Self::run). The default is
    /// [`DRAIN_GRACE`](Self::DRAIN_GRACE).
    #[must_use]
    pub fn drain_grace(mut self, grace: Duration) -> Self {
        self.plan.drain_grace = grace;
        self
    }

    /// Sets the name of the acceptor's ethread. The default is `http-listener ADDRESS:PORT`.
    #[must_use]
    pub fn listener_name(mut self, name: impl Into<String>) -> Self {
        self.plan.listener_name = Some(name.into());
        self
    }

    /// Sets how the ethread of a connection is named. `format` is given the peer's address, or
    /// `None` on a Unix socket. The default is `http-client IP:PORT`, which is also used if
    /// `format` panics.
    #[must_use]
    pub fn client_name<F>(mut self, format: F) -> Self
    where
        F: Fn(Option<SocketAddr>) -> String + Send + Sync + 'static,
    {
        self.plan.config.ethread_hooks.client_name = Some(Arc::new(format));
        self
    }

    /// Sets a closure that runs around each connection, in the connection's ethread. `around` is
    /// given a function that serves the connection, and calls it once; the call returns when the
    /// last answer has been sent. If `around` does not call it, or panics before, the connection is
    /// closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use ethreads::http::Server;
    ///
    /// thread_local! {
    ///     static OPEN: Cell<u32> = const { Cell::new(0) };
    /// }
    ///
    /// # ethreads::run_main(|| {
    /// let server = Server::bind("127.0.0.1:0")?.around_connections(|serve| {
    ///     OPEN.set(OPEN.get() + 1);
    ///     serve();
    ///     OPEN.set(OPEN.get() - 1);
    /// });
    /// # std::io::Result::Ok(drop(server))
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn around_connections<F>(mut self, around: F) -> Self
    where
        F: Fn(&mut dyn FnMut()) + Send + Sync + 'static,
    {
        self.plan.config.ethread_hooks.around = Some(Arc::new(around));
        self
    }

    /// Calls `hook` after each answer: for an access log, or for counters.
    ///
    /// The hook runs in the ethread of the connection, when the answer has been handed to the
    /// system, or has been collected to be sent together with other answers. Requests that were
    /// refused before a handler was called are reported too. Requests that are cut by the end of a
    /// drain are not. A panic of the hook is logged.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ethreads::http::{CombinedLog, Request, Server};
    ///
    /// Server::bind("127.0.0.1:8080")?
    ///     .on_response(|exchange| println!("{}", CombinedLog(exchange)))
    ///     .serve(|_: &mut Request| "hello")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn on_response(mut self, hook: impl Fn(&Exchange<'_>) + Send + Sync + 'static) -> Self {
        self.hooks().on_response = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` with each error that a request was refused with, or that ended a connection,
    /// and with the peer's address. Errors that are returned to a handler are not reported.
    ///
    /// The hook runs in the ethread of the connection. A panic of the hook is logged.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ethreads::http::{Request, Server};
    ///
    /// Server::bind("127.0.0.1:8080")?
    ///     .on_error(|error, peer| eprintln!("{peer:?}: {error}"))
    ///     .serve(|_: &mut Request| "hello")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn on_error(
        mut self,
        hook: impl Fn(&Error, Option<SocketAddr>) + Send + Sync + 'static,
    ) -> Self {
        self.hooks().on_error = Some(Arc::new(hook));
        self
    }

    fn hooks(&mut self) -> &mut Hooks {
        self.plan.hooks.get_or_insert_default()
    }

    /// Returns the address that the server listens on.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a Unix socket, which has no such address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.plan.local_addr.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "a Unix socket has no internet address",
            )
        })
    }

    /// Returns a handle that ends the server, from any ethread or OS thread.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(self.control.clone())
    }

    /// Returns how many connections the server has.
    #[must_use]
    pub fn counts(&self) -> ServerCounts {
        self.control.counts()
    }

    /// Serves until the server is drained by its [`handle`](Self::handle), suspending the caller.
    /// [`ServerHandle::drained`] returns the report of the drain.
    ///
    /// On an OS thread outside of ethreads, as in a plain `main`, this drives the shard meanwhile
    /// and shuts it down at the end, as [`run_main`](crate::run_main) does: the other ethreads of
    /// the OS thread are cancelled and given five seconds to unwind. A call that fails before it
    /// has begun to serve does not shut the shard down, and neither does a call inside an ethread.
    ///
    /// # Errors
    ///
    /// If the listener fails permanently, or if this server has been served before; `Other` with
    /// the source [`WouldPark`] while the caller unwinds.
    ///
    /// # Cancellation
    ///
    /// When the caller is cancelled, the server stops accepting and its connections are cancelled.
    /// Queued connections are answered with 503.
    #[track_caller]
    pub fn serve(&self, handler: impl Handler) -> io::Result<()> {
        let root = AsRoot::default();
        let served = self.serve_here(handler, &root);
        root.end(served)
    }

    /// As [`serve`](Self::serve), without the end of the shard.
    #[track_caller]
    pub(super) fn serve_here(&self, handler: impl Handler, root: &AsRoot) -> io::Result<()> {
        if std::thread::panicking() {
            // While the caller unwinds, nothing below would wait, so serving would never end.
            let location = Location::caller();
            return Err(io::Error::other(WouldPark { location }));
        }
        let source = self.take_source()?;
        let me = thread::current();
        let _attached = self.control.attach(&me);
        let (state, acceptor) = self.set_up(Box::new(handler), source, &me);
        as_io(|| self.serve_until_drained(&state, &acceptor, me, root))
    }

    fn serve_until_drained(
        &self,
        state: &ServerState,
        acceptor: &Rc<Acceptor>,
        me: thread::Thread,
        root: &AsRoot,
    ) -> io::Result<()> {
        let mut ending = Ending {
            state,
            acceptor,
            ethread: Some(self.spawn_acceptor(acceptor.clone(), me.clone())?),
        };
        root.begin();
        let grace = loop {
            if let Some(grace) = self.control.drain() {
                break grace;
            }
            if ending.acceptor_has_ended() {
                return ending.join_acceptor();
            }
            thread::park();
            acceptor.wake_for_queue();
        };
        let mut drain = Drain::begin(state, acceptor, grace, &me);
        drain.wait(|| ending.acceptor_has_ended());
        let report = drain.finish();
        if ending.acceptor_has_ended() {
            ending.join_acceptor()?;
        }
        self.control.end(Some(report));
        Ok(())
    }

    fn connection_config(&self) -> Config {
        let mut config = self.plan.config.clone();
        // No other connection would be served between two requests of this connection.
        config.persistent = !self.plan.taskmaster.is_single_threaded();
        config
    }

    /// Makes what serving needs on this shard.
    fn set_up(
        &self,
        handler: Box<dyn Handler>,
        source: AcceptSource,
        me: &thread::Thread,
    ) -> (Rc<ServerState>, Rc<Acceptor>) {
        let descriptors = if self.plan.taskmaster.is_single_threaded() {
            None
        } else {
            ops::raise_descriptor_limit()
        };
        let (descriptors, global, sharing) = match &self.share {
            Share::Alone => (descriptors, None, 1),
            Share::Each(shards) => (descriptors.map(|limit| limit / *shards as u64), None, 1),
            Share::GlobalLimit(global, shards) => (descriptors, Some(global.clone()), *shards),
        };
        let taskmaster = self.plan.taskmaster.clone();
        let bounds = taskmaster.bounds(descriptors);
        let most_lingering = taskmaster.most_lingering(descriptors, bounds) / sharing;
        let counts = self.control.counts.clone();
        if let Some(global) = &global {
            let me = me.downgrade();
            global.add(counts.clone(), move || me.unpark());
        }
        let config = self.connection_config();
        let lingering = Lingering::new(config.timeouts.clone(), most_lingering, counts.clone());
        let state = Rc::new(ServerState::new(
            config,
            handler,
            self.plan.hooks.clone(),
            lingering,
        ));
        let acceptor = Acceptor::new(state.clone(), source, taskmaster, bounds, counts, global);
        (state, acceptor)
    }

    fn spawn_acceptor(
        &self,
        acceptor: Rc<Acceptor>,
        server: thread::Thread,
    ) -> io::Result<JoinHandle<io::Result<()>>> {
        let mut builder = thread::Builder::new().name(self.plan.listener_name());
        if self.plan.taskmaster.is_single_threaded() {
            builder = builder.stack_size(self.plan.config.stack_size);
        }
        builder.spawn(move || {
            let _wake = UnparkOnDrop(server);
            acceptor.run()
        })
    }
}

impl Plan {
    /// The name of the ethread that accepts.
    pub(super) fn listener_name(&self) -> String {
        match (&self.listener_name, self.local_addr) {
            (Some(name), _) => name.clone(),
            (None, Some(address)) => format!("http-listener {address}"),
            (None, None) => "http-listener unix".to_owned(),
        }
    }
}

impl From<TcpListener> for Server {
    /// Serves on an existing listener.
    fn from(listener: TcpListener) -> Self {
        let local_addr = listener.local_addr().ok();
        Self::new(listener.into(), Family::Tcp, local_addr)
    }
}

impl From<UnixListener> for Server {
    /// Serves on a Unix socket.
    fn from(listener: UnixListener) -> Self {
        Self::new(listener.into(), Family::Unix, None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server is never served again, so its waiters would wait for ever.
        self.control.end(None);
    }
}

/// Wakes the serving ethread when its acceptor ends.
struct UnparkOnDrop(thread::Thread);

impl Drop for UnparkOnDrop {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

/// Cleans up however serving ends, also by a cancel, so that nothing is left behind.
struct Ending<'a> {
    state: &'a ServerState,
    acceptor: &'a Acceptor,
    ethread: Option<JoinHandle<io::Result<()>>>,
}

impl Ending<'_> {
    fn acceptor_has_ended(&self) -> bool {
        self.ethread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn join_acceptor(&mut self) -> io::Result<()> {
        match self.ethread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the acceptor of the server panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(ethread) = &self.ethread {
            ethread.cancel();
        }
        self.acceptor.refuse_rest();
        self.state.context.flusher.stop();
        self.state.context.lingering.stop();
        self.state.cut_all();
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.plan.local_addr {
            Some(address) => write!(f, "http://{address}"),
            None => f.write_str("a Unix socket"),
        }
    }
}
