//! Servers that are served by an OS thread's own code, outside of any run.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use ethreads::http::{Request, Server, WebServer, pull};
use ethreads::{Runtime, thread};

use crate::support::{OnDrop, fresh, in_child, stderr};

thread_local! {
    /// A thread-local with a destructor, as loggers keep per OS thread.
    static SPAN: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Logs as tracing does, with a thread-local that must exist.
struct Spans;

impl log::Log for Spans {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        SPAN.with_borrow_mut(|span| span.push(' '));
        eprintln!("{}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// Runs `f` in a child process, on an OS thread with an ethread that parked before, and returns
/// what the child printed; `None` in the child.
fn in_a_child_with_an_ethread(name: &str, f: impl FnOnce() + Send) -> Option<Vec<String>> {
    let Some(output) = in_child(name) else {
        log::set_logger(&Spans).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        fresh(|| {
            // Spawned before the first use of `SPAN`, so that `SPAN` is destroyed before the
            // scheduler.
            let ethread = thread::Builder::new().name("early").spawn(|| {
                let _guard = OnDrop(|| eprintln!("unwound"));
                thread::park();
            });
            drop(ethread.unwrap());
            SPAN.with_borrow_mut(|span| span.push('x'));
            f();
            eprintln!("returned");
        });
        return None;
    };
    let printed = stderr(&output);
    assert!(output.status.success(), "{printed}");
    let told = ["unwound", "returned", "panic", "leaked", "WARN", "ERROR"];
    let lines = printed.lines();
    let lines = lines.filter(|line| told.iter().any(|word| line.contains(word)));
    Some(lines.map(str::to_owned).collect())
}

/// Drains `server`, so that it ends as soon as it is served.
fn drained(server: &Server) {
    server.handle().drain(Duration::from_secs(60));
}

fn hello(_: &mut Request) -> &'static str {
    "hello"
}

/// Checks that `serve` leaves nothing behind in a plain `main`, and logs nothing.
fn ends_its_shard(test: &str, serve: impl FnOnce() + Send) {
    let name = format!("http::from_main::{test}");
    if let Some(printed) = in_a_child_with_an_ethread(&name, serve) {
        assert_eq!(printed, ["unwound", "returned"]);
    }
}

#[test]
fn serving_ends_what_was_spawned_before() {
    ends_its_shard("serving_ends_what_was_spawned_before", || {
        let server = Server::bind("127.0.0.1:0").unwrap();
        drained(&server);
        server.serve(hello).unwrap();
    });
}

#[test]
fn running_ends_what_was_spawned_before() {
    ends_its_shard("running_ends_what_was_spawned_before", || {
        let server = Server::bind("127.0.0.1:0").unwrap();
        drained(&server);
        server.run(hello).unwrap();
    });
}

#[test]
fn serving_on_shards_ends_what_was_spawned_before() {
    ends_its_shard("serving_on_shards_ends_what_was_spawned_before", || {
        let server = Server::bind_shared("127.0.0.1:0").unwrap();
        drained(&server);
        let shards = Runtime::builder().shards(2);
        server.on_shards(shards).unwrap().run(hello).unwrap();
    });
}

#[test]
fn a_loop_that_reads_ends_what_was_spawned_before() {
    ends_its_shard("a_loop_that_reads_ends_what_was_spawned_before", || {
        let server = Server::bind("127.0.0.1:0").unwrap();
        drained(&server);
        let answer = |_: &mut pull::Request, hits: &u32| Ok(("hello", hits + 1));
        WebServer::from(server).run_server(answer, 0).unwrap();
    });
}

#[test]
fn what_does_not_end_is_leaked_and_told_before_the_return() {
    let printed = in_a_child_with_an_ethread(
        "http::from_main::what_does_not_end_is_leaked_and_told_before_the_return",
        || {
            let stubborn = thread::Builder::new().name("stubborn");
            drop(
                stubborn
                    .spawn(|| thread::uncancellable(thread::park))
                    .unwrap(),
            );
            let server = Server::bind("127.0.0.1:0").unwrap();
            drained(&server);
            server.serve(hello).unwrap();
            // The OS thread can go on with another shard.
            assert_eq!(thread::spawn(|| 42).join().unwrap(), 42);
        },
    );
    if let Some(printed) = printed {
        let [unwound, leaked, returned] = &*printed else {
            panic!("{printed:?}");
        };
        assert_eq!((&**unwound, &**returned), ("unwound", "returned"));
        assert!(
            leaked.starts_with("WARN: 1 ethreads are leaked"),
            "{leaked}"
        );
        assert!(leaked.contains("'stubborn'"), "{leaked}");
    }
}

#[test]
fn a_server_in_an_ethread_and_one_that_does_not_begin_end_nothing() {
    fresh(|| {
        let parked = thread::spawn(|| {
            thread::park();
            "went on"
        });
        let server = Rc::new(Server::bind("127.0.0.1:0").unwrap());
        drained(&server);
        let served = server.clone();
        let served = thread::spawn(move || served.serve(hello));
        served.join().unwrap().unwrap();
        // This server was served before.
        server.serve(hello).unwrap_err();
        server.run(hello).unwrap_err();
        parked.thread().unpark();
        assert_eq!(parked.join().unwrap(), "went on");
    });
}

#[test]
fn servers_can_be_served_one_after_the_other() {
    fresh(|| {
        for _ in 0..3 {
            let server = Server::bind("127.0.0.1:0").unwrap();
            let (addr, handle) = (server.local_addr().unwrap(), server.handle());
            let client = std::thread::spawn(move || {
                let mut stream = std::net::TcpStream::connect(addr).unwrap();
                stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                handle.drain(Duration::from_secs(60));
                answer
            });
            let ethread = thread::spawn(thread::park);
            server.serve(hello).unwrap();
            assert!(client.join().unwrap().ends_with("hello"));
            assert!(ethread.join().unwrap_err().is::<thread::Cancelled>());
        }
    });
}
