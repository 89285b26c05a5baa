//! One server on several shards.
//!
//! Each shard has a [`Server`] of its own, in an ethread. This module starts the servers and ends
//! them together. Where the system does not divide the connections among listeners, the shard that
//! calls `serve` accepts them and hands them to the shards in turn.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::as_root::AsRoot;
use super::dispatcher::Dispatcher;
use super::handle::{Control, ServerHandle, check_unwinding};
use super::made::{Made, MadeHandler};
use super::plan::Share;
use super::signals::Signals;
use crate::http::accept::handover::handover;
use crate::http::accept::listener::Listener;
use crate::http::accept::source::AcceptSource;
use crate::http::accept::taskmaster::ServerCounts;
use crate::http::admission::GlobalLimit;
use crate::http::conn::report::DrainReport;
use crate::http::error::Error;
use crate::http::exchange::handler::{Handler, IntoHandler};
use crate::http::exchange::request::Request;
use crate::http::message::{IntoResponse, Response};
use crate::http::server::Server;
use crate::net::{TcpListener, ToSocketAddrs};
use crate::runtime::base::on_drop::OnDrop;
use crate::runtime::base::panic::message;
use crate::runtime::driver::socket;
use crate::runtime::scheduler::unwind::as_io;
use crate::runtime::task::shard::RemoteJoinHandle;
use crate::runtime::{ShardEnded, ShardGroup, Shards};
use crate::thread;

/// An HTTP server on several shards, each on an OS thread of its own. Made by
/// [`Server::on_shards`].
///
/// The app is either a single one that all shards share, so it never changes, or one per shard,
/// which may have state that is not `Send`. To serve different apps on different ports, run a
/// [`Server`] on each shard: see [`Shards::run`].
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::time::Duration;
/// use ethreads::http::{Request, Server};
/// use ethreads::net::TcpStream;
/// use ethreads::{Runtime, thread};
///
/// ethreads::run_main(|| {
///     let shards = Runtime::builder().shards(2);
///     let server = Server::bind_shared("127.0.0.1:0")?.on_shards(shards)?;
///     let (address, handle) = (server.local_addr()?, server.handle());
///     let served = thread::spawn(move || server.serve(|_: &mut Request| "hello"));
///     let mut client = TcpStream::connect(address)?;
///     client.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
///     let mut answer = String::new();
///     client.read_to_string(&mut answer)?;
///     assert!(answer.ends_with("hello"));
///     handle.drain(Duration::from_secs(1));
///     served.join().expect("serving does not panic")
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ShardedServer {
    server: Server,
    shards: Shards,
    /// Listeners of the other shards; `None` if one listener serves all shards.
    others: RefCell<Option<Vec<Listener>>>,
    limits_per_shard: bool,
}

impl fmt::Debug for ShardedServer {
    /// Leaves out the `RefCell`, since the writer may call back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardedServer")
            .field("server", &self.server)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Listens as [`bind`](Self::bind) does, for a server [on shards](Self::on_shards). Where the
    /// system divides connections among several listeners on one address, as Linux does, the port
    /// is shared (`SO_REUSEPORT`): each shard gets a listener, and other processes of the same user
    /// may listen there too. Resolving a name suspends the caller.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`].
    ///
    /// # Cancellation
    ///
    /// As [`TcpListener::bind`].
    #[track_caller]
    pub fn bind_shared(address: impl ToSocketAddrs) -> io::Result<Self> {
        let mut options = TcpListener::builder();
        if socket::DIVIDES_SHARED_PORTS {
            options = options.reuse_port(true);
        }
        Ok(options.bind(address)?.into())
    }

    /// Spreads the server over shards, which start when it is served.
    ///
    /// If the port is shared ([`bind_shared`](Self::bind_shared), or
    /// [`reuse_port`](crate::net::ListenOptions::reuse_port) on the program's own listener), the
    /// system divides the connections, by a hash of their addresses. Otherwise the shard that
    /// serves accepts the connections and hands them to the shards in turn. Then the shards get
    /// equal numbers, each connection costs a message to another OS thread, and Unix sockets can be
    /// served too.
    ///
    /// # Errors
    ///
    /// If the additional listeners cannot be opened.
    pub fn on_shards(self, shards: Shards) -> io::Result<ShardedServer> {
        let source = self.take_source()?;
        let others = match source.listener() {
            Some(listener) => listener.share(shards.count() - 1)?,
            None => None,
        };
        self.put_source(source);
        Ok(ShardedServer {
            server: self,
            shards,
            others: RefCell::new(others),
            limits_per_shard: false,
        })
    }
}

impl ShardedServer {
    /// Sets whether the limits of the [`Taskmaster`](crate::http::Taskmaster) apply to each shard
    /// separately. The default is false: they apply to the server as a whole. Counting together
    /// costs an atomic operation shared by all shards for each connection, and none for a request.
    #[must_use]
    pub fn limits_per_shard(mut self, per_shard: bool) -> Self {
        self.limits_per_shard = per_shard;
        self
    }

    /// Returns the address that the server listens on.
    ///
    /// # Errors
    ///
    /// As [`Server::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.server.local_addr()
    }

    /// Returns a handle that ends the server on all shards.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// Returns how many connections all shards have in total.
    #[must_use]
    pub fn counts(&self) -> ServerCounts {
        self.server.counts()
    }

    /// Serves one app on all shards, until the server is drained by its [`handle`](Self::handle).
    /// Suspends the caller as [`Server::serve`] does. The app itself cannot change, but what it
    /// refers to can, if that is `Sync`. State that one shard could change while another shard uses
    /// it does not compile:
    ///
    /// ```compile_fail,E0277
    /// use std::cell::Cell;
    /// use ethreads::Runtime;
    /// use ethreads::http::{Request, Server};
    ///
    /// let shards = Runtime::builder().shards(2);
    /// let hits = Cell::new(0);
    /// Server::bind_shared("127.0.0.1:0")?.on_shards(shards)?.serve(move |_: &mut Request| {
    ///     hits.set(hits.get() + 1);
    ///     "counted"
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Server::serve`], for the first shard that fails: then the server ends on all shards. If
    /// the shards cannot be started.
    ///
    /// # Cancellation
    ///
    /// As [`Server::serve`].
    #[track_caller]
    pub fn serve<M: 'static>(
        &self,
        app: impl IntoHandler<M, Output: IntoResponse> + Send + Sync,
    ) -> io::Result<()> {
        self.serve_each(share(app))
    }

    /// As [`serve`](Self::serve), with one app per shard: each shard calls `make` with its number.
    /// `make` returns the app, or a [`Result`] of it. Suspends the caller.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve); if `make` fails or panics.
    ///
    /// # Cancellation
    ///
    /// As [`Server::serve`].
    ///
    /// # Examples
    ///
    /// Each shard counts for itself, without a lock:
    ///
    /// ```no_run
    /// use std::cell::Cell;
    /// use ethreads::Runtime;
    /// use ethreads::http::{Request, Server};
    ///
    /// let shards = Runtime::builder().shards(0);
    /// let server = Server::bind_shared("127.0.0.1:8080")?.on_shards(shards)?;
    /// server.serve_each(|shard| {
    ///     let hits = Cell::new(0);
    ///     move |_: &mut Request| {
    ///         hits.set(hits.get() + 1);
    ///         format!("hit {} of shard {shard}\n", hits.get())
    ///     }
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn serve_each<M, H, F>(&self, make: F) -> io::Result<()>
    where
        F: Fn(usize) -> H + Send + Sync + 'static,
        H: MadeHandler<M>,
    {
        let root = AsRoot::default();
        let served = self.serve_here(make, &root);
        root.end(served)
    }

    /// As [`serve_each`](Self::serve_each), but does not end this shard.
    #[track_caller]
    fn serve_here<M, H, F>(&self, make: F, root: &AsRoot) -> io::Result<()>
    where
        F: Fn(usize) -> H + Send + Sync + 'static,
        H: MadeHandler<M>,
    {
        check_unwinding()?;
        let me = thread::current();
        let _attached = self.server.control.attach(&me);
        let serving = self.start(&me, Arc::new(make))?;
        root.begin();
        as_io(move || serving.wait())
    }

    /// As [`serve`](Self::serve), until SIGTERM or SIGINT drains the server; suspends the caller.
    /// See [`Server::run`].
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve) and [`Server::run`].
    ///
    /// # Cancellation
    ///
    /// As [`Server::serve`].
    #[track_caller]
    pub fn run<M: 'static>(
        &self,
        app: impl IntoHandler<M, Output: IntoResponse> + Send + Sync,
    ) -> io::Result<()> {
        self.run_each(share(app))
    }

    /// As [`serve_each`](Self::serve_each), until SIGTERM or SIGINT drains the server; suspends the
    /// caller. See [`Server::run`].
    ///
    /// # Errors
    ///
    /// As [`serve_each`](Self::serve_each) and [`Server::run`].
    ///
    /// # Cancellation
    ///
    /// As [`Server::serve`].
    #[track_caller]
    pub fn run_each<M, H, F>(&self, make: F) -> io::Result<()>
    where
        F: Fn(usize) -> H + Send + Sync + 'static,
        H: MadeHandler<M>,
    {
        let signals = Signals::drain(self.handle(), self.server.plan.drain_grace)?;
        let root = AsRoot::default();
        let served = self.serve_here(make, &root);
        signals.end();
        root.end(served)
    }

    /// Starts the shards, and a server on each.
    fn start<M, H, F>(&self, me: &thread::Thread, make: Arc<F>) -> io::Result<Serving>
    where
        F: Fn(usize) -> H + Send + Sync + 'static,
        H: MadeHandler<M>,
    {
        // First: if it fails, the server keeps its listener.
        let group = self.shards.clone().start()?;
        let (sources, dispatcher) = self.accept_sources(me)?;
        let control = self.server.control.clone();
        let controls: Vec<Arc<Control>> = sources.iter().map(|_| Arc::default()).collect();
        control.spread(controls.clone().into());
        let share = match self.limits_per_shard {
            true => Share::Each(sources.len()),
            false => Share::GlobalLimit(GlobalLimit::new(sources.len()), sources.len()),
        };
        let ended = Arc::<AtomicUsize>::default();
        let mut servers = Vec::new();
        for (number, (source, control)) in sources.into_iter().zip(&controls).enumerate() {
            let (plan, control) = (self.server.plan.clone(), control.clone());
            let (share, make) = (share.clone(), make.clone());
            let (ended, me) = (ended.clone(), me.clone().into_remote());
            let ends = OnDrop(move || {
                ended.fetch_add(1, Ordering::Release);
                me.unpark();
            });
            let serve = move || {
                let _ends = ends;
                let server = Server::of(plan, source, control, share);
                let Made(app) = make(number).into_made()?;
                server.serve_here(app, &AsRoot::default())
            };
            let ethread = thread::Builder::new().name("http-server");
            servers.push(ethread.spawn_on(&group.shards()[number], serve)?);
        }
        Ok(Serving {
            control,
            controls,
            servers,
            ended,
            dispatcher,
            group,
        })
    }

    /// The accept source of each shard, and the dispatcher that feeds them if they are not
    /// listeners.
    fn accept_sources(
        &self,
        me: &thread::Thread,
    ) -> io::Result<(Vec<AcceptSource>, Option<Dispatcher>)> {
        let source = self.server.take_source()?;
        let others = self.others.take();
        if let Some(others) = others {
            let others = others.into_iter().map(AcceptSource::Listener);
            return Ok(([source].into_iter().chain(others).collect(), None));
        }
        let count = self.shards.count();
        let (senders, sources) = (0..count)
            .map(|_| handover(source.family()))
            .map(|(sender, receiver)| (sender, AcceptSource::Handed(receiver)))
            .unzip();
        let AcceptSource::Listener(listener) = source else {
            unreachable!("it was bound")
        };
        let dispatcher = Dispatcher::start(&self.server, listener, senders, me.clone())?;
        Ok((sources, Some(dispatcher)))
    }
}

/// A server that runs on its shards. Dropping it ends the shards without waiting for their end.
struct Serving {
    control: Arc<Control>,
    /// The controls of the shards.
    controls: Vec<Arc<Control>>,
    servers: Vec<RemoteJoinHandle<io::Result<()>>>,
    /// How many of the servers have ended.
    ended: Arc<AtomicUsize>,
    dispatcher: Option<Dispatcher>,
    group: ShardGroup,
}

impl Serving {
    /// Waits until the server has ended on all shards, by a drain or because a part of it has
    /// failed.
    fn wait(mut self) -> io::Result<()> {
        let mut drains = false;
        // Connections that the dispatcher had refused before the drain began.
        let mut refused = 0;
        loop {
            if !drains && let Some(grace) = self.control.drain() {
                drains = true;
                refused = self.control.counts.refused.load(Ordering::Relaxed);
                self.drain(grace);
            }
            let ended = self.ended.load(Ordering::Acquire);
            let accepts = self.dispatcher.as_ref().is_some_and(Dispatcher::is_running);
            if ended == self.servers.len() && !accepts {
                break;
            }
            let has_failed = ended > 0 || (self.dispatcher.is_some() && !accepts);
            if !drains && has_failed {
                // A part of the server has failed, so the rest ends too.
                self.control.ask_to_drain(Duration::ZERO);
                continue;
            }
            thread::park();
        }
        let accepted = self.dispatcher.take().map_or(Ok(()), Dispatcher::join);
        let served = self.servers.drain(..).zip(self.group.shards());
        let served = served.map(|(server, shard)| {
            server.join().unwrap_or_else(|payload| {
                let shard = shard.name();
                Err(io::Error::other(if payload.is::<ShardEnded>() {
                    format!("{shard} has ended before its server")
                } else {
                    format!("the server of {shard} panicked: {}", message(&*payload))
                }))
            })
        });
        let served = served.fold(accepted, io::Result::and);
        self.group.shutdown();
        served?;
        let mut report = DrainReport {
            refused: self.control.counts.refused.load(Ordering::Relaxed) - refused,
            ..DrainReport::default()
        };
        for shard in &self.controls {
            report.add(shard.report().unwrap_or_default());
        }
        self.control.end(Some(report));
        Ok(())
    }

    fn drain(&self, grace: Duration) {
        // First, so that accepted connections reach their shards before the shards stop taking
        // them.
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.end();
        }
        for shard in &self.controls {
            shard.ask_to_drain(grace);
        }
    }
}

/// Makes all shards share one app.
fn share<M: 'static, H>(app: H) -> impl Fn(usize) -> Shared<H, M> + Send + Sync
where
    H: IntoHandler<M, Output: IntoResponse> + Send + Sync,
{
    let app = Arc::new(app);
    move |_| Shared(app.clone(), PhantomData)
}

/// An app that several shards share.
struct Shared<H, M>(Arc<H>, PhantomData<fn() -> M>);

impl<M: 'static, H> Handler for Shared<H, M>
where
    H: IntoHandler<M, Output: IntoResponse> + Send + Sync,
{
    fn handle(&self, request: &mut Request) -> Response {
        self.0.handle_with(request)
    }

    fn prepare(&self) -> io::Result<()> {
        self.0.prepare_with()
    }

    fn takes_connect(&self) -> bool {
        self.0.takes_connect_with()
    }

    fn refuse(&self, error: &Error, head: Option<&Request>) -> Response {
        self.0.refuse_with(error, head)
    }
}

impl fmt::Display for ShardedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}
