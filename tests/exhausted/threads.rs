//! No OS thread: RLIMIT_NPROC.

use std::io::{self, ErrorKind};

use ethreads::{Runtime, thread};

use crate::limits::{
    goes_on, isolated, limit_os_threads, linger, os_threads, until_some_fail, without_spinning,
};
use crate::support::{collect_log, logged};

fn names_the_limit(error: &io::Error) {
    // Not `WouldBlock`, the usual kind of `EAGAIN`.
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    let text = error.to_string();
    for part in [
        "cannot start the OS thread of a shard",
        "RLIMIT_NPROC (ulimit -u)",
        "kernel.threads-max",
        "the pids limit of the cgroup",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_run_without_a_watchdog_goes_on_and_the_log_says_so() {
    const NAME: &str = "threads::a_run_without_a_watchdog_goes_on_and_the_log_says_so";
    isolated(NAME, || {
        collect_log();
        if !limit_os_threads(0) {
            return;
        }
        for _ in 0..3 {
            let run = Runtime::builder().run(|| {
                goes_on();
                without_spinning(|| thread::sleep(std::time::Duration::from_millis(100)));
            });
            run.unwrap();
        }
        assert_eq!(logged("no watchdog").len(), 1);
    });
}

#[test]
fn shards_that_cannot_be_started_are_errors_and_the_others_run() {
    const NAME: &str = "threads::shards_that_cannot_be_started_are_errors_and_the_others_run";
    isolated(NAME, || {
        let began_with = os_threads();
        // Two shards, and the watchdog.
        if !limit_os_threads(3) {
            return;
        }
        let shards = || Runtime::builder().watchdog(None).shards(4);
        until_some_fail(|| shards().run(|_| linger()), names_the_limit);
        // A group starts with all its shards or not at all.
        names_the_limit(&shards().start().unwrap_err());
        while os_threads() > began_with + 1 {
            std::thread::yield_now();
        }
        let group = Runtime::builder().watchdog(None).shards(2).start().unwrap();
        let sum = group.next().spawn(|| 1 + 1).unwrap().join().unwrap();
        assert_eq!(sum, 2);
        assert!(group.shutdown().is_clean());
    });
}

#[cfg(feature = "http")]
#[test]
fn a_server_whose_shards_cannot_be_started_ends_with_the_error() {
    use ethreads::http::{Request, Server};
    const NAME: &str = "threads::a_server_whose_shards_cannot_be_started_ends_with_the_error";
    isolated(NAME, || {
        if !limit_os_threads(1) {
            return;
        }
        let run = Runtime::builder().watchdog(None).run(|| {
            for bind in [Server::bind, Server::bind_shared] {
                let server = bind("127.0.0.1:0").unwrap();
                let addr = server.local_addr().unwrap();
                let shards = Runtime::builder().watchdog(None).shards(3);
                let server = server.on_shards(shards).unwrap();
                let error = server.serve(|_: &mut Request| "x").unwrap_err();
                names_the_limit(&error);
                drop(server);
                goes_on();
                // Nothing listens any more.
                let refused = ethreads::net::TcpStream::connect(addr).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            }
        });
        run.unwrap();
    });
}
