//! The watchdog names ethreads that hold their shard.

use std::time::Duration;

use ethreads::{Runtime, thread};

use crate::support::{PANICS, collect_log, fresh, wait_for_log, wait_for_watchdog, watchdog_said};

const THRESHOLD: Duration = Duration::from_millis(10);

/// Holds this shard, in an ethread of this name, until the watchdog has logged the name.
fn hold(name: &'static str, threshold: Duration) {
    let run = Runtime::builder().watchdog(Some(threshold)).run(move || {
        let hog = thread::Builder::new()
            .name(name)
            .spawn(move || wait_for_log(name));
        hog.unwrap().join().unwrap();
    });
    run.unwrap();
}

#[test]
fn one_that_holds_its_shard_is_named_with_its_line() {
    collect_log();
    let run = Runtime::builder().watchdog(Some(THRESHOLD)).run(|| {
        let hog = thread::Builder::new().name("shard-hog").spawn(|| {
            thread::yield_now();
            let line = line!() - 1;
            (wait_for_log("shard-hog"), line)
        });
        hog.unwrap().join().unwrap()
    });
    let (report, line) = run.unwrap();
    assert!(
        report.starts_with("WARN: ethread 'shard-hog' (#"),
        "{report}"
    );
    assert!(
        report.contains("has blocked its shard for more than"),
        "{report}"
    );
    assert!(
        report.contains(&format!("last parked at {}:{line}:", file!())),
        "{report}"
    );
}

#[test]
fn each_run_that_is_too_long_is_named_once() {
    collect_log();
    let run = Runtime::builder().watchdog(Some(THRESHOLD)).run(|| {
        let hog = thread::Builder::new().name("hog-again").spawn(|| {
            wait_for_log("hog-again");
            // By the time another ethread is named, the watchdog has looked at this ethread again.
            fresh(|| hold("hog-beside-1", THRESHOLD));
            let first = watchdog_said("hog-again").len();
            thread::yield_now();
            wait_for_watchdog("hog-again", first);
            fresh(|| hold("hog-beside-2", THRESHOLD));
            (first, watchdog_said("hog-again").len())
        });
        hog.unwrap().join().unwrap()
    });
    assert_eq!(run.unwrap(), (1, 2));
}

#[test]
fn it_goes_on_after_a_logger_that_panics() {
    collect_log();
    fresh(|| hold(PANICS, THRESHOLD));
    fresh(|| hold("hog-after-a-panic", THRESHOLD));
}

#[test]
fn opting_out_is_silent() {
    collect_log();
    let run = Runtime::builder().watchdog(None).run(|| {
        let quiet = thread::Builder::new().name("quiet-hog");
        quiet
            .spawn(|| fresh(|| hold("noisy-hog", THRESHOLD)))
            .unwrap()
            .join()
            .unwrap();
    });
    run.unwrap();
    assert_eq!(watchdog_said("quiet-hog"), Vec::<String>::new());
}

#[test]
fn one_that_waits_holds_nothing() {
    collect_log();
    // Long enough that no short run is taken for a long one on a busy machine.
    let threshold = Duration::from_millis(200);
    let run = Runtime::builder().watchdog(Some(threshold)).run(move || {
        let waiter = thread::Builder::new().name("patient-waiter").spawn(|| {
            thread::park();
            line!() - 1
        });
        let waiter = waiter.unwrap();
        thread::yield_now();
        let remote = waiter.thread().clone().into_remote();
        let noise = std::thread::spawn(move || {
            hold("hog-meanwhile", threshold);
            let said = watchdog_said("patient-waiter");
            remote.unpark();
            said
        });
        (waiter.join().unwrap(), noise.join().unwrap())
    });
    let (line, said) = run.unwrap();
    // Before the ethread parks, a busy machine may hold it up for longer.
    let waited = format!("last parked at {}:{line}:", file!());
    assert!(!said.iter().any(|line| line.contains(&waited)), "{said:?}");
}
