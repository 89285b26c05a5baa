use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self as os, ThreadId};

use super::*;

/// A job that reports where it runs, and runs until the test ends it.
#[derive(Debug)]
struct Job {
    runs_on: mpsc::Sender<ThreadId>,
    until: mpsc::Receiver<()>,
}

struct Pool {
    threads: Threads<Job>,
    /// How many more threads can be started.
    left: AtomicUsize,
    starts: AtomicUsize,
}

/// The test's side of a job.
struct Held {
    runs_on: mpsc::Receiver<ThreadId>,
    end: mpsc::Sender<()>,
}

impl Pool {
    fn new(limit: usize, idle: Duration, left: usize) -> Arc<Self> {
        Arc::new(Self {
            threads: Threads::new(limit, idle),
            left: AtomicUsize::new(left),
            starts: AtomicUsize::new(0),
        })
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        self.starts.fetch_add(1, Ordering::Relaxed);
        let take = |left: usize| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        let pool = self.clone();
        os::spawn(move || {
            pool.threads.work(&|| pool.start(), |job| {
                // The test may have failed and dropped its end.
                let _ = job.runs_on.send(os::current().id());
                let _ = job.until.recv();
            });
        });
        Ok(())
    }

    fn submit(self: &Arc<Self>) -> (Held, Result<(), NotStarted<Job>>) {
        let (runs_on, told) = mpsc::channel();
        let (end, until) = mpsc::channel();
        let submitted = self
            .threads
            .submit(Job { runs_on, until }, &|| self.start());
        (Held { runs_on: told, end }, submitted)
    }

    fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    /// The number of OS threads, whatever they do.
    fn all(&self) -> usize {
        self.threads.lock().threads()
    }

    fn until(&self, there: impl Fn(&Self) -> bool) {
        while !there(self) {
            os::yield_now();
        }
    }
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn an_idle_thread_is_woken_and_none_is_started() {
    let pool = Pool::new(9, LONG, 9);
    let mut on = Vec::new();
    for _ in 0..100 {
        let (held, submitted) = pool.submit();
        submitted.unwrap();
        on.push(held.runs_on.recv().unwrap());
        drop(held.end);
        pool.until(|pool| pool.threads.stats(0).running == 0);
    }
    assert_eq!(pool.starts(), 1);
    assert!(on.iter().all(|thread| *thread == on[0]));
}

#[test]
fn below_the_limit_each_job_has_a_thread_and_beyond_it_they_wait_in_order() {
    let pool = Pool::new(2, LONG, 9);
    let jobs: Vec<_> = (0..5).map(|_| pool.submit().0).collect();
    for pair in jobs[..2].iter() {
        pair.runs_on.recv().unwrap();
    }
    let stats = pool.threads.stats(0);
    assert_eq!((stats.running, stats.waiting, pool.all()), (2, 3, 2));
    jobs[0].end.send(()).unwrap();
    jobs[2].runs_on.recv().unwrap();
    assert!(jobs[3].runs_on.try_recv().is_err());
    pool.threads.set_limit(4, &|| pool.start()).unwrap();
    jobs[3].runs_on.recv().unwrap();
    jobs[4].runs_on.recv().unwrap();
    assert_eq!(pool.starts(), 4);
}

#[test]
fn threads_that_are_idle_for_too_long_end() {
    let pool = Pool::new(9, Duration::from_millis(1), 9);
    for round in 1..=3 {
        let jobs: Vec<_> = (0..3).map(|_| pool.submit().0).collect();
        let on = jobs.iter().map(|job| job.runs_on.recv().unwrap());
        assert_eq!(on.collect::<Vec<_>>().len(), 3);
        drop(jobs);
        pool.until(|pool| pool.all() == 0);
        assert_eq!(pool.starts(), 3 * round);
    }
}

#[test]
fn where_no_thread_can_be_had_jobs_come_back() {
    let pool = Pool::new(9, LONG, 0);
    for tries in 1..=3 {
        let failed = pool.submit().1.unwrap_err();
        assert_eq!(failed.error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(failed.jobs.len(), 1);
        assert_eq!(pool.starts(), tries, "one attempt a job");
    }
    assert_eq!(pool.all(), 0);
}

#[test]
fn where_there_is_a_thread_jobs_wait_for_it_and_each_end_tries_again() {
    let pool = Pool::new(9, LONG, 1);
    let (first, submitted) = pool.submit();
    submitted.unwrap();
    let thread = first.runs_on.recv().unwrap();
    let mut jobs: VecDeque<_> = (0..3).map(|_| pool.submit()).collect();
    for (_, failed) in &jobs {
        assert!(failed.as_ref().unwrap_err().jobs.is_empty());
    }
    assert_eq!(pool.starts(), 4);
    let stats = pool.threads.stats(0);
    assert_eq!((stats.running, stats.waiting, pool.all()), (1, 3, 1));
    drop(first);
    let second = jobs.pop_front().unwrap().0;
    assert_eq!(second.runs_on.recv().unwrap(), thread);
    assert_eq!(pool.starts(), 5, "two wait still");
    // From now on threads can be started again, and are started for all waiting jobs.
    pool.left.store(9, Ordering::Relaxed);
    drop(second);
    let on = jobs.iter().map(|(job, _)| job.runs_on.recv().unwrap());
    assert_eq!(on.filter(|on| *on == thread).count(), 1);
    assert_eq!(pool.starts(), 6);
}

#[test]
fn what_a_job_leaves_unparked_does_not_end_its_thread() {
    let pool = Pool::new(9, LONG, 9);
    let (held, submitted) = pool.submit();
    submitted.unwrap();
    held.runs_on.recv().unwrap();
    drop(held);
    pool.until(|pool| pool.threads.stats(0).running == 0);
    for _ in 0..100 {
        let idle = pool.threads.lock().idle.last().cloned();
        if let Some(idle) = idle {
            idle.unpark();
        }
        os::yield_now();
    }
    assert_eq!(pool.all(), 1);
}
