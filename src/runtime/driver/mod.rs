//! The interface between a shard and the system: readiness, time, random numbers, and the
//! operations on file descriptors.
//!
//! # The contract of a readiness driver
//!
//! A driver watches file descriptors for one shard. The scheduler relies on these rules only; the
//! contract tests check each rule with every driver.
//!
//! 1. *Nothing is lost.* After [`Driver::register`] returned, each change of a descriptor from
//!    "would block" to "would not block", in either direction, is reported by a later
//!    [`Driver::wait`]. A registration made late reports the readiness that is already there.
//! 2. *Spurious reports are allowed.* A report may come without a change: a woken waiter tries its
//!    operation again.
//! 3. *Edges, not levels.* A report is made once per change. The scheduler remembers it in the
//!    source's slot until an operation has met `WouldBlock`. A driver without edges is armed by
//!    [`Driver::rearm`] before each park, and only then.
//! 4. *Keys are not interpreted.* A report carries the key given at registration. Reports for a
//!    descriptor that was deregistered may still come out of the wait in which they were
//!    gathered; their key names a generation that no slot has any more.
//! 5. *Hangup is sticky.* A driver for which [`Driver::reports_hangup`] is true sets
//!    [`Report::hangup`] no later than the report that makes the peer's FIN (or an error, or
//!    urgent data) readable. Only then may a short read stand for "would block".
//! 6. *Threads.* All methods of [`Driver`] are called on the shard's OS thread only. [`Remote`] is
//!    the part for all other OS threads: [`Remote::notify`] ends the current wait or the next one,
//!    and [`Remote::deregister`] may be called while the owner waits.
//! 7. *Deregister comes before close*, always: a closed descriptor with a live duplicate keeps
//!    reporting under its old key, and cannot be removed any more.
//! 8. *Time is the driver's.* [`Driver::now`] never goes back; deadlines are on its clock.

#[cfg(feature = "http")]
pub(crate) mod beneath;
mod clock;
pub(crate) mod cpus;
#[cfg(target_os = "linux")]
mod epoll;
pub(crate) mod exhausted;
#[cfg(feature = "http")]
pub(crate) mod file;
mod kind;
pub(crate) mod ops;
mod polling;
#[cfg(feature = "http")]
pub(crate) mod random;
mod report;
pub(in crate::runtime) mod sigaction;
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
pub(crate) use report::{Report, Until};

/// A driver of one shard. See the [module](self) for the contract.
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
    /// If `batch` is the number of ethreads that a shard runs between two waits, the data of a
    /// report is still in the cache when its ethread runs. The kernel's data of as many connections
    /// takes a fraction of a usual L2 cache.
    pub(crate) fn open(kind: DriverKind, batch: usize) -> io::Result<Self> {
        Self::open_now(kind, batch)
            .map_err(exhausted::watches)
            .map_err(|error| exhausted::descriptors("cannot open the driver of a shard", error))
    }

    fn open_now(kind: DriverKind, batch: usize) -> io::Result<Self> {
        // Other drivers have no use for it.
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
    pub(crate) fn remote(&self) -> Remote {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(epoll) => Remote::Epoll(epoll.remote()),
            Self::Polling(polling) => Remote::Polling(polling.remote()),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => Remote::Sim(sim.remote()),
        }
    }

    /// Watches `fd` in both directions under `key`.
    ///
    /// Fails with `EPERM` for a descriptor that cannot be polled (a regular file), and with
    /// `QuotaExceeded` if too many descriptors are watched.
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

    /// Arms a registered descriptor for the directions that have waiters. Does nothing if the
    /// driver is edge-triggered.
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
    /// `external` says that another OS thread holds a handle that can wake this shard. Virtual time
    /// then stands still, or, in a grace period, passes as real time does.
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

    /// Begins the grace period of the shard's shutdown, of `grace` nanoseconds, and returns its end
    /// on this driver's clock. From here on, virtual time that stands still does not prolong it.
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

    /// The next seeded choice among `n` ready ethreads: a number below `n`. Zero under drivers
    /// without a seeded order.
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
pub(crate) enum Remote {
    #[cfg(target_os = "linux")]
    Epoll(Arc<epoll::EpollRemote>),
    Polling(Arc<polling::PollingRemote>),
    #[cfg(feature = "sim")]
    Sim(Arc<sim::Bell>),
}

impl Remote {
    /// Ends the current wait, or else the next one.
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
        // ENOENT means that `fd` was not watched, which is the desired result.
        let _ = match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(shared) => shared.deregister(fd),
            Self::Polling(poller) => poller.delete(fd),
            #[cfg(feature = "sim")]
            Self::Sim(_) => Ok(()),
        };
    }
}
