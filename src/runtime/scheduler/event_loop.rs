//! The loop of one shard.
//!
//! # The guarantee
//!
//! Ready ethreads run in the order in which they became ready. One turn of the loop runs at most
//! [`BATCH`] of them, then takes the inbox, asks the driver (without waiting, if an ethread is
//! still ready) for as many events, and fires the timers that are due. So a ready ethread runs
//! after at most the ethreads ahead of it in the run queue. An event is seen after at most
//! [`BATCH`] runs, however many ethreads are ready, plus [`BATCH`] runs for each [`BATCH`] of other
//! events before it.
//!
//! The bound holds in time, too. If a shard has not looked for events for 5 to 10 ms, the
//! watchdog's OS thread ends the shard's batch with the run in progress. So an event is seen after
//! about 10 ms and the end of that run. An ethread that an event wakes still queues behind the
//! other ready ethreads. Where the watchdog's OS thread cannot be started, and on a virtual clock,
//! the bound is [`BATCH`] runs.
//!
//! # The rule for this file
//!
//! User code (closures, destructors, payloads) runs on an ethread's stack or is called by the
//! program itself. None of it runs or is dropped here, and none of the `RefCell`s below is borrowed
//! while an ethread runs.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::inbox::{Awaited, Handle, Inbox, Message, RemoteWaker};
use super::settings::Settings;
use super::watchdog::{self, Heartbeat};
use crate::runtime::base::thread_names::ThreadNames;
use crate::runtime::base::wait::{CallSite, HOST, NEVER, Reason, Token};
use crate::runtime::driver::{self, Driver, DriverKind, Until};
use crate::runtime::stack::backtrace::Backtrace;
use crate::runtime::stack::coroutine::{Coroutine, Run};
use crate::runtime::stack::{Arena, Class, overflow};
use crate::runtime::state::control_block::{Blocks, Label, SpawnParams, ThreadId};
use crate::runtime::state::core::Core;
use crate::runtime::state::locals::Locals;
use crate::runtime::state::metrics::Metrics;
use crate::runtime::state::slots::Sources;
use crate::runtime::state::trimming::Trimming;

/// The inbox of a shard, and what is sent there.
/// Ethreads that run before the driver is asked again while other ethreads are ready.
pub(crate) const BATCH: usize = 64;

/// Operations in a row that an ethread may do without waiting before it yields.
pub(in crate::runtime) const BUDGET: u32 = 128;

/// The value of `current` while neither an ethread nor the OS thread's own code runs. Between two
/// turns of a batch, where nothing reads it, `current` still holds the place of the previous
/// ethread.
pub(in crate::runtime) const SCHEDULER: u32 = u32::MAX;

/// The scheduler of one OS thread.
pub(crate) struct Scheduler {
    /// Unique in the process.
    pub(in crate::runtime) id: u64,
    /// A reference to itself, for owning references that may outlive its OS thread.
    this: Weak<Self>,
    pub(in crate::runtime) core: RefCell<Core>,
    pub(in crate::runtime) driver: RefCell<Driver>,
    pub(in crate::runtime) sources: RefCell<Sources>,
    pub(in crate::runtime) stacks: RefCell<Arena>,
    pub(in crate::runtime) locals: Locals,
    pub(in crate::runtime) inbox: Arc<Inbox>,
    /// Dropped after `stacks`, whose headers point into it.
    pub(in crate::runtime) names: Arc<ThreadNames>,
    pub(in crate::runtime) heartbeat: Arc<Heartbeat>,
    /// Whose code runs: a place in the slab, [`HOST`] or [`SCHEDULER`].
    pub(in crate::runtime) current: Cell<u32>,
    pub(in crate::runtime) budget: Cell<u32>,
    /// How often [`pick`](Self::pick) has chosen among several.
    pub(in crate::runtime) turns: Cell<u32>,
    /// The driver's time at the beginning of this turn.
    pub(in crate::runtime) now: Cell<u64>,
    pub(in crate::runtime) metrics: Metrics,
    /// How many of `metrics.panicked` a `run` has reported.
    pub(super) reported_panics: Cell<u64>,
    pub(in crate::runtime) kind: DriverKind,
    pub(in crate::runtime) reports_hangup: bool,
    pub(in crate::runtime) is_virtual: bool,
    /// The driver must be rearmed before each wait.
    pub(in crate::runtime) rearms: bool,
    /// The watchdog knows this shard.
    pub(in crate::runtime) watched: Cell<bool>,
    pub(in crate::runtime) trimming: Cell<Trimming>,
    /// Ethreads of the library that run between two batches, so that they do not change the order
    /// of the other ethreads.
    pub(super) housekeeping: RefCell<Vec<u32>>,
    /// When the last log line about missing stacks was written.
    pub(super) no_stack_logged: Cell<Option<u64>>,
    /// When stacks are tried again for the ethreads that wait for one.
    pub(super) stacks_tried_again: Cell<u64>,
    /// The waiters on other OS threads for ethreads of this shard, by the ethreads' places.
    awaited: RefCell<Vec<Option<Arc<dyn Awaited>>>>,
    /// Kept between turns to reuse its allocation.
    messages: Cell<Vec<Message>>,
    /// Set by [`Message::Stop`].
    pub(in crate::runtime) stopped: Cell<bool>,
    /// The shard is being shut down: an ethread that begins now is cancelled at once.
    ending: Cell<bool>,
    /// The scheduler has ended.
    pub(super) retired: Cell<bool>,
    pub(in crate::runtime) settings: Settings,
    /// The stack class of ethreads that do not ask for another size.
    pub(in crate::runtime) class: Class,
}

/// The goal of a drive of the loop.
pub(crate) enum Goal<'a> {
    /// All ethreads except daemons have ended.
    AllEnded,
    /// The OS thread's own wait is over.
    HostWoken,
    /// This flag is set.
    Flag(&'a Cell<bool>),
    /// All ethreads have ended, or this time has come.
    Shutdown(u64),
}

/// Why a drive ended without having reached its goal.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// Nothing is ready, and nothing can make anything ready: no timer, no descriptor, no handle on
    /// another OS thread.
    Deadlock,
    Io(io::Error),
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Scheduler {
    pub(crate) fn new(settings: Settings) -> io::Result<Rc<Self>> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let kind = match settings.driver {
            Some(kind) => kind,
            None => DriverKind::from_environment()?,
        };
        let driver = Driver::open(kind, BATCH)?;
        driver::sharpen_timers();
        overflow::install()?;
        let inbox = Arc::new(Inbox::new(driver.remote()));
        let names = Arc::<ThreadNames>::default();
        let class = Arena::class_of(settings.stack_size)?;
        let host = SpawnParams {
            name: std::thread::current().name().map(Rc::from),
            ..SpawnParams::new(class, Location::caller())
        };
        let now = driver.now();
        Ok(Rc::new_cyclic(|this| Self {
            this: this.clone(),
            id: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            core: RefCell::new(Core::new(Blocks::new(&names, host), now)),
            sources: RefCell::default(),
            stacks: RefCell::new(Arena::new(settings.stacks, Coroutine::forget)),
            locals: Locals::default(),
            inbox,
            names,
            heartbeat: Arc::new(Heartbeat::new()),
            current: Cell::new(HOST),
            budget: Cell::new(BUDGET),
            turns: Cell::new(0),
            now: Cell::new(now),
            metrics: Metrics::default(),
            reported_panics: Cell::new(0),
            kind,
            reports_hangup: driver.reports_hangup(),
            is_virtual: driver.is_virtual(),
            rearms: driver.rearms(),
            driver: RefCell::new(driver),
            watched: Cell::new(false),
            trimming: Cell::default(),
            housekeeping: RefCell::default(),
            no_stack_logged: Cell::default(),
            stacks_tried_again: Cell::default(),
            awaited: RefCell::default(),
            messages: Cell::default(),
            stopped: Cell::default(),
            ending: Cell::default(),
            retired: Cell::default(),
            settings,
            class,
        }))
    }

    /// An owning reference to this scheduler.
    #[inline]
    pub(crate) fn keep(&self) -> Rc<Self> {
        self.this.upgrade().expect("it is in use")
    }

    /// Adds an ethread that is ready to begin, and reserves a stack for it.
    #[inline]
    pub(crate) fn spawn(
        &self,
        run: Rc<dyn Run>,
        name: Option<Rc<str>>,
        daemon: bool,
        stack_size: Option<usize>,
        location: CallSite,
    ) -> io::Result<(u32, ThreadId)> {
        self.check_not_retired()?;
        let class = stack_size.map_or(Ok(self.class), Arena::class_of)?;
        self.stacks.borrow_mut().reserve(class)?;
        let core = &mut *self.core.borrow_mut();
        let params = SpawnParams {
            name,
            daemon,
            class,
            start: Some(run),
            reserved: true,
            location,
        };
        let (index, id) = self.insert(core, params);
        core.make_ready(index);
        Ok((index, id))
    }

    /// Adds an ethread, in no queue yet.
    #[inline(always)]
    fn insert(&self, core: &mut Core, params: SpawnParams) -> (u32, ThreadId) {
        self.metrics.spawned.add(1);
        core.blocks.insert(&self.names, params)
    }

    /// Adds an ethread that was spawned from another OS thread, with `awaited` as its waiter. If no
    /// stack can be had, the ethread waits for one: there is no caller here to return an error to.
    pub(in crate::runtime) fn spawn_for(
        &self,
        mut params: SpawnParams,
        awaited: Arc<dyn Awaited>,
    ) -> (u32, ThreadId) {
        params.reserved = self.stacks.borrow_mut().reserve(params.class).is_ok();
        let mut core = self.core.borrow_mut();
        let (index, id) = self.insert(&mut core, params);
        core.make_ready(index);
        drop(core);
        let place = index as usize;
        let mut all = self.awaited.borrow_mut();
        if all.len() <= place {
            all.resize_with(place + 1, || None);
        }
        all[place] = Some(awaited);
        drop(all);
        if self.ending.get() {
            self.cancel(index, id);
        }
        (index, id)
    }

    /// Removes the remote waiter of the running ethread, once it has been notified.
    pub(in crate::runtime) fn settle_awaited(&self) {
        let place = self.current_place() as usize;
        // The entry may be gone: an ethread that was left behind may run briefly after its waiter
        // was notified.
        let mut all = self.awaited.borrow_mut();
        let awaited = all.get_mut(place).and_then(Option::take);
        drop(all);
        drop(awaited);
    }

    /// The waiters on other OS threads for ethreads that are left behind.
    pub(in crate::runtime) fn take_awaited(&self) -> Vec<Arc<dyn Awaited>> {
        let left = std::mem::take(&mut *self.awaited.borrow_mut());
        left.into_iter().flatten().collect()
    }

    /// Stops accepting new ethreads from other OS threads. Ethreads accepted before have been added
    /// when this returns.
    pub(in crate::runtime) fn refuse_new(&self) {
        self.inbox.queue.set_ending(true);
        if self.inbox.queue.is_pending() {
            self.deliver();
        }
    }

    /// Adds a daemon that runs between two batches.
    #[cold]
    pub(in crate::runtime) fn spawn_housekeeping(
        &self,
        run: Rc<dyn Run>,
        name: &str,
        stack_size: usize,
        location: CallSite,
    ) -> io::Result<()> {
        let params = SpawnParams {
            name: Some(Rc::from(name)),
            daemon: true,
            start: Some(run),
            ..SpawnParams::new(Arena::class_of(stack_size)?, location)
        };
        let (index, _) = self.insert(&mut self.core.borrow_mut(), params);
        self.housekeeping.borrow_mut().push(index);
        Ok(())
    }

    /// Adds an ethread that begins when its token is woken or at `deadline`, on a stack that it
    /// gets only then. It keeps `run` going like any other ethread.
    pub(crate) fn starter(
        &self,
        run: Rc<dyn Run>,
        name: Option<Rc<str>>,
        deadline: u64,
        reason: Reason,
    ) -> io::Result<(u32, ThreadId, Token)> {
        self.check_not_retired()?;
        let params = SpawnParams {
            name,
            start: Some(run),
            ..SpawnParams::new(self.class, reason.location)
        };
        let core = &mut *self.core.borrow_mut();
        let (index, id) = self.insert(core, params);
        let block = core.blocks.set_reason(index, reason);
        block.park += 1;
        let token = block.token(index);
        core.set_parked(index, deadline);
        Ok((index, id, token))
    }

    /// Runs ethreads, on the OS thread's own stack, until `goal` is reached.
    pub(crate) fn drive(&self, goal: &Goal<'_>) -> Result<(), Stuck> {
        // User code may have moved the caller elsewhere since the caller found the scheduler.
        if self.current.get() != HOST || !self.is_current() {
            return Err(Stuck::Io(io::Error::other(
                "the shard that is to be driven is not that of this OS thread's own code any more",
            )));
        }
        if !self.is_virtual && !self.watched.replace(true) {
            watchdog::watch(&self.heartbeat, &self.names, self.settings.watchdog);
        }
        self.current.set(SCHEDULER);
        let _host = RestoreHost(self);
        self.heartbeat.rise();
        self.now.set(self.driver.borrow().now());
        loop {
            while !self.run_batch(goal, BATCH) {
                self.turn(goal)?;
            }
            // Another OS thread may have spawned an ethread here while the last one ended.
            let takes_in = match goal {
                Goal::AllEnded => true,
                Goal::Shutdown(deadline) => self.now.get() < *deadline,
                Goal::HostWoken | Goal::Flag(_) => false,
            };
            if !takes_in || !self.inbox.queue.is_pending() {
                break;
            }
            self.deliver();
        }
        // Housekeeping ethreads run now, so that their reports are not delayed.
        while self.run_housekeeping() {}
        Ok(())
    }

    /// Runs the ethreads that are ready now, and looks once for events: `yield_now` of the OS
    /// thread.
    pub(crate) fn drive_once(&self) -> io::Result<()> {
        self.current.set(SCHEDULER);
        let _host = RestoreHost(self);
        self.heartbeat.rise();
        let ready = {
            let core = self.core.borrow();
            core.ready.iter(&core.blocks).take(BATCH).count()
        };
        self.run_batch(&Goal::Flag(&Cell::new(false)), ready);
        while self.run_housekeeping() {}
        self.look();
        if self.inbox.queue.is_pending() {
            self.deliver();
        }
        self.poll(Until::Now, false)
    }

    /// Between two batches: the inbox, the driver, the timers.
    fn turn(&self, goal: &Goal<'_>) -> Result<(), Stuck> {
        if self.run_housekeeping() {
            return Ok(());
        }
        self.metrics.turns.add(1);
        self.look();
        if self.inbox.queue.is_pending() {
            self.deliver();
            // The OS thread's own wait may be over, which nothing below would notice.
            if self.reached(goal) {
                return Ok(());
            }
        }
        // First: this may make ethreads ready.
        let stacks = self.try_stacks_again();
        let (ready, io_waits, timed, next_timer) = {
            let core = self.core.borrow();
            let (io_waits, timed) = (core.io_waits > 0, core.timed > 0);
            let next_timer = timed.then(|| core.timers.next_deadline()).flatten();
            (!core.ready.is_empty(), io_waits, timed, next_timer)
        };
        if ready {
            // The driver is asked only if an ethread waits for a descriptor, and the clock is read
            // only if a wait has a deadline. A shutdown reads the clock too: the ethreads left may
            // never park.
            let timed = timed || matches!(goal, Goal::Shutdown(_));
            return match (io_waits, timed) {
                (true, _) => self.poll(Until::Now, false).map_err(Stuck::Io),
                (false, true) => {
                    self.fire(self.clock());
                    Ok(())
                }
                (false, false) => Ok(()),
            };
        }
        // In this order: a handle sends its messages before it is dropped.
        let external = self.inbox.queue.has_handles() || self.settings.serve_inbox;
        if self.inbox.queue.is_pending() {
            return Ok(());
        }
        if next_timer.is_none() && !io_waits && !external && stacks == NEVER {
            return Err(Stuck::Deadlock);
        }
        let limit = match goal {
            Goal::Shutdown(deadline) => *deadline,
            _ => NEVER,
        };
        let trimming = self.visit_parked();
        let deadlines = [next_timer.unwrap_or(NEVER), limit, trimming, stacks];
        let until = match deadlines.into_iter().min().unwrap_or(NEVER) {
            NEVER => Until::Event,
            deadline => Until::At(deadline),
        };
        self.metrics.waits.add(1);
        self.heartbeat.rest();
        let polled = self.poll(until, external);
        self.heartbeat.rise();
        polled.map_err(Stuck::Io)
    }

    /// Notes that the shard looks for events now.
    fn look(&self) {
        if self.heartbeat.look() {
            self.metrics.overdue.add(1);
        }
    }

    /// Releases the unused stack memory of ethreads that have been parked for long, where that is
    /// due; returns when it is due next.
    pub(in crate::runtime) fn visit_parked(&self) -> u64 {
        let mut trimming = self.trimming.get();
        let next = trimming.visit(&mut self.core.borrow_mut().blocks, self.now.get());
        self.trimming.set(trimming);
        next
    }

    /// Notes that an ethread is about to run, and so may use much of its stack.
    pub(super) fn want_trimming(&self) {
        let mut trimming = self.trimming.get();
        if trimming.is_done() && !self.is_virtual {
            trimming.begin_round(self.now.get());
            self.trimming.set(trimming);
        }
    }

    /// Asks the driver, hands out what it reports, and fires the timers that are due.
    fn poll(&self, until: Until, external: bool) -> io::Result<()> {
        let mut reports = std::mem::take(&mut self.core.borrow_mut().reports);
        let result = self.driver.borrow_mut().wait(until, external, &mut reports);
        self.metrics.polls.add(1);
        self.metrics.events.add(reports.len() as u64);
        for report in reports.drain(..) {
            self.ready(report);
        }
        self.core.borrow_mut().reports = reports;
        self.fire(self.clock());
        result
    }

    /// Begins a turn at `now`: fires the timers that are due.
    fn fire(&self, now: u64) {
        self.now.set(now);
        let fired = self.core.borrow_mut().expire(now);
        self.metrics.timers_fired.add(fired);
    }

    fn deliver(&self) {
        let mut messages = self.messages.take();
        self.inbox.queue.take(&mut messages);
        for message in messages.drain(..) {
            match message {
                Message::Wake(token) => {
                    self.metrics.remote_wakes.add(1);
                    self.wake(token);
                }
                Message::Unpark { index, id } => {
                    self.metrics.remote_wakes.add(1);
                    self.unpark(index, id);
                }
                Message::Cancel { index, id } => self.cancel(index, id),
                Message::Spawn(spawn) => spawn.begin(),
                Message::Stats(give) => give(self.stats()),
                Message::Stop => self.stopped.set(true),
                Message::Nudged { key } => self.source_nudged(key),
                Message::Released { key } => self.source_released(key),
            }
        }
        self.messages.set(messages);
    }

    /// Cancels every ethread and runs until none is left or the grace period is over; returns how
    /// many are left. Afterwards the shard accepts new ethreads from other OS threads again, unless
    /// this `is_last` or ethreads are left: in both cases the scheduler ends next.
    pub(crate) fn shut_down(&self, is_last: bool) -> io::Result<usize> {
        self.ending.set(true);
        self.inbox.queue.set_ending(true);
        self.cancel_all();
        let grace = u64::try_from(self.settings.grace.as_nanos()).unwrap_or(NEVER);
        let deadline = self.driver.borrow_mut().begin_grace(grace);
        let driven = self.drive(&Goal::Shutdown(deadline));
        let left = self.core.borrow().blocks.live;
        if !is_last && (left == 0 || matches!(driven, Err(Stuck::Io(_)))) {
            self.inbox.queue.set_ending(false);
            self.ending.set(false);
        }
        match driven {
            Ok(()) | Err(Stuck::Deadlock) => Ok(left),
            Err(Stuck::Io(error)) => Err(error),
        }
    }

    /// What another OS thread needs to wake an ethread of this shard.
    pub(crate) fn handle(&self) -> Handle {
        Handle::new(&self.inbox)
    }

    /// Whether `inbox` is that of this shard.
    pub(in crate::runtime) fn is_of(&self, inbox: &Arc<Inbox>) -> bool {
        Arc::ptr_eq(&self.inbox, inbox)
    }

    /// The driver's time at the beginning of this turn; reads no clock.
    #[cfg(feature = "http")]
    pub(crate) fn turn_began(&self) -> u64 {
        self.now.get()
    }

    pub(crate) fn remote_waker(&self, token: Token) -> RemoteWaker {
        RemoteWaker {
            handle: self.handle(),
            token,
        }
    }

    /// The scheduler's number, unique in the process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The id of the running code; the OS thread's own on the scheduler's side.
    pub(crate) fn current_id(&self) -> ThreadId {
        self.core.borrow().blocks.get(self.current_place()).id
    }

    /// The place of the running code; the OS thread's own on the scheduler's side.
    pub(crate) fn current_place(&self) -> u32 {
        match self.current.get() {
            SCHEDULER => HOST,
            index => index,
        }
    }

    /// Name and id of an ethread that has not ended.
    pub(crate) fn label_of(&self, index: u32) -> Label {
        self.core.borrow().blocks.get(index).label()
    }

    /// # Errors
    ///
    /// If an ethread that is spawned now would never run.
    #[inline]
    fn check_not_retired(&self) -> io::Result<()> {
        if self.retired.get() {
            return Err(io::Error::other(
                "the shard has ended: nothing begins there",
            ));
        }
        Ok(())
    }

    /// Whether the shard has ended: ethreads left behind never run again.
    pub(crate) fn has_ended(&self) -> bool {
        self.inbox.queue.is_closed()
    }

    /// Whether an ethread's code runs, not the OS thread's own.
    pub(crate) fn in_ethread(&self) -> bool {
        !matches!(self.current.get(), HOST | SCHEDULER)
    }

    /// Whether neither an ethread nor the OS thread's own code runs: this is a closure given to
    /// `suspend` or the switch hook, between the ethreads.
    pub(crate) fn on_scheduler_side(&self) -> bool {
        self.current.get() == SCHEDULER
    }

    /// The driver's clock.
    pub(crate) fn clock(&self) -> u64 {
        self.driver.borrow().now()
    }

    /// The backtrace of a suspended ethread; `None` if it has no stack, or no room on it to capture
    /// one.
    pub(in crate::runtime) fn backtrace_of(&self, index: u32) -> Option<Backtrace> {
        let mut core = self.core.borrow_mut();
        let mut coroutine = core.blocks.get_mut(index).coroutine.take()?;
        drop(core);
        let trace = coroutine.trace();
        self.core.borrow_mut().blocks.get_mut(index).coroutine = Some(coroutine);
        trace
    }

    /// Lists the ethreads that are left, for the log line of a leak.
    pub(in crate::runtime) fn labels(&self) -> Vec<String> {
        let core = self.core.borrow();
        let blocks = core.blocks.iter();
        blocks.map(|(_, block)| block.label().to_string()).collect()
    }
}

/// Makes the OS thread's own code current again when a drive ends, in whatever way.
struct RestoreHost<'a>(&'a Scheduler);

impl Drop for RestoreHost<'_> {
    fn drop(&mut self) {
        self.0.heartbeat.rest();
        self.0.current.set(HOST);
    }
}
