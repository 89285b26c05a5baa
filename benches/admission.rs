//! What a limit of requests costs, and whether shards pay for one another.
//!
//! Clients send 16 requests at a time over each of 16 connections to a server on one shard and on
//! two, without limits, with limits of each shard, and with limits for all shards together: 10,000
//! slots, which shards lease in blocks, and 16 slots without a queue, which are taken one by one.
//! The figure is the CPU time of the server for a request, the least of some rounds. A request that
//! writes nothing that another OS thread sees costs the same on two shards as on one.
//!
//! ```text
//! cargo bench --bench admission                # 400,000 requests a run
//! cargo bench --bench admission -- --divide 10
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use ethreads::Runtime;
use ethreads::http::{Server, Taskmaster};
use rustix::time::{ClockId, clock_gettime};

const REQUESTS: usize = 400_000;
const ROUNDS: usize = 5;
const CONNECTIONS: usize = 16;
const PIPELINED: usize = 16;
const REQUEST: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[derive(Clone, Copy)]
struct Limits {
    name: &'static str,
    threads: Option<usize>,
    accept: Option<usize>,
    per_shard: bool,
}

const LIMITS: [Limits; 4] = [
    Limits {
        name: "none",
        threads: None,
        accept: None,
        per_shard: false,
    },
    Limits {
        name: "of each shard",
        threads: Some(10_000),
        accept: Some(12_500),
        per_shard: true,
    },
    Limits {
        name: "together, in blocks",
        threads: Some(10_000),
        accept: Some(12_500),
        per_shard: false,
    },
    Limits {
        name: "together, one by one",
        threads: Some(16),
        accept: None,
        per_shard: false,
    },
];

fn main() {
    let divide = divide();
    let requests = REQUESTS / divide;
    println!("CPU time of the server for a request, in ns, the least of {ROUNDS} rounds");
    println!("{:<22}{:>10}{:>10}", "limits", "1 shard", "2 shards");
    let mut least = [[f64::MAX; 2]; LIMITS.len()];
    for _ in 0..ROUNDS {
        for (limits, least) in LIMITS.into_iter().zip(&mut least) {
            for (shards, least) in (1..).zip(least) {
                *least = least.min(measure(limits, shards, requests));
            }
        }
    }
    for (limits, [one, two]) in LIMITS.into_iter().zip(least) {
        println!("{:<22}{one:>10.0}{two:>10.0}", limits.name);
    }
}

/// Serves so many requests, and returns the CPU time for each, without that of the clients.
fn measure(limits: Limits, shards: usize, requests: usize) -> f64 {
    let taskmaster = Taskmaster::with_limits(limits.threads, limits.accept).expect("valid limits");
    let (told, address) = std::sync::mpsc::channel();
    let server = thread::spawn(move || {
        ethreads::run_main(move || {
            let server = Server::bind_shared("127.0.0.1:0").expect("a port is free");
            let server = server.taskmaster(taskmaster);
            let address = server.local_addr().expect("it is bound");
            let shards = Runtime::builder().shards(shards);
            let server = server.on_shards(shards).expect("the port is shared");
            let server = server.limits_per_shard(limits.per_shard);
            told.send((address, server.handle()))
                .expect("it is awaited");
            server.serve(|| "Hello, World!").expect("it drains");
        })
        .expect("it ends");
    });
    let (address, handle) = address.recv().expect("it is sent");
    let before = cpu_time(ClockId::ProcessCPUTime);
    let clients: Vec<_> = (0..2)
        .map(|_| thread::spawn(move || run_clients(address, CONNECTIONS / 2, requests / 2)))
        .collect();
    let theirs: Duration = clients
        .into_iter()
        .map(|client| client.join().expect("it gets its answers"))
        .sum();
    let all = cpu_time(ClockId::ProcessCPUTime) - before;
    handle.drain(Duration::ZERO);
    server.join().expect("it does not panic");
    (all - theirs).as_nanos() as f64 / requests as f64
}

/// Sends requests over some connections, and returns the CPU time that this took.
fn run_clients(address: SocketAddr, connections: usize, requests: usize) -> Duration {
    let mut connections: Vec<_> = (0..connections)
        .map(|_| TcpStream::connect(address).expect("the server listens"))
        .collect();
    let burst = REQUEST.repeat(PIPELINED);
    let mut answer = vec![0; answer_length(&mut connections[0]) * PIPELINED];
    for _ in 0..requests / PIPELINED / connections.len() {
        for connection in &mut connections {
            connection.write_all(burst.as_bytes()).expect("it is open");
        }
        for connection in &mut connections {
            connection.read_exact(&mut answer).expect("it is open");
        }
    }
    cpu_time(ClockId::ThreadCPUTime)
}

/// The length of each answer.
fn answer_length(connection: &mut TcpStream) -> usize {
    connection
        .write_all(REQUEST.as_bytes())
        .expect("it is open");
    let mut answer = [0; 1024];
    let length = connection.read(&mut answer).expect("it is open");
    assert!(
        answer[..length].ends_with(b"Hello, World!"),
        "a whole answer of 200"
    );
    length
}

fn cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn divide() -> usize {
    let mut args = std::env::args().skip_while(|arg| arg != "--divide");
    match args.nth(1) {
        Some(number) => number.parse().expect("--divide takes a number"),
        None => 1,
    }
}
