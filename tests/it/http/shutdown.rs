//! Signals end a server that is run. Signals belong to the process, so each test has its own
//! process.

// `pre_exec` is unsafe. One test uses it to raise a signal between fork and exec.
#![allow(unsafe_code)]

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ethreads::http::{Request, Server, ServerHandle};
use ethreads::thread;
use libc::{SIGINT, SIGTERM};

use crate::http::util::{Client, LONG, SHORT, on_a_shard, settle, timeouts};
use crate::net::support::until_true;
use crate::support::{in_child, stderr};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Sends a signal to this OS thread; the signal has been handled when this returns.
fn send(signal: i32) {
    signal_hook::low_level::raise(signal).unwrap();
}

#[track_caller]
fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

/// A server with a long drain grace, its handle, and a client.
fn bind() -> (Server, ServerHandle, Client) {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let server = server.timeouts(timeouts(|_| ())).drain_grace(LONG);
    let (handle, client) = (server.handle(), Client::new(server.local_addr().unwrap()));
    (server, handle, client)
}

#[test]
fn each_signal_drains() {
    const NAME: &str = "http::shutdown::each_signal_drains";
    if let Some(output) = in_child(NAME) {
        return assert_success(&output);
    }
    for signal in [SIGTERM, SIGINT] {
        on_a_shard(move || {
            let (server, handle, mut client) = bind();
            let addr = server.local_addr().unwrap();
            let served = thread::spawn(move || {
                server.run(move |_: &mut Request| {
                    send(signal);
                    // The answer comes after new connections are refused.
                    until_true(|| std::net::TcpStream::connect(addr).is_err());
                    "done"
                })
            });
            client.send(GET);
            assert_eq!(client.last_answer(200).text(), "done");
            drop(client);
            served.join().unwrap().unwrap();
            let report = handle.drained().unwrap();
            // Some of the connections that only probed the listener may have been accepted.
            assert!(report.ended >= 1 && report.cut.is_empty(), "{report:?}");
        });
    }
}

#[test]
fn the_grace_is_the_servers() {
    const NAME: &str = "http::shutdown::the_grace_is_the_servers";
    if let Some(output) = in_child(NAME) {
        return assert_success(&output);
    }
    on_a_shard(|| {
        let (server, handle, mut client) = bind();
        let server = server.drain_grace(SHORT);
        client.send(GET);
        let run = server.run(|_: &mut Request| {
            send(SIGTERM);
            thread::park();
        });
        run.unwrap();
        assert_eq!(handle.drained().unwrap().cut.len(), 1);
        client.end();
    });
}

/// The process ends even while a handler holds the OS thread, so it cannot be an ethread that ends
/// the process.
#[test]
fn a_second_signal_ends_the_process_at_once() {
    const NAME: &str = "http::shutdown::a_second_signal_ends_the_process_at_once";
    if let Some(output) = in_child(NAME) {
        assert_eq!(output.status.signal(), Some(SIGINT));
        assert!(stderr(&output).contains("still here after the first"));
        return;
    }
    on_a_shard(|| {
        let (server, _, mut client) = bind();
        client.send(GET);
        let _ = server.run(|_: &mut Request| -> &'static str {
            send(SIGTERM);
            eprintln!("still here after the first");
            send(SIGINT);
            loop {
                std::hint::spin_loop();
            }
        });
    });
}

#[test]
fn afterwards_the_signals_do_what_they_did_before() {
    const NAME: &str = "http::shutdown::afterwards_the_signals_do_what_they_did_before";
    if let Some(output) = in_child(NAME) {
        assert_eq!(output.status.signal(), Some(SIGTERM), "{}", stderr(&output));
        assert!(stderr(&output).contains("ran twice"));
        return;
    }
    on_a_shard(|| {
        let before = open_descriptors();
        for _ in 0..2 {
            let (server, handle, client) = bind();
            let served = thread::spawn(move || server.run(|_: &mut Request| "x"));
            settle();
            drop(client);
            handle.drain(LONG);
            served.join().unwrap().unwrap();
        }
        settle();
        assert_eq!(open_descriptors(), before);
        eprintln!("ran twice");
    });
    send(SIGTERM);
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_handler_that_was_there_before_is_called_too() {
    const NAME: &str = "http::shutdown::a_handler_that_was_there_before_is_called_too";
    if let Some(output) = in_child(NAME) {
        return assert_success(&output);
    }
    let told = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, told.clone()).unwrap();
    on_a_shard({
        let told = told.clone();
        move || {
            let (server, _, client) = bind();
            let served = thread::spawn(move || server.run(|_: &mut Request| "x"));
            settle();
            drop(client);
            send(SIGTERM);
            served.join().unwrap().unwrap();
            assert!(told.swap(false, Ordering::SeqCst));
        }
    });
    // After the server, the earlier handler alone is called.
    send(SIGTERM);
    assert!(told.load(Ordering::SeqCst));
}

/// A handler that is registered meanwhile is on top, calls the handler below, and stays after the
/// server has ended.
#[test]
fn a_handler_that_came_meanwhile_is_called_too() {
    const NAME: &str = "http::shutdown::a_handler_that_came_meanwhile_is_called_too";
    if let Some(output) = in_child(NAME) {
        return assert_success(&output);
    }
    let told = Arc::new(AtomicBool::new(false));
    for round in 0..3 {
        let told = told.clone();
        on_a_shard(move || {
            let (server, _, client) = bind();
            let served = thread::spawn(move || server.run(|_: &mut Request| "x"));
            settle();
            if round == 0 {
                signal_hook::flag::register(SIGTERM, told.clone()).unwrap();
            }
            drop(client);
            send(SIGTERM);
            served.join().unwrap().unwrap();
            assert!(told.swap(false, Ordering::SeqCst));
            send(SIGTERM);
            assert!(told.swap(false, Ordering::SeqCst));
        });
    }
}

#[test]
fn one_signal_drains_the_servers_of_all_shards() {
    const NAME: &str = "http::shutdown::one_signal_drains_the_servers_of_all_shards";
    if let Some(output) = in_child(NAME) {
        return assert_success(&output);
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let shards: Vec<_> = (0..3)
        .map(|_| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                on_a_shard(move || {
                    let (server, _, mut client) = bind();
                    let served = thread::spawn(move || server.run(|_: &mut Request| "x"));
                    assert_eq!(client.get("/").status, 200);
                    sender.send(()).unwrap();
                    client.end();
                    served.join().unwrap().unwrap();
                });
            })
        })
        .collect();
    for _ in &shards {
        receiver.recv().unwrap();
    }
    send(SIGTERM);
    for shard in shards {
        shard.join().unwrap();
    }
}

/// Otherwise a process that gets the signal while it starts would not end.
#[test]
fn a_server_that_is_run_after_the_signal_drains_at_once() {
    const NAME: &str = "http::shutdown::a_server_that_is_run_after_the_signal_drains_at_once";
    if let Some(output) = in_child(NAME) {
        return assert_success(&output);
    }
    on_a_shard(|| {
        let (server, _, mut client) = bind();
        client.send(GET);
        let served = thread::spawn(move || {
            server.run(|_: &mut Request| {
                send(SIGTERM);
                let (late, handle, client) = bind();
                drop(client);
                late.run(|_: &mut Request| "x").unwrap();
                assert!(handle.drained().is_ok());
                "done"
            })
        });
        assert_eq!(client.last_answer(200).text(), "done");
        drop(client);
        served.join().unwrap().unwrap();
    });
}

/// Until exec, a child process has the signal handler of its parent.
#[test]
fn a_signal_to_a_child_that_has_yet_to_begin_is_its_own() {
    const NAME: &str = "http::shutdown::a_signal_to_a_child_that_has_yet_to_begin_is_its_own";
    if let Some(output) = in_child(NAME) {
        return assert_success(&output);
    }
    on_a_shard(|| {
        let (server, handle, mut client) = bind();
        let served = thread::spawn(move || {
            server.run(|_: &mut Request| {
                let mut command = Command::new("true");
                // SAFETY: raise(3) is async-signal-safe.
                unsafe { command.pre_exec(|| signal_hook::low_level::raise(SIGTERM)) };
                let ended = command.status().unwrap();
                format!("{:?}", ended.signal())
            })
        });
        assert_eq!(client.get("/").text(), format!("{:?}", Some(SIGTERM)));
        settle();
        // The server has not received the signal.
        assert_eq!(client.get("/").text(), format!("{:?}", Some(SIGTERM)));
        client.finish();
        handle.drain(LONG);
        served.join().unwrap().unwrap();
    });
}

#[test]
fn a_cancelled_run_gives_the_signals_back_too() {
    const NAME: &str = "http::shutdown::a_cancelled_run_gives_the_signals_back_too";
    if let Some(output) = in_child(NAME) {
        assert_eq!(output.status.signal(), Some(SIGINT), "{}", stderr(&output));
        return;
    }
    on_a_shard(|| {
        let (server, _, client) = bind();
        let served = thread::spawn(move || server.run(|_: &mut Request| "x"));
        settle();
        served.cancel();
        assert!(served.join().is_err());
        drop(client);
        send(SIGINT);
        thread::park();
    });
}

/// The program on the crate's front page, with a signal in its only request.
#[test]
fn a_server_that_is_run_outside_of_ethreads_drains_too() {
    const NAME: &str = "http::shutdown::a_server_that_is_run_outside_of_ethreads_drains_too";
    if let Some(output) = in_child(NAME) {
        return assert_success(&output);
    }
    let server = Server::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let client = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        stream.write_all(GET.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let run = server.run(|_: &mut Request| {
        send(SIGTERM);
        "done"
    });
    run.unwrap();
    assert!(client.join().unwrap().ends_with("done"));
    assert_eq!(server.handle().drained().unwrap().ended, 1);
}
