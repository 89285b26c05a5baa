//! The interleavings of connections that come and go at several servers with shared limits. A lost
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
    /// All connections are served.
    is_over: bool,
}

impl Bell {
    fn ring(&self, over: bool) {
        let mut rung = self.state.lock().unwrap();
        rung.is_called = true;
        rung.is_over |= over;
        self.waiting.notify_one();
    }

    /// Waits for the next call; false if all connections are served.
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
    /// Connections still to be served.
    left: Mutex<usize>,
}

impl Servers {
    fn new(count: usize, bounds: Bounds, left: usize) -> Arc<Self> {
        let global = Arc::<GlobalLimit>::default();
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
        let global = Some(self.global.clone());
        Admission::new(self.bounds, counts, global, || {
            unreachable!("they are several")
        })
    }

    /// Counts a connection as served; the servers end with the last one.
    fn count_served(&self) {
        let most = self.bounds.max_threads.unwrap();
        assert!(self.global.serving() <= most);
        let mut left = self.left.lock().unwrap();
        *left -= 1;
        if *left == 0 {
            drop(left);
            self.members.iter().for_each(|(_, bell)| bell.ring(true));
        }
    }

    /// Runs a server that gets one connection, until all connections of all servers are served. It
    /// does what `Acceptor` and the ethread of the server do.
    fn serve(&self, at: usize) {
        let admission = self.admission(at);
        let (mut permit, mut place) = (None, None);
        match admission.decide() {
            Decision::Serve(served) => permit = Some(served),
            Decision::Queue(queued) => place = Some(queued),
            Decision::Refuse => unreachable!("so many are accepted"),
        }
        if permit.is_some() {
            self.count_served();
        }
        loop {
            match place.take().map(Place::into_permit) {
                Some(Ok(served)) => {
                    permit = Some(served);
                    self.count_served();
                }
                Some(Err(queued)) => place = Some(queued),
                None => {}
            }
            while !admission.has_room_for_queued() {
                if !self.members[at].1.wait() {
                    assert!(permit.is_some() && place.is_none());
                    return;
                }
                if !admission.has_room_for_queued() {
                    admission.pass_on();
                }
            }
        }
    }

    fn assert_empty(&self) {
        let load = format!("{:?}", self.global);
        assert_eq!(load, "GlobalLimit { serving: 0, queued: 0, .. }");
        for (counts, _) in &self.members {
            let held = [&counts.serving, &counts.queued].map(|n| n.load(Ordering::Relaxed));
            assert_eq!(held, [0, 0]);
        }
    }
}

fn permit(admission: &Rc<Admission>) -> Permit {
    match admission.decide() {
        Decision::Serve(permit) => permit,
        other => panic!("there is room: {other:?}"),
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
fn one_that_comes_while_another_one_goes_is_served() {
    loom::model(|| {
        let servers = Servers::new(2, bounds(1, Some(2)), 1);
        let permit = permit(&servers.admission(0));
        beside(&servers, &[1], || drop(permit));
    });
}

#[test]
fn two_that_come_while_two_go_are_served() {
    bounded_model(4, || {
        // The first call searches from the first server on, the second call from the second server
        // on. The queue of the first server is empty, so the second server is woken twice.
        let servers = Servers::new(3, bounds(2, Some(4)), 2);
        let busy = servers.admission(0);
        let permits = [(); 2].map(|()| permit(&busy));
        beside(&servers, &[1, 2], || drop(permits));
    });
}

/// The woken server ends, together with the connection that waits there.
#[test]
fn one_that_waits_beside_one_that_gives_up_is_served() {
    bounded_model(4, || {
        let servers = Servers::new(3, bounds(1, Some(3)), 1);
        let permit = permit(&servers.admission(2));
        let theirs = servers.clone();
        let gives_up = thread::spawn(move || drop(theirs.admission(0).decide()));
        beside(&servers, &[1], || {
            drop(permit);
            gives_up.join().unwrap();
        });
    });
}

#[test]
fn as_many_are_accepted_as_may_be() {
    bounded_model(4, || {
        let servers = Servers::new(3, bounds(1, Some(2)), 0);
        let decide = |at: usize| {
            let theirs = servers.clone();
            thread::spawn(move || match theirs.admission(at).decide() {
                Decision::Serve(permit) => (1, std::mem::forget(permit)).0,
                Decision::Queue(place) => (10, std::mem::forget(place)).0,
                Decision::Refuse => 100,
            })
        };
        let decisions = [0, 1, 2].map(decide);
        let sum: u32 = decisions.into_iter().map(|d| d.join().unwrap()).sum();
        assert_eq!(sum, 111);
    });
}
