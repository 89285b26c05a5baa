//! Readiness by edge-triggered epoll.
//!
//! A descriptor costs one `epoll_ctl` in its life. The wait itself is one `epoll_pwait`, without a
//! timeout: a timerfd keeps the deadlines, and is set only when the earliest deadline becomes
//! earlier. Both the timerfd and the eventfd of [`EpollRemote::notify`] are watched edge-triggered,
//! so neither has to be read: setting the timer, or writing to the eventfd, arms the edge again.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::clock::monotonic_now;
use super::report::{Report, Until};

/// Keys of the driver's own descriptors. Keys of sources are shifted generations, counted from 1,
/// and never reach these values.
const TIMER_KEY: u64 = u64::MAX;
const NOTIFY_KEY: u64 = u64::MAX - 1;

/// Events of a peer that has ended its side, or is gone.
const GONE: EventFlags = EventFlags::RDHUP
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);

/// Events that make a read return without data. A short read does not mean an emptied socket then.
const HANGUP: EventFlags = GONE.union(EventFlags::PRI);

pub(crate) struct Epoll {
    shared: Arc<EpollRemote>,
    timer: OwnedFd,
    /// What the timerfd is set to. If that time has passed, the timer's event is still to be
    /// reported.
    timer_at: Option<u64>,
    events: Vec<Event>,
}

/// The part for other OS threads: the epoll instance and the eventfd. They outlive the shard as
/// long as an OS thread can still call them.
pub(crate) struct EpollRemote {
    epoll: OwnedFd,
    event: OwnedFd,
}

impl Epoll {
    /// Reports beyond `batch` come with the next wait, in their order.
    pub(super) fn open(batch: usize) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &event, EventData::new_u64(NOTIFY_KEY), edge)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER_KEY), edge)?;
        Ok(Self {
            shared: Arc::new(EpollRemote { epoll, event }),
            timer,
            timer_at: None,
            events: Vec::with_capacity(batch),
        })
    }

    pub(super) fn remote(&self) -> Arc<EpollRemote> {
        self.shared.clone()
    }

    pub(super) fn register(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let interest =
            EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::PRI | EventFlags::ET;
        epoll::add(&self.shared.epoll, fd, EventData::new_u64(key), interest)?;
        Ok(())
    }

    pub(super) fn wait(&mut self, until: Until, reports: &mut Vec<Report>) -> io::Result<()> {
        let no_wait = Timespec::default();
        let timeout = match until {
            Until::Now => Some(&no_wait),
            Until::At(deadline) if self.set_timer(deadline)? => None,
            Until::At(_) => Some(&no_wait),
            Until::Event => None,
        };
        self.events.clear();
        match epoll::wait(
            &self.shared.epoll,
            spare_capacity(&mut self.events),
            timeout,
        ) {
            Ok(_) => {}
            // A signal handler has run; the scheduler takes another turn.
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let (key, flags) = (event.data.u64(), event.flags);
            match key {
                TIMER_KEY => self.timer_at = None,
                NOTIFY_KEY => {}
                _ => reports.push(Report {
                    key,
                    read: flags.intersects(EventFlags::IN | HANGUP),
                    write: flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR),
                    hangup: flags.intersects(HANGUP),
                    gone: flags.intersects(GONE),
                }),
            }
        }
        Ok(())
    }

    /// Makes sure that the timer goes off at `deadline` or before; false if the deadline has
    /// passed.
    ///
    /// A timer that is set to an earlier time stays: it ends the wait early once, which is cheaper
    /// than a system call for each deadline that becomes later.
    fn set_timer(&mut self, deadline: u64) -> io::Result<bool> {
        if self.timer_at.is_some_and(|at| at <= deadline) {
            return Ok(true);
        }
        if deadline <= monotonic_now() {
            return Ok(false);
        }
        let at = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(deadline / 1_000_000_000).unwrap_or(i64::MAX),
                tv_nsec: (deadline % 1_000_000_000) as _,
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &at)?;
        self.timer_at = Some(deadline);
        Ok(true)
    }
}

impl EpollRemote {
    pub(super) fn notify(&self) {
        // Fails only when the counter would overflow, after 2^64 - 2 notifications.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    pub(super) fn deregister(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }
}
