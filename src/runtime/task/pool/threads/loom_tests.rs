//! The interleavings of submitters and the threads of a pool that end as soon as they are idle,
//! where some starts of threads fail. Each job ends up in exactly one place, and no thread is left
//! over.

use std::io;

use loom::sync::{Arc, Mutex};
use loom::thread::{self, JoinHandle};

use super::*;
use crate::runtime::base::primitives::bounded_model;

#[derive(Clone)]
struct Pool(Arc<Inner>);

struct Inner {
    threads: Threads<u32>,
    /// Which starts fail, by number.
    fails: fn(usize) -> bool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    starts: usize,
    begun: Vec<JoinHandle<()>>,
    ran: Vec<u32>,
    refused: Vec<u32>,
}

impl Pool {
    fn new(limit: usize, fails: fn(usize) -> bool) -> Self {
        Self(Arc::new(Inner {
            threads: Threads::new(limit, Duration::ZERO),
            fails,
            seen: Mutex::default(),
        }))
    }

    fn start(&self) -> io::Result<()> {
        let mut seen = self.0.seen.lock().unwrap();
        seen.starts += 1;
        if (self.0.fails)(seen.starts) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let pool = self.clone();
        seen.begun.push(thread::spawn(move || pool.work()));
        Ok(())
    }

    fn work(&self) {
        self.0.threads.work(&|| self.start(), |job| {
            self.0.seen.lock().unwrap().ran.push(job);
        });
    }

    fn submit(&self, job: u32) {
        if let Err(failed) = self.0.threads.submit(job, &|| self.start()) {
            self.0.seen.lock().unwrap().refused.extend(failed.jobs);
        }
    }

    fn set_limit(&self, limit: usize) {
        if let Err(failed) = self.0.threads.set_limit(limit, &|| self.start()) {
            self.0.seen.lock().unwrap().refused.extend(failed.jobs);
        }
    }

    /// Waits until all threads have ended, and returns the jobs that ran and the jobs that were
    /// returned.
    fn end(&self) -> (Vec<u32>, Vec<u32>) {
        loop {
            let begun = self.0.seen.lock().unwrap().begun.pop();
            match begun {
                Some(thread) => thread.join().unwrap(),
                None => break,
            }
        }
        let stats = self.0.threads.stats(0);
        let threads = self.0.threads.lock().threads();
        assert_eq!((threads, stats.running, stats.waiting), (0, 0, 0));
        let seen = self.0.seen.lock().unwrap();
        (seen.ran.clone(), seen.refused.clone())
    }
}

fn all_of((ran, refused): &(Vec<u32>, Vec<u32>)) -> Vec<u32> {
    let mut all: Vec<_> = ran.iter().chain(refused).copied().collect();
    all.sort_unstable();
    all
}

/// Two submitters submit one job each.
fn two_submitters(limit: usize, fails: fn(usize) -> bool, check: fn((Vec<u32>, Vec<u32>))) {
    bounded_model(3, move || {
        let pool = Pool::new(limit, fails);
        let theirs = pool.clone();
        let other = thread::spawn(move || theirs.submit(1));
        pool.submit(2);
        other.join().unwrap();
        let ends = pool.end();
        assert_eq!(all_of(&ends), [1, 2]);
        check(ends);
    });
}

#[test]
fn all_jobs_run_where_threads_can_be_started() {
    two_submitters(2, |_| false, |(ran, _)| assert_eq!(ran.len(), 2));
    two_submitters(1, |_| false, |(ran, _)| assert_eq!(ran.len(), 2));
}

#[test]
fn all_jobs_come_back_where_no_thread_can_be_started() {
    two_submitters(2, |_| true, |(ran, _)| assert!(ran.is_empty()));
    two_submitters(1, |_| true, |(ran, _)| assert!(ran.is_empty()));
}

#[test]
fn no_job_is_stranded_while_the_last_thread_ends_and_a_start_fails() {
    two_submitters(2, |n| n != 1, |(ran, _)| assert!(!ran.is_empty()));
    two_submitters(2, |n| n == 1, |(ran, _)| assert!(!ran.is_empty()));
    two_submitters(1, |n| n == 2, |(ran, _)| assert!(!ran.is_empty()));
}

#[test]
fn jobs_of_one_submitter_begin_in_their_order() {
    bounded_model(3, || {
        let pool = Pool::new(1, |n| n == 2);
        (1..=3).for_each(|job| pool.submit(job));
        let ends = pool.end();
        assert_eq!(all_of(&ends), [1, 2, 3]);
        assert!(ends.0.is_sorted() && ends.1.is_sorted(), "{ends:?}");
    });
}

#[test]
fn a_limit_that_changes_strands_no_job() {
    for fails in [|_| false, |n| n == 2, |n| n != 1] as [fn(usize) -> bool; 3] {
        for (before, after) in [(1, 2), (2, 1)] {
            bounded_model(3, move || {
                let pool = Pool::new(before, fails);
                let theirs = pool.clone();
                let other = thread::spawn(move || theirs.set_limit(after));
                pool.submit(1);
                pool.submit(2);
                other.join().unwrap();
                assert_eq!(all_of(&pool.end()), [1, 2]);
            });
        }
    }
}
