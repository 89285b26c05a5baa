//! `Mutex` and `RwLock`: one account for both, as a mutex is a lock that is always taken for
//! writing.

use std::cell::Cell;

use ethreads::sync::{LockResult, Mutex, MutexGuard, TryLockError, TryLockResult};
use ethreads::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Access {
    Read,
    Write,
}

#[derive(Clone, Debug)]
enum Op {
    Lock(Access, u64),
    Try(Access),
    /// Writes for so long, and then reads for so long.
    Downgrade(u64, u64),
    /// Panics while it holds the lock.
    Panic(Access),
    ClearPoison,
}

fn op() -> impl Strategy<Value = Op> {
    let access = || prop_oneof![Just(Access::Read), Just(Access::Write)];
    prop_oneof![
        6 => (access(), 0u64..4).prop_map(|(access, hold)| Op::Lock(access, hold)),
        1 => access().prop_map(Op::Try),
        2 => (0u64..3, 0u64..3).prop_map(|(written, read)| Op::Downgrade(written, read)),
        1 => access().prop_map(Op::Panic),
        1 => Just(Op::ClearPoison),
    ]
}

enum Lock {
    Mutex(Mutex<u32>),
    RwLock(RwLock<u32>),
}

#[expect(dead_code, reason = "a guard is there to be dropped")]
enum Guard<'a> {
    Mutex(MutexGuard<'a, u32>),
    Read(RwLockReadGuard<'a, u32>),
    Write(RwLockWriteGuard<'a, u32>),
}

/// A guard, and whether the lock reported a poison.
fn told<'a, G>(result: LockResult<G>, wrap: fn(G) -> Guard<'a>) -> (Guard<'a>, bool) {
    match result {
        Ok(guard) => (wrap(guard), false),
        Err(error) => (wrap(error.into_inner()), true),
    }
}

fn tried<'a, G>(result: TryLockResult<G>, wrap: fn(G) -> Guard<'a>) -> Option<(Guard<'a>, bool)> {
    match result {
        Ok(guard) => Some((wrap(guard), false)),
        Err(TryLockError::Poisoned(error)) => Some((wrap(error.into_inner()), true)),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Lock {
    fn lock(&self, access: Access) -> (Guard<'_>, bool) {
        match (self, access) {
            (Self::Mutex(lock), _) => told(lock.lock(), Guard::Mutex),
            (Self::RwLock(lock), Access::Read) => told(lock.read(), Guard::Read),
            (Self::RwLock(lock), Access::Write) => told(lock.write(), Guard::Write),
        }
    }

    fn try_lock(&self, access: Access) -> Option<(Guard<'_>, bool)> {
        match (self, access) {
            (Self::Mutex(lock), _) => tried(lock.try_lock(), Guard::Mutex),
            (Self::RwLock(lock), Access::Read) => tried(lock.try_read(), Guard::Read),
            (Self::RwLock(lock), Access::Write) => tried(lock.try_write(), Guard::Write),
        }
    }
}

struct Locks<const MUTEX: bool> {
    lock: Lock,
    queue: WaitQueue<Access, ()>,
    readers: Cell<usize>,
    written: Cell<bool>,
    poisoned: Cell<bool>,
}

/// Holds the lock, in truth and in the account.
struct Held<'a, const MUTEX: bool> {
    world: &'a Locks<MUTEX>,
    guard: Option<Guard<'a>>,
    access: Access,
}

impl<const MUTEX: bool> Drop for Held<'_, MUTEX> {
    fn drop(&mut self) {
        self.guard = None;
        let world = self.world;
        match self.access {
            Access::Read => world.readers.set(world.readers.get() - 1),
            Access::Write => {
                world.written.set(false);
                world
                    .poisoned
                    .set(world.poisoned.get() || std::thread::panicking());
            }
        }
        world.wake_one();
    }
}

impl<const MUTEX: bool> Locks<MUTEX> {
    fn is_free_for(&self, access: Access) -> bool {
        !self.written.get() && (access == Access::Read || self.readers.get() == 0)
    }

    fn take(&self, access: Access) {
        match access {
            Access::Read => self.readers.set(self.readers.get() + 1),
            Access::Write => self.written.set(true),
        }
    }

    /// Serves waiters in the order of the wait queue, and no waiter before its turn.
    fn wake_one(&self) {
        while let Some(access) = self.queue.first()
            && self.is_free_for(access)
        {
            if self.queue.wake_first(()) {
                self.take(access);
            }
        }
    }

    fn hold<'a>(&'a self, (guard, poisoned): (Guard<'a>, bool), access: Access) -> Held<'a, MUTEX> {
        let held = Held {
            world: self,
            guard: Some(guard),
            access,
        };
        assert_eq!(poisoned, self.poisoned.get());
        held
    }

    fn lock(&self, id: usize, access: Access) -> Held<'_, MUTEX> {
        if self.queue.is_empty() && self.is_free_for(access) {
            self.take(access);
            // An ethread that is cancelled or past its deadline may not wait; this call does not
            // wait.
            return self.hold(self.lock.lock(access), access);
        }
        let _left = at_end(|| self.wake_one());
        let waiter = self.queue.enter(id, access);
        let locked = self.lock.lock(access);
        waiter.goes_on();
        self.hold(locked, access)
    }
}

impl<const MUTEX: bool> World for Locks<MUTEX> {
    type Op = Op;

    fn new(known: &Rc<Ethreads>) -> Self {
        Self {
            lock: match MUTEX {
                true => Lock::Mutex(Mutex::new(0)),
                false => Lock::RwLock(RwLock::new(0)),
            },
            queue: WaitQueue::new(known),
            readers: Cell::default(),
            written: Cell::default(),
            poisoned: Cell::default(),
        }
    }

    fn act(&self, id: usize, op: &Op) {
        let of_kind = |access| if MUTEX { Access::Write } else { access };
        match *op {
            Op::Lock(access, hold) => {
                let _held = self.lock(id, of_kind(access));
                thread::sleep(ms(hold));
            }
            Op::Try(access) => {
                let access = of_kind(access);
                let free = self.queue.is_empty() && self.is_free_for(access);
                let tried = self.lock.try_lock(access);
                assert_eq!(tried.is_some(), free);
                if let Some(tried) = tried {
                    self.take(access);
                    drop(self.hold(tried, access));
                }
            }
            Op::Downgrade(written, read) => {
                let mut held = self.lock(id, Access::Write);
                thread::sleep(ms(written));
                if let Some(Guard::Write(guard)) = held.guard.take() {
                    held.guard = Some(Guard::Read(RwLockWriteGuard::downgrade(guard)));
                    held.access = Access::Read;
                    self.written.set(false);
                    self.take(Access::Read);
                    self.wake_one();
                    thread::sleep(ms(read));
                }
            }
            Op::Panic(access) => {
                let panics = std::panic::AssertUnwindSafe(|| {
                    let _held = self.lock(id, of_kind(access));
                    std::panic::resume_unwind(Box::new("on purpose"));
                });
                assert!(thread::catch_panic(panics).is_err());
            }
            Op::ClearPoison => {
                match &self.lock {
                    Lock::Mutex(lock) => lock.clear_poison(),
                    Lock::RwLock(lock) => lock.clear_poison(),
                }
                self.poisoned.set(false);
            }
        }
    }

    fn audit(&self) {
        self.queue.audit("a lock");
        let first = self.queue.first();
        let first_can_go = first.is_some_and(|access| self.is_free_for(access));
        assert!(!first_can_go, "the first waiter waits for nothing");
        assert!(!self.written.get() || self.readers.get() == 0);
    }

    fn finish(&self) {
        assert!(self.queue.is_empty() && self.lock.try_lock(Access::Write).is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_mutex_does_what_its_account_says(scripts in scripts(op()), seed in any::<u64>()) {
        play::<Locks<true>>(scripts, seed);
    }

    #[test]
    fn a_rw_lock_does_what_its_account_says(scripts in scripts(op()), seed in any::<u64>()) {
        play::<Locks<false>>(scripts, seed);
    }
}
