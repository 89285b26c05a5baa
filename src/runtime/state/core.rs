//! The state that changes at every switch: the control blocks, the run queue, the timers.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::control_block::{Blocks, RunState};
use super::run_queue::RunQueue;
use super::scopes::{ScopeIndex, Scopes};
use super::timers::Timers;
use crate::runtime::base::owner::Peer;
use crate::runtime::base::wait::{HOST, NEVER, Outcome, Reason, Token};
use crate::runtime::driver::Report;

/// The state that changes at every switch.
pub(in crate::runtime) struct Core {
    pub(in crate::runtime) blocks: Blocks,
    pub(in crate::runtime) ready: RunQueue,
    pub(in crate::runtime) timers: Timers,
    pub(in crate::runtime) scopes: Scopes,
    /// Parks with a deadline.
    pub(in crate::runtime) timed: usize,
    /// Parks that a descriptor can end.
    pub(in crate::runtime) io_waits: usize,
    /// Ethreads for which there was no stack when they became ready, in that order.
    pub(in crate::runtime) awaiting_stack: VecDeque<u32>,
    /// Kept between turns, to reuse its memory.
    due: Vec<(u64, u32)>,
    pub(in crate::runtime) reports: Vec<Report>,
}

impl Core {
    pub(in crate::runtime) fn new(blocks: Blocks, now: u64) -> Self {
        Self {
            blocks,
            ready: RunQueue::default(),
            timers: Timers::new(now),
            scopes: Scopes::default(),
            timed: 0,
            io_waits: 0,
            awaiting_stack: VecDeque::new(),
            due: Vec::new(),
            reports: Vec::new(),
        }
    }

    /// Ends the waits whose deadline has come; returns their number.
    pub(in crate::runtime) fn expire(&mut self, now: u64) -> u64 {
        if self.timers.next_deadline().is_none_or(|next| next > now) {
            return 0;
        }
        let mut ended = 0;
        self.timers.expire(now, &mut self.due);
        let mut due = std::mem::take(&mut self.due);
        // A deadline may have become later while its entry stayed in the wheel. The ethreads that
        // are due run in the order of their deadlines all the same.
        let mut moved = false;
        for (time, index) in &mut due {
            let deadline = self.blocks.get(*index).deadline;
            moved |= deadline != *time;
            *time = deadline;
        }
        if moved {
            due.sort_by_key(|&(deadline, _)| deadline);
        }
        for (_, index) in due.drain(..) {
            let block = self.blocks.get_mut(index);
            block.timer = None;
            match block.deadline {
                NEVER => {}
                deadline if deadline <= now => {
                    let token = block.token(index);
                    let outcome = if block.bounded {
                        Outcome::Elapsed
                    } else {
                        Outcome::TimedOut
                    };
                    ended += u64::from(self.wake(token, outcome));
                }
                // The deadline became later while the entry stayed: this is the entry's lazy
                // correction.
                deadline => block.timer = Some((self.timers.insert(deadline, index), deadline)),
            }
        }
        self.due = due;
        ended
    }

    /// Begins a wait and parks in one step: nothing can end the wait in between. `None` if an
    /// interrupt is due.
    #[inline(always)]
    pub(in crate::runtime) fn park_now(
        &mut self,
        index: u32,
        reason: Reason,
        deadline: u64,
    ) -> Option<Token> {
        let block = self.blocks.set_reason(index, reason);
        let park = if block.may_be_interrupted() || deadline != NEVER {
            self.park_now_until(index, deadline)?
        } else {
            let park = block.begin_wait();
            block.state = RunState::Parked;
            self.io_waits += usize::from(block.waits_for_io());
            park
        };
        Some(Token::new(index, park))
    }

    /// As [`park_now`](Self::park_now), where something besides a wake may end the wait.
    #[inline(never)]
    fn park_now_until(&mut self, index: u32, deadline: u64) -> Option<u64> {
        if self.interrupt_is_due(index) {
            return None;
        }
        let park = self.blocks.get_mut(index).begin_wait();
        self.set_parked(index, deadline);
        Some(park)
    }

    /// Parks a block that is not in the run queue, until `deadline` or the deadline of a scope
    /// around it.
    #[inline(always)]
    pub(in crate::runtime) fn set_parked(&mut self, index: u32, deadline: u64) {
        let scope = self.blocks.get(index).scope;
        let (deadline, bounded) = if scope == ScopeIndex::NONE {
            (deadline, false)
        } else {
            let limit = self.scopes.deadline(scope);
            (limit.min(deadline), limit <= deadline && limit != NEVER)
        };
        self.park_until(index, deadline, bounded);
    }

    /// Parks a block: its deadline is stored, and its timer is moved only if the timer would fire
    /// too late.
    #[inline(always)]
    pub(in crate::runtime) fn park_until(&mut self, index: u32, deadline: u64, bounded: bool) {
        let block = self.blocks.get_mut(index);
        block.state = RunState::Parked;
        block.deadline = deadline;
        block.bounded = bounded;
        self.io_waits += usize::from(block.waits_for_io());
        if deadline == NEVER {
            return;
        }
        self.timed += 1;
        if let Some((key, at)) = block.timer {
            if at <= deadline {
                return;
            }
            self.timers.cancel(key);
        }
        block.timer = Some((self.timers.insert(deadline, index), deadline));
    }

    /// Puts an ethread that is not in the run queue at the end of the queue.
    #[inline]
    pub(in crate::runtime) fn make_ready(&mut self, index: u32) {
        self.blocks.get_mut(index).state = RunState::Ready;
        self.ready.push(&mut self.blocks, index);
    }

    /// Ends the park of `token`; false if the park has ended already, or another one has begun.
    #[inline(always)]
    pub(in crate::runtime) fn wake(&mut self, token: Token, outcome: Outcome) -> bool {
        let block = self.blocks.get_mut(token.index);
        if block.park != token.park {
            return false;
        }
        match block.state {
            RunState::Parked => {
                block.spent = true;
                block.outcome = outcome;
                block.set_case(token);
                self.io_waits -= usize::from(block.waits_for_io());
                if block.deadline != NEVER {
                    block.deadline = NEVER;
                    self.timed -= 1;
                }
                if token.index == HOST {
                    block.state = RunState::Running;
                } else {
                    block.state = RunState::Ready;
                    self.ready.push(&mut self.blocks, token.index);
                }
                true
            }
            // Between the beginning of a wait and its park.
            RunState::Running if !block.spent => {
                block.spent = true;
                block.set_case(token);
                true
            }
            _ => false,
        }
    }

    /// Whether an ethread must unwind at its next suspension point.
    pub(in crate::runtime) fn interrupt_is_due(&self, index: u32) -> bool {
        let block = self.blocks.get(index);
        let cancel = block.cancel;
        (cancel.is_requested() && block.masks == 0)
            || (cancel.is_scoped() && self.scopes.cancelled(block.scope).is_some())
    }

    /// Wakes an ethread that must unwind, if its wait may be cut short.
    pub(in crate::runtime) fn interrupt(&mut self, index: u32) {
        if !self.interrupt_is_due(index) {
            return;
        }
        let block = self.blocks.get_mut(index);
        match block.state {
            RunState::Parked => {
                let token = block.token(index);
                self.wake(token, Outcome::Cancelled);
            }
            // The ethread has no stack: it is started in order to drop its work on a stack of its
            // own.
            RunState::Ready if block.start.is_some() => {
                block.outcome = Outcome::Cancelled;
            }
            _ => {}
        }
    }

    /// The chain of ethreads that wait for each other, from `peer` on, if it leads to the ethread
    /// in the place `me`. Waits with a deadline end the chain.
    pub(in crate::runtime) fn circle(&self, me: u32, peer: Peer) -> Option<Vec<u32>> {
        let mut circle = Vec::new();
        // Brent's cycle detection: a circle without `me` does not make the loop endless.
        let (mut landmark, mut next_landmark) = (peer.place, 1);
        let (mut at, mut id) = (peer.place, peer.id);
        loop {
            let block = self.blocks.at(at)?;
            if block.id.as_u64().get() != id || block.state == RunState::Free {
                return None;
            }
            if at == me {
                return Some(circle);
            }
            let waits = block.state == RunState::Parked && block.reason().kind.has_peer();
            if !waits || block.deadline != NEVER {
                return None;
            }
            circle.push(at);
            Peer { place: at, id } = self.blocks.peer(at);
            if at == landmark {
                return None;
            }
            if circle.len() == next_landmark {
                (landmark, next_landmark) = (at, 2 * next_landmark);
            }
        }
    }
}
