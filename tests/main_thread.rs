//! What is different on the main OS thread: std's test harness never runs tests there, so this is
//! a program of its own, which runs itself again for each case.

// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use ethreads::thread;

const CASE: &str = "ETHREADS_TEST_CASE";

fn main() {
    match std::env::var(CASE).as_deref() {
        Ok("overflow") => overflow(),
        Ok("daemons") => daemons(),
        Ok("driver") => driver(),
        _ => {
            check_overflow(&again("overflow"));
            check_daemons(&again("daemons"));
            check_driver(&again("driver"));
            println!("main thread: 3 cases ok");
        }
    }
}

fn again(case: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .env(CASE, case)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Uses the stack up.
#[allow(unconditional_recursion)]
fn dig(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    black_box(dig(depth + 1)) + frame[0]
}

fn overflow() {
    let digger = thread::Builder::new()
        .name("digger")
        .stack_size(16 << 10)
        .spawn(|| dig(0));
    drop(digger.unwrap());
    ethreads::run().unwrap();
}

fn check_overflow(output: &Output) {
    let printed = printed(output);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{printed}");
    assert!(printed.starts_with("ethread 'digger' (#"), "{printed}");
    assert!(
        printed.contains(") has overflowed its stack of 16384 bytes; raise it"),
        "{printed}"
    );
}

/// Tells at the end of the OS thread that its destructors still run.
struct SaysGoodbye;

impl Drop for SaysGoodbye {
    fn drop(&mut self) {
        eprintln!("goodbye");
    }
}

thread_local! {
    static LAST: SaysGoodbye = const { SaysGoodbye };
}

/// Says what is logged.
struct Printer;

impl log::Log for Printer {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// Ends with parked ethreads, which hold what the main thread's end takes apart.
fn daemons() {
    log::set_logger(&Printer).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    LAST.with(|_| ());
    for name in ["daemon-1", "daemon-2"] {
        let daemon = thread::Builder::new().name(name).daemon(true).spawn(|| {
            let _unwound = UnwindsLoudly;
            thread::park();
        });
        drop(daemon.unwrap());
    }
    ethreads::run().unwrap();
}

struct UnwindsLoudly;

impl Drop for UnwindsLoudly {
    fn drop(&mut self) {
        eprintln!("unwound");
    }
}

fn check_daemons(output: &Output) {
    let printed = printed(output);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("goodbye"), "{printed}");
    assert!(!printed.contains("unwound"), "{printed}");
    let lines = printed
        .lines()
        .filter(|line| line.starts_with("WARN: 2 ethreads are leaked"));
    assert_eq!(lines.count(), 1, "{printed}");
    assert!(
        printed.contains("'daemon-1'") && printed.contains("'daemon-2'"),
        "{printed}"
    );
}

fn driver() {
    let driver = ethreads::run_main(|| ethreads::runtime::stats().map(|stats| stats.driver));
    eprintln!("driver: {}", driver.unwrap().unwrap());
}

fn check_driver(output: &Output) {
    let default = if cfg!(target_os = "linux") {
        "epoll"
    } else {
        "polling"
    };
    let expected = std::env::var("ETHREADS_DRIVER").unwrap_or_default();
    let expected = if expected.is_empty() {
        default
    } else {
        &expected
    };
    assert_eq!(printed(output), format!("driver: {expected}\n"));
    println!("driver: {expected}");
}
