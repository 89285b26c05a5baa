//! What happens at every switch: picks the next ethread, runs its turn, and handles the outcome.
//!
//! The core is borrowed once between two turns. Rare work is in separate functions, so that the
//! path from one ethread to the next is short and needs few registers.
#![forbid(unsafe_code)]

use std::cell::RefMut;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use log::Level;

use super::current;
use super::event_loop::{BUDGET, Goal, SCHEDULER, Scheduler};
use super::locals;
use super::park;
use super::switch_hook::SwitchHook;
use crate::runtime::base::panic::{message, without_unwinding};
use crate::runtime::base::wait::{HOST, NEVER};
use crate::runtime::stack::coroutine::{Coroutine, Run, Step};
use crate::runtime::stack::{Class, Stack};
use crate::runtime::state::control_block::RunState;
use crate::runtime::state::core::Core;
use crate::runtime::state::run_queue::Ready;

/// The minimum time between two log lines about missing stacks, in nanoseconds.
const NO_STACK_LOG_PERIOD: u64 = 5_000_000_000;

/// The time between two tries to get stacks while ethreads wait for one, in nanoseconds. A stack
/// freed on this shard is handed over at once; nothing notifies the shard of other free memory.
const STACKS_PERIOD: u64 = 100_000_000;

/// What an ethread is to run, and why there is no stack for it.
struct PendingStart(Rc<dyn Run>, io::Error);

impl Scheduler {
    /// Runs ready ethreads, at most `most`; true once `goal` is reached.
    pub(in crate::runtime) fn run_batch(&self, goal: &Goal<'_>, most: usize) -> bool {
        let reached = match goal {
            // A case of its own, as this is the goal of servers: fewer branches per switch, and
            // none for a hook.
            Goal::Flag(flag) if !self.is_virtual && self.settings.switch_hook.is_none() => self
                .run_ready(
                    most,
                    |_| flag.get(),
                    |core| core.ready.pop(&mut core.blocks),
                    |_, coroutine| coroutine.resume(),
                ),
            _ => self.run_ready(
                most,
                |core| self.is_reached(goal, core),
                |core| self.next(core),
                |index, coroutine| self.resume(index, coroutine, Coroutine::resume),
            ),
        };
        // Not set after each turn: between two turns no code runs that reads it, neither user code
        // nor a log call.
        self.current.set(SCHEDULER);
        reached
    }

    #[inline(always)]
    fn run_ready(
        &self,
        most: usize,
        is_reached: impl Fn(&Core) -> bool,
        next: impl Fn(&mut Core) -> Option<Ready<'_>>,
        resume: impl Fn(u32, Coroutine) -> Step,
    ) -> bool {
        let mut core = self.core.borrow_mut();
        if !core.ready.is_empty() {
            self.want_trimming();
        }
        self.heartbeat.begin_batch(most);
        while !is_reached(&core) {
            let Some(ready) = next(&mut core) else {
                return false;
            };
            let index = ready.index;
            let coroutine = self.begin_turn(ready);
            core = self.run_one(core, index, coroutine, &resume);
            if self.heartbeat.end_run() {
                return is_reached(&core);
            }
        }
        true
    }

    /// Runs one housekeeping ethread, if there is one.
    pub(in crate::runtime) fn run_housekeeping(&self) -> bool {
        let Some(index) = self.housekeeping.borrow_mut().pop() else {
            return false;
        };
        let mut core = self.core.borrow_mut();
        let block = core.blocks.get_mut(index);
        let coroutine = self.begin_turn(Ready { index, block });
        let resume = |index, coroutine| self.resume(index, coroutine, Coroutine::resume);
        drop(self.run_one(core, index, coroutine, resume));
        self.heartbeat.end_run();
        self.current.set(SCHEDULER);
        true
    }

    /// Resumes or begins an ethread whose turn has begun, until it leaves its stack.
    #[inline(always)]
    fn run_one<'a>(
        &'a self,
        mut core: RefMut<'a, Core>,
        index: u32,
        coroutine: Option<Coroutine>,
        resume: impl Fn(u32, Coroutine) -> Step,
    ) -> RefMut<'a, Core> {
        let coroutine = match coroutine {
            Some(coroutine) => coroutine,
            None => match self.begin(&mut core, index) {
                Ok(coroutine) => coroutine,
                Err(pending) => {
                    drop(core);
                    self.wait_for_stack(index, pending);
                    return self.core.borrow_mut();
                }
            },
        };
        drop(core);
        let step = resume(index, coroutine);
        // Only the index is kept on this stack over the switch. The optimizer would also keep the
        // byte offset of the block, and wait for that load first after each switch: a seventh of
        // the time of a yield in `benches/micro`.
        let index = std::hint::black_box(index);
        match step {
            Step::Suspended(coroutine) => {
                let mut core = self.core.borrow_mut();
                core.blocks.get_mut(index).coroutine = Some(coroutine);
                core
            }
            Step::Yielded(coroutine) => {
                let mut borrowed = self.core.borrow_mut();
                let core = &mut *borrowed;
                let block = core.blocks.get_mut(index);
                if block.may_be_interrupted() {
                    drop(borrowed);
                    self.let_check_interrupt(index, coroutine);
                    return self.core.borrow_mut();
                }
                block.coroutine = Some(coroutine);
                block.yields_at(park::turn_at());
                block.state = RunState::Ready;
                core.ready.push(&mut core.blocks, index);
                borrowed
            }
            Step::Done(stack, rest) => {
                let mut core = self.core.borrow_mut();
                self.vacate(&mut core, index, stack, rest);
                core
            }
        }
    }

    /// Resumes an ethread by `resume`, and tells the switch hook, if there is one.
    #[inline(always)]
    fn resume(&self, index: u32, coroutine: Coroutine, resume: fn(Coroutine) -> Step) -> Step {
        match self.settings.switch_hook {
            None => resume(coroutine),
            Some(hook) => self.resume_within(hook, index, || resume(coroutine)),
        }
    }

    #[cold]
    fn resume_within(
        &self,
        hook: &dyn SwitchHook,
        index: u32,
        resume: impl FnOnce() -> Step,
    ) -> Step {
        let id = self.core.borrow().blocks.get(index).id;
        self.call_hook(|| hook.enter(id));
        self.current.set(index);
        let step = resume();
        self.call_hook(|| hook.leave(id));
        if let Step::Done(_, None) = step {
            self.call_hook(|| hook.end(id));
        }
        step
    }

    /// Calls the switch hook on the scheduler's side. The hook is user code: nothing is borrowed
    /// here, and no panic escapes.
    fn call_hook(&self, call: impl FnOnce()) {
        self.current.set(SCHEDULER);
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(call)) {
            let text = message(&*payload);
            current::log(Level::Error, &format!("the switch hook panicked: {text}"));
            // Its destructor is user code, too.
            std::mem::forget(payload);
        }
    }

    /// Makes an ethread that would yield, but may have to unwind, check for an interrupt. If no
    /// interrupt is due, it yields.
    #[cold]
    fn let_check_interrupt(&self, index: u32, mut coroutine: Coroutine) {
        loop {
            let step = self.resume(index, coroutine, Coroutine::check_interrupt);
            let mut core = self.core.borrow_mut();
            match step {
                // The ethread has unwound, gone on, and would yield once more.
                Step::Yielded(again) => {
                    coroutine = again;
                    continue;
                }
                Step::Suspended(coroutine) => {
                    core.blocks.get_mut(index).coroutine = Some(coroutine);
                }
                Step::Done(stack, rest) => self.vacate(&mut core, index, stack, rest),
            }
            return;
        }
    }

    pub(in crate::runtime) fn reached(&self, goal: &Goal<'_>) -> bool {
        self.is_reached(goal, &self.core.borrow())
    }

    #[inline(always)]
    fn is_reached(&self, goal: &Goal<'_>, core: &Core) -> bool {
        match goal {
            Goal::AllEnded => core.blocks.live == core.blocks.daemons,
            Goal::Flag(flag) => flag.get(),
            Goal::HostWoken => core.blocks.get(HOST).state != RunState::Parked,
            Goal::Shutdown(deadline) => core.blocks.live == 0 || self.now.get() >= *deadline,
        }
    }

    /// The next ethread to run.
    #[inline(always)]
    fn next<'a>(&self, core: &'a mut Core) -> Option<Ready<'a>> {
        if self.is_virtual {
            let choose = |n| self.driver.borrow_mut().choose(n);
            core.ready.pop_any(&mut core.blocks, choose)
        } else {
            core.ready.pop(&mut core.blocks)
        }
    }

    /// Begins the turn of an ethread; returns its coroutine if it is on a stack already.
    #[inline(always)]
    fn begin_turn(&self, Ready { index, block }: Ready<'_>) -> Option<Coroutine> {
        debug_assert_eq!(block.state, RunState::Ready);
        block.state = RunState::Running;
        block.visits = 0;
        self.heartbeat.begin_run(index, block.reason().location);
        self.current.set(index);
        self.budget.set(BUDGET);
        block.coroutine.take()
    }

    /// Puts an ethread on a stack.
    #[inline(always)]
    fn begin(&self, core: &mut Core, index: u32) -> Result<Coroutine, PendingStart> {
        let block = core.blocks.get_mut(index);
        let (outcome, class) = (block.outcome, block.class);
        let run = block.start.take();
        let run = run.expect("without a stack, it is yet to be run");
        let stack = {
            let mut stacks = self.stacks.borrow_mut();
            if std::mem::take(&mut block.reserved) {
                Ok(stacks.take_reserved(class))
            } else {
                stacks.take(class)
            }
        };
        match stack {
            Ok(stack) => {
                stack.set_occupant(std::ptr::from_ref(core.blocks.name_slot(index)).cast());
                Ok(Coroutine::new(stack, run, outcome, locals::drop_all))
            }
            Err(error) => Err(PendingStart(run, error)),
        }
    }

    /// Puts aside an ethread for which there is no stack. The ethreads that have a stack go on;
    /// each stack that is freed lets a waiting ethread begin, in FIFO order.
    #[cold]
    fn wait_for_stack(&self, index: u32, PendingStart(run, error): PendingStart) {
        self.current.set(SCHEDULER);
        let (told, now) = (self.no_stack_logged.get(), self.now.get());
        if told.is_none_or(|told| now.saturating_sub(told) >= NO_STACK_LOG_PERIOD) {
            self.no_stack_logged.set(Some(now));
            // This is the OS thread's stack, whose wait must not see a panic of the logger.
            without_unwinding(|| {
                log::error!("no stack for an ethread that became ready, it has to wait: {error}");
            });
        }
        let mut core = self.core.borrow_mut();
        let block = core.blocks.get_mut(index);
        block.start = Some(run);
        block.state = RunState::Ready;
        core.awaiting_stack.push_back(index);
        self.stacks_tried_again
            .set(now.saturating_add(STACKS_PERIOD));
    }

    /// Reserves a stack of this class for the ethread that has waited longest for one; false if no
    /// ethread waits for the class or no stack is available.
    #[cold]
    fn grant_stack(&self, core: &mut Core, class: Class) -> bool {
        let fits = |index: &u32| core.blocks.get(*index).class == class;
        let Some(place) = core.awaiting_stack.iter().position(fits) else {
            return false;
        };
        if self.stacks.borrow_mut().reserve(class).is_ok()
            && let Some(index) = core.awaiting_stack.remove(place)
        {
            core.blocks.get_mut(index).reserved = true;
            core.make_ready(index);
            return true;
        }
        false
    }

    /// Tries periodically to get stacks for the ethreads that wait for one, and returns when the
    /// next try is due; [`NEVER`] if none waits. A limit may have been lifted or another shard may
    /// have ended, and neither notifies this shard.
    pub(in crate::runtime) fn try_stacks_again(&self) -> u64 {
        if self.core.borrow().awaiting_stack.is_empty() {
            return NEVER;
        }
        self.try_stacks_now_and_then()
    }

    #[cold]
    fn try_stacks_now_and_then(&self) -> u64 {
        let now = self.clock();
        if now < self.stacks_tried_again.get() {
            return self.stacks_tried_again.get();
        }
        self.stacks_tried_again
            .set(now.saturating_add(STACKS_PERIOD));
        let mut core = self.core.borrow_mut();
        let mut refused = Vec::new();
        let mut place = 0;
        while let Some(index) = core.awaiting_stack.get(place) {
            let class = core.blocks.get(*index).class;
            if refused.contains(&class) {
                place += 1;
            } else if !self.grant_stack(&mut core, class) {
                refused.push(class);
            }
        }
        match core.awaiting_stack.is_empty() {
            true => NEVER,
            false => self.stacks_tried_again.get(),
        }
    }

    /// Takes back the stack of an ethread that has ended, or that rests and continues with `rest`.
    #[inline(always)]
    fn vacate(&self, core: &mut Core, index: u32, stack: Stack, rest: Option<Rc<dyn Run>>) {
        let class = stack.class();
        self.stacks.borrow_mut().free(stack);
        if rest.is_some() {
            core.blocks.get_mut(index).start = rest;
        } else {
            // Only the scopes that it inherited at its spawn are left.
            core.scopes.forget(core.blocks.get(index).scope);
            if let Some(timer) = core.blocks.remove(index) {
                core.timers.cancel(timer);
            }
        }
        if !core.awaiting_stack.is_empty() {
            self.grant_stack(core, class);
        }
    }
}
