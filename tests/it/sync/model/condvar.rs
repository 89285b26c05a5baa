//! `Condvar` with its `Mutex`: a notified waiter goes on, and no other waiter does.

use std::cell::Cell;

use ethreads::sync::{Condvar, Mutex, MutexGuard};

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Lock(u64),
    Wait,
    WaitTimeout(u64),
    /// Notifies one waiter, or all; with the lock for so long after that, or without it.
    Notify(bool, Option<u64>),
}

fn op() -> impl Strategy<Value = Op> {
    let notify = (any::<bool>(), prop::option::of(0u64..4));
    prop_oneof![
        1 => (0u64..3).prop_map(Op::Lock),
        3 => Just(Op::Wait),
        2 => (1u64..6).prop_map(Op::WaitTimeout),
        3 => notify.prop_map(|(all, hold)| Op::Notify(all, hold)),
    ]
}

struct World {
    mutex: Mutex<()>,
    changed: Condvar,
    held: Cell<bool>,
    /// How many ethreads want the lock.
    want: Cell<usize>,
    queue: WaitQueue<(), ()>,
}

/// Holds the lock, in truth and in the account.
struct Held<'a>(&'a World, Option<MutexGuard<'a, ()>>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.set(false);
        self.1 = None;
    }
}

impl World {
    /// An ethread that unwinds with the lock changes nothing here, so poison is ignored.
    fn has<'a>(&'a self, guard: MutexGuard<'a, ()>) -> Held<'a> {
        assert!(!self.held.replace(true), "two have the lock");
        Held(self, Some(guard))
    }

    fn lock(&self) -> Held<'_> {
        self.want.set(self.want.get() + 1);
        let _wants = at_end(|| self.want.set(self.want.get() - 1));
        self.has(self.mutex.lock().unwrap_or_else(|error| error.into_inner()))
    }

    fn wait(&self, id: usize, limit: Option<Duration>) {
        let mut held = self.lock();
        let guard = held.1.take().unwrap();
        self.held.set(false);
        std::mem::forget(held);
        let waiter = self.queue.enter_until(id, (), limit);
        let (guard, timed_out) = match limit {
            None => {
                let guard = self.changed.wait(guard);
                (guard.unwrap_or_else(|error| error.into_inner()), false)
            }
            Some(limit) => {
                let waited = self.changed.wait_timeout(guard, limit);
                let (guard, result) = waited.unwrap_or_else(|error| error.into_inner());
                (guard, result.timed_out())
            }
        };
        let _held = self.has(guard);
        assert_eq!(waiter.ends().is_none(), timed_out);
    }
}

impl super::World for World {
    type Op = Op;

    fn new(known: &Rc<Ethreads>) -> Self {
        Self {
            mutex: Mutex::default(),
            changed: Condvar::new(),
            held: Cell::default(),
            want: Cell::default(),
            queue: WaitQueue::new(known),
        }
    }

    fn act(&self, id: usize, op: &Op) {
        match *op {
            Op::Lock(hold) => {
                let _held = self.lock();
                thread::sleep(ms(hold));
            }
            Op::Wait => self.wait(id, None),
            Op::WaitTimeout(limit) => self.wait(id, Some(ms(limit))),
            Op::Notify(all, hold) => {
                let _held = hold.map(|_| self.lock());
                if all {
                    self.changed.notify_all();
                    self.queue.wake_all(());
                } else {
                    self.changed.notify_one();
                    self.queue.wake_one(());
                }
                thread::sleep(ms(hold.unwrap_or(0)));
            }
        }
    }

    fn audit(&self) {
        if !self.held.get() {
            self.queue.audit("a condition");
            assert_eq!(
                self.want.get(),
                0,
                "the lock is free, and a run waits for it for it"
            );
        }
    }

    fn finish(&self) {
        assert!(self.queue.is_empty());
        // Poison does not count as locked.
        let tried = self.mutex.try_lock();
        assert!(!matches!(
            tried,
            Err(ethreads::sync::TryLockError::WouldBlock)
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_condvar_does_what_its_account_says(scripts in scripts(op()), seed in any::<u64>()) {
        play::<World>(scripts, seed);
    }
}
