//! The reports of waits that can never end: on a shard where nothing can happen any more, and in a
//! cycle of ethreads that wait for each other while the rest of the shard goes on.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use super::current;
use super::event_loop::{Scheduler, Stuck};
use crate::runtime::base::owner::{Peer, WaitsOn};
use crate::runtime::base::panic::without_unwinding;
use crate::runtime::base::wait::{HOST, NEVER, Outcome, Reason};
use crate::runtime::stack::backtrace::Backtrace;
use crate::runtime::stack::coroutine::{Ending, Run};
use crate::runtime::state::control_block::{RunState, ThreadId};
use crate::runtime::state::core::Core;

/// The maximum number of ethreads in a report that get a backtrace.
const MOST_BACKTRACES: usize = 64;

/// The stack size of the ethread that reports a cycle.
const REPORT_STACK: usize = 1 << 20;

/// Every ethread of a shard is parked, and nothing can ever wake one: no timer, no descriptor, no
/// handle on another OS thread.
///
/// Its text lists each ethread with its name, what it waits for, the line of the call, and the line
/// outside the library that led to the call, if that differs. With `{:#}` it includes their
/// backtraces.
///
/// # Examples
///
/// ```
/// use ethreads::{RunError, thread};
///
/// thread::Builder::new().name("forlorn").spawn(|| thread::park())?;
/// let Err(RunError::Deadlock(deadlock)) = ethreads::run() else {
///     unreachable!("nothing unparks it");
/// };
/// assert_eq!(deadlock.parked()[0].name.as_deref(), Some("forlorn"));
/// assert_eq!(deadlock.parked()[0].waits_for, "unpark");
/// deadlock.cancel_all();
/// ethreads::run()?; // it unwinds
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Deadlock {
    shard: u64,
    parked: Vec<Parked>,
}

/// One ethread of a [`Deadlock`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Parked {
    /// The ethread's id.
    pub id: ThreadId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What it waits for, in words.
    pub waits_for: String,
    /// The line of the call that waits.
    pub location: &'static Location<'static>,
    /// The call stack. The first 64 ethreads of a report have one, if they have a stack and room on
    /// it.
    pub backtrace: Option<Arc<Backtrace>>,
    index: u32,
}

impl Parked {
    fn new(core: &Core, index: u32, reason: &Reason) -> Self {
        let block = core.blocks.get(index);
        Self {
            id: block.id,
            name: block.name.as_deref().map(str::to_owned),
            waits_for: in_words(core, index, reason),
            location: reason.location,
            backtrace: None,
            index,
        }
    }
}

/// What an ethread waits for. A peer ethread is called by its name.
fn in_words(core: &Core, index: u32, reason: &Reason) -> String {
    if !reason.kind.has_peer() {
        return reason.to_string();
    }
    // The peer may have changed since the wait began.
    let peer = core.blocks.peer(index);
    match core.blocks.label_of(peer) {
        Some(label) => reason.in_words(&label),
        None => Reason {
            detail: peer.id,
            ..*reason
        }
        .to_string(),
    }
}

impl fmt::Display for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ethread ")?;
        match &self.name {
            Some(name) => write!(f, "'{name}' ({})", self.id)?,
            None => write!(f, "{}", self.id)?,
        }
        let location = self.location.to_string();
        write!(f, " waits for {} at {location}", self.waits_for)?;
        let Some(backtrace) = &self.backtrace else {
            return Ok(());
        };
        if f.alternate() {
            let calls = backtrace.to_string();
            return calls.lines().try_for_each(|line| write!(f, "\n    {line}"));
        }
        // The caller of an I/O operation is often std, or another library.
        let line = location
            .rsplit_once(':')
            .map_or(&*location, |(line, _)| line);
        match backtrace.caller() {
            Some(caller) if !caller.ends_with(line) => write!(f, ", in {caller}"),
            _ => Ok(()),
        }
    }
}

impl Deadlock {
    fn new(scheduler: &Scheduler) -> Self {
        let mut parked: Vec<_> = {
            let core = scheduler.core.borrow();
            let parked = core.blocks.iter();
            let parked = parked.filter(|(_, block)| block.state == RunState::Parked);
            parked
                .map(|(index, block)| Parked::new(&core, index, &block.reason()))
                .collect()
        };
        for parked in parked.iter_mut().take(MOST_BACKTRACES) {
            parked.backtrace = scheduler.backtrace_of(parked.index).map(Arc::new);
        }
        Self {
            shard: scheduler.id,
            parked,
        }
    }

    /// Returns the parked ethreads, in the order of their places in the shard.
    #[must_use]
    pub fn parked(&self) -> &[Parked] {
        &self.parked
    }

    /// Cancels the parked ethreads, in order; the next `run` lets them unwind. Does nothing on an
    /// OS thread other than the shard's own.
    pub fn cancel_all(&self) {
        current::with(|scheduler| {
            if let Some(scheduler) = scheduler.filter(|scheduler| scheduler.id == self.shard) {
                for parked in &self.parked {
                    scheduler.cancel(parked.index, parked.id);
                }
            }
        });
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "deadlock: {} parked, and nothing can wake any of them",
            self.parked.len()
        )?;
        for parked in &self.parked {
            f.write_str("\n  ")?;
            parked.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Deadlock {}

impl Scheduler {
    /// The running code as a [`Peer`], for the ethreads that wait for it.
    pub(crate) fn me(&self) -> Peer {
        Peer {
            place: self.current_place(),
            id: self.current_id().as_u64().get(),
        }
    }

    /// Notes which ethread the caller's next wait, until `deadline`, depends on. If that ethread
    /// waits for another, and so on back to the caller, none of these waits can end. The cycle is
    /// logged, even if the rest of the shard goes on.
    #[inline(always)]
    pub(crate) fn depend_on(&self, waits_on: WaitsOn<'_>, reason: &Reason, deadline: u64) {
        if self.on_scheduler_side() {
            // Nothing waits here, and the OS thread's own wait goes on.
            return;
        }
        let (me, peer) = (self.current_place(), waits_on.now());
        let mut core = self.core.borrow_mut();
        core.blocks.set_peer(me, waits_on.kept());
        // The peer's place is empty if a shard that has ended has left the peer behind.
        let may_be_circle = peer.place == me
            || core.blocks.at(peer.place).is_some_and(|block| {
                block.state == RunState::Parked && block.reason().kind.has_peer()
            });
        drop(core);
        if may_be_circle {
            self.look_for_circle(me, peer, reason, deadline);
        }
    }

    #[cold]
    fn look_for_circle(&self, me: u32, peer: Peer, reason: &Reason, deadline: u64) {
        if std::thread::panicking() {
            // An unwinding thread does not wait.
            return;
        }
        let circle = {
            let core = self.core.borrow();
            let ends = core.interrupt_is_due(me)
                || deadline.min(core.scopes.deadline(core.blocks.get(me).scope)) != NEVER;
            core.circle(me, peer).filter(|_| !ends).map(|circle| {
                let others = circle.into_iter();
                let others = others.map(|at| Parked::new(&core, at, &core.blocks.get(at).reason()));
                let mut all = vec![Parked::new(&core, me, reason)];
                all.extend(others);
                all
            })
        };
        let Some(mut circle) = circle else {
            return;
        };
        if me == HOST {
            circle[0].backtrace = Some(Arc::new(Backtrace::capture()));
        }
        // Reported by a separate ethread: to look up names and lines may take more stack than the
        // caller has, and the logger is user code, which may wait.
        let report = Rc::new(CircleReport(Cell::new(circle)));
        let sent =
            self.spawn_housekeeping(report, "deadlock report", REPORT_STACK, reason.location);
        debug_assert!(sent.is_ok(), "there are stacks of this size");
    }

    /// The backtrace of an ethread, if it still waits.
    fn backtrace_of_parked(&self, parked: &Parked) -> Option<Arc<Backtrace>> {
        let waits = {
            let mut core = self.core.borrow_mut();
            let block = core.blocks.find(parked.index, parked.id);
            block.is_some_and(|block| block.state == RunState::Parked)
        };
        let backtrace = waits.then(|| self.backtrace_of(parked.index)).flatten();
        backtrace.map(Arc::new)
    }
}

/// Why a drive of the loop ended before its goal, with the report of a deadlock.
#[derive(Debug)]
pub(crate) enum StuckReport {
    Deadlock(Deadlock),
    Io(io::Error),
}

impl fmt::Display for StuckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadlock(deadlock) => deadlock.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl Scheduler {
    /// Lists what all ethreads wait for now, if the drive has ended with a deadlock.
    pub(crate) fn report(&self, stuck: Stuck) -> StuckReport {
        match stuck {
            Stuck::Deadlock => StuckReport::Deadlock(Deadlock::new(self)),
            Stuck::Io(error) => StuckReport::Io(error),
        }
    }
}

/// Logs which ethreads wait for each other.
struct CircleReport(Cell<Vec<Parked>>);

impl Run for CircleReport {
    fn run(&self, outcome: Outcome) -> Ending {
        let mut circle = self.0.take();
        if outcome == Outcome::Cancelled {
            return Ending::Over;
        }
        current::with(|scheduler| {
            let Some(scheduler) = scheduler else { return };
            for parked in circle.iter_mut().take(MOST_BACKTRACES) {
                if parked.backtrace.is_none() {
                    parked.backtrace = scheduler.backtrace_of_parked(parked);
                }
            }
        });
        let mut text = "deadlock: these ethreads wait for each other".to_owned();
        for parked in &circle {
            text.push_str(&format!("\n  {parked}"));
        }
        without_unwinding(|| log::error!("{text}"));
        Ending::Over
    }
}
