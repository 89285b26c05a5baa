//! Readiness by the portable crate `polling`: epoll, kqueue, event ports or poll(2), as the system
//! has them.
//!
//! Uses edge mode where the system has it, else one-shot mode, armed before each park. `polling`
//! does not watch for the peer's FIN apart from data, so `Driver::reports_hangup` is false for this
//! driver.

// `Poller::add_with_mode` is unsafe: the descriptor must be deleted before it is closed.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use ::polling::{Event, Events, PollMode, Poller};

use super::clock::monotonic_now;
use super::report::{Report, Until};

/// The part of the driver for other OS threads.
pub(crate) type PollingRemote = Poller;

pub(crate) struct Polling {
    poller: Arc<Poller>,
    events: Events,
    mode: PollMode,
}

impl Polling {
    pub(super) fn open() -> io::Result<Self> {
        let poller = Poller::new()?;
        let mode = if poller.supports_edge() {
            PollMode::Edge
        } else {
            PollMode::Oneshot
        };
        Ok(Self {
            poller: Arc::new(poller),
            events: Events::new(),
            mode,
        })
    }

    pub(super) fn remote(&self) -> Arc<PollingRemote> {
        self.poller.clone()
    }

    pub(super) fn register(&mut self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let interest = match self.mode {
            PollMode::Edge => Event::all(key as usize),
            _ => Event::none(key as usize),
        };
        // SAFETY: rule 7 of the driver's contract: `Registration` deregisters the descriptor
        // from every poller that knows it before its owner closes it.
        unsafe {
            self.poller
                .add_with_mode(fd.as_raw_fd(), interest, self.mode)
        }
    }

    /// Whether descriptors have to be armed before each wait.
    pub(super) fn rearms(&self) -> bool {
        self.mode != PollMode::Edge
    }

    pub(super) fn rearm(
        &mut self,
        fd: BorrowedFd<'_>,
        key: u64,
        read: bool,
        write: bool,
    ) -> io::Result<()> {
        self.poller
            .modify_with_mode(fd, Event::new(key as usize, read, write), self.mode)
    }

    pub(super) fn wait(&mut self, until: Until, reports: &mut Vec<Report>) -> io::Result<()> {
        let timeout = match until {
            Until::Now => Some(Duration::ZERO),
            Until::At(at) => Some(Duration::from_nanos(at.saturating_sub(monotonic_now()))),
            Until::Event => None,
        };
        self.events.clear();
        match self.poller.wait(&mut self.events, timeout) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in self.events.iter() {
            reports.push(Report {
                key: event.key as u64,
                read: event.readable,
                write: event.writable,
                hangup: false,
                gone: false,
            });
        }
        Ok(())
    }
}
