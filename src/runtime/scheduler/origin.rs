//! Where a frame began that calls user code and continues afterwards.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::current;
use super::event_loop::{SCHEDULER, Scheduler};
use crate::runtime::state::control_block::{ControlBlock, ThreadId};
use crate::runtime::state::scopes::Scopes;

/// The ethread that a frame belongs to, or the OS thread's own code.
///
/// A frame that calls user code may be on a coroutine of the program's own. Such a coroutine may be
/// resumed in another ethread, in another run, or after the run. So the frame keeps the scheduler
/// alive, and checks that its ethread still exists before it changes the control block.
pub(crate) struct Origin {
    scheduler: Rc<Scheduler>,
    index: u32,
    id: ThreadId,
}

impl Origin {
    /// The origin of the running code; `None` on the scheduler's side.
    pub(crate) fn here(scheduler: Rc<Scheduler>) -> Option<Self> {
        Self::changing(scheduler, |_, _| ())
    }

    /// As [`here`](Self::here), but also calls `f` with the control block. `f` runs no user code.
    pub(in crate::runtime) fn changing(
        scheduler: Rc<Scheduler>,
        f: impl FnOnce(&mut ControlBlock, &mut Scopes),
    ) -> Option<Self> {
        let index = scheduler.current.get();
        if index == SCHEDULER {
            return None;
        }
        let id = {
            let core = &mut *scheduler.core.borrow_mut();
            let block = core.blocks.get_mut(index);
            f(block, &mut core.scopes);
            block.id
        };
        Some(Self {
            scheduler,
            index,
            id,
        })
    }

    /// The origin of the running code, on any OS thread.
    pub(crate) fn anywhere() -> Anywhere {
        match current::get() {
            None => Anywhere::OsThread,
            Some(scheduler) => match Self::here(scheduler.clone()) {
                Some(origin) => Anywhere::Ethread(origin),
                None => Anywhere::SchedulerSide(scheduler),
            },
        }
    }

    pub(in crate::runtime) fn scheduler(&self) -> &Rc<Scheduler> {
        &self.scheduler
    }

    pub(in crate::runtime) fn index(&self) -> u32 {
        self.index
    }

    /// Whether the same ethread still runs, under this OS thread's current scheduler.
    pub(crate) fn is_here(&self) -> bool {
        self.scheduler.is_current()
            && self.scheduler.current.get() == self.index
            && self.scheduler.current_id() == self.id
    }

    /// Calls `f` with the control block, unless the ethread has ended. `f` runs no user code.
    pub(in crate::runtime) fn with_block(&self, f: impl FnOnce(&mut ControlBlock, &mut Scopes)) {
        let core = &mut *self.scheduler.core.borrow_mut();
        if let Some(block) = core.blocks.find(self.index, self.id) {
            f(block, &mut core.scopes);
        }
    }
}

/// As [`Origin`], for code that may run where there is no ethread.
pub(crate) enum Anywhere {
    Ethread(Origin),
    /// In a closure given to `suspend`.
    SchedulerSide(Rc<Scheduler>),
    /// On an OS thread without a scheduler.
    OsThread,
}

impl Anywhere {
    /// Whether the frame is still where it began.
    pub(crate) fn is_here(&self) -> bool {
        match self {
            Self::Ethread(origin) => origin.is_here(),
            Self::SchedulerSide(scheduler) => {
                scheduler.is_current() && scheduler.on_scheduler_side()
            }
            Self::OsThread => current::with(|scheduler| scheduler.is_none()),
        }
    }
}
