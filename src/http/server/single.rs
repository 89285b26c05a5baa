//! Serves one connection that the program has opened, in the ethread of the caller.
#![forbid(unsafe_code)]

use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::handle::Control;
use super::plan::Plan;
use crate::http::admission::{Admission, Bounds};
use crate::http::conn::connection::Connection;
use crate::http::conn::lingering::Lingering;
use crate::http::conn::registry::{Membership, ServerState};
use crate::http::conn::stream::Stream;
use crate::http::conn::task::ConnTask;
use crate::http::error::Error;
use crate::http::exchange::handler::Handler;
use crate::runtime::base::on_drop::OnDrop;
use crate::thread;
use crate::time::Instant;

/// See [`Server::serve_connection`](super::Server::serve_connection).
pub(super) fn serve(
    plan: &Plan,
    control: &Arc<Control>,
    stream: Stream,
    handler: Box<dyn Handler>,
) -> io::Result<()> {
    let lingering = Lingering::new(plan.config.timeouts.clone(), 1, Arc::default());
    // The connection is the program's, so no taskmaster limits it.
    let admission = Admission::new(Bounds::default(), lingering.counts.clone(), None);
    let taskmaster = &plan.taskmaster;
    let state = Rc::new(ServerState::new(
        plan.config.clone(),
        handler,
        plan.hooks.clone(),
        lingering,
        (admission, taskmaster.queue_timeout, taskmaster.overload()),
    ));
    if control.drain().is_some() {
        state.context.begin_draining();
    }
    let _drain = {
        // The handler must not outlast this call, as the cancelled ethread does.
        let (state, control) = (Rc::downgrade(&state), control.clone());
        let builder = thread::Builder::new().name("http-drain").inherits_nothing();
        let ethread = builder.spawn(move || drain(&state, &control))?;
        ethread.cancel_on_drop()
    };
    let peer = stream.peer_addr();
    let connection = Connection::new(stream, state.context.clone());
    let member = Membership::new(&state, connection.clone(), peer, None);
    let _stop = OnDrop(|| state.context.flusher.stop());
    ConnTask::new(member, connection)
        .serve()
        .map_err(Error::into_io)
}

/// Waits for a drain, and ends the connection as [`Drain`](super::drain::Drain) does, except that
/// it cancels no ethread: it closes the stream at the end of the grace period.
fn drain(state: &Weak<ServerState>, control: &Control) {
    let me = thread::current();
    let _told = control.tell(&me);
    let grace = loop {
        match control.drain() {
            Some(grace) => break grace,
            None => thread::park(),
        }
    };
    let began = Instant::now();
    let Some(in_flight) = state.upgrade().map(|state| {
        state.start_draining(&me);
        state.context.config.timeouts.in_flight
    }) else {
        return;
    };
    thread::sleep(grace.min(in_flight));
    if let Some(state) = state.upgrade() {
        state.close_idle();
    }
    thread::sleep(grace.saturating_sub(began.elapsed()));
    if let Some(state) = state.upgrade() {
        state.close_streams();
    }
}
