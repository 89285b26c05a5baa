//! Listeners that the service manager has passed on.
#![forbid(unsafe_code)]

use std::io;

use listenfd::ListenFd;

use super::Server;
use crate::net::{TcpListener, UnixListener};

impl Server {
    /// Makes a server of each listener that a service manager has passed to this process by socket
    /// activation, such as systemd by a `.socket` unit, in their order. Empty if there is none, and
    /// at a second call.
    ///
    /// The manager keeps the listeners, so connections wait in their queues while the service
    /// restarts, and none is refused.
    ///
    /// The variables of the manager are removed from the environment, for which no other OS thread
    /// may read the environment: call this at the beginning of `main`.
    ///
    /// # Errors
    ///
    /// If a descriptor that was passed is no socket of TCP, and no stream socket of Unix.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ethreads::http::{Request, Server};
    ///
    /// let server = match Server::activated()?.pop() {
    ///     Some(server) => server,
    ///     None => Server::bind("127.0.0.1:8080")?, // started by hand
    /// };
    /// server.run(|_: &mut Request| "hello\n")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias("LISTEN_FDS", "socket activation", "systemd"))]
    pub fn activated() -> io::Result<Vec<Self>> {
        let mut passed = ListenFd::from_env();
        (0..passed.len())
            .map(|place| server(&mut passed, place))
            .collect()
    }
}

fn server(passed: &mut ListenFd, place: usize) -> io::Result<Server> {
    // The descriptor stays if it is of another kind.
    if let Ok(Some(listener)) = passed.take_tcp_listener(place) {
        return Ok(TcpListener::from(listener).into());
    }
    match passed.take_unix_listener(place)? {
        Some(listener) => Ok(UnixListener::from(listener).into()),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}
