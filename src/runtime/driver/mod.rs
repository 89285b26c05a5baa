//! What a shard needs of the world: readiness, time, random numbers, and the operations on file
//! descriptors.
//!
//! # The contract of a readiness driver
//!
//! A driver watches file descriptors for one shard. The scheduler stands on these rules and on
//! nothing else; the contract tests run each of them against every driver.
//!
//! 1. *Nothing is lost.* After [`Driver::register`] returned, each change of a descriptor from
//!    "would block" to "would not block", in either direction, is reported by a later
//!    [`Driver::wait`]. A registration made late reports the readiness that is already there.
//! 2. *Spurious is allowed.* A report may come with nothing to do: whoever is woken tries again.
//! 3. *Edges, not levels.* A report is made once per change. The scheduler remembers it in the
//!    source's slot until an operation has met `WouldBlock`. A driver that cannot do edges is
//!    armed by [`Driver::rearm`] before each park, and only then.
//! 4. *Keys are not interpreted.* A report carries the key given at registration. Reports for a
//!    descriptor that was deregistered may still come out of the wait in which they were
//!    gathered; their key names a generation that no slot has any more.
//! 5. *Hangup is sticky.* A driver for which [`Driver::reports_hangup`] is true sets
//!    [`Readiness::HANGUP`] no later than the report that makes the peer's FIN (or an error, or
//!    urgent data) readable. Only then may a short read stand for "would block".
//! 6. *Who may call.* All methods of [`Driver`] are called on the shard's OS thread only.
//!    [`Remote`] is the part for every other thread: [`Remote::notify`] ends a wait that is going
//!    on or the next one, and [`Remote::deregister`] may be called while the owner waits.
//! 7. *Deregister comes before close*, always: a closed descriptor with a live duplicate keeps
//!    reporting under its old key, and nobody can remove it any more.
//! 8. *Time is the driver's.* [`Driver::now`] never goes back; deadlines are on its clock.

mod clock;
pub(crate) mod cpus;
#[cfg(target_os = "linux")]
mod epoll;
pub(crate) mod exhausted;
pub(crate) mod file;
mod kind;
pub(crate) mod ops;
mod polling;
mod report;
pub(crate) mod signal;
#[cfg(feature = "sim")]
mod sim;
pub(crate) mod socket;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

#[cfg(feature = "http")]
pub(crate) use clock::wall_seconds;
pub(crate) use clock::{monotonic_now, sharpen_timers};
pub use kind::DriverKind;
pub(crate) use report::{Readiness, Report, Until};

/// A driver of one shard. See the [module](self) for the contract.
#[derive(Debug)]
pub(crate) enum Driver {
    #[cfg(target_os = "linux")]
    Epoll(epoll::Epoll),
    Polling(polling::Polling),
    #[cfg(feature = "sim")]
    Sim(sim::Sim),
}

impl Driver {
    /// Opens a driver that takes about `batch` reports from the system at once.
    ///
    /// What a report brings into the cache is still there when its ethread has its turn, if a
    /// shard runs as many between two waits; and the kernel's part of as many connections is a
    /// fraction of a usual L2 cache.
    pub(crate) fn open(kind: DriverKind, batch: usize) -> io::Result<Self> {
        Self::open_now(kind, batch)
            .map_err(exhausted::watches)
            .map_err(|error| exhausted::descriptors("cannot open the driver of a shard", error))
    }

    fn open_now(kind: DriverKind, batch: usize) -> io::Result<Self> {
        // Others have no use for it.
        let _ = batch;
        match kind {
            #[cfg(target_os = "linux")]
            DriverKind::Epoll => epoll::Epoll::open(batch).map(Self::Epoll),
            #[cfg(not(target_os = "linux"))]
            DriverKind::Epoll => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the epoll driver needs Linux; use DriverKind::Polling",
            )),
            DriverKind::Polling => polling::Polling::open().map(Self::Polling),
            #[cfg(feature = "sim")]
            DriverKind::Sim { seed } => Ok(Self::Sim(sim::Sim::new(seed))),
        }
    }

    /// The part of the driver for other OS threads.
    pub(crate) fn remote(&self) -> Arc<Remote> {
        Arc::new(match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(epoll) => Remote::Epoll(epoll.remote()),
            Self::Polling(polling) => Remote::Polling(polling.remote()),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => Remote::Sim(sim.remote()),
        })
    }

    /// Watches `fd` in both directions under `key`.
    ///
    /// Fails with `EPERM` for a descriptor that cannot be polled (a regular file), and with
    /// `QuotaExceeded` where too many are watched.
    pub(crate) fn register(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let registered = match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(epoll) => epoll.register(fd, key),
            Self::Polling(polling) => polling.register(fd, key),
            #[cfg(feature = "sim")]
            Self::Sim(_) => Err(sim::no_network()),
        };
        registered.map_err(exhausted::watches)
    }

    /// Arms a registered descriptor for the directions that have waiters. Costs nothing where
    /// edges are reported by themselves.
    pub(crate) fn rearm(
        &mut self,
        fd: BorrowedFd<'_>,
        key: u64,
        read: bool,
        write: bool,
    ) -> io::Result<()> {
        match self {
            Self::Polling(polling) => polling.rearm(fd, key, read, write),
            _ => Ok(()),
        }
    }

    /// Waits for reports, and adds them to `reports`.
    ///
    /// `external` says that another OS thread holds something that can wake this shard; virtual
    /// time stands still meanwhile, or in a grace period passes as real time does.
    pub(crate) fn wait(
        &mut self,
        until: Until,
        external: bool,
        reports: &mut Vec<Report>,
    ) -> io::Result<()> {
        let _ = external;
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(epoll) => epoll.wait(until, reports),
            Self::Polling(polling) => polling.wait(until, reports),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => {
                sim.wait(until, external);
                Ok(())
            }
        }
    }

    /// The time on this driver's monotonic clock, in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        match self {
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.now(),
            _ => monotonic_now(),
        }
    }

    /// Begins the grace period of the shard's shutdown, of so many nanoseconds, and says when it is
    /// over on this driver's clock. Virtual time cannot hold it up from here on.
    pub(crate) fn begin_grace(&mut self, grace: u64) -> u64 {
        match self {
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.begin_grace(grace),
            _ => self.now().saturating_add(grace),
        }
    }

    /// Whether hangups are reported in time (rule 5).
    pub(crate) fn reports_hangup(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(_) => true,
            _ => false,
        }
    }

    /// Whether [`Driver::rearm`] does anything.
    pub(crate) fn rearms(&self) -> bool {
        match self {
            Self::Polling(polling) => polling.rearms(),
            _ => false,
        }
    }

    /// Whether time is virtual, and no socket works.
    pub(crate) fn is_virtual(&self) -> bool {
        match self {
            #[cfg(feature = "sim")]
            Self::Sim(_) => true,
            _ => false,
        }
    }

    /// The next number for the choice among `n` ready ethreads, where the order is seeded.
    pub(crate) fn choose(&mut self, n: usize) -> usize {
        match self {
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.choose(n),
            _ => {
                let _ = n;
                0
            }
        }
    }
}

/// The part of a driver that other OS threads may use, at any time, also after the shard's end.
#[derive(Debug)]
pub(crate) enum Remote {
    #[cfg(target_os = "linux")]
    Epoll(Arc<epoll::Shared>),
    Polling(Arc<polling::Shared>),
    #[cfg(feature = "sim")]
    Sim(Arc<sim::Bell>),
}

impl Remote {
    /// Ends the wait that is going on, or else the next one.
    pub(crate) fn notify(&self) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(shared) => shared.notify(),
            Self::Polling(poller) => {
                // The only failure is a full pipe, and then the wake-up is already there.
                let _ = poller.notify();
            }
            #[cfg(feature = "sim")]
            Self::Sim(bell) => bell.ring(),
        }
    }

    /// Stops watching `fd`. Must come before the descriptor is closed.
    pub(crate) fn deregister(&self, fd: BorrowedFd<'_>) {
        // ENOENT says that it was not watched, which is what was asked for.
        let _ = match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(shared) => shared.deregister(fd),
            Self::Polling(poller) => poller.delete(fd),
            #[cfg(feature = "sim")]
            Self::Sim(_) => Ok(()),
        };
    }
}
