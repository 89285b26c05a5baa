//! A server: its settings, and the ways to serve.
#![forbid(unsafe_code)]

pub(in crate::http) mod access_log;
#[cfg(feature = "listenfd")]
mod activated;
mod as_root;
mod dispatcher;
mod drain;
pub(in crate::http) mod handle;
pub(in crate::http) mod made;
mod plan;
mod serving;
pub(in crate::http) mod sharded;
mod signals;
mod single;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

pub(in crate::http) use self::as_root::AsRoot;
use self::handle::{Control, ServerHandle, check_unwinding};
use self::plan::{Plan, Share};
use self::serving::Serving;
pub(in crate::http) use self::signals::Signals;
use crate::http::accept::listener::Listener;
use crate::http::accept::source::AcceptSource;
use crate::http::accept::taskmaster::{ServerCounts, Taskmaster};
use crate::http::conn::config::Timeouts;
use crate::http::conn::hooks::{Exchange, Hooks};
use crate::http::conn::socket::Family;
use crate::http::conn::stream::Stream;
use crate::http::error::Error;
use crate::http::exchange::forwarded::{ForwardedField, Forwarding};
use crate::http::exchange::handler::{Converted, Handler, IntoHandler};
use crate::http::message::IntoResponse;
use crate::http::proto::limits::Limits;
use crate::net::{Network, TcpListener, ToSocketAddrs, UnixListener};

/// An HTTP server: its settings, and its listener. [`serve`](Self::serve) accepts connections and
/// answers their requests.
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
    /// `None` once the server was served, and without a listener.
    source: RefCell<Option<AcceptSource>>,
    pub(in crate::http) plan: Plan,
    control: Arc<Control>,
    share: Share,
    /// Whether the server was made with a listener.
    listens: bool,
}

impl fmt::Debug for Server {
    /// Leaves out the borrowed state, since the writer may call back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// The default of [`drain_grace`](Self::drain_grace): 8 s, as containers are killed after 10 s,
    /// and the program may have work to do after the drain.
    pub const DRAIN_GRACE: Duration = plan::DRAIN_GRACE;

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

    /// Makes a server without a listener, for [`serve_connection`](Self::serve_connection).
    #[must_use]
    pub fn without_listener() -> Self {
        Self {
            source: RefCell::default(),
            plan: Plan::new(None),
            control: Arc::default(),
            share: Share::Alone,
            listens: false,
        }
    }

    fn new(listener: OwnedFd, family: Family, local_addr: Option<SocketAddr>) -> Self {
        let source = AcceptSource::Listener(Listener::new(listener, family));
        Self::of(Plan::new(local_addr), source, Arc::default(), Share::Alone)
    }

    pub(in crate::http) fn of(
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
            listens: true,
        }
    }

    /// Takes the source; an error if the server has been served.
    pub(in crate::http) fn take_source(&self) -> io::Result<AcceptSource> {
        let text = match self.listens {
            true => "this server has been served before; bind another one",
            false => "this server has no listener; make one with `Server::bind`",
        };
        let missing = || io::Error::new(io::ErrorKind::NotConnected, text);
        self.source.take().ok_or_else(missing)
    }

    pub(in crate::http) fn put_source(&self, source: AcceptSource) {
        *self.source.borrow_mut() = Some(source);
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

    /// Sets whether a client that leaves ends the handler of its request. The default is false: the
    /// handler goes on, and its response is not read. [`Request::peer_gone`] asks instead.
    ///
    /// The handler is unwound at its next suspension point, as by a
    /// [deadline](crate::time::timeout), and the answer is 499, as in nginx. The connection's
    /// ethread is not cancelled: middleware, hooks and the access log see the 499. A response body
    /// that is being made when the client leaves is ended, too. `thread::uncancellable` protects
    /// what must not be left half done.
    /// [`App::cancel_on_disconnect`](crate::http::App::cancel_on_disconnect) sets it for single
    /// routes.
    ///
    /// A client has left when it has ended its side (FIN) or reset the connection. A client that
    /// ends only its writing side after its request, as `nc -N` does, is taken for one that has
    /// left, as in Go and nginx; it gets the 499. The end is not seen
    ///
    /// * behind an upload that the handler does not read and that fills the connection's window, as
    ///   the FIN then waits on the client's side;
    /// * with the driver [`Polling`](crate::runtime::DriverKind::Polling), which does not tell it;
    /// * on a [boxed](Stream::boxed) stream, which shows it only to a read.
    ///
    /// [`Request::peer_gone`]: crate::http::Request::peer_gone
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ethreads::http::{CombinedLog, Server};
    /// use ethreads::thread;
    ///
    /// # ethreads::run_main(|| {
    /// let server = Server::bind("127.0.0.1:0")?
    ///     .cancel_on_disconnect(true)
    ///     .on_response(|exchange| println!("{}", CombinedLog(exchange)));
    /// # let handle = server.handle();
    /// # handle.drain(Duration::ZERO);
    /// server.serve(|| {
    ///     thread::sleep(Duration::from_secs(10)); // logged with 499 if the client does not wait
    ///     "done\n"
    /// })
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cancel_on_disconnect(mut self, cancels: bool) -> Self {
        self.plan.config.cancel_on_disconnect = cancels;
        self
    }

    /// Sets the proxies that begin each connection with a header of the PROXY protocol, version 1
    /// or 2, as HAProxy (`send-proxy-v2`) and load balancers of cloud providers do. The header
    /// tells the address of the client: [`Request::peer_addr`](crate::http::Request::peer_addr),
    /// [`client_addr`](crate::http::Request::client_addr), the hooks and the access log have it.
    ///
    /// A connection of such a proxy must begin with the header. Without one, with a malformed one,
    /// or with one that is not complete within [`Timeouts::head`], it is closed without an answer,
    /// as the protocol demands. A connection of any other peer must not have one. On a Unix socket,
    /// whose peers have no address, all of them are taken for proxies: the permissions of its file
    /// decide.
    ///
    /// The name of the connection's ethread, and the report of a drain, have the address of the
    /// proxy.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use ethreads::http::{Request, Server};
    /// use ethreads::net::TcpStream;
    /// use ethreads::thread;
    ///
    /// # ethreads::run_main(|| {
    /// let server = Server::bind("127.0.0.1:0")?.proxy_protocol(["127.0.0.0/8".parse()?]);
    /// let address = server.local_addr()?;
    /// let show = |request: &mut Request| format!("{:?}", request.client_addr());
    /// let served = thread::spawn(move || server.serve(show));
    ///
    /// let mut proxy = TcpStream::connect(address)?;
    /// proxy.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\nGET / HTTP/1.0\r\n\r\n")?;
    /// let mut answer = String::new();
    /// proxy.read_to_string(&mut answer)?;
    /// assert!(answer.ends_with("Some(192.0.2.1)"));
    /// # served.cancel();
    /// # std::io::Result::Ok(())
    /// # })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn proxy_protocol(mut self, proxies: impl IntoIterator<Item = Network>) -> Self {
        self.plan.config.proxies = Some(proxies.into_iter().collect());
        self
    }

    /// Sets the proxies that are trusted to name the client of a request in a field, and the field.
    /// [`Request::client_addr`](crate::http::Request::client_addr) and
    /// [`Request::scheme`](crate::http::Request::scheme) follow them; without this, no field is
    /// read.
    ///
    /// The fields are read from their end, where the last proxy has written, as long as the address
    /// there is one of `proxies`. The client is the first one that is not: what stands before may
    /// be of its own making. On a Unix socket, whose peers have no address, all of them are
    /// trusted.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::{ForwardedField, Request, Server, testing::Client};
    ///
    /// let show = |request: &mut Request| match request.client_addr() {
    ///     Some(client) => format!("{}://{client}", request.scheme()),
    ///     None => "unknown".to_owned(),
    /// };
    /// let proxies = ["10.0.0.0/8".parse()?];
    /// let server = Server::without_listener()
    ///     .trust_forwarded(ForwardedField::XForwardedFor, proxies);
    /// let response = Client::with_server(server, show)
    ///     .get("/")
    ///     .header("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.1")
    ///     .header("x-forwarded-proto", "https")
    ///     .send();
    /// assert_eq!(response.text(), "https://192.0.2.1");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn trust_forwarded(
        mut self,
        field: ForwardedField,
        proxies: impl IntoIterator<Item = Network>,
    ) -> Self {
        let trusted = proxies.into_iter().collect();
        self.plan.config.forwarding = Some(Arc::new(Forwarding { field, trusted }));
        self
    }

    /// Sets the grace period of a drain that a signal begins; see [`run`](Self::run). The default
    /// is [`DRAIN_GRACE`](Self::DRAIN_GRACE).
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

    /// Sets a closure that runs around each connection, in the connection's ethread. `around` gets
    /// a function that serves the connection, and must call it once. The call returns when the last
    /// answer has been sent. Without the call, the connection is closed.
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
    ///     .on_refusal(|error, peer| eprintln!("{peer:?}: {error}"))
    ///     .serve(|_: &mut Request| "hello")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn on_refusal(
        mut self,
        hook: impl Fn(&Error, Option<SocketAddr>) + Send + Sync + 'static,
    ) -> Self {
        self.hooks().on_refusal = Some(Arc::new(hook));
        self
    }

    fn hooks(&mut self) -> &mut Hooks {
        self.plan.hooks.get_or_insert_default()
    }

    /// Returns the address that the server listens on.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a Unix socket, which has no such address, and without a listener.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.plan.local_addr.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "this server has no TCP listener",
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
    /// On an OS thread outside of ethreads, as in a plain `main`, this runs the event loop
    /// meanwhile and shuts the shard down at the end, as [`run_main`](crate::run_main) does: the
    /// other ethreads of the OS thread are cancelled and given five seconds to unwind. A call that
    /// fails before it has begun to serve does not shut the shard down, and neither does a call
    /// inside an ethread.
    ///
    /// # Errors
    ///
    /// If the listener fails permanently, or if this server has been served before; `Other` with
    /// the source [`WouldPark`](crate::runtime::WouldPark) while the caller unwinds.
    ///
    /// # Cancellation
    ///
    /// When the caller is cancelled, the server stops accepting and its connections are cancelled.
    /// Queued connections are answered with 503.
    #[track_caller]
    pub fn serve<M: 'static>(
        &self,
        handler: impl IntoHandler<M, Output: IntoResponse>,
    ) -> io::Result<()> {
        let root = AsRoot::default();
        let served = self.serve_here(Box::new(Converted::new(handler)), &root);
        root.end(served)
    }

    /// As [`serve`](Self::serve), without the end of the shard.
    #[track_caller]
    pub(in crate::http) fn serve_here(
        &self,
        handler: Box<dyn Handler>,
        root: &AsRoot,
    ) -> io::Result<()> {
        check_unwinding()?;
        handler.prepare()?;
        let source = self.take_source()?;
        let serving = Serving {
            plan: &self.plan,
            control: &self.control,
            share: &self.share,
        };
        serving.serve(handler, source, root)
    }

    /// As [`serve`](Self::serve), suspending the caller, and SIGTERM or SIGINT drains the server. A
    /// second signal ends the process at once, even while a handler occupies the OS thread. A
    /// signal drains all servers of the process that this method runs, and servers that begin while
    /// others drain.
    ///
    /// The grace period of the drain is [`drain_grace`](Self::drain_grace). Signal handlers that
    /// were installed before are called, too. When this method returns, the previous actions of the
    /// signals are back. The other methods of a server do not touch signals.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve); if the signals cannot be watched, for example because too many
    /// files are open.
    ///
    /// # Cancellation
    ///
    /// As [`serve`](Self::serve).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use ethreads::http::{Request, Server};
    ///
    /// fn main() -> std::io::Result<()> {
    ///     Server::bind("127.0.0.1:8080")?
    ///         .drain_grace(Duration::from_secs(20))
    ///         .run(|request: &mut Request| format!("hello from {}\n", request.path()))
    /// }
    /// ```
    #[track_caller]
    pub fn run<M: 'static>(
        &self,
        handler: impl IntoHandler<M, Output: IntoResponse>,
    ) -> io::Result<()> {
        let signals = Signals::drain(self.handle(), self.plan.drain_grace)?;
        let root = AsRoot::default();
        let served = self.serve_here(Box::new(Converted::new(handler)), &root);
        signals.end();
        root.end(served)
    }

    /// Serves HTTP on a stream that the program has opened itself, suspending the caller until the
    /// connection ends. Examples are a stream in memory in a test, a stream in a tunnel, and a
    /// stream after a handshake of another protocol. The handlers run in the caller's ethread.
    ///
    /// The settings and hooks of the server apply, except for its taskmaster.
    /// [`counts`](Self::counts) leaves the connection out. A [drain](ServerHandle::drain) ends the
    /// connection after its current request, and closes its stream after the grace, but never
    /// cancels the caller. A [boxed](Stream::boxed) stream that waits for a request ends when its
    /// idle timeout is over.
    ///
    /// # Errors
    ///
    /// The error that broke off the connection: an error of the stream, for example of a reset
    /// within a response, or an [`Error`], wrapped. The end of the stream between two requests is
    /// no error, and neither is a request that was refused. Also fails if the ethread that waits
    /// for a drain cannot be spawned. `Other` with the source
    /// [`WouldPark`](crate::runtime::WouldPark) while the caller unwinds.
    ///
    /// # Panics
    ///
    /// With a panic of the [`around_connections`](Self::around_connections) closure, or of the
    /// stream.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and the stream is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use ethreads::http::{Request, Server};
    /// use ethreads::io;
    ///
    /// ethreads::run_main(|| {
    ///     let (mut client, stream) = io::duplex(1024);
    ///     ethreads::spawn(|| {
    ///         Server::without_listener().serve_connection(stream, |request: &mut Request| {
    ///             format!("hello from {}", request.path())
    ///         })
    ///     });
    ///     client.write_all(b"GET /here HTTP/1.0\r\n\r\n")?;
    ///     let mut answer = String::new();
    ///     client.read_to_string(&mut answer)?;
    ///     assert!(answer.ends_with("\r\n\r\nhello from /here"));
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn serve_connection<M: 'static>(
        &self,
        stream: impl Into<Stream>,
        handler: impl IntoHandler<M, Output: IntoResponse>,
    ) -> io::Result<()> {
        check_unwinding()?;
        let handler = Converted::new(handler);
        handler.prepare()?;
        single::serve(&self.plan, &self.control, stream.into(), Box::new(handler))
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

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.plan.local_addr {
            Some(address) => write!(f, "http://{address}"),
            None if self.listens => f.write_str("a Unix socket"),
            None => f.write_str("a server without a listener"),
        }
    }
}
