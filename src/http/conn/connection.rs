//! One connection: its stream, the output that is collected for it, and flags that the rest of the
//! server sees.
#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell, RefCell};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::context::Context;
use super::flusher::Collects;
use super::stream::Stream;
use crate::http::error::{Error, Phase};
use crate::http::exchange::draining::Draining;
use crate::http::exchange::forwarded::Forwarding;
use crate::http::exchange::request::Carrier;
use crate::runtime::base::error::is_elapsed;

/// How many bytes of output are collected before they are sent. A body is copied behind the
/// collected output only if the whole fits into this size; for a larger one a second piece of a
/// vectored write is cheaper than the copy.
pub(in crate::http) const COLLECT: usize = 16 * 1024;

/// A connection. Its ethread shares it with the rest of the server.
pub(in crate::http) struct Connection {
    pub(in crate::http) stream: Stream,
    pub(in crate::http) context: Rc<Context>,
    /// The connection waits for a request.
    pub(in crate::http) idle: Cell<bool>,
    /// Its request waits for a slot.
    pub(in crate::http) queued: Cell<bool>,
    /// The connection ends as soon as no request has arrived.
    pub(in crate::http) leaves: Cell<bool>,
    /// A request has arrived since the last search for the connection that is idle for longest.
    pub(in crate::http) recent: Cell<bool>,
    /// The connection has switched to another protocol.
    pub(in crate::http) upgraded: Cell<bool>,
    /// The peer is a proxy whose header has not arrived yet.
    pub(super) expects_proxy_header: Cell<bool>,
    /// The addresses that a proxy has told, of its client and of itself.
    pub(super) proxied: OnceCell<Box<(SocketAddr, SocketAddr)>>,
    /// Output that is collected, to be sent together with what follows it.
    pub(in crate::http) output: RefCell<Vec<u8>>,
    /// The connection is in the flusher's list.
    listed: Cell<bool>,
    /// A write failed. How much the peer got is unknown, so nothing more is sent.
    pub(in crate::http) write_failed: Cell<bool>,
}

impl Connection {
    pub(in crate::http) fn new(stream: Stream, context: Rc<Context>) -> Rc<Self> {
        Rc::new(Self {
            stream,
            context,
            idle: Cell::new(false),
            queued: Cell::new(false),
            leaves: Cell::new(false),
            recent: Cell::new(true),
            upgraded: Cell::new(false),
            expects_proxy_header: Cell::new(false),
            proxied: OnceCell::new(),
            output: RefCell::default(),
            listed: Cell::new(false),
            write_failed: Cell::new(false),
        })
    }

    /// Ends the idle connection, unless a request has arrived.
    pub(super) fn leave(&self) {
        self.leaves.set(true);
        self.stream.look_again();
    }

    /// Whether the connection ends now if no request has arrived.
    pub(in crate::http) fn ends_idle(&self) -> bool {
        self.leaves.get() || self.context.closes_idle.get()
    }

    /// Has the collected output sent if this ethread waits before it sends; see
    /// [`flusher`](super::flusher). A stream that cannot try takes it now.
    #[inline]
    pub(in crate::http) fn send_early(self: &Rc<Self>) -> Result<(), Error> {
        // In a burst of requests all but the first find the connection listed.
        if self.listed.get() || self.output.borrow().is_empty() {
            return Ok(());
        }
        if !self.stream.can_try() {
            return self.flush();
        }
        self.context.flusher.look_at(self.clone());
        Ok(())
    }

    /// Sends the collected output.
    pub(in crate::http) fn flush(&self) -> Result<(), Error> {
        if !self.output.borrow().is_empty() {
            self.send(&[])?;
        }
        Ok(())
    }

    /// As [`flush`](Self::flush), where more output follows at once.
    pub(in crate::http) fn flush_ahead(&self) -> Result<(), Error> {
        if !self.write_failed.get() {
            let mut output = self.output.borrow_mut();
            if !output.is_empty() {
                let sent = self.stream.send_ahead(&output);
                output.drain(..sent);
            }
        }
        self.flush()
    }

    /// Sends the collected output, and `data` after it.
    pub(in crate::http) fn send(&self, data: &[u8]) -> Result<(), Error> {
        // A cancel unwinds out of the write. Code that catches it must find neither the output that
        // was sent in part, nor a way to send more.
        let mut collected = self.output.take();
        let result = if self.write_failed.replace(true) {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            let config = &self.context.config;
            let (timeout, slice) = (config.timeouts.write, config.write_slice);
            self.stream.write_all(&collected, data, timeout, slice)
        };
        collected.clear();
        self.output.replace(collected);
        self.write_failed.set(result.is_err());
        result.map_err(|error| self.write_error(error))
    }

    /// Has the kernel send what it takes of a file; `None` if it cannot send this file. The
    /// collected output must be empty.
    pub(in crate::http) fn send_file(
        &self,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Result<Option<usize>, Error> {
        let timeout = self.context.config.timeouts.write;
        match self.stream.send_file(file, offset, count, timeout) {
            Ok(sent) => Ok(Some(sent)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(error) => {
                self.write_failed.set(true);
                Err(self.write_error(error))
            }
        }
    }

    /// Ends the connection within a response. The collected output, above all the earlier
    /// responses, is still sent.
    #[cold]
    pub(in crate::http) fn break_off(self: &Rc<Self>) {
        if !self.write_failed.get() && self.flush().is_ok() {
            self.linger();
        }
    }

    /// Returns why a write failed. A peer that takes nothing gets a reset: otherwise the output
    /// would stay in the kernel for minutes after the close, megabytes per connection.
    #[cold]
    fn write_error(&self, error: io::Error) -> Error {
        if is_timeout(&error) {
            self.stream.reset_at_close();
        }
        timed_out_in(error, Phase::Write)
    }

    /// Ends a connection whose peer may still be sending: see [`lingering`](super::lingering). The
    /// caller need not do anything more with the connection.
    #[cold]
    #[inline(never)]
    pub(in crate::http) fn linger(self: &Rc<Self>) {
        if self.stream.lingers() {
            self.context.lingering.begin(self.clone());
        } else {
            self.stream.shut_down_write();
        }
    }
}

impl Collects for Connection {
    fn is_listed(&self) -> &Cell<bool> {
        &self.listed
    }

    fn send_collected(&self) {
        if self.write_failed.get() {
            return;
        }
        // Empty while the connection's own ethread sends it.
        let mut output = self.output.borrow_mut();
        let sent = self.stream.send_now(&output);
        output.drain(..sent);
    }
}

impl AsRef<Stream> for Connection {
    fn as_ref(&self) -> &Stream {
        &self.stream
    }
}

impl Carrier for Connection {
    fn peer_addr(&self) -> Option<SocketAddr> {
        let proxied = self.proxied.get().map(|proxied| proxied.0);
        proxied.or_else(|| self.stream.peer_addr())
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        let proxied = self.proxied.get().map(|proxied| proxied.1);
        proxied.or_else(|| self.stream.local_addr())
    }

    fn forwarding(&self) -> Option<&Forwarding> {
        self.context.config.forwarding.as_deref()
    }

    fn peer_gone(&self) -> bool {
        self.stream.peer_gone()
    }

    fn flush(&self) -> Result<(), Error> {
        self.flush()
    }

    fn draining(&self) -> Option<Draining> {
        Some(self.context.drain_begun.clone())
    }

    fn while_connected(&self, f: &mut dyn FnMut()) -> bool {
        self.stream.while_connected(f).is_some()
    }

    fn send_interim(&self, head: &[u8]) -> Result<(), Error> {
        self.send(head)
    }
}

/// Whether the connection's own deadline has passed, and not that of a scope in the handler.
fn is_timeout(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && !is_elapsed(error)
}

/// Converts an error. A timeout names its phase.
pub(super) fn timed_out_in(error: io::Error, phase: Phase) -> Error {
    if is_timeout(&error) {
        Error::timeout(phase)
    } else {
        error.into()
    }
}
