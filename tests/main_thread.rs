//! What is different on the main OS thread: std's test harness never runs tests there, so this is
//! a program of its own, which runs itself again for each case.

// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ethreads::{Runtime, thread};

const CASE: &str = "ETHREADS_TEST_CASE";

fn main() {
    match std::env::var(CASE).as_deref() {
        Ok("overflow") => overflow(),
        Ok("daemons") => daemons(),
        Ok("driver") => driver(),
        Ok("watchdog") => watchdog(),
        #[cfg(feature = "http")]
        Ok("server") => server(),
        _ => {
            check_overflow(&again("overflow"));
            check_daemons(&again("daemons"));
            check_driver(&again("driver"));
            if cfg!(target_os = "linux") {
                check_watchdog(&again("watchdog"));
            }
            #[cfg(feature = "http")]
            check_server(&again("server"));
            println!("main thread: all cases ok");
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

/// Prints at the end of the OS thread, to show that its destructors still run.
struct SaysGoodbye;

impl Drop for SaysGoodbye {
    fn drop(&mut self) {
        eprintln!("goodbye");
    }
}

thread_local! {
    static LAST: SaysGoodbye = const { SaysGoodbye };
}

/// Prints what is logged.
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

/// Ends with parked ethreads, whose values the main thread's end destroys.
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

/// Serves from a plain `main`, beside a daemon.
#[cfg(feature = "http")]
fn server() {
    use ethreads::http::{Request, Server};

    log::set_logger(&Printer).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    LAST.with(|_| ());
    let daemon = thread::Builder::new()
        .name("beside")
        .daemon(true)
        .spawn(|| {
            let _unwound = UnwindsLoudly;
            thread::park();
        });
    drop(daemon.unwrap());
    let server = Server::bind("127.0.0.1:0").unwrap();
    server.handle().drain(Duration::from_secs(60));
    server.serve(|_: &mut Request| "hello").unwrap();
}

#[cfg(feature = "http")]
fn check_server(output: &Output) {
    assert!(output.status.success(), "{}", printed(output));
    assert_eq!(printed(output), "unwound\ngoodbye\n");
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

/// Waits until the watchdog sleeps, according to the kernel's report of its system call, and then
/// holds the shard until the watchdog has named it in the log.
fn watchdog() {
    static NAMED: AtomicBool = AtomicBool::new(false);
    struct Ear;
    impl log::Log for Ear {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            let named = record.args().to_string().contains("'late-hog'");
            NAMED.fetch_or(named, Ordering::Relaxed);
        }
        fn flush(&self) {}
    }
    log::set_logger(&Ear).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let threshold = Duration::from_millis(1);
    let run = Runtime::builder().watchdog(Some(threshold)).run(|| {
        let sleeper = thread::current().into_remote();
        let witness = std::thread::spawn(move || {
            while !watchdog_sleeps() {
                std::thread::yield_now();
            }
            sleeper.unpark();
        });
        thread::park();
        let hog = thread::Builder::new().name("late-hog").spawn(|| {
            while !NAMED.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        hog.unwrap().join().unwrap();
        witness.join().unwrap();
    });
    run.unwrap();
}

/// Whether the watchdog's thread waits on a futex without a timeout: the fourth argument.
fn watchdog_sleeps() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().any(|task| {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        // The kernel cuts it to 15 bytes.
        read("comm").trim() == "ethreads-watchd"
            && read("syscall").starts_with(&format!("{} ", libc::SYS_futex))
            && read("syscall").split(' ').nth(4) == Some("0x0")
    })
}

fn check_watchdog(output: &Output) {
    assert!(output.status.success(), "{}", printed(output));
}
