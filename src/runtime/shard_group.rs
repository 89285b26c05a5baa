//! Shards that serve what is sent to them, and their shutdown.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use super::base::error::WouldPark;
use super::scheduler::current::{self, Uninstall};
use super::scheduler::event_loop::{Goal, Scheduler, Stuck};
use super::scheduler::settings::Settings;
use super::shard_thread::ShardThreads;
use super::task::oneshot::{AbandonOnDrop, Oneshot, WaitError};
use super::task::shard::{RemoteJoinHandle, Shard, SpawnError};

/// Running shards, each on an OS thread of its own, that serve what is sent to them. Made by
/// [`Shards::start`](super::Shards::start).
///
/// `Send` and `Sync`: to use the group in several places, put it into an `Arc`, or clone the
/// [`Shard`]s. Dropping the group ends the shards as [`shutdown`](Self::shutdown) does, without
/// waiting for their end.
pub struct ShardGroup {
    shards: Vec<Shard>,
    next: AtomicUsize,
    /// The reports that the shards will give at their end; empty once `shutdown` waits for them.
    ends: Mutex<Vec<Arc<Oneshot<ShardReport>>>>,
}

/// What was still alive when a group of shards was shut down. Given by [`ShardGroup::shutdown`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// One report for each shard, in the order of the shards' numbers.
    pub shards: Vec<ShardReport>,
}

/// How a shard ended.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ShardReport {
    /// The name of the shard's OS thread.
    pub shard: String,
    /// The ethreads that were alive when the shutdown began, by name and id. They were cancelled.
    pub alive: Vec<String>,
    /// The ethreads that had not ended when the grace period was over: some of those in `alive`,
    /// and of the ethreads that they have spawned meanwhile. They are leaked.
    pub left: Vec<String>,
    /// How many ethreads were spawned too late to begin. A join of such an ethread returns
    /// [`ShardEnded`](super::ShardEnded).
    pub unstarted: usize,
    /// How many ethreads have panicked, since the shard began, whose handles were dropped before
    /// its end. The log has the messages.
    pub panicked: usize,
    /// The error with which the shard failed, if it did.
    pub error: Option<io::Error>,
}

impl ShutdownReport {
    /// Whether nothing was alive any more, nothing panicked, and nothing failed; false if this is
    /// the empty report of a second call.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let is_clean = |shard: &ShardReport| {
            shard.alive.is_empty()
                && shard.left.is_empty()
                && shard.unstarted == 0
                && shard.panicked == 0
                && shard.error.is_none()
        };
        !self.shards.is_empty() && self.shards.iter().all(is_clean)
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for shard in &self.shards {
            write!(
                f,
                "{}: {} alive, {} left, {} unstarted, {} panicked",
                shard.shard,
                shard.alive.len(),
                shard.left.len(),
                shard.unstarted,
                shard.panicked
            )?;
            if let Some(error) = &shard.error {
                write!(f, ", failed: {error}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl ShardGroup {
    /// Returns the shards, in the order of their numbers.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Returns the next shard: the shards take turns.
    #[must_use]
    pub fn next(&self) -> &Shard {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.shards[turn % self.shards.len()]
    }

    /// Returns the shard that a key belongs to. It is the same shard each time, so the data behind
    /// a key needs no lock. Keys are spread by their hash.
    #[must_use]
    pub fn by_key(&self, key: impl Hash) -> &Shard {
        // The hasher's own keys are fixed, unlike those of a `RandomState`.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let place = hasher.finish() % self.shards.len() as u64;
        &self.shards[place as usize]
    }

    /// Spawns an ethread on the [next](Self::next) shard; see [`Shard::spawn`].
    ///
    /// # Errors
    ///
    /// As [`Shard::spawn`].
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Result<RemoteJoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.next().spawn(f)
    }

    /// Ends all shards, and suspends the caller until they have ended; an OS thread without
    /// ethreads is blocked. The remaining ethreads are cancelled, and have the [grace
    /// period](super::Builder::grace) to unwind.
    ///
    /// What was sent before this call is delivered first. What has not been delivered when a shard
    /// has ended is counted, and its waiters get an error.
    ///
    /// A second call returns at once, with an empty report. While the caller unwinds, this does not
    /// wait either: the report of each shard that has not ended has the error
    /// [`WouldPark`](super::WouldPark).
    ///
    /// # Panics
    ///
    /// If called in a closure given to `suspend`.
    ///
    /// # Cancellation
    ///
    /// A cancelled caller unwinds; the shards end all the same. An ethread of the group itself is
    /// cancelled by its own call.
    #[track_caller]
    pub fn shutdown(&self) -> ShutdownReport {
        let location = Location::caller();
        self.stop();
        // The lock is released before the wait.
        let ends = std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner));
        let wait = |(shard, end): (&Shard, Arc<Oneshot<ShardReport>>)| {
            end.wait(location).unwrap_or_else(|error| {
                let error = match error {
                    WaitError::Unwinding => io::Error::other(WouldPark { location }),
                    WaitError::Abandoned => io::Error::other("its OS thread panicked"),
                };
                ShardReport {
                    shard: shard.name().to_owned(),
                    error: Some(error),
                    ..ShardReport::default()
                }
            })
        };
        ShutdownReport {
            shards: self.shards.iter().zip(ends).map(wait).collect(),
        }
    }

    fn stop(&self) {
        for shard in &self.shards {
            shard.stop();
        }
    }
}

impl Drop for ShardGroup {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for ShardGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardGroup")
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

/// Starts the shards of a group.
pub(super) fn start(settings: &Settings, threads: &ShardThreads) -> io::Result<ShardGroup> {
    // Dropped on failure, which ends the shards that have begun.
    let mut group = ShardGroup {
        shards: Vec::new(),
        next: AtomicUsize::new(0),
        ends: Mutex::default(),
    };
    for number in 0..threads.count {
        let (begun, has_begun) = mpsc::sync_channel(1);
        let end = Arc::new(Oneshot::new());
        let ends = AbandonOnDrop(end.clone());
        let settings = settings.clone();
        threads.spawn(number, move |pinned| {
            let result = pinned.and_then(|()| install(settings));
            match result {
                Err(error) => drop(begun.send(Err(error))),
                Ok(scheduler) => {
                    // `start` waits for this.
                    let _ = begun.send(Ok(Shard::of(&scheduler)));
                    let report = serve(scheduler);
                    // If `shutdown` does not wait for it, the log has what is of interest. If this
                    // OS thread panics, the wait ends without it.
                    let _ = ends.0.put(report);
                }
            }
        })?;
        let shard = has_begun
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the OS thread of a shard panicked")))?;
        group.shards.push(shard);
        group
            .ends
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .push(end);
    }
    Ok(group)
}

fn install(mut settings: Settings) -> io::Result<Rc<Scheduler>> {
    settings.serve_inbox = true;
    current::install(settings)
}

/// Serves what is sent to this OS thread's shard until the shard is stopped; then the shard ends.
fn serve(scheduler: Rc<Scheduler>) -> ShardReport {
    // Removes the scheduler also if this function unwinds.
    let uninstall = Uninstall(scheduler.clone());
    let mut report = ShardReport {
        shard: thread::current().name().unwrap_or_default().to_owned(),
        ..ShardReport::default()
    };
    let served = scheduler.drive(&Goal::Flag(&scheduler.stopped));
    // Ethreads accepted until now count as alive, even if they have not begun.
    scheduler.refuse_new();
    report.alive = scheduler.labels();
    let ended = scheduler.shut_down(true);
    report.left = scheduler.labels();
    report.panicked = scheduler.take_panics() + scheduler.inbox.late_panics();
    report.error = match (served, ended) {
        (Err(Stuck::Io(error)), _) | (Ok(()), Err(error)) => Some(error),
        // A shard that serves its inbox never deadlocks.
        (Err(Stuck::Deadlock), _) | (Ok(()), Ok(_)) => None,
    };
    drop(scheduler);
    report.unstarted = uninstall.now();
    report
}
