//! The parts that operations are made of.
#![forbid(unsafe_code)]

use crate::runtime::base::wait::Token;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::sync::wait_queue::{WaitQueue, Waiter};

/// The cases that an operation waits for, counted from zero.
///
/// The cases are tried first. If none is possible, each case enters its wait queue with the token
/// of one park, marked with the number of the case. The mark of the wake tells which case was
/// handed something, and that case is committed.
pub trait Parts {
    /// The result of the operation.
    type Done;

    /// The number of cases.
    fn count(&self) -> u32 {
        1
    }

    /// Whether a case depends on I/O.
    fn is_io(&self, _case: u32) -> bool {
        false
    }

    /// Performs a case if that is possible at once.
    fn attempt(&mut self, case: u32) -> Option<Self::Done>;

    /// Enters the wait queues. The cases have the numbers from `first` on.
    fn enlist(&mut self, park: &Park<'_>, first: u32);

    /// The earliest deadline among the cases that are times, and the number of that case; the cases
    /// have the numbers from `first` on.
    fn deadline(&self, _first: u32) -> Option<(u64, u32)> {
        None
    }

    /// Takes what was handed over to a case, once all other cases have left their wait queues.
    fn commit(&mut self, case: u32) -> Self::Done;

    /// Leaves all wait queues.
    fn withdraw(&mut self);
}

/// A park that has begun, and whose token cases put into wait queues.
#[derive(Debug)]
pub struct Park<'a> {
    pub(super) scheduler: &'a Scheduler,
    pub(super) token: Token,
}

impl Park<'_> {
    pub(super) fn token(&self, case: u32) -> Token {
        self.token.for_case(case)
    }

    pub(in crate::sync) fn enter<'l, D>(
        &self,
        queue: &'l WaitQueue<D>,
        case: u32,
        data: D,
    ) -> Waiter<'l, D> {
        queue.enter(self.scheduler, self.token(case), data)
    }
}
