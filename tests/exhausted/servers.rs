//! Servers in a process without descriptors, and in one without stacks.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use ethreads::http::{Request, Response, Server, WebServer};
use ethreads::net::TcpStream;
use ethreads::{Runtime, spawn, thread};

use crate::descriptors::{few_descriptors, with_free};
use crate::limits::{goes_on, isolated, open_descriptors, take_descriptors, without_spinning};
use crate::stacks::{
    Exhausted, NO_STACK, SIZE, names_the_limit, with_large_stacks, without_spinning_alone,
};
use crate::support::{in_child, logged, stderr};

#[test]
fn a_server_that_cannot_watch_signals_leaves_them_alone() {
    const NAME: &str = "servers::a_server_that_cannot_watch_signals_leaves_them_alone";
    let Some(output) = in_child(NAME) else {
        few_descriptors();
        let run = ethreads::run_main(|| {
            for free in 0..2 {
                let server = Server::bind("127.0.0.1:0").unwrap();
                let error = with_free(free, || server.run(|_: &mut Request| "x").unwrap_err());
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "with {free} free");
            }
            goes_on();
        });
        run.unwrap();
        eprintln!("all refused");
        signal_hook::low_level::raise(libc::SIGTERM).unwrap();
        return;
    };
    let printed = stderr(&output);
    assert!(printed.contains("all refused"), "{printed}");
    assert_eq!(output.status.signal(), Some(libc::SIGTERM), "{printed}");
}

/// accept(2) fails at once while there is no descriptor, so the acceptor pauses.
#[test]
fn an_acceptor_without_descriptors_does_not_spin() {
    isolated(
        "servers::an_acceptor_without_descriptors_does_not_spin",
        || {
            few_descriptors();
            let run = ethreads::run_main(|| {
                let server = Server::bind("127.0.0.1:0").unwrap();
                let (addr, handle) = (server.local_addr().unwrap(), server.handle());
                let mut client = std::net::TcpStream::connect(addr).unwrap();
                client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
                // The server gets no reserve descriptor either, as all are taken.
                let taken = take_descriptors();
                let serving = spawn(move || server.serve(|_: &mut Request| "served"));
                without_spinning(|| thread::sleep(Duration::from_millis(400)));
                drop(taken);
                let mut answer = String::new();
                TcpStream::from(client).read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
                assert!(answer.ends_with("served"), "{answer}");
                handle.drain(Duration::from_secs(60));
                serving.join().unwrap().unwrap();
            });
            run.unwrap();
        },
    );
}

/// If shards have no listeners of their own, one acceptor hands connections to them.
#[test]
fn an_acceptor_of_several_shards_recovers_from_a_lack_of_descriptors() {
    const NAME: &str = "servers::an_acceptor_of_several_shards_recovers_from_a_lack_of_descriptors";
    isolated(NAME, || {
        few_descriptors();
        let run = ethreads::run_main(|| {
            let server = Server::bind("127.0.0.1:0").unwrap();
            let (addr, handle) = (server.local_addr().unwrap(), server.handle());
            let server = server.on_shards(Runtime::builder().shards(2)).unwrap();
            let serving = spawn(move || server.serve(|_: &mut Request| "served"));
            let connect = || {
                let mut client = std::net::TcpStream::connect(addr).unwrap();
                client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
                TcpStream::from(client)
            };
            let answer = |mut client: TcpStream| {
                let mut answer = String::new();
                client.read_to_string(&mut answer).unwrap();
                answer
            };
            let first = answer(connect());
            assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
            // The acceptor does not run in between, as this ethread does not suspend.
            let clients = [connect(), connect(), connect()];
            let taken = take_descriptors();
            without_spinning(|| thread::sleep(Duration::from_millis(300)));
            for client in clients {
                let refused = answer(client);
                assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
            }
            drop(taken);
            let next = answer(connect());
            assert!(next.starts_with("HTTP/1.1 200 OK\r\n"), "{next}");
            handle.drain(Duration::from_secs(60));
            serving.join().unwrap().unwrap();
        });
        run.unwrap();
    });
}

#[test]
fn listeners_that_cannot_be_shared_among_all_shards_are_closed() {
    const NAME: &str = "servers::listeners_that_cannot_be_shared_among_all_shards_are_closed";
    isolated(NAME, || {
        few_descriptors();
        let run = ethreads::run_main(|| {
            let before = open_descriptors();
            let bind = || Server::bind_shared("127.0.0.1:0").unwrap();
            let shards = || Runtime::builder().shards(8);
            let error = with_free(4, || bind().on_shards(shards()).unwrap_err());
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            assert_eq!(open_descriptors(), before);
            drop(bind().on_shards(shards()).unwrap());
            assert_eq!(open_descriptors(), before);
        });
        run.unwrap();
    });
}

#[test]
fn an_upgrade_that_cannot_have_a_descriptor_of_its_own_is_given_back() {
    const NAME: &str = "servers::an_upgrade_that_cannot_have_a_descriptor_of_its_own_is_given_back";
    isolated(NAME, || {
        few_descriptors();
        let run = ethreads::run_main(|| {
            let server = Server::bind("127.0.0.1:0").unwrap();
            let (addr, handle) = (server.local_addr().unwrap(), server.handle());
            let app = |_: &mut Request| {
                Response::upgrade("echo", |stream| {
                    let taken = take_descriptors();
                    let stream = stream.into_tcp().unwrap_err();
                    drop(taken);
                    let stream = stream.into_tcp().unwrap();
                    std::io::copy(&mut &stream, &mut &stream).unwrap();
                })
            };
            let serving = spawn(move || server.serve(app));
            let mut client = TcpStream::connect(addr).unwrap();
            let head = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
            client.write_all(head.as_bytes()).unwrap();
            let mut got = Vec::new();
            while !got.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                got.push(byte[0]);
            }
            client.write_all(b"again").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "again");
            handle.drain(Duration::from_secs(60));
            serving.join().unwrap().unwrap();
        });
        run.unwrap();
    });
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn connections_without_a_stack_are_refused_and_resting_ones_wait() {
    const NAME: &str = "servers::connections_without_a_stack_are_refused_and_resting_ones_wait";
    with_large_stacks(NAME, || {
        let server = Server::bind("127.0.0.1:0").unwrap().stack_size(SIZE);
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let serving = spawn(move || server.serve(|_: &mut Request| ""));
        let mut resting = TcpStream::connect(addr).unwrap();
        resting.write_all(GET).unwrap();
        assert!(head(&mut resting).starts_with("HTTP/1.1 200 OK\r\n"));
        // The stack of this connection is one of those that are taken now.
        thread::sleep(Duration::from_millis(1));
        let mut exhausted = Exhausted::new();
        let mut refused = TcpStream::connect(addr).unwrap();
        let mut answer = String::new();
        refused.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let told = logged("no ethread for them");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("RLIMIT_AS (ulimit -v)"), "{told:?}");
        resting.write_all(GET).unwrap();
        while logged(NO_STACK).is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        without_spinning_alone();
        exhausted.end_one();
        assert!(head(&mut resting).starts_with("HTTP/1.1 200 OK\r\n"));
        exhausted.lift();
        let mut next = TcpStream::connect(addr).unwrap();
        next.write_all(GET).unwrap();
        assert!(head(&mut next).starts_with("HTTP/1.1 200 OK\r\n"));
        drop((resting, next));
        handle.drain(Duration::from_secs(60));
        serving.join().unwrap().unwrap();
    });
}

/// In each of the styles of serving. What was done before the ethreads were spawned is undone.
#[test]
fn a_server_without_a_stack_for_its_own_ethreads_ends_with_the_error() {
    const NAME: &str = "servers::a_server_without_a_stack_for_its_own_ethreads_ends_with_the_error";
    let Some(output) = in_child(NAME) else {
        let run = Runtime::builder().stack_size(SIZE).run(|| {
            let exhausted = Exhausted::new();
            let bind = || Server::bind("127.0.0.1:0").unwrap();
            let app = |_: &mut Request| "x";
            names_the_limit(&bind().serve(app).unwrap_err());
            names_the_limit(&bind().run(app).unwrap_err());
            let stream = ethreads::io::duplex(8).0;
            let one = Server::without_listener().serve_connection(stream, app);
            names_the_limit(&one.unwrap_err());
            // Not on shards: std ends the process if a new OS thread finds no memory.
            let web = WebServer::from(bind());
            names_the_limit(&web.read().unwrap_err());
            exhausted.lift();
            goes_on();
        });
        run.unwrap();
        eprintln!("all refused");
        signal_hook::low_level::raise(libc::SIGTERM).unwrap();
        return;
    };
    let printed = stderr(&output);
    assert!(printed.contains("all refused"), "{printed}");
    assert_eq!(output.status.signal(), Some(libc::SIGTERM), "{printed}");
}

/// The answer to the first of two requests that come together would go out while the second request
/// waits. Without a stack for that, it goes out with the second answer.
#[test]
fn output_that_cannot_go_out_early_goes_out_later() {
    with_large_stacks(
        "servers::output_that_cannot_go_out_early_goes_out_later",
        || {
            let server = Server::bind("127.0.0.1:0").unwrap().stack_size(SIZE);
            let (addr, handle) = (server.local_addr().unwrap(), server.handle());
            let serving = spawn(move || {
                server.serve(|request: &mut Request| {
                    if request.path() == "/slow" {
                        thread::sleep(Duration::from_millis(20));
                    }
                    request.path().to_owned()
                })
            });
            let mut client = TcpStream::connect(addr).unwrap();
            client.write_all(GET).unwrap();
            head(&mut client);
            let mut exhausted = Exhausted::new();
            exhausted.end_one();
            let requests = "GET /fast HTTP/1.1\r\nhost: a\r\n\r\nGET /slow HTTP/1.0\r\n\r\n";
            client.write_all(requests.as_bytes()).unwrap();
            let mut answers = String::new();
            client.read_to_string(&mut answers).unwrap();
            assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
            assert!(answers.ends_with("/slow"), "{answers}");
            assert_eq!(logged("no ethread to send output early").len(), 1);
            exhausted.lift();
            handle.drain(Duration::from_secs(60));
            serving.join().unwrap().unwrap();
        },
    );
}
