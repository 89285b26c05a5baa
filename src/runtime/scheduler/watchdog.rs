//! The OS thread that makes busy shards look for events in time, and logs an ethread that has
//! blocked its shard for too long.
//!
//! The shard's part is three stores and a comparison per switch; it reads no clock. The watchdog
//! samples each shard every few milliseconds. If a shard runs ethreads and has not looked for
//! events since the last sample, the watchdog ends its batch. The watchdog also compares the
//! current run with the run of the last sample. Only if they are the same for longer than the
//! threshold does it look up the ethread in the shard's table of names. The watchdog sleeps while
//! all shards wait, so an idle process has no wake-ups; the first shard that runs again wakes it.

// One pointer that was a `&'static` is turned back into one.
#![allow(unsafe_code)]

mod sleeper;

use std::io;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use log::Level;

use crate::runtime::base::panic::without_unwinding;
use crate::runtime::base::primitives::{
    AtomicPtr, AtomicU32, AtomicU64, Condvar, static_of_primitives,
};
use crate::runtime::base::thread_names::ThreadNames;
use crate::runtime::base::wait::{CallSite, deadline_after};
use crate::runtime::driver::{exhausted, monotonic_now};
use sleeper::Sleeper;

/// The time between two samples. A shard looks for events at the latest after two samples and the
/// end of the run in progress.
const TICK: Duration = Duration::from_millis(5);

/// Samples taken within one threshold.
const SAMPLES: u32 = 4;

/// The shortest time between two samples, even if the threshold is lower.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Consecutive samples that must find all shards waiting before the watchdog sleeps. To wake it
/// costs a system call, which each short pause of a busy server must not pay.
const IDLE_SAMPLES: u32 = 10;

/// How long, at most, an ending OS thread waits for its line to be logged.
const LOG_WAIT: Duration = Duration::from_millis(100);

/// The place stored while the scheduler itself runs, instead of an ethread's.
const BETWEEN_RUNS: u32 = u32::MAX;

/// The limit stored once the shard must look for events, instead of the end of a batch.
const OVERDUE: u64 = 0;

/// A shard's sign of life.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    /// How many runs have ended.
    runs: AtomicU64,
    /// The batch ends with the run that brings `runs` to this value or above. Zero, set by the
    /// watchdog, ends the batch with the run in progress.
    limit: AtomicU64,
    /// The place of the ethread that runs or ran last, which is never 0 (the OS thread's own
    /// place). Zero while the shard waits or its OS thread runs its own code; [`BETWEEN_RUNS`]
    /// between a wait and the next run.
    index: AtomicU32,
    /// Where that ethread last parked before its run, or was spawned.
    location: AtomicPtr<Location<'static>>,
    /// How often the shard has looked for events.
    looks: AtomicU32,
}

impl Heartbeat {
    pub(in crate::runtime) fn new() -> Self {
        Self {
            runs: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            index: AtomicU32::new(0),
            location: AtomicPtr::new(ptr::null_mut()),
            looks: AtomicU32::new(0),
        }
    }

    /// Notes that a run begins.
    #[inline]
    pub(in crate::runtime) fn begin_run(&self, index: u32, location: CallSite) {
        // With the acquires in `read` and `location`: a load that sees one of these stores is
        // followed by loads that see that the previous run has ended.
        let location = ptr::from_ref(location).cast_mut();
        self.location.store(location, Ordering::Release);
        self.index.store(index, Ordering::Release);
    }

    /// Notes that the run has ended; true if the batch has ended, too. Called at each switch.
    #[inline(always)]
    pub(in crate::runtime) fn end_run(&self) -> bool {
        let runs = self.runs.load(Ordering::Relaxed).wrapping_add(1);
        self.runs.store(runs, Ordering::Relaxed);
        runs >= self.limit.load(Ordering::Relaxed)
    }

    /// How many runs have ended.
    pub(in crate::runtime) fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Begins a batch of at most `most` runs, or of one run if the shard is overdue to look for
    /// events.
    #[inline]
    pub(in crate::runtime) fn begin_batch(&self, most: usize) {
        if self.limit.load(Ordering::Relaxed) != OVERDUE {
            let runs = self.runs();
            let limit = runs.saturating_add(most as u64);
            self.limit.store(limit, Ordering::Relaxed);
        }
    }

    /// The number of the run, and the place of its ethread. Between two runs, the place may be that
    /// of the previous run.
    fn read(&self) -> (u64, u32) {
        let index = self.index.load(Ordering::Acquire);
        (self.runs(), index)
    }

    fn location(&self) -> Option<CallSite> {
        // SAFETY: null, or stored by `begin_run` from a `&'static Location<'static>`.
        unsafe { self.location.load(Ordering::Acquire).as_ref() }
    }

    /// Notes that no ethread runs: the shard waits, or its OS thread runs its own code.
    #[inline]
    pub(in crate::runtime) fn rest(&self) {
        self.index.store(0, Ordering::Relaxed);
    }

    /// Notes that the shard goes on after a rest.
    #[inline]
    pub(in crate::runtime) fn rise(&self) {
        self.rise_beside(&WATCHDOG.sleeper);
    }

    #[inline(always)]
    fn rise_beside<S>(&self, watchdog: &Sleeper<S>) {
        self.index.store(BETWEEN_RUNS, Ordering::Relaxed);
        watchdog.notify_if_asleep();
    }

    /// Notes that the shard looks for events now. Returns whether it was overdue to look.
    #[inline]
    pub(in crate::runtime) fn look(&self) -> bool {
        let looks = self.looks.load(Ordering::Relaxed);
        self.looks.store(looks.wrapping_add(1), Ordering::Relaxed);
        let overdue = self.limit.load(Ordering::Relaxed) == OVERDUE;
        // If the watchdog ends a batch right after this, the shard looks once more than needed.
        self.limit.store(u64::MAX, Ordering::Relaxed);
        overdue
    }

    /// Ends the batch if the shard runs ethreads and has not looked for events since the last
    /// sample. Returns how often the shard has looked.
    fn hurry(&self, before: u32) -> u32 {
        let looks = self.looks.load(Ordering::Relaxed);
        if self.rests() {
            // The shard looks when it goes on; its time counts from the next sample.
            return looks.wrapping_sub(1);
        }
        if looks == before {
            self.limit.store(OVERDUE, Ordering::Relaxed);
        }
        looks
    }

    fn rests(&self) -> bool {
        self.index.load(Ordering::Relaxed) == 0
    }
}

/// A shard under watch.
struct Watched {
    heartbeat: Arc<Heartbeat>,
    names: Arc<ThreadNames>,
    /// A run longer than this is reported; `None` for never.
    threshold: Option<Duration>,
    /// How often the shard had looked for events at the last sample.
    looks: u32,
    /// The run of the last sample, when it was first seen, and whether it was reported.
    last: (u64, u32),
    since: u64,
    reported: bool,
}

struct Watchdog {
    sleeper: Sleeper<WatchdogState>,
    /// Notified when lines of other OS threads were logged.
    has_logged: Condvar,
}

struct WatchdogState {
    /// The watchdog's OS thread runs.
    started: bool,
    /// The failure to start the OS thread was logged.
    told: bool,
    shards: Vec<Watched>,
    /// Log lines from OS threads that cannot log themselves.
    lines: Vec<(Level, String)>,
    /// How many such lines were queued, and how many were logged.
    queued: u64,
    logged: u64,
}

static_of_primitives! {
    static WATCHDOG: Watchdog = Watchdog {
        sleeper: Sleeper::new(WatchdogState::new()),
        has_logged: Condvar::new(),
    };
}

impl WatchdogState {
    const fn new() -> Self {
        Self {
            started: false,
            told: false,
            shards: Vec::new(),
            lines: Vec::new(),
            queued: 0,
            logged: 0,
        }
    }

    /// Starts the OS thread, unless it runs already.
    fn start(&mut self) -> io::Result<()> {
        if !self.started {
            let thread = std::thread::Builder::new().name("ethreads-watchdog".into());
            let started = thread.spawn(patrol);
            started.map_err(|error| exhausted::os_threads("cannot start its OS thread", error))?;
            self.started = true;
        }
        Ok(())
    }

    /// Whether the watchdog may sleep. A line may have come while earlier lines were logged.
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.all_rest()
    }

    fn all_rest(&self) -> bool {
        self.shards.iter().all(|shard| shard.heartbeat.rests())
    }
}

/// Puts a shard under watch; starts the OS thread for the first shard. Runs longer than
/// `threshold`, if it is set, are reported.
pub(in crate::runtime) fn watch(
    heartbeat: &Arc<Heartbeat>,
    names: &Arc<ThreadNames>,
    threshold: Option<Duration>,
) {
    let watched = Watched {
        heartbeat: heartbeat.clone(),
        names: names.clone(),
        threshold,
        looks: 0,
        last: (0, 0),
        since: monotonic_now(),
        reported: false,
    };
    if let Some(error) = enlist(watched) {
        // The lock is released here: a logger is user code.
        without_unwinding(|| {
            log::warn!("no watchdog, so a batch is bounded by runs only: {error}");
        });
    }
}

/// Returns why the OS thread could not be started, for the first failure only.
fn enlist(watched: Watched) -> Option<io::Error> {
    let mut state = WATCHDOG.sleeper.lock();
    state.shards.push(watched);
    let error = state.start().err();
    error.filter(|_| !std::mem::replace(&mut state.told, true))
}

/// Takes a shard out of the watch.
pub(in crate::runtime) fn forget(heartbeat: &Arc<Heartbeat>) {
    let shards = &mut WATCHDOG.sleeper.lock().shards;
    shards.retain(|shard| !Arc::ptr_eq(&shard.heartbeat, heartbeat));
}

/// Makes the watchdog's OS thread log a line for an OS thread that cannot, as its thread-locals are
/// being destroyed. Waits briefly for that, as the process may end next. Without a watchdog the
/// line is lost.
pub(in crate::runtime) fn log_for_another(level: Level, line: String) {
    let mut state = WATCHDOG.sleeper.lock();
    if state.start().is_err() {
        return;
    }
    state.lines.push((level, line));
    state.queued += 1;
    let number = state.queued;
    WATCHDOG.sleeper.notify(&state);
    // Bounded: a logger may wait for this OS thread.
    let deadline = deadline_after(monotonic_now(), LOG_WAIT);
    while state.logged < number {
        let left = deadline.saturating_sub(monotonic_now());
        if left == 0 {
            return;
        }
        let left = Duration::from_nanos(left);
        let waited = WATCHDOG.has_logged.wait_timeout(state, left);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn patrol() {
    let sleeper = &WATCHDOG.sleeper;
    let mut idle = 0;
    let mut state = WATCHDOG.sleeper.lock();
    loop {
        if idle >= IDLE_SAMPLES && sleeper.falls_asleep(&state, WatchdogState::is_idle) {
            state = sleeper.wait_until_notified(state);
            idle = 0;
        }
        let pause = state.shards.iter().map(Watched::pause).min();
        state = sleeper.pause(state, pause.unwrap_or(TICK));
        let now = monotonic_now();
        let mut lines = std::mem::take(&mut state.lines);
        let of_others = lines.len() as u64;
        let reports = state.shards.iter_mut();
        let reports = reports.filter_map(|shard| shard.sample(now));
        lines.extend(reports.map(|report| (Level::Warn, report)));
        idle = if state.all_rest() { idle + 1 } else { 0 };
        if !lines.is_empty() {
            // A logger is user code: it may wait for a shard that waits for this lock.
            drop(state);
            for (level, line) in lines {
                // The watchdog survives a panic of the logger.
                without_unwinding(|| log::log!(level, "{line}"));
            }
            state = WATCHDOG.sleeper.lock();
            state.logged += of_others;
            WATCHDOG.has_logged.notify_all();
        }
    }
}

impl Watched {
    fn pause(&self) -> Duration {
        let pause = self.threshold.map(|threshold| threshold / SAMPLES);
        pause.unwrap_or(TICK).clamp(SHORTEST_PAUSE, TICK)
    }

    /// Samples the shard; returns the text of a report, once for each run that is too long.
    fn sample(&mut self, now: u64) -> Option<String> {
        self.looks = self.heartbeat.hurry(self.looks);
        let threshold = self.threshold?;
        let run = self.heartbeat.read();
        if run != self.last {
            (self.last, self.since, self.reported) = (run, now, false);
            return None;
        }
        let held = Duration::from_nanos(now.saturating_sub(self.since));
        let (_, index) = run;
        if index == 0 || index == BETWEEN_RUNS || self.reported || held < threshold {
            return None;
        }
        let ethread = self.names.snapshot(index)?;
        let location = self.heartbeat.location();
        // That ethread may have ended, and another may run in its place.
        if self.heartbeat.read() != run {
            return None;
        }
        self.reported = true;
        let name = ethread
            .name()
            .map(|name| format!("'{name}' "))
            .unwrap_or_default();
        let line = location
            .map(|line| format!(", last parked at {line}"))
            .unwrap_or_default();
        Some(format!(
            "ethread {name}(#{}) has blocked its shard for more than {} ms{line}: it computes, \
             calls something that blocks the OS thread, or waits for a std lock that a parked \
             ethread holds",
            ethread.id,
            held.as_millis(),
        ))
    }
}

#[cfg(all(test, not(ethreads_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_comes_while_others_are_logged_puts_off_the_sleep() {
        let mut state = WatchdogState::new();
        assert!(state.is_idle());
        state.lines.push((Level::Warn, "one more".to_owned()));
        assert!(!state.is_idle());
    }
}

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
