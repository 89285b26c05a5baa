//! Serving on one shard: an acceptor, and an ethread per connection, until a drain.
#![forbid(unsafe_code)]

use std::io;
use std::rc::Rc;

use super::as_root::AsRoot;
use super::drain::Drain;
use super::handle::Control;
use super::plan::{Plan, Share};
use crate::http::accept::acceptor::Acceptor;
use crate::http::accept::source::AcceptSource;
use crate::http::admission::{Admission, Connections};
use crate::http::conn::config::Config;
use crate::http::conn::lingering::Lingering;
use crate::http::conn::registry::ServerState;
use crate::http::exchange::handler::Handler;
use crate::runtime::base::on_drop::OnDrop;
use crate::runtime::driver::ops;
use crate::runtime::scheduler::unwind::as_io;
use crate::runtime::task::join::JoinHandle;
use crate::thread;

/// The parts of a server that serving needs.
#[derive(Clone, Copy)]
pub(super) struct Serving<'a> {
    pub(super) plan: &'a Plan,
    pub(super) control: &'a Control,
    pub(super) share: &'a Share,
}

impl Serving<'_> {
    /// Serves until the server is drained; the caller waits. `root` is told when serving has begun.
    pub(super) fn serve(
        self,
        handler: Box<dyn Handler>,
        source: AcceptSource,
        root: &AsRoot,
    ) -> io::Result<()> {
        let me = thread::current();
        let _attached = self.control.attach(&me);
        let (state, acceptor) = self.set_up(handler, source, &me);
        as_io(|| self.serve_until_drained(&state, &acceptor, me, root))
    }

    fn serve_until_drained(
        self,
        state: &ServerState,
        acceptor: &Rc<Acceptor>,
        me: thread::Thread,
        root: &AsRoot,
    ) -> io::Result<()> {
        let mut ending = Ending {
            state,
            acceptor,
            ethread: Some(self.spawn_acceptor(acceptor.clone(), me.clone())?),
        };
        root.begin();
        let grace = loop {
            if let Some(grace) = self.control.drain() {
                break grace;
            }
            if ending.acceptor_has_ended() {
                return ending.join_acceptor();
            }
            thread::park();
            state.admission.tend();
        };
        let mut drain = Drain::begin(state, acceptor, grace, &me);
        drain.wait(|| ending.acceptor_has_ended());
        let report = drain.finish();
        if ending.acceptor_has_ended() {
            ending.join_acceptor()?;
        }
        self.control.end(Some(report));
        Ok(())
    }

    fn connection_config(self) -> Config {
        let mut config = self.plan.config.clone();
        // No other connection would be served between two requests of this connection.
        config.persistent = !self.plan.taskmaster.is_single_threaded();
        config
    }

    /// Makes what serving needs on this shard.
    fn set_up(
        self,
        handler: Box<dyn Handler>,
        source: AcceptSource,
        me: &thread::Thread,
    ) -> (Rc<ServerState>, Rc<Acceptor>) {
        let descriptors = if self.plan.taskmaster.is_single_threaded() {
            None
        } else {
            ops::raise_descriptor_limit()
        };
        let (descriptors, global, sharing) = match self.share {
            Share::Alone => (descriptors, None, 1),
            Share::Each(shards) => (descriptors.map(|limit| limit / *shards as u64), None, 1),
            Share::GlobalLimit(global, shards) => (descriptors, Some(global.clone()), *shards),
        };
        let taskmaster = &self.plan.taskmaster;
        let most_connections = taskmaster.most_connections(descriptors);
        let most_lingering = taskmaster.most_lingering(descriptors) / sharing;
        let counts = self.control.counts.clone();
        if let Some(global) = &global {
            let me = me.downgrade();
            global.add(counts.clone(), move || me.unpark());
        }
        let config = self.connection_config();
        let connections = Connections::new(most_connections, counts.clone(), global.clone());
        let admission = Admission::new(taskmaster.bounds(), counts.clone(), global);
        let lingering = Lingering::new(config.timeouts.clone(), most_lingering, counts);
        let state = Rc::new(ServerState::new(
            config,
            handler,
            self.plan.hooks.clone(),
            lingering,
            (admission, taskmaster.queue_timeout, taskmaster.overload()),
        ));
        let is_alone = taskmaster.is_single_threaded();
        let acceptor = Acceptor::new(state.clone(), source, connections, is_alone);
        (state, acceptor)
    }

    fn spawn_acceptor(
        self,
        acceptor: Rc<Acceptor>,
        server: thread::Thread,
    ) -> io::Result<JoinHandle<io::Result<()>>> {
        let mut builder = thread::Builder::new().name(self.plan.listener_name());
        if self.plan.taskmaster.is_single_threaded() {
            builder = builder.stack_size(self.plan.config.stack_size);
        }
        builder.spawn(move || {
            let _wake = OnDrop(|| server.unpark());
            acceptor.run()
        })
    }
}

/// Cleans up however serving ends, also by a cancel, so that nothing is left behind.
struct Ending<'a> {
    state: &'a ServerState,
    acceptor: &'a Acceptor,
    ethread: Option<JoinHandle<io::Result<()>>>,
}

impl Ending<'_> {
    fn acceptor_has_ended(&self) -> bool {
        self.ethread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn join_acceptor(&mut self) -> io::Result<()> {
        match self.ethread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the acceptor of the server panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(ethread) = &self.ethread {
            ethread.cancel();
        }
        self.acceptor.refuse_rest();
        self.state.refuse_queued();
        self.state.context.flusher.stop();
        self.state.context.lingering.stop();
        self.state.cut_all();
    }
}
