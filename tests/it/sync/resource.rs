//! `sync::Resource` in virtual time: one start for all waiters, and what follows when a start, a
//! use or the last handle ends early.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::resource::{Builder, Lease, StartError, State};
use ethreads::sync::{Resource, WaitGroup};
use ethreads::thread::{self, Cancelled, JoinHandle};
use ethreads::time::Instant;
use ethreads::{runtime, sim, time};

use crate::support::{OnDrop, collect_log, fresh, join_all, logged, on_log, text};

const HOUR: Duration = Duration::from_secs(3600);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs `f` in several orders, and checks that it leaves nothing in the scheduler.
fn check(f: impl Fn() + Clone + 'static) {
    for seed in 0..20 {
        let f = f.clone();
        let run = sim::run(seed, move || {
            f();
            // Ethreads that have been stopped or cancelled end in this moment.
            thread::sleep(ms(1));
            let stats = runtime::stats().unwrap();
            assert_eq!((stats.ethreads, stats.scopes, stats.timers), (1, 0, 0));
        });
        run.unwrap();
    }
}

/// What has happened to a resource, whose instances are numbered.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    fn all(&self) -> String {
        self.0.borrow().join(" ")
    }

    /// How many notes begin with `what`.
    fn count(&self, what: &str) -> usize {
        self.0
            .borrow()
            .iter()
            .filter(|line| line.starts_with(what))
            .count()
    }
}

/// An instance; notes when it is dropped.
struct Instance(u32, Log);

impl Drop for Instance {
    fn drop(&mut self) {
        self.1.note(format!("drop{}", self.0));
    }
}

type Ours = Resource<Instance, &'static str>;

/// A resource whose start takes ten milliseconds and then does what `outcome` says of its number,
/// and whose stop takes five.
fn builder(
    outcome: impl Fn(u32) -> Result<(), &'static str> + 'static,
) -> (Builder<Instance, &'static str>, Log) {
    let log = Log::default();
    let (starts, stops) = (log.clone(), log.clone());
    let number = Cell::new(0);
    let start = move || {
        number.set(number.get() + 1);
        starts.note(format!("start{}", number.get()));
        thread::sleep(ms(10));
        outcome(number.get())?;
        Ok(Instance(number.get(), starts.clone()))
    };
    let stop = move |instance: &Instance| {
        stops.note(format!("stop{}", instance.0));
        thread::sleep(ms(5));
        stops.note(format!("stopped{}", instance.0));
    };
    (Ours::builder(start).stop(stop), log)
}

fn number(got: &Result<Lease<Instance>, StartError<&'static str>>) -> Option<u32> {
    got.as_ref().ok().map(|lease| lease.0)
}

/// Ethreads that each get the resource and return what they have got; their uses end with them.
fn callers(resource: &Ours, count: usize) -> Vec<JoinHandle<Result<u32, String>>> {
    let caller = |_| {
        let resource = resource.clone();
        thread::spawn(move || match resource.get() {
            Ok(lease) => Ok(lease.0),
            Err(error) => Err(error.to_string()),
        })
    };
    (0..count).map(caller).collect()
}

/// Spawns `f` with a handle of its own.
fn with<T: 'static>(resource: &Ours, f: impl FnOnce(Ours) -> T + 'static) -> JoinHandle<T> {
    let resource = resource.clone();
    thread::spawn(move || f(resource))
}

#[test]
fn many_callers_start_it_once_and_later_ones_do_not_wait() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.build();
        assert_eq!(resource.state(), State::Stopped);
        assert!(resource.try_get().is_none());
        let begun = Instant::now();
        let callers = callers(&resource, 10);
        thread::sleep(ms(1));
        assert_eq!(resource.state(), State::Starting);
        assert!(resource.try_get().is_none(), "it does not wait");
        assert_eq!(join_all(callers), vec![Ok(1); 10]);
        assert_eq!(begun.elapsed(), ms(10));
        assert_eq!((resource.state(), resource.in_use()), (State::Running, 0));
        // Past a deadline nothing may wait, so this call does not wait.
        let got = time::timeout(Duration::ZERO, || resource.get()).unwrap();
        let second = got.as_ref().unwrap().clone();
        assert_eq!((number(&got), resource.in_use()), (Some(1), 2));
        drop((got, second));
        assert_eq!(resource.try_get().map(|lease| lease.0), Some(1));
        resource.stop();
        assert_eq!(resource.state(), State::Stopped);
        assert_eq!(log.all(), "start1 stop1 stopped1 drop1");
    });
}

#[test]
fn looking_whether_it_is_there_and_then_starting_it_makes_as_many_as_there_are_callers() {
    check(|| {
        let instance: Rc<RefCell<Option<u32>>> = Rc::default();
        let made = Rc::new(Cell::new(0));
        let callers: Vec<_> = (0..10)
            .map(|_| {
                let (instance, made) = (instance.clone(), made.clone());
                thread::spawn(move || {
                    // Only one ethread runs at a time, and still this is what a program must not
                    // do.
                    let there = *instance.borrow();
                    there.unwrap_or_else(|| {
                        thread::sleep(ms(10));
                        made.set(made.get() + 1);
                        *instance.borrow_mut() = Some(made.get());
                        made.get()
                    })
                })
            })
            .collect();
        join_all(callers);
        assert_eq!(made.get(), 10);
    });
}

#[test]
fn a_failed_start_is_told_to_all_waiters_and_the_next_call_tries_again() {
    check(|| {
        let (builder, log) = builder(|n| if n == 1 { Err("no luck") } else { Ok(()) });
        let resource = builder.build();
        let waiting = [(); 3].map(|()| with(&resource, |resource| resource.get().map(|_| ())));
        let errors = join_all(waiting).into_iter().map(Result::unwrap_err);
        let errors: Vec<_> = errors
            .map(|error| match error {
                StartError::Failed(error) => error,
                other => panic!("{other}"),
            })
            .collect();
        assert!(errors.iter().all(|error| Rc::ptr_eq(error, &errors[0])));
        assert_eq!(*errors[0], "no luck");
        assert_eq!(resource.state(), State::Stopped);
        assert_eq!(number(&resource.get()), Some(2));
        resource.stop();
        assert_eq!(log.all(), "start1 start2 stop2 stopped2 drop2");
    });
}

#[test]
fn a_start_that_panics_is_told_to_all_waiters() {
    check(|| {
        let (builder, _log) = builder(|n| {
            assert!(n > 1, "there is no {n}");
            Ok(())
        });
        let resource = builder.build();
        for told in join_all(callers(&resource, 3)) {
            let error = told.unwrap_err();
            assert_eq!(error, "the start of the resource panicked: there is no 1");
        }
        assert_eq!(join_all(callers(&resource, 2)), vec![Ok(2); 2]);
        resource.stop();
    });
}

#[test]
fn a_start_that_takes_too_long_is_given_up() {
    check(|| {
        let (builder, log) = builder(|n| {
            if n == 1 {
                thread::sleep(HOUR);
            }
            Ok(())
        });
        let resource = builder.start_timeout(ms(30)).build();
        let begun = Instant::now();
        for error in join_all(callers(&resource, 3)) {
            let error = error.unwrap_err();
            assert!(
                error.contains("30ms") && error.contains("start_timeout"),
                "{error}"
            );
        }
        assert_eq!(
            (begun.elapsed(), resource.state()),
            (ms(30), State::Stopped)
        );
        // The limit is for the start only.
        let lease = resource.get().unwrap();
        thread::sleep(ms(100));
        assert_eq!((lease.0, resource.state()), (2, State::Running));
        drop(lease);
        resource.stop();
        assert_eq!(log.all(), "start1 start2 stop2 stopped2 drop2");
    });
}

#[test]
fn a_start_goes_on_without_its_waiters() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.build();
        let first = with(&resource, |resource| resource.get().map(|_| ()));
        let late = with(&resource, |resource| {
            time::timeout(ms(2), || resource.get().map(|_| ())).is_err()
        });
        thread::sleep(ms(1));
        let stays = with(&resource, |resource| number(&resource.get()));
        thread::sleep(ms(2));
        first.cancel();
        assert!(first.join().unwrap_err().is::<Cancelled>());
        assert!(late.join().unwrap());
        assert_eq!(stays.join().unwrap(), Some(1));
        // The start also goes on when no waiter is left.
        resource.stop();
        let alone = with(&resource, |resource| resource.get().map(|_| ()));
        thread::sleep(ms(1));
        alone.cancel();
        assert!(alone.join().is_err());
        thread::sleep(ms(20));
        assert_eq!((resource.state(), resource.in_use()), (State::Running, 0));
        assert_eq!(number(&resource.get()), Some(2));
        assert_eq!(log.count("start"), 2);
        resource.stop();
    });
}

#[test]
fn it_stops_when_idle_for_so_long_and_each_use_begins_that_anew() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.idle_timeout(ms(100)).build();
        drop(resource.get().unwrap());
        for _ in 0..3 {
            thread::sleep(ms(60));
            drop(resource.try_get().expect("it was used a moment ago"));
        }
        // A resource in use is not idle, for however long the use lasts.
        let (lease, second) = (resource.get().unwrap(), resource.get().unwrap());
        thread::sleep(ms(500));
        drop(lease);
        thread::sleep(ms(500));
        assert_eq!(resource.state(), State::Running);
        drop(second);
        thread::sleep(ms(99));
        assert_eq!(resource.state(), State::Running);
        thread::sleep(ms(2));
        assert_eq!(resource.state(), State::Stopping);
        thread::sleep(ms(5));
        assert_eq!(resource.state(), State::Stopped);
        assert_eq!(log.all(), "start1 stop1 stopped1 drop1");
        // It starts anew, and is stopped as idle although no caller has ever had this instance.
        let gone = with(&resource, |resource| resource.get().map(|_| ()));
        thread::sleep(ms(1));
        gone.cancel();
        drop(gone.join());
        thread::sleep(ms(200));
        assert_eq!(
            (resource.state(), log.count("stopped2")),
            (State::Stopped, 1)
        );
    });
}

#[test]
fn a_restart_is_a_stop_and_a_start() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.build();
        assert_eq!(number(&resource.restart()), Some(1), "it did not run");
        let begun = Instant::now();
        let lease = resource.restart().unwrap();
        assert_eq!((lease.0, begun.elapsed()), (2, ms(15)));
        drop(lease);
        resource.stop();
        resource.stop();
        let expected = "start1 stop1 stopped1 drop1 start2 stop2 stopped2 drop2";
        assert_eq!(log.all(), expected);
    });
}

#[test]
fn a_stop_ends_a_start_and_tells_its_waiters() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.build();
        let callers = callers(&resource, 2);
        thread::sleep(ms(5));
        let begun = Instant::now();
        resource.stop();
        assert_eq!(
            (resource.state(), begun.elapsed()),
            (State::Stopped, Duration::ZERO)
        );
        for told in join_all(callers) {
            assert_eq!(
                told.unwrap_err(),
                "the resource was stopped while it started"
            );
        }
        // There was nothing to stop.
        assert_eq!(log.all(), "start1");
    });
}

#[test]
fn a_call_after_a_stop_of_what_starts_starts_it_anew() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.build();
        let before = callers(&resource, 1);
        thread::sleep(ms(5));
        // The stop has been requested, and in most orders it has not ended.
        let asked = Rc::new(Cell::new(false));
        let theirs = asked.clone();
        let stops = with(&resource, move |resource| {
            theirs.set(true);
            resource.stop();
        });
        while !asked.get() {
            thread::yield_now();
        }
        assert_ne!(resource.state(), State::Starting);
        assert_eq!(number(&resource.get()), Some(2), "{}", log.all());
        assert!(join_all(before)[0].is_err());
        stops.join().unwrap();
        resource.stop();
        assert_eq!(log.all(), "start1 start2 stop2 stopped2 drop2");
    });
}

#[test]
fn what_was_started_in_spite_of_a_stop_is_stopped() {
    check(|| {
        let log = Log::default();
        let (starts, stops) = (log.clone(), log.clone());
        let start = move || {
            // The start cannot be interrupted.
            thread::uncancellable(|| thread::sleep(ms(10)));
            starts.note("start");
            Ok::<_, &str>(())
        };
        let stop = move |(): &()| {
            thread::sleep(ms(5));
            stops.note("stopped");
        };
        let resource = Resource::builder(start).stop(stop).build();
        let theirs = resource.clone();
        let caller = thread::spawn(move || theirs.get().map(drop));
        thread::sleep(ms(5));
        let begun = Instant::now();
        resource.stop();
        assert_eq!(
            (resource.state(), begun.elapsed()),
            (State::Stopped, ms(10))
        );
        assert_eq!(log.all(), "start stopped");
        assert!(matches!(caller.join().unwrap(), Err(StartError::Stopped)));
        assert!(resource.get().is_ok());
        resource.stop();
        assert_eq!(log.all(), "start stopped start stopped");
    });
}

#[test]
fn a_stop_waits_for_the_leases() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.build();
        let users = [20, 30].map(|millis| {
            with(&resource, move |resource| {
                let lease = resource.get().unwrap();
                thread::sleep(ms(millis));
                lease.1.note("used");
            })
        });
        thread::sleep(ms(15));
        let begun = Instant::now();
        let stops = [(); 2].map(|()| with(&resource, |resource| resource.stop()));
        thread::sleep(ms(1));
        assert_eq!((resource.state(), resource.in_use()), (State::Stopping, 2));
        assert!(
            resource.try_get().is_none(),
            "no caller gets it from now on"
        );
        // A caller that wants the resource meanwhile gets the next instance.
        let next = with(&resource, |resource| number(&resource.get()));
        // A caller that requests the stop and is cancelled does not call the stop off.
        let gone = with(&resource, |resource| resource.stop());
        thread::sleep(ms(1));
        gone.cancel();
        assert!(gone.join().is_err());
        join_all(stops);
        assert_eq!(begun.elapsed(), ms(30));
        join_all(users);
        assert_eq!(next.join().unwrap(), Some(2));
        resource.stop();
        let expected = "start1 used used stop1 stopped1 drop1 start2 stop2 stopped2 drop2";
        assert_eq!(log.all(), expected);
    });
}

#[test]
fn after_its_grace_it_is_stopped_under_the_hands_of_its_users() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.grace(ms(20)).idle_timeout(ms(50)).build();
        let old = resource.get().unwrap();
        let begun = Instant::now();
        resource.stop();
        assert_eq!(
            (resource.state(), begun.elapsed()),
            (State::Stopped, ms(25))
        );
        assert_eq!((log.all().as_str(), old.0), ("start1 stop1 stopped1", 1));
        // The old use does not count for the new instance.
        assert_eq!(number(&resource.get()), Some(2));
        assert_eq!(resource.in_use(), 0);
        let clone = old.clone();
        thread::sleep(ms(60));
        assert_eq!(resource.state(), State::Stopped, "it was idle");
        drop(old);
        assert_eq!(log.count("drop1"), 0);
        drop(clone);
        assert_eq!(log.count("drop1"), 1);
        // The end of the old use does not affect a stop of the new instance.
        let (third, theirs) = (resource.get().unwrap(), resource.clone());
        let stops = thread::spawn(move || theirs.stop());
        thread::sleep(ms(10));
        drop(third);
        stops.join().unwrap();
        // Sooner than the grace would have ended.
        assert_eq!(resource.state(), State::Stopped);
        assert_eq!(log.count("stopped"), 3);
    });
}

#[test]
fn the_last_handle_stops_what_runs() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.build();
        let (clone, lease) = (resource.clone(), resource.get().unwrap());
        drop(resource);
        thread::sleep(HOUR);
        assert_eq!(log.all(), "start1");
        drop(clone);
        thread::sleep(HOUR);
        assert_eq!(log.all(), "start1", "it is in use");
        drop(lease);
        thread::sleep(ms(10));
        assert_eq!(log.all(), "start1 stop1 stopped1 drop1");
    });
}

#[test]
fn the_last_handle_ends_a_start() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.build();
        let caller = thread::spawn(move || resource.get().map(|_| ()));
        thread::sleep(ms(5));
        caller.cancel();
        drop(caller.join());
        thread::sleep(ms(20));
        assert_eq!(log.all(), "start1");
        // Before the first start there is nothing to end.
        let (builder, log) = self::builder(|_| Ok(()));
        drop(builder.build());
        assert_eq!(log.all(), "");
    });
}

#[test]
fn a_stop_that_panics_is_in_the_log_and_it_counts_as_stopped() {
    collect_log();
    check(|| {
        let stopped = Rc::new(Cell::new(0));
        let count = stopped.clone();
        let resource = Resource::builder(|| Ok::<_, &str>(()))
            .stop(move |&()| {
                count.set(count.get() + 1);
                panic!("the stop of a test panics");
            })
            .build();
        for n in 1..=2 {
            drop(resource.get().unwrap());
            resource.stop();
            assert_eq!((resource.state(), stopped.get()), (State::Stopped, n));
        }
    });
    assert_eq!(logged("the stop of a test panics").len(), 40);
}

#[test]
fn a_shutdown_tells_the_waiters_and_drops_what_runs() {
    for (seed, running) in [(1, true), (2, true), (1, false), (2, false)] {
        let run = sim::run(seed, move || {
            let (builder, log) = builder(|_| Ok(()));
            let resource = builder.build();
            let (theirs, told) = (resource.clone(), log.clone());
            drop(thread::spawn(move || {
                let got = thread::uncancellable(|| theirs.get().map(|lease| lease.0));
                told.note(got.map_or_else(|error| error.to_string(), |n| format!("got{n}")));
            }));
            thread::sleep(ms(if running { 20 } else { 5 }));
            // The resource outlives the shard.
            (resource, log)
        });
        let (resource, log) = run.unwrap();
        assert_eq!(resource.state(), State::Stopped);
        let expected = match running {
            true => "start1 got1 drop1",
            false => "start1 the resource was stopped while it started",
        };
        assert_eq!(log.all(), expected);
    }
}

#[test]
fn a_resource_outlives_a_shard_and_is_started_on_the_next() {
    let (builder, log) = builder(|_| Ok(()));
    let resource = builder.build();
    for (seed, running) in [(1, true), (2, false), (3, true)] {
        let theirs = resource.clone();
        let run = sim::run(seed, move || {
            drop(with(&theirs, |resource| drop(resource.get())));
            thread::sleep(ms(if running { 20 } else { 5 }));
            theirs.state()
        });
        let state = if running {
            State::Running
        } else {
            State::Starting
        };
        assert_eq!(run.unwrap(), state);
        assert_eq!(resource.state(), State::Stopped, "the shard has ended");
    }
    drop(resource);
    assert_eq!(log.all(), "start1 drop1 start2 start3 drop3");
}

#[test]
fn an_ethread_that_unwinds_has_it_if_it_runs_and_starts_nothing() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.build();
        let seen = Rc::new(RefCell::new(Vec::new()));
        for runs in [false, true] {
            if runs {
                drop(resource.get().unwrap());
            }
            let seen = seen.clone();
            let unwinds = with(&resource, move |resource| {
                let _destructor = OnDrop(|| {
                    let got = resource.get().map(|lease| lease.0);
                    seen.borrow_mut()
                        .push(matches!(got, Err(StartError::WouldPark)));
                    resource.stop();
                });
                panic!("on the way");
            });
            assert_eq!(text(&*unwinds.join().unwrap_err()), "on the way");
        }
        assert_eq!(*seen.borrow(), [true, false]);
        // The stop that the ethread could not wait for happens all the same.
        thread::sleep(ms(10));
        assert_eq!(log.all(), "start1 stop1 stopped1 drop1");
    });
}

#[test]
fn waiters_through_a_stop_share_the_next_start() {
    check(|| {
        let (builder, log) = builder(|_| Ok(()));
        let resource = builder.build();
        drop(resource.get().unwrap());
        let group = WaitGroup::new();
        let stops = with(&resource, |resource| resource.stop());
        thread::sleep(ms(1));
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let member = group.join();
                with(&resource, move |resource| {
                    let _member = member;
                    number(&resource.get())
                })
            })
            .collect();
        group.wait();
        assert_eq!(join_all(waiting), [Some(2); 5]);
        stops.join().unwrap();
        resource.stop();
        assert_eq!(log.count("start"), 2);
    });
}

#[test]
fn a_logger_that_panics_hides_neither_why_a_start_has_failed_nor_a_stop() {
    fresh(|| {
        collect_log();
        on_log(Some(|| panic!("the log is full")));
        let ended = ethreads::run_main(|| {
            let fails = Resource::<(), ()>::new(|| panic!("no start"));
            let failed = fails.get().err();
            assert!(
                matches!(failed, Some(StartError::Panicked(_))),
                "{failed:?}"
            );
            let starts = Resource::builder(|| Ok::<_, ()>(()));
            let starts = starts.stop(|()| panic!("no stop")).build();
            drop(starts.get().unwrap());
            starts.stop();
            assert_eq!(starts.state(), State::Stopped);
        });
        on_log(None);
        ended.unwrap();
    });
}
