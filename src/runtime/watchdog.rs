//! The one OS thread that the library starts by itself: it names an ethread that has held its
//! shard for too long.
//!
//! The shard's part is one relaxed store a switch. The watchdog compares what it reads with what
//! it read before; only when they are the same for longer than the threshold does it ask the
//! shard's roster who that is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::driver::monotonic_now;
use super::inbox::Inbox;
use super::scheduler::Scheduler;

/// Samples taken within one threshold.
const SAMPLES: u32 = 4;

/// The shortest time between two samples, whatever the threshold.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// A shard's sign of life.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    /// The run that goes on: its number and, in the low 32 bits, the ethread's place, which is
    /// never 0 (that is the OS thread). Zero while none goes on.
    run: AtomicU64,
}

impl Heartbeat {
    #[inline]
    pub(super) fn beat(&self, index: u32) {
        let number = (self.run.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.run
            .store(number << 32 | u64::from(index), Ordering::Relaxed);
    }

    /// No ethread runs: the shard waits, or its OS thread has its own code to run.
    #[inline]
    pub(super) fn rest(&self) {
        let run = self.run.load(Ordering::Relaxed);
        self.run
            .store(run & !u64::from(u32::MAX), Ordering::Relaxed);
    }
}

/// A shard under watch.
struct Watched {
    heartbeat: Arc<Heartbeat>,
    inbox: Arc<Inbox>,
    threshold: Duration,
    /// The run seen last, when it was first seen, and whether it was reported.
    last: u64,
    since: u64,
    reported: bool,
}

#[derive(Default)]
struct Watchdog {
    shards: Mutex<Vec<Watched>>,
    /// Rung when the first shard comes.
    arrival: Condvar,
}

static WATCHDOG: Watchdog = Watchdog {
    shards: Mutex::new(Vec::new()),
    arrival: Condvar::new(),
};

/// Puts a shard under watch, once; starts the thread for the first one.
pub(super) fn watch(scheduler: &Scheduler) {
    let Some(threshold) = scheduler.settings.watchdog else {
        return;
    };
    if scheduler.is_virtual || scheduler.watched.replace(true) {
        return;
    }
    static STARTED: std::sync::Once = std::sync::Once::new();
    STARTED.call_once(|| {
        let thread = std::thread::Builder::new().name("ethreads-watchdog".into());
        if let Err(error) = thread.spawn(patrol) {
            log::warn!("no watchdog: {error}");
        }
    });
    let mut shards = WATCHDOG
        .shards
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    shards.push(Watched {
        heartbeat: scheduler.heartbeat.clone(),
        inbox: scheduler.inbox.clone(),
        threshold,
        last: 0,
        since: monotonic_now(),
        reported: false,
    });
    WATCHDOG.arrival.notify_one();
}

/// Takes a shard out of the watch.
pub(super) fn forget(scheduler: &Scheduler) {
    let mut shards = WATCHDOG
        .shards
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    shards.retain(|shard| !Arc::ptr_eq(&shard.heartbeat, &scheduler.heartbeat));
}

fn patrol() {
    let mut shards = WATCHDOG
        .shards
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    loop {
        let pause = shards.iter().map(|shard| shard.threshold / SAMPLES).min();
        let Some(pause) = pause else {
            shards = WATCHDOG
                .arrival
                .wait(shards)
                .unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let pause = pause.max(SHORTEST_PAUSE);
        let waited = WATCHDOG.arrival.wait_timeout(shards, pause);
        shards = waited.unwrap_or_else(PoisonError::into_inner).0;
        let now = monotonic_now();
        let reports: Vec<String> = shards
            .iter_mut()
            .filter_map(|shard| shard.sample(now))
            .collect();
        if !reports.is_empty() {
            // A logger is user code: it may wait for a shard that waits for this lock.
            drop(shards);
            for report in reports {
                log::warn!("{report}");
            }
            shards = WATCHDOG
                .shards
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Watched {
    /// Looks at the shard; the text of a report, once for each run that is too long.
    fn sample(&mut self, now: u64) -> Option<String> {
        let run = self.heartbeat.run.load(Ordering::Relaxed);
        if run != self.last {
            (self.last, self.since, self.reported) = (run, now, false);
            return None;
        }
        let held = Duration::from_nanos(now.saturating_sub(self.since));
        let index = run as u32;
        if index == 0 || self.reported || held < self.threshold {
            return None;
        }
        let who = self.inbox.roster.snapshot(index)?;
        // It may have ended since, and somebody else begun in its place.
        if self.heartbeat.run.load(Ordering::Relaxed) != run {
            return None;
        }
        self.reported = true;
        let name = who
            .name()
            .map(|name| format!("'{name}' "))
            .unwrap_or_default();
        let line = who
            .location
            .map(|line| format!(", last parked at {line}"))
            .unwrap_or_default();
        Some(format!(
            "ethread {name}(#{}) has held its shard for more than {} ms{line}: it computes, calls \
             something that blocks the OS thread, or waits for a std lock that a parked ethread \
             holds",
            who.id,
            held.as_millis(),
        ))
    }
}
