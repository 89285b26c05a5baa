//! A server whose process has no descriptors left. The limit belongs to the process, so each test
//! runs in a child process.

use std::fs::File;
use std::net::TcpStream as StdTcpStream;

use ethreads::http::{Request, Server, Taskmaster};
use ethreads::net::TcpStream;
use ethreads::thread;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::util::{Client, LONG, SHORT, Site, on_a_shard, settle};
use crate::net::support::until;
use crate::support::{collect_log, in_child, logged, stderr};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// True in the parent, after the child has succeeded; false in the child.
fn ran_in_child(name: &str) -> bool {
    match in_child(name) {
        Some(output) => {
            assert!(output.status.success(), "{}", stderr(&output));
            true
        }
        None => false,
    }
}

/// Sets the soft and the hard limit, so that the soft limit cannot be raised.
fn limit_descriptors(most: u64) {
    let most = Some(most);
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Takes every descriptor that the process can get.
fn exhaust_descriptors() -> Vec<File> {
    let mut spare = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        spare.push(file);
    }
    assert!(spare.len() > 3);
    spare
}

/// Clients that have sent a request, while the server has seen nothing of them.
fn waiting(addr: std::net::SocketAddr, n: usize) -> Vec<Client> {
    (0..n)
        .map(|_| {
            let mut stream = StdTcpStream::connect(addr).unwrap();
            std::io::Write::write_all(&mut stream, GET.as_bytes()).unwrap();
            Client::from(TcpStream::from(stream))
        })
        .collect()
}

/// tiny_http stops accepting in this situation, and warp spins.
#[test]
fn without_descriptors_newcomers_are_refused() {
    const NAME: &str = "http::descriptors::without_descriptors_newcomers_are_refused";
    if ran_in_child(NAME) {
        return;
    }
    collect_log();
    limit_descriptors(64);
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| "x");
        settle();
        let mut clients = waiting(site.addr, 8);
        let mut spare = exhaust_descriptors();
        spare.truncate(spare.len() - 3);
        for client in &mut clients[..3] {
            assert_eq!(client.answer().status, 200);
        }
        for client in &mut clients[3..] {
            let answer = client.last_answer(503);
            assert_eq!(answer.header("retry-after"), Some("5"));
        }
        let told = || logged("connections with 503").len();
        assert_eq!(told(), 1, "once a period");
        assert_eq!(site.handle.counts().refused, 5);
        // Accepted connections are served meanwhile.
        assert_eq!(clients[0].get("/").status, 200);
        // The acceptor waits for the next connection, although accept(2) still fails. It waits for
        // the descriptor, not for a timer.
        until(|stats| stats.io_waits == 4);
        drop(spare);
        drop(clients.split_off(3));
        let mut next = site.connect();
        assert_eq!(next.get("/").status, 200);
        assert_eq!(told(), 1);
        drop((clients, next));
        site.end();
    });
}

#[test]
fn without_even_a_reserve_connections_wait() {
    const NAME: &str = "http::descriptors::without_even_a_reserve_connections_wait";
    if ran_in_child(NAME) {
        return;
    }
    collect_log();
    limit_descriptors(64);
    on_a_shard(|| {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let mut clients = waiting(addr, 8);
        let spare = exhaust_descriptors();
        let served = thread::spawn(move || server.serve(|_: &mut Request| "x"));
        while logged("which wait meanwhile").is_empty() {
            thread::yield_now();
        }
        drop(spare);
        for client in &mut clients {
            assert_eq!(client.answer().status, 200);
        }
        assert_eq!(logged("cannot accept connections").len(), 1);
        // By now the server has its reserve descriptor.
        let mut last = waiting(addr, 1);
        let spare = exhaust_descriptors();
        last[0].last_answer(503);
        drop((spare, last, clients));
        handle.drain(LONG);
        served.join().unwrap().unwrap();
    });
}

#[test]
fn without_descriptors_a_drain_still_ends() {
    const NAME: &str = "http::descriptors::without_descriptors_a_drain_still_ends";
    if ran_in_child(NAME) {
        return;
    }
    collect_log();
    limit_descriptors(64);
    on_a_shard(|| {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let _client = Client::new(addr);
        let _spare = exhaust_descriptors();
        handle.drain(SHORT);
        server.serve(|_: &mut Request| "x").unwrap();
    });
}

#[test]
fn the_soft_limit_is_raised() {
    const NAME: &str = "http::descriptors::the_soft_limit_is_raised";
    if ran_in_child(NAME) {
        return;
    }
    let limit = |current| Rlimit {
        current: Some(current),
        maximum: Some(120),
    };
    setrlimit(Resource::Nofile, limit(30)).unwrap();
    on_a_shard(move || {
        // A server that needs one descriptor at a time leaves the limit alone.
        let site = Site::with(
            |server| server.taskmaster(Taskmaster::single_threaded()),
            |_: &mut Request| "x",
        );
        settle();
        assert_eq!(getrlimit(Resource::Nofile), limit(30));
        site.end();
        // Of the 120 descriptors, half are left to the rest of the process, which leaves 60
        // connections. The clients in this test need descriptors too, so it cannot open more.
        let site = Site::new(|_: &mut Request| "x");
        settle();
        assert_eq!(getrlimit(Resource::Nofile), limit(120));
        let mut clients: Vec<_> = (0..50).map(|_| site.connect()).collect();
        settle();
        let counts = site.handle.counts();
        assert_eq!((counts.serving, counts.refused), (50, 0));
        for client in &mut clients {
            assert_eq!(client.get("/").status, 200);
        }
        drop(clients);
        site.end();
    });
}
