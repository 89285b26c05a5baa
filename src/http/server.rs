//! The server: a listener, its acceptor ethread, and an ethread per connection.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::Location;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;

use super::config::{Config, Timeouts};
use super::connection;
use super::handler::Handler;
use super::proto::limits::Limits;
use super::shared::{Connection, Shared};
use super::transport::{Family, Transport};
use crate::io::Watched;
use crate::net::{TcpListener, ToSocketAddrs, UnixListener};
use crate::runtime::driver::{ops, socket};
use crate::runtime::handle::{JoinHandle, WeakThread};
use crate::runtime::source::{Direction, Left, Limit, Operation, WouldPark};
use crate::runtime::wait::WaitKind;
use crate::thread;
use crate::time::Instant;

/// How long the acceptor pauses when the process has no descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How often the log says so.
const EXHAUSTED_LOG_PERIOD: Duration = Duration::from_secs(5);

/// An HTTP server that listens, and is to be served.
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
#[derive(Debug)]
pub struct Server {
    listener: RefCell<Option<Listener>>,
    local_addr: Option<SocketAddr>,
    pub(super) config: Config,
    control: Arc<Control>,
}

#[derive(Debug)]
struct Listener {
    socket: Watched<OwnedFd>,
    family: Family,
}

/// What a [`ServerHandle`] and its server share.
#[derive(Debug, Default)]
struct Control {
    state: Mutex<ControlState>,
}

#[derive(Debug, Default)]
struct ControlState {
    /// The drain that was asked for, and how long it may take.
    drain: Option<Duration>,
    /// The ethread that serves.
    server: Option<WeakThread>,
}

impl Server {
    /// Listens on a TCP address, with `SO_REUSEADDR` and a backlog of 1024. Port 0 lets the system
    /// choose; see [`local_addr`](Self::local_addr). A name is resolved, which suspends the caller.
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
        // Only what is no socket refuses, and the first accept will say so.
        let _ = ops::set_nonblocking(listener.as_fd(), true);
        let listener = Listener {
            socket: Watched::new(listener),
            family,
        };
        Self {
            listener: RefCell::new(Some(listener)),
            local_addr,
            config: Config::default(),
            control: Arc::default(),
        }
    }

    /// Sets the size limits of requests.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Sets how long a peer may take for what.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.config.timeouts = timeouts;
        self
    }

    /// Sets the `Server` header field; `None` leaves it out. The default is `ethreads`.
    #[must_use]
    pub fn server_header(mut self, value: impl Into<Option<HeaderValue>>) -> Self {
        self.config.server = value.into();
        self
    }

    /// Sets the usable stack size, in bytes, of the ethreads that run handlers. The default is
    /// 1 MiB, of which only touched pages cost memory.
    #[must_use]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.config.stack_size = bytes;
        self
    }

    /// Returns the address that it listens on.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a Unix socket, which has none of this kind.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "a Unix socket has no internet address",
            )
        })
    }

    /// Returns a handle that ends the server, from any ethread or OS thread.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle {
            control: self.control.clone(),
        }
    }

    /// Serves until the server is drained by its [`handle`](Self::handle), suspending the caller;
    /// on an OS thread outside of ethreads it drives the shard meanwhile.
    ///
    /// # Errors
    ///
    /// If the listener fails in a way that cannot pass, and if this server has been served before;
    /// `Other` with the source [`WouldPark`] while the caller unwinds.
    ///
    /// # Cancellation
    ///
    /// A cancelled caller stops accepting, and its connections are cancelled.
    #[track_caller]
    pub fn serve(&self, handler: impl Handler) -> io::Result<()> {
        if std::thread::panicking() {
            // Nothing below would ever wait, so it would never end.
            let location = Location::caller();
            return Err(io::Error::other(WouldPark { location }));
        }
        let Some(listener) = self.listener.borrow_mut().take() else {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "this server has been served before; bind another one",
            ));
        };
        let shared = Rc::new(Shared::new(self.config.clone(), Box::new(handler)));
        let me = thread::current();
        lock(&self.control).server = Some(me.downgrade());
        let _detach = Detach(&self.control);
        let listener = Rc::new(listener);
        let acceptor = {
            let (shared, listener, me) = (shared.clone(), listener.clone(), me.clone());
            thread::Builder::new()
                .name(self.listener_name())
                .spawn(move || {
                    let _wake = UnparkOnDrop(me);
                    accept_all(&shared, &listener)
                })?
        };
        let mut ending = Ending {
            shared: &shared,
            acceptor: Some(acceptor),
        };
        let grace = loop {
            if let Some(grace) = lock(&self.control).drain {
                break grace;
            }
            if ending.acceptor_has_ended() {
                return ending.join_acceptor();
            }
            thread::park();
        };
        drain(&shared, listener, &mut ending, grace, &me)
    }

    fn listener_name(&self) -> String {
        match self.local_addr {
            Some(address) => format!("http-listener {address}"),
            None => "http-listener unix".to_owned(),
        }
    }
}

/// Stops accepting, lets requests in flight end, closes idle connections, and cuts what is left
/// at the deadline.
fn drain(
    shared: &Shared,
    listener: Rc<Listener>,
    ending: &mut Ending<'_>,
    grace: Duration,
    me: &thread::Thread,
) -> io::Result<()> {
    let deadline = Instant::now().checked_add(grace);
    shared.start_draining(me);
    listener.socket.registration().nudge();
    // From here on it is the acceptor's: closed when nobody waits there any more, so that those
    // who come later are told at once.
    drop(listener);
    while !ending.acceptor_has_ended() || shared.count() > 0 {
        let Some(deadline) = deadline else {
            thread::park();
            continue;
        };
        let left = deadline.duration_since(Instant::now());
        if left.is_zero() {
            log::warn!(
                "{} connections were cut at the end of the drain",
                shared.count()
            );
            break;
        }
        thread::park_timeout(left);
    }
    if ending.acceptor_has_ended() {
        ending.join_acceptor()
    } else {
        Ok(())
    }
}

impl From<TcpListener> for Server {
    /// Serves on a listener that is ready-made.
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

/// Ends a server. Made by [`Server::handle`].
#[derive(Clone, Debug)]
pub struct ServerHandle {
    control: Arc<Control>,
}

impl ServerHandle {
    /// Asks the server to drain: it takes the connections that are waiting to be accepted, stops
    /// listening, answers the requests that have begun, closes idle connections, and cuts what is
    /// left after `grace`. [`Server::serve`] returns then. Does not wait for that.
    ///
    /// A second call does nothing. One that comes before the server is served takes effect when it
    /// is.
    pub fn drain(&self, grace: Duration) {
        let mut state = lock(&self.control);
        state.drain.get_or_insert(grace);
        if let Some(server) = &state.server {
            server.unpark();
        }
    }
}

fn lock(control: &Control) -> std::sync::MutexGuard<'_, ControlState> {
    control.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the server's ethread out of the control when serving ends.
struct Detach<'a>(&'a Control);

impl Drop for Detach<'_> {
    fn drop(&mut self) {
        lock(self.0).server = None;
    }
}

/// Lets the serving ethread look at its acceptor's end.
struct UnparkOnDrop(thread::Thread);

impl Drop for UnparkOnDrop {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

/// However serving ends, also by a cancel: nothing of it stays behind.
struct Ending<'a> {
    shared: &'a Shared,
    acceptor: Option<JoinHandle<io::Result<()>>>,
}

impl Ending<'_> {
    fn acceptor_has_ended(&self) -> bool {
        self.acceptor.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn join_acceptor(&mut self) -> io::Result<()> {
        match self.acceptor.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the acceptor of the server panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.cancel();
        }
        self.shared.early.stop();
        self.shared.cut_all();
    }
}

impl Listener {
    /// Accepts a connection; `None` if none is waiting and `stop` is set.
    fn accept(&self, stop: &Cell<bool>) -> io::Result<Option<(Transport, Option<SocketAddr>)>> {
        let operation = Operation {
            direction: Direction::Read,
            kind: WaitKind::Accept,
            limit: Limit::Never,
            location: Location::caller(),
        };
        let accepted = self.socket.perform(
            operation,
            |_| Left::Unknown,
            |fd| match ops::accept(fd.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && stop.get() => Ok(None),
                result => result.map(Some),
            },
        )?;
        let Some((fd, address)) = accepted else {
            return Ok(None);
        };
        let peer = socket::inet_addr(address).ok();
        Ok(Some((Transport::new(fd, self.family), peer)))
    }
}

/// The acceptor's loop: ends when the server drains and nobody waits, or the listener is broken.
fn accept_all(shared: &Rc<Shared>, listener: &Listener) -> io::Result<()> {
    let mut logged: Option<Instant> = None;
    loop {
        match listener.accept(shared.draining()) {
            Ok(Some((transport, peer))) => {
                if let Err(error) = begin_connection(shared, transport, peer) {
                    log::error!("no ethread for a connection, it is closed: {error}");
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => match classify(&error) {
                AcceptError::Connection => log::debug!("a connection was gone: {error}"),
                AcceptError::Exhausted => {
                    if logged.is_none_or(|at| at.elapsed() >= EXHAUSTED_LOG_PERIOD) {
                        logged = Some(Instant::now());
                        log::error!(
                            "cannot accept connections, which wait meanwhile: {error}; raise \
                             RLIMIT_NOFILE (ulimit -n)"
                        );
                    }
                    thread::sleep(EXHAUSTED_PAUSE);
                }
                AcceptError::Listener => return Err(error),
            },
        }
    }
}

/// What an error of accept(2) is about.
enum AcceptError {
    /// The connection that was to be accepted; the next one is another matter.
    Connection,
    /// The process or the system: it may pass.
    Exhausted,
    /// The listener itself.
    Listener,
}

fn classify(error: &io::Error) -> AcceptError {
    use io::ErrorKind as Kind;
    match error.kind() {
        // The listed ones of accept(2), and those pending on the new socket, which it passes on.
        Kind::ConnectionAborted
        | Kind::ConnectionReset
        | Kind::ConnectionRefused
        | Kind::PermissionDenied
        | Kind::TimedOut
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::NetworkDown => AcceptError::Connection,
        Kind::OutOfMemory => AcceptError::Exhausted,
        _ if ops::is_out_of_descriptors(error) => AcceptError::Exhausted,
        Kind::InvalidInput | Kind::NotConnected | Kind::Unsupported => AcceptError::Listener,
        // EPROTO and the like have no kind of their own.
        _ if ops::is_connection_error(error) => AcceptError::Connection,
        _ => AcceptError::Listener,
    }
}

/// Spawns the ethread of a connection.
fn begin_connection(
    shared: &Rc<Shared>,
    transport: Transport,
    peer: Option<SocketAddr>,
) -> io::Result<()> {
    let name = match peer {
        Some(peer) => format!("http-client {peer}"),
        None => "http-client unix".to_owned(),
    };
    let connection = Rc::new(Connection {
        transport,
        idle: Cell::new(false),
        upgraded: Cell::new(false),
        output: RefCell::default(),
        listed: Cell::new(false),
    });
    let member = Membership {
        shared: shared.clone(),
        place: shared.enter(connection.clone()),
    };
    let place = member.place;
    let ethread = thread::Builder::new()
        .name(name)
        .stack_size(shared.config.stack_size)
        .spawn(move || {
            connection::serve(&member.shared, connection);
        })?;
    shared.attach(place, ethread);
    Ok(())
}

/// A connection's place among the others, left however it ends.
struct Membership {
    shared: Rc<Shared>,
    place: usize,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shared.leave(self.place);
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.local_addr {
            Some(address) => write!(f, "http://{address}"),
            None => f.write_str("a Unix socket"),
        }
    }
}
