//! The server from the view of user code: addresses, names, headers, many connections, and tests of
//! user programs.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::TcpStream as StdTcpStream;
use std::sync::mpsc;

use ethreads::http::{Request, Server};
use ethreads::net::{TcpListener, TcpStream};
use ethreads::thread::{self, Thread};
use http::HeaderValue;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::util::{Client, LONG, Site, on_a_shard};

#[test]
fn addresses_and_names_tell_connections_apart() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let name = thread::current().name().unwrap_or_default().to_owned();
            format!(
                "{:?} {:?} {name}",
                request.peer_addr(),
                request.local_addr()
            )
        });
        let mut client = site.connect();
        let (me, server) = (client.stream.local_addr().unwrap(), site.addr);
        let answer = client.get("/");
        assert_eq!(
            answer.text(),
            format!("Some({me}) Some({server}) http-client {me}")
        );
        site.end();
    });
}

#[test]
fn the_server_header_can_be_set_and_left_out() {
    on_a_shard(|| {
        let check = |configure: fn(Server) -> Server, expected: Option<&str>| {
            let site = Site::with(configure, |_: &mut Request| "x");
            assert_eq!(site.connect().get("/").header("server"), expected);
            // The header is the same on an answer that no handler has made.
            let mut client = site.connect();
            client.send("nonsense\r\n\r\n");
            assert_eq!(client.answer().header("server"), expected);
            drop(client);
            site.end();
        };
        check(|server| server, Some("ethreads"));
        check(
            |server| server.server_header(HeaderValue::from_static("mine/1")),
            Some("mine/1"),
        );
        check(|server| server.server_header(None), None);
    });
}

#[test]
fn a_ready_listener_is_served() {
    on_a_shard(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Server::from(listener);
        assert_eq!(server.local_addr().unwrap(), addr);
        assert_eq!(server.to_string(), format!("http://{addr}"));
        let handle = server.handle();
        let served = thread::spawn(move || server.serve(|_: &mut Request| "x"));
        assert_eq!(Client::new(addr).get("/").text(), "x");
        handle.drain(LONG);
        served.join().unwrap().unwrap();
    });
}

#[test]
fn what_does_not_listen_is_an_error_of_serve() {
    on_a_shard(|| {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::from(std::os::fd::OwnedFd::from(ours));
        let server = Server::from(TcpListener::from(listener));
        server.serve(|_: &mut Request| "x").unwrap_err();
    });
}

#[test]
fn a_thousand_connections_at_once() {
    const CLIENTS: usize = 1000;
    // Each client needs two descriptors in this process.
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    on_a_shard(|| {
        let waiting = RefCell::new(Vec::new());
        let site = Site::new(move |request: &mut Request| {
            // All handlers wait at the same time.
            if waiting.borrow().len() + 1 < CLIENTS {
                waiting.borrow_mut().push(thread::current());
                thread::park();
            } else {
                waiting.take().iter().for_each(Thread::unpark);
            }
            request.path().to_owned()
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let addr = site.addr;
                thread::spawn(move || {
                    let mut client = Client::new(addr);
                    for round in 0..3 {
                        let path = format!("/{n}/{round}");
                        assert_eq!(client.get(&path).text(), path);
                    }
                    client
                })
            })
            .collect();
        let clients: Vec<_> = clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect();
        assert_eq!(clients.len(), CLIENTS);
        site.end();
    });
}

/// A test as user code has it: a server on its own port inside `#[test]`, and any kind of client.
fn user_test(greeting: &'static str) {
    let (sender, receiver) = mpsc::channel();
    let server = std::thread::spawn(move || {
        ethreads::run_main(move || -> io::Result<()> {
            let server = Server::bind("127.0.0.1:0")?;
            sender
                .send((server.local_addr()?, server.handle()))
                .unwrap();
            server.serve(move |request: &mut Request| format!("{greeting} {}", request.path()))
        })
    });
    let (addr, handle) = receiver.recv().unwrap();
    for _ in 0..20 {
        let mut client = StdTcpStream::connect(addr).unwrap();
        client.write_all(b"GET /you HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(
            answer.ends_with(&format!("\r\n\r\n{greeting} /you")),
            "{answer}"
        );
    }
    handle.drain(LONG);
    server.join().unwrap().unwrap().unwrap();
}

#[test]
fn a_test_of_a_user() {
    user_test("hello");
}

#[test]
fn another_test_of_a_user_in_parallel() {
    user_test("good morning");
}

#[test]
fn a_test_of_a_user_that_drives_the_shard_itself() {
    // Neither `run` nor `run_main`: the waits of this OS thread drive its ethreads.
    std::thread::spawn(|| {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let client = thread::spawn(move || {
            let mut client = TcpStream::connect(addr).unwrap();
            client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            handle.drain(LONG);
            answer
        });
        server
            .serve(|_: &mut Request| "served by the host")
            .unwrap();
        assert!(client.join().unwrap().ends_with("served by the host"));
    })
    .join()
    .unwrap();
}
