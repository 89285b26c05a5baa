//! Many shards: where they run, what is spawned on them from elsewhere, and how they end.

use std::any::Any;
use std::collections::HashSet;
use std::fmt::{self, Write};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use ethreads::runtime::{Shard, ShardEnded, ShardGroup};
use ethreads::sync::remote;
use ethreads::thread::Cancelled;
use ethreads::{RunError, Runtime, thread, time};

use crate::support::{OnDrop, collect_log, fresh, text, wait_for_log};

const HOUR: Duration = Duration::from_secs(3600);

fn group(count: usize) -> ShardGroup {
    Runtime::builder().shards(count).start().unwrap()
}

/// The name of the OS thread that this is called on.
fn os_thread() -> String {
    std::thread::current().name().unwrap().to_owned()
}

fn is<P: Any>(result: thread::Result<()>) -> bool {
    result.is_err_and(|payload| payload.is::<P>())
}

#[test]
fn zero_is_one_for_each_cpu() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert_eq!(Runtime::builder().shards(0).count(), cpus);
    let names = Runtime::builder()
        .shards(0)
        .name("cpu")
        .run(|_| os_thread());
    let names: Vec<_> = names.into_iter().map(Result::unwrap).collect();
    let expected: Vec<_> = (0..cpus).map(|n| format!("cpu {n}")).collect();
    assert_eq!(names, expected);
}

#[test]
#[cfg(target_os = "linux")]
fn pinned_shards_stay_on_one_cpu_each() {
    let cpus = || rustix::thread::sched_getaffinity(None).unwrap();
    let allowed = cpus().count() as usize;
    let shards = Runtime::builder().shards(allowed + 1).pin(true);
    let pinned: Vec<_> = shards
        .run(move |_| cpus())
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(pinned.iter().all(|cpus| cpus.count() == 1));
    assert_eq!(pinned[0], pinned[allowed], "they take turns");
    assert!(pinned[..allowed].windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn the_panic_of_a_root_is_told_at_once_and_returned() {
    collect_log();
    let (told, is_told) = mpsc::channel();
    let is_told = Mutex::new(is_told);
    let shards = Runtime::builder().shards(2).name("rooted");
    let results = std::thread::spawn(move || {
        shards.run(move |shard| {
            assert_ne!(shard, 0, "the first fails");
            // Goes on until the test has seen the panic in the log.
            is_told.lock().unwrap().recv().unwrap();
            shard
        })
    });
    wait_for_log("the root of rooted 0 panicked");
    told.send(()).unwrap();
    let mut results = results.join().unwrap();
    assert!(matches!(results.pop(), Some(Ok(1))));
    match results.pop() {
        Some(Err(RunError::RootPanicked(panic))) => {
            assert_eq!(panic.shard(), "rooted 0");
            assert!(panic.to_string().contains("the first fails"), "{panic}");
            assert!(text(&*panic.into_payload()).contains("the first fails"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_spawned_elsewhere_runs_there_and_its_result_comes_back() {
    let shards = group(2);
    for (n, shard) in shards.shards().iter().enumerate() {
        let there = shard.spawn(|| (os_thread(), Shard::current().name().to_owned()));
        let name = format!("shard {n}");
        assert_eq!(there.unwrap().join().unwrap(), (name.clone(), name.clone()));
        assert_eq!(shard.name(), name);
    }
    let panics = shards.spawn(|| panic!("over there")).unwrap();
    let payload = panics.join().map(|never: ()| never).unwrap_err();
    assert_eq!(text(&*payload), "over there");
    assert!(shards.shutdown().is_clean(), "it was joined");
}

#[test]
fn a_value_that_stays_may_be_made_there() {
    // Neither the ethread's own values nor the ethreads that it waits for need `Send`.
    let shards = group(1);
    let sum = shards.spawn(|| {
        let shared = Rc::new(20);
        let theirs = shared.clone();
        ethreads::spawn(move || *theirs + 1).join().unwrap() + *shared
    });
    assert_eq!(sum.unwrap().join().unwrap(), 41);
}

#[test]
fn ethreads_of_one_shard_wait_for_ethreads_of_another() {
    let shards = Arc::new(group(2));
    let theirs = shards.clone();
    let chain = shards.shards()[0].spawn(move || {
        let other = theirs.shards()[1].spawn(os_thread).unwrap();
        let turns = ethreads::spawn(|| (0..100).for_each(|_| thread::yield_now()));
        let name = other.join().unwrap();
        turns.join().unwrap();
        (os_thread(), name)
    });
    let names = chain.unwrap().join().unwrap();
    assert_eq!(names, ("shard 0".to_owned(), "shard 1".to_owned()));
}

#[test]
fn shards_take_turns_and_keys_stay() {
    let shards = group(3);
    let turns: Vec<_> = (0..6).map(|_| shards.next().name().to_owned()).collect();
    assert_eq!(turns[..3], turns[3..]);
    assert_eq!(HashSet::<&String>::from_iter(&turns).len(), 3);
    let place = |key: usize| shards.by_key(key).name().to_owned();
    let places: Vec<_> = (0..300).map(place).collect();
    assert_eq!(places, (0..300).map(place).collect::<Vec<_>>());
    for shard in shards.shards() {
        let keys = places.iter().filter(|name| **name == shard.name()).count();
        assert!(keys > 50, "{keys} of 300 keys at {}", shard.name());
    }
}

#[test]
fn a_cancel_reaches_it_wherever_it_is() {
    let shards = group(1);
    let begun = Arc::new(AtomicUsize::new(0));
    // The cancel comes before the shard has looked, while the shard is busy.
    let (go, wait) = mpsc::channel::<()>();
    let busy = shards.spawn(move || wait.recv().is_ok()).unwrap();
    let counts = begun.clone();
    let unborn = shards
        .spawn(move || _ = counts.fetch_add(1, Ordering::SeqCst))
        .unwrap();
    unborn.cancel();
    go.send(()).unwrap();
    assert!(busy.join().unwrap());
    assert!(is::<Cancelled>(unborn.join()));
    assert_eq!(begun.load(Ordering::SeqCst), 0, "its closure was dropped");
    // The cancel comes while the ethread waits.
    let (waits, is_waiting) = remote::bounded(1);
    let waiting = shards.spawn(move || {
        waits.send(()).unwrap();
        thread::sleep(HOUR);
    });
    let waiting = waiting.unwrap();
    is_waiting.recv().unwrap();
    waiting.cancel();
    assert!(is::<Cancelled>(waiting.join()));
    // The cancel comes after the end of the ethread.
    let ended = shards.spawn(|| 7).unwrap();
    while !ended.is_finished() {
        std::thread::yield_now();
    }
    ended.cancel();
    assert_eq!(ended.join().unwrap(), 7);
    assert!(shards.shutdown().is_clean());
}

#[test]
fn one_that_waits_for_another_shard_can_be_cut_short() {
    let shards = group(1);
    let shard = shards.shards()[0].clone();
    fresh(|| {
        ethreads::run_main(move || {
            let there = shard.spawn(|| thread::sleep(HOUR)).unwrap();
            let waits = ethreads::spawn(|| there.join());
            thread::yield_now();
            waits.cancel();
            let payload = waits.join().map(drop).unwrap_err();
            assert!(payload.is::<Cancelled>());
            let there = shard.spawn(|| thread::sleep(HOUR)).unwrap();
            let late = time::timeout(Duration::from_millis(1), || there.join().is_ok());
            assert!(late.is_err(), "{late:?}");
        })
    })
    .unwrap();
    let report = shards.shutdown();
    assert_eq!(report.shards[0].alive.len(), 2, "they went on: {report}");
    assert!(report.shards[0].left.is_empty());
}

#[test]
fn the_panic_of_an_ethread_without_a_join_is_told_and_counted() {
    collect_log();
    let shards = group(1);
    let (go, wait) = remote::bounded(1);
    let detached = shards.spawn(move || {
        wait.recv().unwrap();
        panic!("this one of shards is not joined")
    });
    drop(detached.unwrap());
    go.send(()).unwrap();
    wait_for_log("this one of shards is not joined");
    // The handle is dropped after the end of the ethread.
    let late = shards
        .spawn(|| panic!("this late one is not joined"))
        .unwrap();
    while !late.is_finished() {
        std::thread::yield_now();
    }
    drop(late);
    wait_for_log("this late one is not joined");
    let report = shards.shutdown();
    assert_eq!(
        report.shards[0].panicked, 2,
        "whenever the handle was dropped"
    );
}

#[test]
fn a_shutdown_reports_what_was_alive() {
    let shards = group(2);
    let unwound = Arc::new(AtomicBool::new(false));
    let flag = unwound.clone();
    let (begins, has_begun) = mpsc::channel();
    let sleeper = thread::Builder::new().name("sleeper");
    let sleeper = sleeper
        .spawn_on(&shards.shards()[1], move || {
            let _unwinds = OnDrop(|| flag.store(true, Ordering::SeqCst));
            begins.send(()).unwrap();
            thread::sleep(HOUR);
        })
        .unwrap();
    has_begun.recv().unwrap();
    let report = shards.shutdown();
    assert!(unwound.load(Ordering::SeqCst));
    assert!(is::<Cancelled>(sleeper.join()));
    assert!(report.shards[0].alive.is_empty());
    assert!(
        report.shards[1].alive[0].contains("'sleeper'"),
        "{report:?}"
    );
    assert!(report.shards[1].left.is_empty());
    assert!(!report.is_clean());
    assert!(
        report.to_string().contains("shard 1: 1 alive, 0 left"),
        "{report}"
    );
    // The shards have ended.
    let back = shards.spawn(|| 7).unwrap_err();
    assert_eq!(back.kind(), io::ErrorKind::NotConnected);
    assert_eq!((back.into_inner())(), 7, "what was to be run comes back");
    assert!(shards.shards().iter().all(Shard::has_ended));
    assert!(shards.shutdown().shards.is_empty());
}

#[test]
fn a_waiter_for_an_ethread_that_is_left_behind_is_told() {
    let shards = Runtime::builder()
        .grace(Duration::ZERO)
        .shards(1)
        .start()
        .unwrap();
    let (begins, has_begun) = mpsc::channel();
    let stays = shards.spawn(move || {
        thread::uncancellable(|| {
            begins.send(()).unwrap();
            thread::sleep(HOUR);
        });
    });
    let stays = stays.unwrap();
    has_begun.recv().unwrap();
    let report = shards.shutdown();
    assert_eq!(report.shards[0].left.len(), 1, "{report}");
    assert!(is::<ShardEnded>(stays.join()));
}

#[test]
fn what_comes_while_a_shard_ends_is_told_or_given_back() {
    // An OS thread spawns as fast as it can, until the shard refuses.
    for _ in 0..20 {
        let shards = group(1);
        let shard = shards.shards()[0].clone();
        let ran = Arc::new(AtomicUsize::new(0));
        let dropped = Arc::new(AtomicUsize::new(0));
        let (ran_there, drops) = (ran.clone(), dropped.clone());
        let (begins, has_begun) = mpsc::channel();
        let floods = std::thread::spawn(move || {
            let mut handles = Vec::new();
            loop {
                let (counts, drops) = (ran.clone(), drops.clone());
                let on_drop = OnDrop(move || _ = drops.fetch_add(1, Ordering::SeqCst));
                let spawned = shard.spawn(move || {
                    let _on_drop = on_drop;
                    counts.fetch_add(1, Ordering::SeqCst);
                });
                match spawned {
                    Ok(handle) => handles.push(handle),
                    Err(back) => {
                        drop(back.into_inner());
                        return handles;
                    }
                }
                if handles.len() == 100 {
                    begins.send(()).unwrap();
                }
                // Limits the rate, so that the shard does not need seconds to cancel all ethreads.
                while handles.len() > 1_000 + ran.load(Ordering::SeqCst) && !shard.has_ended() {
                    std::thread::yield_now();
                }
            }
        });
        has_begun.recv().unwrap();
        let report = shards.shutdown();
        let handles = floods.join().unwrap();
        let spawned = handles.len();
        let mut ends = [0; 3];
        for handle in handles {
            ends[match handle.join() {
                Ok(()) => 0,
                Err(payload) if payload.is::<Cancelled>() => 1,
                Err(payload) if payload.is::<ShardEnded>() => 2,
                Err(payload) => panic!("{}", text(&*payload)),
            }] += 1;
        }
        assert_eq!(ends[0], ran_there.load(Ordering::SeqCst));
        assert_eq!(ends[2], report.shards[0].unstarted);
        assert_eq!(ends.iter().sum::<usize>(), spawned);
        assert_eq!(
            dropped.load(Ordering::SeqCst),
            spawned + 1,
            "each closure once"
        );
    }
}

#[test]
fn a_join_handle_is_a_future() {
    let shards = group(1);
    let (go, wait) = remote::bounded(0);
    let handle = shards.spawn(move || wait.recv().unwrap()).unwrap();
    let mut handle = pin!(handle);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(handle.as_mut().poll(&mut cx).is_pending());
    go.send(7).unwrap();
    while !handle.is_finished() {
        std::thread::yield_now();
    }
    match handle.as_mut().poll(&mut cx) {
        Poll::Ready(Ok(value)) => assert_eq!(value, 7),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_takes_in_what_was_spawned_on_its_os_thread_from_elsewhere() {
    fresh(|| {
        let here = Shard::current();
        let ran = Arc::new(AtomicUsize::new(0));
        let counts = ran.clone();
        // The closure is sent before the run, and nothing else keeps the run going.
        let spawner =
            std::thread::spawn(move || here.spawn(move || counts.fetch_add(1, Ordering::SeqCst)));
        let handle = spawner.join().unwrap().unwrap();
        ethreads::spawn(|| ());
        ethreads::run().unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        assert_eq!(handle.join().unwrap(), 0);
    });
}

#[test]
fn an_os_thread_that_ends_tells_the_waiters() {
    let (handle, dropped) = fresh(|| {
        let dropped = Arc::new(AtomicBool::new(false));
        let flag = dropped.clone();
        let on_drop = OnDrop(move || flag.store(true, Ordering::SeqCst));
        // The shard of this OS thread never runs.
        let handle = Shard::current().spawn(move || drop(on_drop)).unwrap();
        (handle, dropped)
    });
    assert!(is::<ShardEnded>(handle.join()));
    assert!(dropped.load(Ordering::SeqCst));
}

/// The frames of ethreads may refer to thread-locals that are gone.
#[test]
fn no_ethread_goes_on_when_its_os_thread_ends() {
    let went_on = Arc::new(AtomicBool::new(false));
    let theirs = went_on.clone();
    let handle = fresh(move || {
        drop(ethreads::spawn(move || {
            theirs.store(true, Ordering::SeqCst)
        }));
        // Dropped by the end of the OS thread, where its destructor would let other ethreads run.
        let yields = OnDrop(thread::yield_now);
        Shard::current().spawn(move || drop(yields)).unwrap()
    });
    assert!(is::<ShardEnded>(handle.join()));
    assert!(!went_on.load(Ordering::SeqCst));
}

#[test]
fn a_stack_that_no_ethread_can_have_is_an_error() {
    let shards = group(1);
    let huge = thread::Builder::new().stack_size(usize::MAX);
    let back = huge.spawn_on(&shards.shards()[0], || 7).unwrap_err();
    assert_eq!(back.kind(), io::ErrorKind::InvalidInput);
    assert_eq!((back.into_inner())(), 7);
}

#[test]
fn a_group_that_is_dropped_ends_its_shards() {
    let (ends, has_ended) = mpsc::channel::<()>();
    let shards = group(1);
    drop(shards.spawn(move || {
        let _ends = ends;
        thread::sleep(HOUR);
    }));
    drop(shards);
    assert!(
        has_ended.recv().is_err(),
        "the sender went with its ethread"
    );
}

#[test]
fn one_of_a_group_that_ends_it_is_cancelled_by_that() {
    let shards = Arc::new(group(2));
    let theirs = shards.clone();
    let ends = shards.shards()[0]
        .spawn(move || drop(theirs.shutdown()))
        .unwrap();
    assert!(is::<Cancelled>(ends.join()));
    while !shards.shards().iter().all(Shard::has_ended) {
        std::thread::yield_now();
    }
}

#[test]
fn shutdowns_at_the_same_time_do_not_hold_each_other_up() {
    // Two ethreads of one OS thread call `shutdown`: one of them gets the report.
    let reports = fresh(|| {
        ethreads::run_main(|| {
            let shards = Arc::new(group(1));
            let each: Vec<_> = (0..2)
                .map(|_| {
                    let shards = shards.clone();
                    ethreads::spawn(move || shards.shutdown().shards.len())
                })
                .collect();
            let mut each: Vec<_> = each.into_iter().map(|e| e.join().unwrap()).collect();
            each.sort_unstable();
            each
        })
    });
    assert_eq!(reports.unwrap(), [0, 1]);
    // Two ethreads of the group call `shutdown`, which cancels both. One ethread spawns them: from
    // here the second call could come too late.
    let shards = Arc::new(group(1));
    let theirs = shards.clone();
    let starts = shards.spawn(move || {
        for _ in 0..2 {
            let shards = theirs.clone();
            drop(ethreads::spawn(move || drop(shards.shutdown())));
        }
    });
    starts.unwrap().join().unwrap();
    // The second ethread may find nothing left to wait for, or may not begin: only the end counts.
    while !shards.shards().iter().all(Shard::has_ended) {
        std::thread::yield_now();
    }
    // Two other OS threads call `shutdown`, while the shard cannot end yet.
    let shards = Arc::new(group(1));
    let (go, wait) = mpsc::channel::<()>();
    let (begins, has_begun) = mpsc::channel();
    let blocks = move || {
        begins.send(()).unwrap();
        wait.recv().is_err()
    };
    drop(shards.spawn(blocks).unwrap());
    has_begun.recv().unwrap();
    let (tell, reports) = mpsc::channel();
    for _ in 0..2 {
        let (theirs, tell) = (shards.clone(), tell.clone());
        std::thread::spawn(move || tell.send(theirs.shutdown().shards.len()));
    }
    // The second call returns at once; the first call waits for the shard.
    assert_eq!(reports.recv(), Ok(0));
    drop(go);
    assert_eq!(reports.recv(), Ok(1));
}

#[test]
fn what_was_sent_before_the_end_of_a_run_begins_in_order_to_be_cancelled() {
    fresh(|| {
        let (told, tells) = mpsc::channel();
        ethreads::run_main(move || {
            let here = Shard::current();
            // The shard does not look at its inbox before the root has ended.
            let handle = std::thread::spawn(move || here.spawn(|| ()).unwrap());
            told.send(handle.join().unwrap()).unwrap();
        })
        .unwrap();
        // Nothing drives the shard here.
        let handle: thread::RemoteJoinHandle<()> = tells.recv().unwrap();
        assert!(handle.is_finished());
        assert!(is::<Cancelled>(handle.join()));
    });
}

#[test]
fn a_panic_that_is_dropped_elsewhere_counts_for_its_own_shard() {
    collect_log();
    let shards = group(1);
    let handle = shards.spawn(|| panic!("dropped elsewhere")).unwrap();
    while !handle.is_finished() {
        std::thread::yield_now();
    }
    fresh(|| ethreads::run_main(move || drop::<thread::RemoteJoinHandle<()>>(handle))).unwrap();
    let report = shards.shutdown();
    assert_eq!(report.shards[0].panicked, 1);
    assert!(!report.is_clean());
}

#[test]
fn one_that_can_be_cancelled_from_elsewhere_is_no_deadlock() {
    fresh(|| {
        let here = Shard::current();
        let (spawned, has_spawned) = mpsc::channel();
        let cancels = std::thread::spawn(move || {
            let (begins, has_begun) = mpsc::channel();
            let parks = move || {
                begins.send(()).unwrap();
                thread::park();
            };
            let handle = here.spawn(parks).unwrap();
            spawned.send(()).unwrap();
            has_begun.recv().unwrap();
            // Time enough to find that nothing else can wake the ethread.
            (0..1000).for_each(|_| std::thread::yield_now());
            handle.cancel();
            is::<Cancelled>(handle.join())
        });
        has_spawned.recv().unwrap();
        ethreads::run().unwrap();
        assert!(cancels.join().unwrap());
    });
}

/// A waker that lets the ethreads that are left behind end, if they go on.
struct Sleeps(Arc<AtomicBool>);

impl Wake for Sleeps {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
        (0..100).for_each(|_| thread::yield_now());
    }
}

#[test]
fn a_waker_may_suspend_while_the_shard_ends() {
    let shards = Runtime::builder().grace(Duration::ZERO);
    let shards = shards.shards(1).start().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (begins, has_begun) = mpsc::channel();
    let stubborn = |begins: Option<mpsc::Sender<()>>| {
        let stop = stop.clone();
        move || {
            if let Some(begins) = begins {
                begins.send(()).unwrap();
            }
            while !stop.load(Ordering::SeqCst) {
                thread::uncancellable(thread::yield_now);
            }
        }
    };
    let left = shards.spawn(stubborn(None)).unwrap();
    let other = shards.spawn(stubborn(Some(begins))).unwrap();
    has_begun.recv().unwrap();
    let waker = Arc::new(Sleeps(stop.clone())).into();
    let mut left = pin!(left);
    assert!(
        left.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let report = shards.shutdown();
    assert_eq!(report.shards[0].left.len(), 2, "{report}");
    let ended = left.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ended, Poll::Ready(Err(_))));
    assert!(other.join().unwrap_err().is::<ShardEnded>());
}

#[test]
fn shards_are_not_run_in_an_ethread() {
    let refused = fresh(|| {
        ethreads::run_main(|| {
            let inner = ethreads::spawn(|| Runtime::builder().shards(1).run(|_| ()).len());
            text(&*inner.join().unwrap_err()).to_owned()
        })
    });
    assert!(refused.unwrap().contains("use `Shards::start`"));
}

#[test]
fn the_panic_of_a_root_may_be_written_by_several_at_once() {
    struct Yields(String);
    impl fmt::Write for Yields {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            thread::yield_now();
            self.0.push_str(part);
            Ok(())
        }
    }
    let ends = Runtime::builder().shards(1).run(|_| panic!("by the root"));
    let Err(error) = ends.into_iter().next().unwrap();
    let texts = Runtime::builder().run(move || {
        thread::scope(|scope| {
            let write = || {
                let mut text = Yields(String::new());
                write!(text, "{error} / {error:?}").unwrap();
                text.0
            };
            [scope.spawn(write), scope.spawn(write)].map(|ethread| ethread.join().unwrap())
        })
    });
    for text in texts.unwrap() {
        assert_eq!(text.matches("panicked: by the root").count(), 2, "{text}");
    }
}
