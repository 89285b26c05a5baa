//! The loop of a program that has nothing but a handler and a state.

use std::io;
use std::panic::AssertUnwindSafe;

use super::{CLOSE_GRACE, Request, WebServer};
use crate::http::as_root::AsRoot;
use crate::http::error::Result;
use crate::http::message::{IntoResponse, Response};
use crate::http::signals::Signals;
use crate::runtime::base::panic::{drop_payload, message};
use crate::thread;

impl WebServer {
    /// Reads a request and answers it with what `handler` makes of it and of `state`, suspending
    /// the caller as [`read`](Self::read) and [`write`](Self::write) do. False if the server has
    /// ended instead.
    ///
    /// The handler returns the response and the next state. If it fails, panics, or gives a
    /// response that cannot be sent (see [`Client::write`](super::Client::write)), the peer gets
    /// the error's status, mostly 500, the log has a line, and the state is as it was. That the
    /// connection was cut meanwhile is told to the log alone.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here. If it was within the handler the peer gets a 500.
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
        // The conversion into a response is the handler's too. It sees its state only through a
        // shared reference, so that a panic leaves no torn one behind.
        let handle = AssertUnwindSafe(|| {
            handler(&mut request, state).map(|(response, next)| (response.into_response(), next))
        });
        let response = match thread::catch_panic(handle) {
            Ok(Ok((mut response, next))) => {
                match response.make_final() {
                    Ok(()) => *state = next,
                    Err(fault) => {
                        log::error!("a handler gave a response that cannot be sent: {fault}");
                    }
                }
                response
            }
            Ok(Err(error)) => error.into_response(),
            Err(payload) => {
                let text = message(&*payload);
                log::error!("handler panicked in ethread {}: {text}", thread::current());
                drop_payload(payload);
                Response::internal_error()
            }
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
    /// SIGINT and SIGTERM end it gently: the server drains, and what has been asked is answered,
    /// within five seconds. A second one ends the process at once. From the return of this on, the
    /// signals do what they did before, as far as that is known: a handler of the program's own is
    /// called all the time.
    ///
    /// On an OS thread outside of ethreads the shard is shut down at the end: see
    /// [`Server::serve`](crate::http::Server::serve).
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); the server is closed then. If the signals cannot be watched;
    /// nothing has happened then.
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
