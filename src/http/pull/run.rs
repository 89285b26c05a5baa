//! The loop of a program that consists of a handler and a state.

use std::io;

use super::{CLOSE_GRACE, Request, WebServer};
use crate::http::conn::panics::guarded;
use crate::http::error::Result;
use crate::http::message::{IntoResponse, Response};
use crate::http::server::AsRoot;
use crate::http::server::Signals;

impl WebServer {
    /// Reads a request, calls `handler` with it and `state`, and sends the response, suspending the
    /// caller as [`read`](Self::read) and [`write`](Self::write) do. Returns false if the server
    /// has ended instead.
    ///
    /// The handler returns the response and the next state. If it fails, panics, or returns a
    /// response that cannot be sent (see [`Client::write`](super::Client::write)), then the peer
    /// gets the error's status, mostly 500, the log gets a line, and the state stays as it was. If
    /// the connection was cut meanwhile, only the log tells.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here. If it was within the handler, the peer gets a 500.
    #[track_caller]
    pub fn serve_one<S, R>(
        &self,
        handler: impl FnOnce(&mut Request, &S) -> Result<(R, S)>,
        state: &mut S,
    ) -> io::Result<bool>
    where
        R: IntoResponse,
    {
        let Some((client, mut request)) = self.read()? else {
            return Ok(false);
        };
        // The conversion into a response is part of the handler. The handler sees the state only
        // through a shared reference, so a panic cannot leave it half-changed.
        let handle = || {
            handler(&mut request, state).map(|(response, next)| (response.into_response(), next))
        };
        let response = match guarded("handler", handle) {
            Some(Ok((mut response, next))) => {
                match response.make_final() {
                    Ok(()) => *state = next,
                    Err(fault) => {
                        log::error!("a handler gave a response that cannot be sent: {fault}");
                    }
                }
                response
            }
            Some(Err(error)) => error.into_response(),
            None => Response::internal_error(),
        };
        if let Err(error) = self.write(client, response) {
            log::debug!("a request was not answered: {error}");
        }
        Ok(true)
    }

    /// Answers requests, one after the other, until the server has ended, suspending the caller as
    /// [`read`](Self::read) and [`write`](Self::write) do. Returns the last state.
    ///
    /// The state is threaded from request to request: see [`serve_one`](Self::serve_one).
    ///
    /// SIGINT and SIGTERM end the server gently: it drains, and answers the requests that have
    /// arrived, within five seconds. A second signal ends the process at once. After this method
    /// returns, the signals have their previous effect, as far as that is known: a handler of the
    /// program's own is called all the time.
    ///
    /// On an OS thread outside of ethreads the shard is shut down at the end: see
    /// [`Server::serve`](crate::http::Server::serve).
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); then the server is closed. If the signals cannot be watched; then
    /// nothing has happened.
    ///
    /// # Cancellation
    ///
    /// As [`serve_one`](Self::serve_one).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ethreads::http::{WebServer, pull::Request};
    ///
    /// let count = |request: &mut Request, hits: &u64| {
    ///     let hits = hits + 1;
    ///     Ok((format!("{} is the target of request {hits}\n", request.target()), hits))
    /// };
    /// let hits = WebServer::open()?.run_server(count, 0)?;
    /// println!("{hits} requests were answered");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn run_server<S, R>(
        &self,
        mut handler: impl FnMut(&mut Request, &S) -> Result<(R, S)>,
        mut state: S,
    ) -> io::Result<S>
    where
        R: IntoResponse,
    {
        let signals = Signals::drain(self.handle(), CLOSE_GRACE)?;
        let root = AsRoot::default();
        let ended = loop {
            match self.serve_one(&mut handler, &mut state) {
                Ok(true) => root.begin(),
                Ok(false) => {
                    root.begin();
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        signals.end();
        let closed = self.close();
        root.end(ended.and(closed).map(|()| state))
    }
}
