//! The loop of one shard.
//!
//! # The guarantee
//!
//! Ready ethreads run in the order in which they became ready. One turn of the loop runs at most
//! [`BATCH`] of them, then takes the inbox, asks the driver (without waiting, if an ethread is
//! still ready) for as many events, and fires the timers that are due. So an ethread that is ready
//! runs after at most the ones before it; and an event is seen after at most [`BATCH`] runs,
//! however many are ready, and as many more for each [`BATCH`] of other events before it.
//!
//! The bound holds in time, too. The watchdog's OS thread sees a shard that has not looked for
//! events for 5 to 10 ms, and ends its batch with the run that goes on. So an event is looked at
//! after about 10 ms and the end of that run. An ethread that an event wakes still queues behind
//! the others. Where the watchdog's OS thread cannot be started, and on a virtual clock, the bound
//! is [`BATCH`] runs.
//!
//! # The rule for this file
//!
//! User code (closures, destructors, payloads) runs on an ethread's stack or is called by the
//! user; nothing of it runs or is dropped here, and none of the `RefCell`s below is borrowed while
//! an ethread runs.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::inbox::{self, Awaited};
use super::settings::Settings;
use super::watchdog::{self, Heartbeat};
use crate::runtime::base::thread_names::ThreadNames;
use crate::runtime::base::wait::{HOST, NEVER, Reason, Token};
use crate::runtime::driver::{self, Driver, DriverKind, Until};
use crate::runtime::stack::backtrace::Backtrace;
use crate::runtime::stack::coroutine::{Coroutine, Run};
use crate::runtime::stack::{Arena, Class, StackConfig, overflow};
use crate::runtime::state::control_block::{Blocks, Label, SpawnParams, ThreadId};
use crate::runtime::state::core::Core;
use crate::runtime::state::locals::Locals;
use crate::runtime::state::slots::Sources;
use crate::runtime::state::stats::Stats;
use crate::runtime::state::trimming::Trimming;

/// The inbox of a shard, and what is sent there.
pub(crate) type Inbox = inbox::Inbox<Scheduler>;
pub(crate) type Message = inbox::Message<Scheduler>;
pub(crate) type Handle = inbox::Handle<Scheduler>;
pub(crate) type RemoteWaker = inbox::RemoteWaker<Scheduler>;

/// Ethreads that run before the driver is asked again while others are ready.
pub(crate) const BATCH: usize = 64;

/// Operations in a row that an ethread may do without having to wait; then it yields.
pub(in crate::runtime) const BUDGET: u32 = 128;

/// What `current` holds while no ethread and not the OS thread's own code runs. Between two turns
/// of a batch, where nobody asks, it still holds the place of the one before.
pub(in crate::runtime) const SCHEDULER: u32 = u32::MAX;

/// The scheduler of one OS thread.
pub(crate) struct Scheduler {
    /// Unique in the process.
    pub(in crate::runtime) id: u64,
    /// Itself, as those keep it who may outlive its OS thread.
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
    /// How often somebody had to be picked among several.
    pub(in crate::runtime) turns: Cell<u32>,
    /// The driver's time at the beginning of this turn.
    pub(in crate::runtime) now: Cell<u64>,
    /// Ethreads that panicked with nobody to join them, since the last `run`.
    pub(in crate::runtime) panics: Cell<usize>,
    pub(in crate::runtime) kind: DriverKind,
    pub(in crate::runtime) reports_hangup: bool,
    pub(in crate::runtime) is_virtual: bool,
    /// The driver wants to be armed before each wait.
    pub(in crate::runtime) rearms: bool,
    /// The watchdog knows this shard.
    pub(in crate::runtime) watched: Cell<bool>,
    pub(in crate::runtime) trimming: Cell<Trimming>,
    /// Ethreads of the library's own that run between two batches, so that they do not change in
    /// which order the others do.
    pub(super) housekeeping: RefCell<Vec<u32>>,
    /// When the log was told last that there is no stack for somebody.
    pub(super) no_stack_logged: Cell<Option<u64>>,
    /// When stacks are tried again for the ethreads that wait for one.
    pub(super) stacks_tried_again: Cell<u64>,
    /// Who waits elsewhere for ethreads of this shard, by their places.
    awaited: RefCell<Vec<Option<Arc<dyn Awaited>>>>,
    /// Kept between turns for its memory.
    messages: Cell<Vec<Message>>,
    /// Set by [`Message::Stop`].
    pub(in crate::runtime) stopped: Cell<bool>,
    /// The shard is being shut down: who begins now does so to be cancelled.
    ending: Cell<bool>,
    /// It has ended.
    retired: Cell<bool>,
    pub(in crate::runtime) settings: Settings,
    /// Of the stacks of those that do not ask for another.
    class: Class,
}

/// What a drive of the loop is for.
pub(crate) enum Goal<'a> {
    /// All ethreads but daemons have ended.
    AllEnded,
    /// The OS thread's own wait is over.
    HostWoken,
    /// Somebody set this.
    Flag(&'a Cell<bool>),
    /// All ethreads have ended, or this time has come.
    Shutdown(u64),
}

/// Why a drive ended without having reached its goal.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// Nothing is ready, and nothing can make anything ready: no timer, no descriptor, no handle
    /// elsewhere.
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
            daemon: false,
            class,
            start: None,
            reserved: false,
            location: Location::caller(),
        };
        let stacks = StackConfig {
            guard: settings.guard,
            hot: settings.hot_stacks,
        };
        let now = driver.now();
        Ok(Rc::new_cyclic(|this| Self {
            this: this.clone(),
            id: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            core: RefCell::new(Core::new(Blocks::new(&names, host), now)),
            sources: RefCell::default(),
            stacks: RefCell::new(Arena::new(stacks, Coroutine::forget)),
            locals: Locals::default(),
            inbox,
            names,
            heartbeat: Arc::new(Heartbeat::new()),
            current: Cell::new(HOST),
            budget: Cell::new(BUDGET),
            turns: Cell::new(0),
            now: Cell::new(now),
            panics: Cell::new(0),
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

    /// Itself, to be kept.
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
        location: &'static Location<'static>,
    ) -> io::Result<(u32, ThreadId)> {
        self.check_not_retired()?;
        let class = stack_size.map_or(Ok(self.class), Arena::class_of)?;
        self.stacks.borrow_mut().reserve(class)?;
        let core = &mut *self.core.borrow_mut();
        let (index, id) = core.blocks.insert(
            &self.names,
            SpawnParams {
                name,
                daemon,
                class,
                start: Some(run),
                reserved: true,
                location,
            },
        );
        core.make_ready(index);
        Ok((index, id))
    }

    /// Adds an ethread that was spawned elsewhere, for whom `awaited` stands. If no stack can be
    /// had it waits for one: nobody is here to be told.
    pub(in crate::runtime) fn spawn_for(
        &self,
        mut params: SpawnParams,
        awaited: Arc<dyn Awaited>,
    ) -> (u32, ThreadId) {
        params.reserved = self.stacks.borrow_mut().reserve(params.class).is_ok();
        let (index, id) = {
            let core = &mut *self.core.borrow_mut();
            let (index, id) = core.blocks.insert(&self.names, params);
            core.make_ready(index);
            (index, id)
        };
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

    /// The ethread that runs has told who waits for it elsewhere.
    pub(in crate::runtime) fn settle_awaited(&self) {
        let place = self.current_place() as usize;
        // Those who were left behind may go on for a moment, after their waiters have been told.
        let awaited = self
            .awaited
            .borrow_mut()
            .get_mut(place)
            .and_then(Option::take);
        drop(awaited);
    }

    /// What waits elsewhere for ethreads that are left behind.
    pub(in crate::runtime) fn take_awaited(&self) -> Vec<Arc<dyn Awaited>> {
        let left = std::mem::take(&mut *self.awaited.borrow_mut());
        left.into_iter().flatten().collect()
    }

    /// Takes no new ethreads from elsewhere any more; those that were accepted are there
    /// afterwards.
    pub(in crate::runtime) fn refuse_new(&self) {
        self.inbox.set_ending(true);
        if self.inbox.is_pending() {
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
        location: &'static Location<'static>,
    ) -> io::Result<()> {
        let params = SpawnParams {
            name: Some(Rc::from(name)),
            daemon: true,
            class: Arena::class_of(stack_size)?,
            start: Some(run),
            reserved: false,
            location,
        };
        let (index, _) = self.core.borrow_mut().blocks.insert(&self.names, params);
        self.housekeeping.borrow_mut().push(index);
        Ok(())
    }

    /// Adds an ethread that begins, on a stack it gets only then, when its token is woken or at
    /// `deadline`. It keeps `run` going like any other.
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
            daemon: false,
            class: self.class,
            start: Some(run),
            reserved: false,
            location: reason.location,
        };
        let mut core = self.core.borrow_mut();
        let core = &mut *core;
        let (index, id) = core.blocks.insert(&self.names, params);
        let block = core.blocks.set_reason(index, reason);
        block.park += 1;
        let token = block.token(index);
        core.set_parked(index, deadline);
        Ok((index, id, token))
    }

    /// Runs ethreads, on the OS thread's own stack, until `goal` is reached.
    pub(crate) fn drive(&self, goal: &Goal<'_>) -> Result<(), Stuck> {
        // User code of the caller's may have brought it elsewhere since it has found the scheduler.
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
            // Somebody else may have spawned here while the last one ended.
            let takes_in = match goal {
                Goal::AllEnded => true,
                Goal::Shutdown(deadline) => self.now.get() < *deadline,
                Goal::HostWoken | Goal::Flag(_) => false,
            };
            if !takes_in || !self.inbox.is_pending() {
                break;
            }
            self.deliver();
        }
        // What they have to tell should not come much later.
        while self.run_housekeeping() {}
        Ok(())
    }

    /// Runs those that are ready now, and looks once for events: `yield_now` of the OS thread.
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
        self.heartbeat.look();
        if self.inbox.is_pending() {
            self.deliver();
        }
        self.poll(Until::Now, false)
    }

    /// Between two batches: the inbox, the driver, the timers.
    fn turn(&self, goal: &Goal<'_>) -> Result<(), Stuck> {
        if self.run_housekeeping() {
            return Ok(());
        }
        self.heartbeat.look();
        if self.inbox.is_pending() {
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
            let next_timer = if core.timed > 0 {
                core.timers.next_deadline()
            } else {
                None
            };
            (
                !core.ready.is_empty(),
                core.io_waits > 0,
                core.timed > 0,
                next_timer,
            )
        };
        if ready {
            // Descriptors are asked only if somebody waits for one, the clock likewise. A shutdown
            // waits for it: those who are left may go on without ever parking.
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
        // In this order: a handle sends before it goes.
        let external = self.inbox.has_handles() || self.settings.serve_inbox;
        if self.inbox.is_pending() {
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
        self.heartbeat.rest();
        let polled = self.poll(until, external);
        self.heartbeat.rise();
        polled.map_err(Stuck::Io)
    }

    /// Gives back what ethreads that have been parked for long do not use of their stacks, where
    /// that is due; says when it is due next.
    pub(in crate::runtime) fn visit_parked(&self) -> u64 {
        let mut trimming = self.trimming.get();
        let next = trimming.visit(&mut self.core.borrow_mut().blocks, self.now.get());
        self.trimming.set(trimming);
        next
    }

    /// Notes that an ethread is about to run, and so may leave a deep stack.
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
        self.core.borrow_mut().expire(now);
    }

    fn deliver(&self) {
        let mut messages = self.messages.take();
        self.inbox.take(&mut messages);
        for message in messages.drain(..) {
            match message {
                Message::Wake(token) => {
                    self.wake(token);
                }
                Message::Unpark { index, id } => self.unpark(index, id),
                Message::Cancel { index, id } => self.cancel(index, id),
                Message::Spawn(spawn) => spawn.begin(self),
                Message::Stop => self.stopped.set(true),
                Message::Nudged { key } => self.source_nudged(key),
                Message::Released { key } => self.source_released(key),
            }
        }
        self.messages.set(messages);
    }

    /// Cancels every ethread and runs until none is left or the grace period is over; returns how
    /// many are left. The shard takes new ethreads from elsewhere afterwards, unless this `is_last`
    /// or ethreads are left: then the scheduler ends next.
    pub(crate) fn shut_down(&self, is_last: bool) -> io::Result<usize> {
        self.ending.set(true);
        self.inbox.set_ending(true);
        self.cancel_all();
        let grace = u64::try_from(self.settings.grace.as_nanos()).unwrap_or(NEVER);
        let deadline = self.driver.borrow_mut().begin_grace(grace);
        let driven = self.drive(&Goal::Shutdown(deadline));
        let left = self.core.borrow().blocks.live;
        if !is_last && (left == 0 || matches!(driven, Err(Stuck::Io(_)))) {
            self.inbox.set_ending(false);
            self.ending.set(false);
        }
        match driven {
            Ok(()) | Err(Stuck::Deadlock) => Ok(left),
            Err(Stuck::Io(error)) => Err(error),
        }
    }

    /// What another OS thread needs to wake something here.
    pub(crate) fn handle(&self) -> Handle {
        Handle::new(&self.inbox)
    }

    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        self.inbox.clone()
    }

    /// The driver's time at the beginning of this turn; it costs no reading of the clock.
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

    /// Of the stacks of those that do not ask for another.
    pub(in crate::runtime) fn class(&self) -> Class {
        self.class
    }

    /// The id of whoever runs; the OS thread's own on the scheduler's side.
    pub(crate) fn current_id(&self) -> ThreadId {
        self.core.borrow().blocks.get(self.current_place()).id
    }

    /// The place of whoever runs; the OS thread's own on the scheduler's side.
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

    /// No ethread of it runs again.
    pub(in crate::runtime) fn set_retired(&self) {
        self.retired.set(true);
    }

    /// # Errors
    ///
    /// If an ethread that begins now would never run.
    #[inline]
    fn check_not_retired(&self) -> io::Result<()> {
        if self.retired.get() {
            return Err(io::Error::other(
                "the shard has ended: nothing begins there",
            ));
        }
        Ok(())
    }

    /// Whether its shard has ended: what it has left behind never runs again.
    pub(crate) fn has_ended(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Whether an ethread's code runs, not the OS thread's own.
    pub(crate) fn in_ethread(&self) -> bool {
        !matches!(self.current.get(), HOST | SCHEDULER)
    }

    /// Whether code of neither runs: a closure given to `suspend`, between the ethreads.
    pub(crate) fn on_scheduler_side(&self) -> bool {
        self.current.get() == SCHEDULER
    }

    /// The driver's clock.
    pub(crate) fn clock(&self) -> u64 {
        self.driver.borrow().now()
    }

    pub(crate) fn stats(&self) -> Stats {
        let core = self.core.borrow();
        Stats {
            driver: self.kind,
            ethreads: core.blocks.live,
            ready: core.ready.iter(&core.blocks).count(),
            timers: core.timers.len(),
            scopes: core.scopes.len(),
            io_waits: core.io_waits,
            sources: self.sources.borrow().len(),
            stacks: self.stacks.borrow().counters(),
        }
    }

    /// Where a suspended ethread is; `None` if it has no stack, or no room on it to tell.
    pub(in crate::runtime) fn backtrace_of(&self, index: u32) -> Option<Backtrace> {
        let taken = self
            .core
            .borrow_mut()
            .blocks
            .get_mut(index)
            .coroutine
            .take();
        let mut coroutine = taken?;
        let trace = coroutine.trace();
        self.core.borrow_mut().blocks.get_mut(index).coroutine = Some(coroutine);
        trace
    }

    /// Lists those that are left, for the log line of a leak.
    pub(in crate::runtime) fn labels(&self) -> Vec<String> {
        let core = self.core.borrow();
        core.blocks
            .iter()
            .map(|(_, block)| block.label().to_string())
            .collect()
    }
}

/// Gives the OS thread its own code back when a drive ends, in whatever way.
struct RestoreHost<'a>(&'a Scheduler);

impl Drop for RestoreHost<'_> {
    fn drop(&mut self) {
        self.0.heartbeat.rest();
        self.0.current.set(HOST);
    }
}
