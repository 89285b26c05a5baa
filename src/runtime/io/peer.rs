//! Code that ends with the peer of a source.
#![forbid(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use super::registration::Registration;
use crate::runtime::base::wait::CallSite;
use crate::runtime::driver::ops;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::unwind::in_scope;
use crate::runtime::state::scopes::ScopePlace;
use crate::runtime::state::slots::Direction;

impl Registration {
    /// Runs `f`, which is unwound at its next suspension point when the peer of the source has
    /// ended its side or is gone. `None` if that has happened.
    ///
    /// With a driver that does not report hangups, and for a source that cannot be watched, `f`
    /// runs to its end.
    pub(crate) fn while_connected<R>(
        &self,
        fd: BorrowedFd<'_>,
        location: CallSite,
        f: impl FnOnce() -> R,
    ) -> Option<R> {
        in_scope(
            location,
            |scheduler, scope| self.watch_peer(scheduler, fd, scope),
            f,
        )
    }

    fn watch_peer(
        &self,
        scheduler: &Rc<Scheduler>,
        fd: BorrowedFd<'_>,
        scope: ScopePlace,
    ) -> Option<PeerWatch> {
        if !scheduler.reports_hangup {
            return None;
        }
        let key = self.watch(scheduler, fd, Direction::Read).ok()?;
        let may_be_gone = scheduler.watch_peer(key, scope);
        // Reported before. Urgent data is reported in the same way.
        if may_be_gone && ops::is_hung_up(fd).unwrap_or(true) {
            scheduler.cancel_scope_at(scope);
        }
        Some(PeerWatch {
            scheduler: scheduler.clone(),
            key,
            scope,
        })
    }
}

/// Ends the watch of a peer when it is dropped.
struct PeerWatch {
    scheduler: Rc<Scheduler>,
    key: u64,
    scope: ScopePlace,
}

impl Drop for PeerWatch {
    fn drop(&mut self) {
        self.scheduler.unwatch_peer(self.key, self.scope);
    }
}
