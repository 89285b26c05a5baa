//! What operations are made of.
#![forbid(unsafe_code)]

use crate::runtime::base::wait::Token;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::sync::line::{Line, Place};

/// The things that an operation waits for, counted from zero.
///
/// They are first tried. If none is possible, each lines up with the token of one park, marked
/// with its number; whoever wakes with it has handed over to that very thing, and it is
/// committed to.
pub trait Parts {
    /// What comes of it.
    type Done;

    /// How many things these are.
    fn count(&self) -> u32 {
        1
    }

    /// Whether a thing depends on the world outside.
    fn is_io(&self, _case: u32) -> bool {
        false
    }

    /// Lets a thing happen if that is possible at once.
    fn attempt(&mut self, case: u32) -> Option<Self::Done>;

    /// Lines up. The things have the numbers from `first` on.
    fn enlist(&mut self, turn: &Turn<'_>, first: u32);

    /// When the first of those happens that are times, and its number, if they have the numbers
    /// from `first` on.
    fn deadline(&self, _first: u32) -> Option<(u64, u32)> {
        None
    }

    /// Takes what was handed over to a thing, once all others have left their lines.
    fn commit(&mut self, case: u32) -> Self::Done;

    /// Leaves all lines.
    fn withdraw(&mut self);
}

/// A park that has begun, for lining up.
#[derive(Debug)]
pub struct Turn<'a> {
    scheduler: &'a Scheduler,
    token: Token,
}

impl<'a> Turn<'a> {
    pub(super) fn new(scheduler: &'a Scheduler, token: Token) -> Self {
        Self { scheduler, token }
    }

    pub(super) fn scheduler(&self) -> &'a Scheduler {
        self.scheduler
    }

    pub(super) fn token(&self, case: u32) -> Token {
        self.token.for_case(case)
    }

    pub(in crate::sync) fn enter<'l, D>(
        &self,
        line: &'l Line<D>,
        case: u32,
        data: D,
    ) -> Place<'l, D> {
        line.enter(self.scheduler, self.token(case), data)
    }
}
