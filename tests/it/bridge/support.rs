//! What the tests of the bridge share.

// Test helpers may panic like tests.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts how many of its values were made, and how many were dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<[AtomicUsize; 2]>);

/// A value that is counted when it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Tally);

impl Tally {
    pub(crate) fn value(&self) -> Counted {
        self.0[0].fetch_add(1, Ordering::SeqCst);
        Counted(self.clone())
    }

    /// How many values were made, and how many dropped.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let [made, dropped] = &*self.0;
        (made.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0[1].fetch_add(1, Ordering::SeqCst);
    }
}

/// An OS thread as the kernel knows it.
#[derive(Clone, Debug)]
pub(crate) struct OsThread {
    stat: String,
}

impl OsThread {
    pub(crate) fn current() -> Self {
        let link = std::fs::read_link("/proc/thread-self").unwrap();
        Self {
            stat: format!("/proc/{}/stat", link.display()),
        }
    }
}

/// Blocks until an OS thread waits in the kernel: proc_pid_stat(5), the field after the name.
pub(crate) fn until_asleep(thread: &OsThread) {
    loop {
        let stat = std::fs::read_to_string(&thread.stat).unwrap();
        if stat.rsplit(") ").next().unwrap().starts_with('S') {
            return;
        }
        std::thread::yield_now();
    }
}
