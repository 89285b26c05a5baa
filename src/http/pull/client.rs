//! The handles by which a program answers a request.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::pending::{Arrived, Make, PendingRequests, Slot, gone};
use super::request::Request;
use crate::bridge::RemoteSuspended;
use crate::http::message::{IntoResponse, Response};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::unwind::as_io;
use crate::thread;

/// The peer of a request that waits for its answer. Made by [`WebServer::read`].
///
/// Dropping it unanswered answers 500, with a line in the log.
///
/// A `Client` stays on its OS thread; [`into_remote`](Self::into_remote) turns it into a handle for
/// other OS threads. It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// fn answer_elsewhere(client: ethreads::http::pull::Client) { send(client) }
/// ```
///
/// [`WebServer::read`]: super::WebServer::read
#[must_use = "dropping it answers 500"]
pub struct Client {
    pending: Rc<PendingRequests>,
    id: u64,
    peer_addr: Option<SocketAddr>,
}

impl Client {
    pub(super) fn of(pending: &Rc<PendingRequests>, arrived: Arrived) -> (Self, Request) {
        let Arrived { id, request } = arrived;
        let client = Self {
            pending: pending.clone(),
            id,
            peer_addr: request.peer_addr(),
        };
        (client, request)
    }

    /// Sends the response, suspending the caller until the kernel has taken as much of it as it
    /// takes at once; on the shard's own OS thread, drives the shard meanwhile. The rest follows
    /// whenever the shard runs.
    ///
    /// For a streamed body that is the part before its first wait, or 2 MiB if it never waits. The
    /// response is treated like a handler's response: see [`Response`].
    ///
    /// A caller that unwinds does not wait, nor does a closure given to
    /// [`suspend`](crate::bridge::suspend): the response goes out whenever the shard runs.
    /// # Errors
    ///
    /// `NotConnected` if the server was closed meanwhile, which has answered 503, or has cut the
    /// connection at the end of a drain. `InvalidInput` if the status does not answer a request, as
    /// a 1xx other than that of [`Response::upgrade`]; then the peer gets a 500.
    ///
    /// A peer that has gone is no error: like any write to a socket, this hands the response to the
    /// system, and does not tell whether the peer receives it.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here; the response is sent all the same.
    #[track_caller]
    pub fn write(self, response: impl IntoResponse) -> io::Result<()> {
        let mut response = response.into_response();
        let waiting = self.pending.take(self.id).ok_or_else(gone)?;
        let judged = response.make_final();
        // The connection's flusher sends the head of a stream, in the turn after the connection's
        // own.
        let turns = if response.body().as_bytes().is_some() {
            0
        } else {
            1
        };
        let sent = waiting
            .answer(response)
            .and_then(|slot| until_sent(&slot, turns));
        judged?;
        sent
    }

    /// Turns this into a handle by which any OS thread can answer. While the handle lives, the
    /// shard does not take waiting for a deadlock.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use ethreads::http::WebServer;
    ///
    /// /// Computes every answer on an OS thread of its own.
    /// fn compute(server: &WebServer) -> io::Result<()> {
    ///     while let Some((client, request)) = server.read()? {
    ///         let client = client.into_remote();
    ///         std::thread::spawn(move || {
    ///             client.write(format!("{} bytes\n", request.body().len()));
    ///         });
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use = "dropping it answers 500"]
    pub fn into_remote(self) -> RemoteClient {
        let waiting = self.pending.take(self.id);
        RemoteClient {
            waiting: waiting.map(|waiting| waiting.me.into_remote()),
            peer_addr: self.peer_addr,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(waiting) = self.pending.take(self.id) {
            log_dropped(self.peer_addr);
            // Fails if the connection was cut, which then needs no answer.
            let _ = waiting.answer(Response::internal_error());
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("peer_addr", &self.peer_addr)
            .finish_non_exhaustive()
    }
}

/// Runs the shard until the connection has tried to send its answer, and for `turns` more turns.
#[track_caller]
fn until_sent(slot: &Slot, turns: usize) -> io::Result<()> {
    let cannot_wait = std::thread::panicking()
        || current::with(|scheduler| scheduler.is_some_and(|s| s.on_scheduler_side()));
    if cannot_wait {
        return Ok(());
    }
    // The connection's ethread is ready to run. It takes its answer once the ethreads before it
    // have had their turns, and goes on until it waits. So when `is_taken` is true here, the kernel
    // has taken what it could.
    as_io(|| {
        while !slot.is_taken() {
            thread::yield_now();
        }
        (0..turns).for_each(|_| thread::yield_now());
        Ok(())
    })
}

#[cold]
fn log_dropped(peer_addr: Option<SocketAddr>) {
    match peer_addr {
        Some(peer) => log::error!("a request of {peer} was dropped without an answer"),
        None => log::error!("a request was dropped without an answer"),
    }
}

/// The peer of a request that another OS thread answers. Made by [`Client::into_remote`].
///
/// Dropping it unanswered answers 500, with a line in the log.
#[must_use = "dropping it answers 500"]
pub struct RemoteClient {
    /// `None` if it has been answered.
    waiting: Option<RemoteSuspended<Option<Make>>>,
    peer_addr: Option<SocketAddr>,
}

impl RemoteClient {
    /// Sends the response. Does not wait: the shard of the connection converts and sends it.
    ///
    /// The value is converted on that shard, so it must be `Send`. A
    /// [`Response`](crate::http::Response) is not `Send`, as its body may be a stream. Texts and
    /// bytes with a status and headers are, and so are `http::Response`s of them. For anything else
    /// there is [`write_with`](Self::write_with).
    ///
    /// If the connection has ended, the response is dropped, on either OS thread. Where
    /// [`Client::write`] would fail with `InvalidInput`, the error is logged and the peer gets a
    /// 500.
    pub fn write(self, response: impl IntoResponse + Send + 'static) {
        self.write_with(move || response);
    }

    /// Sends the response that `make` returns. `make` runs in the ethread of the connection and may
    /// wait there. If it panics, the peer gets a 500 and the log gets a line.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    /// use ethreads::http::{Body, pull::RemoteClient};
    ///
    /// fn count(client: RemoteClient, to: u32) {
    ///     client.write_with(move || {
    ///         Body::writer(move |out| (0..to).try_for_each(|n| writeln!(out, "{n}")))
    ///     });
    /// }
    /// ```
    pub fn write_with<F, R>(mut self, make: F)
    where
        F: FnOnce() -> R + Send + 'static,
        R: IntoResponse,
    {
        if let Some(waiting) = self.waiting.take() {
            waiting.resume(Some(Box::new(|| make().into_response())));
        }
    }
}

impl Drop for RemoteClient {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            log_dropped(self.peer_addr);
            waiting.resume(Some(Box::new(Response::internal_error)));
        }
    }
}

impl fmt::Debug for RemoteClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteClient")
            .field("peer_addr", &self.peer_addr)
            .finish_non_exhaustive()
    }
}
