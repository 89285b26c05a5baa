//! The report of a shard on which nothing can ever happen again.

use std::fmt;
use std::panic::Location;

use super::current;
use super::ethread::{State, ThreadId};
use super::scheduler::Scheduler;

/// Every ethread of a shard is parked, and nothing can ever wake one: no timer, no descriptor, no
/// handle on another OS thread.
///
/// Its text lists each of them with its name, what it waits for and the line of the call.
///
/// # Examples
///
/// ```
/// use ethreads::{RunError, thread};
///
/// thread::Builder::new().name("forlorn").spawn(|| thread::park())?;
/// let Err(RunError::Deadlock(deadlock)) = ethreads::run() else {
///     unreachable!("nobody unparks it");
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
    index: u32,
}

impl Deadlock {
    pub(super) fn new(scheduler: &Scheduler) -> Self {
        let core = scheduler.core.borrow();
        let parked = core
            .blocks
            .iter()
            .filter(|(_, block)| block.state == State::Parked)
            .map(|(index, block)| Parked {
                id: block.id,
                name: block.name.as_deref().map(str::to_owned),
                waits_for: block.reason().to_string(),
                location: block.reason().location,
                index,
            })
            .collect();
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

    /// Cancels the parked ethreads, in order; the next `run` lets them unwind. Does nothing on
    /// another OS thread than the shard's own.
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
            f.write_str("\n  ethread ")?;
            match &parked.name {
                Some(name) => write!(f, "'{name}' ({})", parked.id)?,
                None => write!(f, "{}", parked.id)?,
            }
            write!(f, " waits for {} at {}", parked.waits_for, parked.location)?;
        }
        Ok(())
    }
}

impl std::error::Error for Deadlock {}
