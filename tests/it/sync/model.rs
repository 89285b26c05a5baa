//! `sync` against naive accounts of it. Random programs run on the simulation driver, and their
//! ethreads meet deadlines and cancels. Every return and every unwinding is compared with the
//! account of the object.
//!
//! Everything happens at whole milliseconds. Between them no ethread is ready, so an ethread that
//! waits then must have a reason to: the accounts are audited at these times.

mod channels;
mod condvar;
mod locks;
mod once;
mod promise;
mod resource;
mod rounds;
mod signal;

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration;

use ethreads::thread::{self, Cancelled};
use ethreads::time::{self, Instant};
use ethreads::{runtime, sim};
use proptest::prelude::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What an ethread does: these steps one after another, each within a limit.
#[derive(Clone, Debug)]
struct Script<O> {
    steps: Vec<(O, Option<u64>)>,
    cancelled_at: Option<u64>,
}

/// The limit of a step that has none of its own, so that all programs end.
const LONG: u64 = 20;

fn scripts<O: Debug + Clone>(
    op: impl Strategy<Value = O>,
) -> impl Strategy<Value = Vec<Script<O>>> {
    let steps = prop::collection::vec((op, prop::option::weighted(0.3, 1u64..6)), 1..6);
    let script =
        (steps, prop::option::weighted(0.3, 0u64..15)).prop_map(|(steps, cancelled_at)| Script {
            steps,
            cancelled_at,
        });
    prop::collection::vec(script, 1..7)
}

/// An object under test, with an account of it.
trait World: 'static {
    type Op: Clone + Debug + 'static;

    fn new(known: &Rc<Ethreads>) -> Self;

    fn act(&self, id: usize, op: &Self::Op);

    /// Compares the account with the object, when no ethread is ready.
    fn audit(&self);

    /// All ethreads have ended.
    fn finish(&self) {}
}

/// What the accounts know of the ethreads.
#[derive(Default)]
struct Ethreads {
    cancelled: RefCell<Vec<bool>>,
    deadlines: RefCell<Vec<Option<Instant>>>,
    /// Errors that were found while unwinding, where a panic would abort.
    complaints: RefCell<Vec<String>>,
}

impl Ethreads {
    /// Whether a wait of the ethread can end other than by a cancel or the deadline of its step.
    fn can_be_woken(&self, id: usize) -> bool {
        let deadline = self.deadlines.borrow()[id];
        !self.cancelled.borrow()[id] && deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    fn complain(&self, complaint: String) {
        self.complaints.borrow_mut().push(complaint);
    }
}

/// The account of a wait queue: the waiters, what each of them asks for, and what was given to
/// woken waiters that have not run since.
struct WaitQueue<A, V> {
    known: Rc<Ethreads>,
    waiting: RefCell<Vec<Entry<A>>>,
    woken: RefCell<Vec<(usize, V)>>,
}

#[derive(Clone, Copy)]
struct Entry<A> {
    id: usize,
    ask: A,
    /// The deadline of this wait alone.
    deadline: Option<Instant>,
}

/// A waiter in the account, for as long as its ethread really waits.
struct Waiter<'a, A, V> {
    queue: &'a WaitQueue<A, V>,
    id: usize,
}

impl<A: Copy, V> WaitQueue<A, V> {
    fn new(known: &Rc<Ethreads>) -> Self {
        Self {
            known: known.clone(),
            waiting: RefCell::default(),
            woken: RefCell::default(),
        }
    }

    fn enter(&self, id: usize, ask: A) -> Waiter<'_, A, V> {
        self.enter_until(id, ask, None)
    }

    fn enter_until(&self, id: usize, ask: A, limit: Option<Duration>) -> Waiter<'_, A, V> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let entry = Entry { id, ask, deadline };
        self.waiting.borrow_mut().push(entry);
        Waiter { queue: self, id }
    }

    fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// What the first waiter that has not left asks for, though its wait may be over.
    fn first(&self) -> Option<A> {
        self.waiting.borrow().first().map(|entry| entry.ask)
    }

    /// Gives `value` to the first waiter; false if the wait of that waiter is over.
    fn wake_first(&self, value: V) -> bool {
        let Entry { id, deadline, .. } = self.waiting.borrow_mut().remove(0);
        let in_time = deadline.is_none_or(|deadline| Instant::now() < deadline);
        let woken = in_time && self.known.can_be_woken(id);
        if woken {
            self.woken.borrow_mut().push((id, value));
        }
        woken
    }

    /// Gives `value` to the first waiter whose wait is not over.
    fn wake_one(&self, value: V) -> bool
    where
        V: Clone,
    {
        while !self.is_empty() {
            if self.wake_first(value.clone()) {
                return true;
            }
        }
        false
    }

    fn wake_all(&self, value: V) -> usize
    where
        V: Clone,
    {
        let mut count = 0;
        while self.wake_one(value.clone()) {
            count += 1;
        }
        count
    }

    fn take_out(&self, id: usize) -> Option<V> {
        self.waiting.borrow_mut().retain(|entry| entry.id != id);
        let mut woken = self.woken.borrow_mut();
        let index = woken.iter().position(|(other, _)| *other == id)?;
        Some(woken.remove(index).1)
    }

    /// No ethread is ready, so every woken waiter has gone on.
    fn audit(&self, what: &str) {
        let left: Vec<_> = self.woken.borrow().iter().map(|(id, _)| *id).collect();
        assert!(left.is_empty(), "{what}: {left:?} were woken and wait on");
    }
}

impl<A, V> Waiter<'_, A, V>
where
    A: Copy,
{
    /// The waiter has gone on, so it must have been woken.
    #[track_caller]
    fn goes_on(self) -> V {
        let ethread = self.id;
        let woken = self.ends();
        woken.unwrap_or_else(|| panic!("{ethread} has gone on, and was not woken"))
    }

    /// The waiter has gone on, woken or not.
    fn ends(self) -> Option<V> {
        let woken = self.queue.take_out(self.id);
        std::mem::forget(self);
        woken
    }
}

impl<A, V> Drop for Waiter<'_, A, V> {
    fn drop(&mut self) {
        let (queue, id) = (self.queue, self.id);
        queue.waiting.borrow_mut().retain(|entry| entry.id != id);
        let mut woken = queue.woken.borrow_mut();
        if let Some(index) = woken.iter().position(|(other, _)| *other == id) {
            drop(woken.remove(index));
            let ethread = id;
            queue
                .known
                .complain(format!("{ethread} was woken, and unwinds"));
        }
    }
}

/// Runs the scripts in the order of this seed.
fn play<W: World>(scripts: Vec<Script<W::Op>>, seed: u64) {
    let run = sim::run(seed, move || {
        let known = Rc::new(Ethreads::default());
        known.cancelled.replace(vec![false; scripts.len()]);
        known.deadlines.replace(vec![None; scripts.len()]);
        let world = Rc::new(W::new(&known));
        let (mut ethreads, mut cancels) = (Vec::new(), Vec::new());
        for (id, script) in scripts.into_iter().enumerate() {
            let (theirs, noted) = (world.clone(), known.clone());
            let ethread = Rc::new(thread::spawn(move || {
                for (op, limit) in script.steps {
                    let limit = ms(limit.unwrap_or(LONG));
                    noted.deadlines.borrow_mut()[id] = Some(Instant::now() + limit);
                    let _ = time::timeout(limit, || theirs.act(id, &op));
                }
            }));
            if let Some(at) = script.cancelled_at {
                let (ethread, known) = (ethread.clone(), known.clone());
                cancels.push(thread::spawn(move || {
                    thread::sleep(ms(at));
                    known.cancelled.borrow_mut()[id] = true;
                    ethread.cancel();
                }));
            }
            ethreads.push(ethread);
        }
        thread::sleep(Duration::from_micros(500));
        while ethreads.iter().any(|ethread| !ethread.is_finished()) {
            world.audit();
            thread::sleep(ms(1));
        }
        cancels
            .into_iter()
            .for_each(|cancel| cancel.join().unwrap());
        for ethread in ethreads {
            match Rc::into_inner(ethread).unwrap().join() {
                Err(payload) if !payload.is::<Cancelled>() => std::panic::resume_unwind(payload),
                _ => (),
            }
        }
        let complaints = known.complaints.take();
        assert!(complaints.is_empty(), "{complaints:?}");
        world.audit();
        world.finish();
        drop(world);
        thread::sleep(ms(1));
        let stats = runtime::stats().unwrap();
        assert_eq!((stats.ethreads, stats.scopes, stats.timers), (1, 0, 0));
    });
    run.unwrap();
}

/// Calls `f` when the result is dropped, which is when its owner ends or unwinds.
fn at_end<F: FnMut()>(f: F) -> crate::support::OnDrop<F> {
    crate::support::OnDrop(f)
}

/// A number that differs each time.
#[derive(Default)]
struct Counter(Cell<u32>);

impl Counter {
    fn next(&self) -> u32 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
}
