//! The interleavings of requests that come and go at several servers with shared limits. A lost
//! call leaves a server waiting, which is a deadlock.

use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::*;
use crate::runtime::base::primitives::bounded_model;

fn bounds(max_threads: usize, max_accept: Option<usize>) -> Bounds {
    Bounds {
        max_threads: Some(max_threads),
        max_accept,
    }
}

/// What ends the wait of a server's OS thread.
#[derive(Default)]
struct Bell {
    state: Mutex<Rung>,
    waiting: Condvar,
}

#[derive(Default)]
struct Rung {
    is_called: bool,
    /// All requests are handled.
    is_over: bool,
}

impl Bell {
    fn ring(&self, over: bool) {
        let mut rung = self.state.lock().unwrap();
        rung.is_called = true;
        rung.is_over |= over;
        self.waiting.notify_one();
    }

    /// Waits for the next call; false if all requests are handled.
    fn wait(&self) -> bool {
        let mut rung = self.state.lock().unwrap();
        while !rung.is_called {
            rung = self.waiting.wait(rung).unwrap();
        }
        rung.is_called = false;
        !rung.is_over
    }
}

/// The servers, as their OS threads share them.
struct Servers {
    bounds: Bounds,
    global: Arc<GlobalLimit>,
    members: Vec<(Arc<Counts>, Arc<Bell>)>,
    /// Requests still to be handled.
    left: Mutex<usize>,
}

impl Servers {
    fn new(count: usize, bounds: Bounds, left: usize) -> Arc<Self> {
        let global = GlobalLimit::new(count);
        let member = |_| {
            let (counts, bell) = (Arc::<Counts>::default(), Arc::<Bell>::default());
            // The checker treats a `SeqCst` load as sequentially consistent only once there are
            // `SeqCst` stores.
            counts.queued.fetch_add(1, Ordering::SeqCst);
            counts.queued.fetch_sub(1, Ordering::SeqCst);
            let rings = bell.clone();
            global.add(counts.clone(), move || rings.ring(false));
            (counts, bell)
        };
        let members = (0..count).map(member).collect();
        Arc::new(Self {
            bounds,
            global,
            members,
            left: Mutex::new(left),
        })
    }

    fn admission(&self, at: usize) -> Rc<Admission> {
        let counts = self.members[at].0.clone();
        Admission::new(self.bounds, counts, Some(self.global.clone()))
    }

    /// Counts a request as handled; the servers end with the last one.
    fn count_handled(&self) {
        let mut left = self.left.lock().unwrap();
        *left -= 1;
        if *left == 0 {
            drop(left);
            self.members.iter().for_each(|(_, bell)| bell.ring(true));
        }
    }

    /// Runs a server that gets one request, until all requests of all servers are handled. It does
    /// what the connection and the ethread of the server do.
    fn serve(&self, at: usize) {
        let admission = self.admission(at);
        let bell = self.members[at].1.clone();
        let decision = admission.decide(move || bell.ring(false));
        if let Decision::Refuse = decision {
            unreachable!("so many are accepted");
        }
        let mut is_counted = false;
        loop {
            let is_handled = match &decision {
                Decision::Queue(place) => place.is_granted(),
                _ => true,
            };
            if is_handled && !is_counted {
                is_counted = true;
                self.count_handled();
            }
            if !self.members[at].1.wait() {
                assert!(is_counted);
                return;
            }
            admission.tend();
        }
    }

    fn assert_empty(&self) {
        let load = format!("{:?}", self.global);
        assert_eq!(load, "GlobalLimit { leased: 0, queued: 0, .. }");
        for (counts, _) in &self.members {
            let queued = counts.queued.load(Ordering::Relaxed);
            assert_eq!((counts.handling(), queued), (0, 0));
        }
    }
}

fn slot(admission: &Rc<Admission>) -> Slot<'_> {
    match admission.decide(|| ()) {
        Decision::Handle(slot) => slot,
        other => panic!("there is a slot: {other:?}"),
    }
}

/// Runs these servers concurrently with `f`.
fn beside(servers: &Arc<Servers>, at: &[usize], f: impl FnOnce()) {
    let begin = |at: &usize| {
        let (servers, at) = (servers.clone(), *at);
        thread::spawn(move || servers.serve(at))
    };
    let others: Vec<_> = at.iter().map(begin).collect();
    f();
    others.into_iter().for_each(|other| other.join().unwrap());
    servers.assert_empty();
}

#[test]
fn one_that_comes_while_another_one_goes_is_handled() {
    loom::model(|| {
        let servers = Servers::new(2, bounds(1, Some(2)), 1);
        let busy = servers.admission(0);
        let slot = slot(&busy);
        beside(&servers, &[1], || drop(slot));
    });
}

#[test]
fn two_that_come_while_two_go_are_handled() {
    bounded_model(3, || {
        // The first call searches from the first server on, the second call from the second server
        // on. The queue of the first server is empty, so the second server is woken twice.
        let servers = Servers::new(3, bounds(2, Some(4)), 2);
        let busy = servers.admission(0);
        let slots = [(); 2].map(|()| slot(&busy));
        beside(&servers, &[1, 2], || drop(slots));
    });
}

/// The woken server ends, together with the request that waits there.
#[test]
fn one_that_waits_beside_one_that_gives_up_is_handled() {
    bounded_model(3, || {
        let servers = Servers::new(3, bounds(1, Some(3)), 1);
        let busy = servers.admission(2);
        let slot = slot(&busy);
        let theirs = servers.clone();
        let gives_up = thread::spawn(move || drop(theirs.admission(0).decide(|| ())));
        beside(&servers, &[1], || {
            drop(slot);
            gives_up.join().unwrap();
        });
    });
}

/// A server keeps the slot of a request that ends, while a request comes to another server that has
/// none. The keeper looks at its queue only when it is woken.
#[test]
fn a_slot_that_is_kept_comes_back_for_one_that_waits() {
    bounded_model(4, || {
        // A block is one slot. A third server has all but one of the slots.
        let servers = Servers::new(3, bounds(12, Some(13)), 1);
        let other = servers.admission(2);
        let taken: Vec<_> = (0..11).map(|_| slot(&other)).collect();
        let theirs = servers.clone();
        let keeper = thread::spawn(move || {
            let admission = theirs.admission(0);
            drop(admission.decide(|| ()));
            while theirs.members[0].1.wait() {
                admission.tend();
            }
        });
        servers.serve(1);
        keeper.join().unwrap();
        drop(taken);
        drop(other);
        servers.assert_empty();
    });
}

#[test]
fn as_many_are_accepted_as_may_be() {
    bounded_model(3, || {
        let servers = Servers::new(3, bounds(1, Some(2)), 0);
        let decide = |at: usize| {
            let theirs = servers.clone();
            thread::spawn(move || {
                let admission = theirs.admission(at);
                let sum = match admission.decide(|| ()) {
                    Decision::Handle(slot) => (1, std::mem::forget(slot)).0,
                    Decision::Queue(place) => (10, std::mem::forget(place)).0,
                    Decision::Refuse => 100,
                };
                std::mem::forget(admission);
                sum
            })
        };
        let decisions = [0, 1, 2].map(decide);
        let sum: u32 = decisions.into_iter().map(|d| d.join().unwrap()).sum();
        assert_eq!(sum, 111);
    });
}
