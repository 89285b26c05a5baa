//! A server without a handler: the program reads requests and answers them when it likes.
//!
//! With [`Server::serve`] the server calls a handler. With a [`WebServer`] the program calls the
//! server: [`read`](WebServer::read) returns the next request, and [`write`](WebServer::write)
//! sends the answer. The loops of each connection, of the acceptor and of the program are plain
//! loops, each in a thread of its own: a connection that has a request for the program suspends
//! itself (see [`bridge::suspend`](crate::bridge::suspend)) until the answer is there.
//!
//! Requests come out one at a time, but any number of them may be under way at once, and be
//! answered in any order; the requests of one connection come in order, as HTTP/1.1 requires.
//! Reading works on the shard's own OS thread, which drives the shard meanwhile, and in ethreads,
//! in several of them if need be. A request that has arrived and was not read yet waits with its
//! body in memory; there is at most one for each connection. A [`Client`] belongs to its shard;
//! [`Client::into_remote`] turns it into a handle by which another OS thread can answer.
//!
//! # Examples
//!
//! A loop that reads requests, and a client that sends two of them:
//!
//! ```
//! use std::io::{Read, Write};
//! use ethreads::{http::WebServer, net::TcpStream, thread};
//!
//! let server = WebServer::bind("127.0.0.1:0")?;
//! let address = server.local_addr()?;
//! let asker = thread::spawn(move || -> std::io::Result<String> {
//!     let mut stream = TcpStream::connect(address)?;
//!     stream.write_all(b"GET /one HTTP/1.1\r\nhost: here\r\n\r\n")?;
//!     stream.write_all(b"GET /two HTTP/1.0\r\n\r\n")?;
//!     let mut answers = String::new();
//!     stream.read_to_string(&mut answers)?;
//!     Ok(answers)
//! });
//! for _ in 0..2 {
//!     if let Some((client, request)) = server.read()? {
//!         server.write(client, format!("you asked for {}", request.path()))?;
//!     }
//! }
//! let answers = asker.join().expect("it does not panic")?;
//! assert!(answers.contains("you asked for /one") && answers.ends_with("you asked for /two"));
//! server.close()?;
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod client;
mod pending;
mod request;
mod run;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

pub use client::{Client, RemoteClient};
pub use request::Request;

use self::pending::{PendingRequests, PullHandler};
use crate::http::message::IntoResponse;
use crate::http::server::Server;
use crate::http::server::handle::ServerHandle;
use crate::net::{TcpListener, ToSocketAddrs, UnixListener};
use crate::runtime::base::error::WouldPark;
use crate::runtime::base::on_drop::OnDrop;
use crate::runtime::scheduler::unwind::as_io;
use crate::thread::{self, JoinHandle};

/// How long [`WebServer::close`] waits for what it cannot answer itself: for other OS threads that
/// hold a request, and for peers that are slow to take their answer. As long as a shard's shutdown.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// A server that hands out its requests. See the [module](self).
///
/// It listens from the beginning, and accepts connections from the first [`read`](Self::read) on,
/// whenever its shard runs. To configure it, configure a [`Server`] and convert that:
///
/// ```
/// use ethreads::http::{Limits, Server, WebServer};
///
/// let mut limits = Limits::default();
/// limits.body_bytes = 10 << 20;
/// let server = WebServer::from(Server::bind("127.0.0.1:0")?.limits(limits));
/// # server.close()
/// # ; Ok::<(), std::io::Error>(())
/// ```
///
/// Dropping it does what [`close`](Self::close) does, but does not wait: what is left to be sent is
/// sent if the shard goes on running.
///
/// It stays on its OS thread:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::http::WebServer::open());
/// ```
pub struct WebServer {
    pending: Rc<PendingRequests>,
    /// `None` once it is served.
    server: RefCell<Option<Server>>,
    /// Set from then on, until it is joined.
    serving: RefCell<Option<JoinHandle<()>>>,
    handle: ServerHandle,
    local_addr: Option<SocketAddr>,
}

impl WebServer {
    /// The address that [`open`](Self::open) listens on.
    pub const DEFAULT_ADDRESS: &'static str = "127.0.0.1:8080";

    /// Listens on [`DEFAULT_ADDRESS`](Self::DEFAULT_ADDRESS).
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`].
    #[track_caller]
    pub fn open() -> io::Result<Self> {
        Self::bind(Self::DEFAULT_ADDRESS)
    }

    /// Listens on a TCP address, as [`Server::bind`]: a name is resolved, which suspends the
    /// caller.
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
        Ok(Server::bind(address)?.into())
    }

    /// Returns the address that the server listens on.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a Unix socket, which has no such address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr
            .ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Returns a handle that ends the server gently, from any ethread or OS thread: after
    /// [`ServerHandle::drain`] the requests that have arrived still come out of
    /// [`read`](Self::read), which returns `None` when all of them have been answered.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Waits for a request, suspending the caller; on the shard's own OS thread, drives the shard
    /// meanwhile. Returns `None` when the server has ended.
    ///
    /// The request is complete, with its body. A request that is malformed or too large, or whose
    /// peer closes the connection early, is handled by its connection and is never returned here.
    /// Several ethreads may wait; each request goes to the ethread that has waited longest.
    ///
    /// # Errors
    ///
    /// Once, if the listener fails in a way that cannot pass; then the server has ended. On the
    /// shard's own OS thread also if nothing can ever bring a request, because the server drains
    /// and waits for answers that nothing is left to give. `Other` with the source [`WouldPark`] if
    /// there is no request and the caller unwinds.
    ///
    /// # Panics
    ///
    /// In a closure given to [`suspend`](crate::bridge::suspend), if there is no request yet.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and takes no request with it.
    #[track_caller]
    pub fn read(&self) -> io::Result<Option<(Client, Request)>> {
        self.start()?;
        let arrived = match self.pending.next() {
            None if !self.pending.is_over() => self.pending.wait()?,
            arrived => arrived,
        };
        match arrived {
            Some(arrived) => Ok(Some(Client::of(&self.pending, arrived))),
            None => self.pending.take_failure().map(|()| None),
        }
    }

    /// Answers a request, suspending the caller until the kernel has taken as much of the response
    /// as it takes at once; the rest follows whenever the shard runs. The same as
    /// [`Client::write`].
    ///
    /// # Errors
    ///
    /// As [`Client::write`].
    ///
    /// # Cancellation
    ///
    /// As [`Client::write`].
    #[track_caller]
    pub fn write(&self, client: Client, response: impl IntoResponse) -> io::Result<()> {
        client.write(response)
    }

    /// Ends the server at once, suspending the caller until its connections are closed.
    ///
    /// All waiters in [`read`](Self::read) get `None`. Requests that were not read, and requests
    /// whose [`Client`] has not answered yet, are answered with 503. Requests that other OS threads
    /// hold ([`Client::into_remote`]) have five seconds, and peers have as long to take their
    /// answers; what is left then is cut. Use [`handle`](Self::handle) to let all requests finish.
    /// This ends neither the program's own ethreads nor the shard.
    ///
    /// A second call does nothing.
    ///
    /// # Errors
    ///
    /// If the listener has failed and no `read` has returned the error yet. `Other` with the source
    /// [`WouldPark`] if connections are open and the caller unwinds: they are closed later.
    ///
    /// # Panics
    ///
    /// In a closure given to [`suspend`](crate::bridge::suspend).
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here; the server still ends.
    #[track_caller]
    pub fn close(&self) -> io::Result<()> {
        self.stop();
        let serving = self.serving.borrow_mut().take();
        let joined = as_io(|| Ok(serving.map(JoinHandle::join)))?;
        if let Some(Err(payload)) = joined
            && payload.is::<WouldPark>()
        {
            let location = Location::caller();
            return Err(io::Error::other(WouldPark { location }));
        }
        self.pending.take_failure()
    }

    /// Begins to serve, unless it has begun.
    fn start(&self) -> io::Result<()> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        // With this a write gives the kernel all that it takes, in one turn, before it returns.
        server.plan.config.write_slice = usize::MAX;
        let (pending, theirs) = (self.pending.clone(), self.pending.clone());
        // Moved into the closure, so it is dropped with the closure if that never runs.
        let end = OnDrop(move || theirs.end());
        let serving = thread::Builder::new()
            .name(format!("web-server {server}"))
            .spawn(move || {
                let _end = end;
                if let Err(error) = server.serve(PullHandler(pending.clone())) {
                    pending.fail(error);
                }
                // Connections that were cut unwind in their next turn, which is before the next
                // turn of this ethread. So no connection is left when the end of the server is
                // announced.
                thread::yield_now();
            })?;
        *self.serving.borrow_mut() = Some(serving);
        Ok(())
    }

    /// Ends the server without waiting for anything.
    fn stop(&self) {
        // A server that was never served has nothing but its listener.
        drop(self.server.take());
        self.pending.close();
        self.handle.drain(CLOSE_GRACE);
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl From<Server> for WebServer {
    /// Takes a server that is set up and not served yet.
    fn from(server: Server) -> Self {
        Self {
            pending: Rc::default(),
            serving: RefCell::default(),
            handle: server.handle(),
            local_addr: server.local_addr().ok(),
            server: RefCell::new(Some(server)),
        }
    }
}

impl From<TcpListener> for WebServer {
    /// Serves on an existing listener.
    fn from(listener: TcpListener) -> Self {
        Server::from(listener).into()
    }
}

impl From<UnixListener> for WebServer {
    /// Serves on a Unix socket.
    fn from(listener: UnixListener) -> Self {
        Server::from(listener).into()
    }
}

impl fmt::Debug for WebServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebServer")
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}
