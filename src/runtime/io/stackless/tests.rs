use std::cell::RefCell;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::Location;
use std::rc::Rc;

use super::*;
use crate::runtime::base::wait::{NEVER, Outcome, WaitKind};
use crate::runtime::io::operation::{Left, Limit};
use crate::runtime::state::slots::Direction;
use crate::runtime::task::join::JoinHandle;
use crate::runtime::task::work::Work;
use crate::thread;

/// Rests until it was woken three times or its deadline has passed.
struct Rester {
    socket: UnixStream,
    registration: Registration,
    deadline: u64,
    seen: Rc<RefCell<Vec<Outcome>>>,
    /// Shows that the work was dropped.
    _end: Rc<()>,
}

impl Work<usize> for Rester {
    fn go_on(&mut self, outcome: Outcome) -> Option<usize> {
        let mut seen = self.seen.borrow_mut();
        seen.push(outcome);
        let operation = Operation {
            direction: Direction::Read,
            kind: WaitKind::Read,
            limit: Limit::At(self.deadline),
            location: Location::caller(),
        };
        if seen.len() > 3 || outcome == Outcome::TimedOut {
            return Some(seen.len());
        }
        // Nothing has read yet, so the test marks the source as blocking, as after a try.
        let _ = self.registration.try_now(
            Direction::Read,
            Location::caller(),
            |()| Left::Unknown,
            || Err(io::ErrorKind::WouldBlock.into()),
        );
        let rests = self
            .registration
            .park_stackless(self.socket.as_fd(), operation);
        assert!(rests.expect("it can be watched"));
        None
    }
}

type Seen = Rc<RefCell<Vec<Outcome>>>;

fn rester(deadline: u64) -> (UnixStream, JoinHandle<usize>, Seen, Rc<()>) {
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    let (seen, end) = (Seen::default(), Rc::new(()));
    let work = Rester {
        socket: theirs,
        registration: Registration::default(),
        deadline,
        seen: seen.clone(),
        _end: end.clone(),
    };
    let handle = thread::Builder::new().spawn_work(work).expect("a stack");
    thread::yield_now();
    assert_eq!(*seen.borrow(), [Outcome::Woken]);
    (ours, handle, seen, end)
}

fn live_stacks() -> usize {
    let scheduler = current::get().expect("spawning has made it");
    scheduler.stats().stacks.live
}

#[test]
fn a_resting_ethread_holds_no_stack_and_is_the_same_ethread() {
    let (mut peer, handle, seen, end) = rester(NEVER);
    let id = handle.thread().id();
    for round in 1..=3 {
        assert_eq!(live_stacks(), 0);
        assert!(!handle.is_finished());
        peer.write_all(b"x").expect("there is room");
        while seen.borrow().len() == round {
            thread::yield_now();
        }
        assert_eq!(handle.thread().id(), id);
    }
    assert_eq!(handle.join().ok(), Some(4));
    assert_eq!(Rc::strong_count(&end), 1);
}

#[test]
fn a_deadline_ends_a_rest() {
    let (_peer, handle, seen, end) = rester(1);
    assert_eq!(handle.join().ok(), Some(2));
    assert_eq!(*seen.borrow(), [Outcome::Woken, Outcome::TimedOut]);
    assert_eq!(Rc::strong_count(&end), 1);
}

#[test]
fn a_cancel_ends_a_rest_and_drops_the_work() {
    let (_peer, handle, seen, end) = rester(NEVER);
    handle.cancel();
    let payload = handle.join().expect_err("it was cancelled");
    assert!(payload.is::<crate::thread::Cancelled>());
    assert_eq!(*seen.borrow(), [Outcome::Woken]);
    assert_eq!(Rc::strong_count(&end), 1);
    assert_eq!(live_stacks(), 0);
}

#[test]
fn a_cancel_after_the_wake_up_is_not_lost() {
    let (mut peer, handle, seen, end) = rester(NEVER);
    peer.write_all(b"x").expect("there is room");
    let scheduler = current::get().expect("spawning has made it");
    while scheduler.core.borrow().ready.is_empty() {
        scheduler.drive_once().expect("it waits for input");
        assert_eq!(seen.borrow().len(), 1, "it has not run yet");
    }
    handle.cancel();
    assert!(handle.join().is_err());
    assert_eq!(seen.borrow().len(), 1);
    assert_eq!(Rc::strong_count(&end), 1);
}

#[test]
fn a_hangup_wakes_a_resting_ethread() {
    let (ours, handle, seen, _end) = rester(NEVER);
    drop(ours);
    while seen.borrow().len() == 1 {
        thread::yield_now();
    }
    handle.cancel();
    assert!(handle.join().is_err());
}
