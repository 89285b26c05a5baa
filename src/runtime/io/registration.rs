//! The registrations of a descriptor: in which shards, and with which keys.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::runtime::base::error::closed;
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::inbox::{Inbox, Message};

/// The registrations of one descriptor. `Send + Sync`: any shard and any OS thread may use it.
#[derive(Default)]
pub struct Registration {
    /// The key in the first shard that waited; zero before. Generations are unique in the process,
    /// so a key that matches a slot's key belongs to this source.
    binding: AtomicU64,
    closed: AtomicBool,
    homes: Mutex<Homes>,
}

/// All shards that have registered the descriptor. The first needs no allocation, and the others
/// take one word less than in a `Vec`: each idle connection of a server has this.
#[derive(Default)]
struct Homes {
    first: Option<Home>,
    more: Box<[Home]>,
}

#[derive(Clone)]
struct Home {
    inbox: Arc<Inbox>,
    key: u64,
}

impl Homes {
    fn iter(&self) -> impl Iterator<Item = &Home> {
        self.first.iter().chain(&self.more)
    }

    /// Forgets the shards that have ended. Otherwise a source that outlives many shards, such as
    /// the standard input, would keep all their drivers open.
    fn forget_ended(&mut self, fd: BorrowedFd<'_>) {
        let goes_on = |home: &Home| {
            if home.inbox.queue.is_closed() {
                home.inbox.driver.deregister(fd);
            }
            !home.inbox.queue.is_closed()
        };
        self.first = self.first.take().filter(goes_on);
        let mut more = mem::take(&mut self.more).into_vec();
        more.retain(goes_on);
        self.more = more.into();
    }
}

impl Registration {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// # Errors
    ///
    /// `NotConnected` once the source is closed.
    #[inline]
    pub(crate) fn check_open(&self) -> io::Result<()> {
        match self.is_closed() {
            true => Err(closed()),
            false => Ok(()),
        }
    }

    /// The key in the first shard that waited; zero if none has.
    #[inline]
    pub(in crate::runtime) fn first_key(&self) -> u64 {
        self.binding.load(Ordering::Relaxed)
    }

    fn homes(&self) -> MutexGuard<'_, Homes> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key in the shard with this inbox, if the source is registered there.
    pub(in crate::runtime) fn key_in(&self, inbox: &Arc<Inbox>) -> Option<u64> {
        let homes = self.homes();
        let mut homes = homes.iter();
        homes
            .find(|home| Arc::ptr_eq(&home.inbox, inbox))
            .map(|home| home.key)
    }

    /// Notes that the shard with this inbox has registered the source.
    pub(in crate::runtime) fn add(&self, inbox: &Arc<Inbox>, key: u64, fd: BorrowedFd<'_>) {
        let home = Home {
            inbox: inbox.clone(),
            key,
        };
        let mut homes = self.homes();
        homes.forget_ended(fd);
        if homes.first.is_none() {
            homes.first = Some(home);
            self.binding.store(key, Ordering::Relaxed);
        } else {
            let more = mem::take(&mut homes.more);
            homes.more = more.into_iter().chain([home]).collect();
        }
    }

    /// Marks the source closed and makes all its waiters try again, on every shard. The caller then
    /// shuts the descriptor down, which wakes OS threads blocked in poll(2).
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.nudge();
    }

    /// Makes all waiters try again, on every shard.
    pub(crate) fn nudge(&self) {
        let homes: Vec<Home> = self.homes().iter().cloned().collect();
        current::with(|scheduler| {
            for home in homes {
                match scheduler.filter(|s| s.is_of(&home.inbox)) {
                    Some(scheduler) => scheduler.source_nudged(home.key),
                    None => home.inbox.send(Message::Nudged { key: home.key }),
                }
            }
        });
    }

    /// Whether a driver may have the descriptor registered.
    pub(crate) fn is_known(&self) -> bool {
        self.first_key() != 0
    }

    /// Removes the descriptor from every driver. Must come before the descriptor is closed or given
    /// away.
    pub(crate) fn deregister(&self, fd: BorrowedFd<'_>) {
        self.release(Some(fd));
    }

    /// Releases the slots of a descriptor that is never closed and stays registered with the
    /// drivers.
    pub(crate) fn abandon(&self) {
        self.release(None);
    }

    fn release(&self, fd: Option<BorrowedFd<'_>>) {
        let homes = mem::take(&mut *self.homes());
        self.binding.store(0, Ordering::Relaxed);
        if homes.first.is_none() {
            return;
        }
        current::with(|scheduler| {
            for home in homes.iter() {
                if let Some(fd) = fd {
                    home.inbox.driver.deregister(fd);
                }
                match scheduler.filter(|s| s.is_of(&home.inbox)) {
                    Some(scheduler) => scheduler.source_released(home.key),
                    None => home.inbox.send(Message::Released { key: home.key }),
                }
            }
        });
    }
}

impl fmt::Debug for Registration {
    /// Prints nothing that is under the lock: the writer is user code, which may use the
    /// descriptor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
