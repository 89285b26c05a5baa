//! The interleavings of an ethread that waits and its wakers.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::*;
use crate::runtime::base::primitives::bounded_model;

/// An ethread and its park, whose number is the turn in which the ethread waits.
struct Ethread {
    cell: WakeCell,
    /// The last park that was ended.
    ended: Mutex<u64>,
    waiting: Condvar,
    /// The effects of the wakers before they wake. Relaxed, so that only the cell orders them.
    done: [AtomicBool; 2],
}

impl Ethread {
    fn finish(&self, which: usize) {
        self.done[which].store(true, Ordering::Relaxed);
        if let Some(park) = self.cell.wake() {
            let mut ended = self.ended.lock().unwrap();
            *ended = (*ended).max(park);
            self.waiting.notify_one();
        }
    }

    fn is_done(&self) -> bool {
        self.done.iter().all(|done| done.load(Ordering::Relaxed))
    }

    fn run(&self) {
        let mut park = 0;
        while !self.is_done() {
            park += 1;
            if !self.cell.begin(park) {
                let mut ended = self.ended.lock().unwrap();
                while *ended < park {
                    ended = self.waiting.wait(ended).unwrap();
                }
            }
            self.cell.end();
        }
    }
}

#[test]
fn no_wake_up_of_two_wakers_is_lost() {
    bounded_model(3, || {
        let ethread = Arc::new(Ethread {
            cell: WakeCell::new(),
            ended: Mutex::new(0),
            waiting: Condvar::new(),
            done: [AtomicBool::new(false), AtomicBool::new(false)],
        });
        let wakers = [0, 1].map(|which| {
            let ethread = ethread.clone();
            thread::spawn(move || ethread.finish(which))
        });
        ethread.run();
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}
