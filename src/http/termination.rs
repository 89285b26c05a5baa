//! Serving until SIGTERM or SIGINT.
#![forbid(unsafe_code)]

use std::io;

use super::as_root::AsRoot;
use super::handler::Handler;
use super::server::Server;
use super::signals::Signals;

impl Server {
    /// As [`serve`](Self::serve), and SIGTERM or SIGINT drains the server. Suspends the caller
    /// until then, or drives the shard and ends it, as `serve` does. A second signal ends the
    /// process at once, even while a handler occupies the OS thread. The signals go to all servers
    /// of the process that are run, and to servers that begin while others drain.
    ///
    /// The grace of the drain is [`drain_grace`](Self::drain_grace). Handlers of these signals that
    /// were installed before are called too. When this method returns, everything is as before.
    /// Nothing but this and [`WebServer::run_server`](super::WebServer::run_server) touches these
    /// signals.
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
    pub fn run(&self, handler: impl Handler) -> io::Result<()> {
        let signals = Signals::drain(self.handle(), self.plan.drain_grace)?;
        let root = AsRoot::default();
        let served = self.serve_here(handler, &root);
        signals.end();
        root.end(served)
    }
}
