//! One server on several shards: which shard serves, limits, failures and the end.

use std::cell::Cell;
use std::collections::HashSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ethreads::http::{Request, Server, ServerHandle, ShardedServer, Taskmaster};
use ethreads::net::{TcpListener, UnixListener, UnixStream};
use ethreads::sync::remote;
use ethreads::sync::remote::channel::{Receiver, Sender};
use ethreads::{Runtime, thread};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::http::util::{Client, LONG, SHORT, on_a_shard, timeouts};
use crate::support::{in_child, stderr};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// How connections reach the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Each shard has a listener.
    Shared,
    /// Connections are handed to the shards in turn.
    Handed,
}

const WAYS: [Way; 2] = [Way::Shared, Way::Handed];

fn bind(way: Way) -> Server {
    let server = match way {
        Way::Shared => Server::bind_shared("127.0.0.1:0"),
        Way::Handed => Server::bind("127.0.0.1:0"),
    };
    server.unwrap().timeouts(timeouts(|_| ()))
}

fn on_shards(server: Server, count: usize) -> ShardedServer {
    server.on_shards(Runtime::builder().shards(count)).unwrap()
}

/// A running server.
struct Site {
    addr: SocketAddr,
    handle: ServerHandle,
    served: thread::JoinHandle<io::Result<()>>,
}

impl Site {
    fn of(
        server: ShardedServer,
        serve: impl FnOnce(ShardedServer) -> io::Result<()> + 'static,
    ) -> Self {
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let served = thread::spawn(move || serve(server));
        Self {
            addr,
            handle,
            served,
        }
    }

    /// The numbers of requests handled, queued, and refused.
    fn numbers(&self) -> (usize, usize, u64) {
        let counts = self.handle.counts();
        (counts.handling, counts.queued, counts.refused)
    }

    fn until(&self, numbers: (usize, usize, u64)) {
        until(|| self.numbers() == numbers);
    }

    #[track_caller]
    fn end(self) {
        self.handle.drain(LONG);
        self.served.join().unwrap().unwrap();
    }
}

/// Lets this shard and other OS threads run until `wanted` holds.
fn until(wanted: impl Fn() -> bool) {
    while !wanted() {
        thread::yield_now();
        std::thread::yield_now();
    }
}

fn shard_name(_: &mut Request) -> String {
    std::thread::current().name().unwrap().to_owned()
}

fn body(client: &mut Client) -> String {
    String::from_utf8(client.get("/").body).unwrap()
}

#[test]
fn each_shard_serves_the_same_app() {
    for way in WAYS {
        on_a_shard(move || {
            let site = Site::of(on_shards(bind(way), 3), |server| server.serve(shard_name));
            let mut seen = Vec::new();
            let mut clients = Vec::new();
            while HashSet::<&String>::from_iter(&seen).len() < 3 {
                let mut client = Client::new(site.addr);
                seen.push(body(&mut client));
                assert_eq!(body(&mut client), *seen.last().unwrap(), "it stays there");
                clients.push(client);
            }
            if way == Way::Handed {
                assert_eq!(seen, ["shard 0", "shard 1", "shard 2"], "they take turns");
            }
            until(|| site.handle.counts().serving == clients.len());
            assert_eq!(site.handle.counts().served, clients.len() as u64);
            drop(clients);
            until(|| site.handle.counts().serving == 0);
            site.end();
        });
    }
}

#[test]
fn an_app_of_each_shard_has_a_state_of_its_own() {
    on_a_shard(|| {
        let made = Arc::new(Mutex::new(Vec::new()));
        let makes = made.clone();
        let server = on_shards(bind(Way::Handed), 2);
        let site = Site::of(server, move |server| {
            server.serve_each(move |shard| {
                makes.lock().unwrap().push(shard);
                let hits = Rc::new(Cell::new(0));
                move |_: &mut Request| {
                    hits.set(hits.get() + 1);
                    format!("{shard}: {}", hits.get())
                }
            })
        });
        let mut clients: Vec<_> = (0..4).map(|_| Client::new(site.addr)).collect();
        let bodies: Vec<_> = clients.iter_mut().map(body).collect();
        assert_eq!(bodies, ["0: 1", "1: 1", "0: 2", "1: 2"]);
        made.lock().unwrap().sort_unstable();
        assert_eq!(*made.lock().unwrap(), [0, 1]);
        drop(clients);
        site.end();
    });
}

#[test]
fn a_shard_that_is_held_up_holds_up_no_other() {
    on_a_shard(|| {
        let (go, wait) = mpsc::channel();
        let wait = Mutex::new(wait);
        let app = move |request: &mut Request| {
            if request.path() == "/holds" {
                // Blocks the OS thread, as a computation would.
                wait.lock().unwrap().recv().unwrap();
            }
            shard_name(request)
        };
        let site = Site::of(on_shards(bind(Way::Handed), 2), |server| server.serve(app));
        let mut held = Client::new(site.addr);
        held.send("GET /holds HTTP/1.1\r\nhost: a\r\n\r\n");
        site.until((1, 0, 0));
        let mut other = Client::new(site.addr);
        for _ in 0..100 {
            assert_eq!(body(&mut other), "shard 1");
        }
        go.send(()).unwrap();
        assert_eq!(held.answer().body, b"shard 0");
        drop((held, other));
        site.end();
    });
}

/// Handlers that wait until the test opens the gate of their number.
#[derive(Clone)]
struct Gate(Arc<Vec<(Sender<()>, Receiver<()>)>>);

impl Gate {
    fn new() -> Self {
        Self(Arc::new((0..10).map(|_| remote::unbounded()).collect()))
    }

    fn app(&self) -> impl Fn(&mut Request) -> String + Send + Sync + use<> {
        let gate = self.clone();
        move |request| {
            let number: usize = request.path()[1..].parse().unwrap();
            gate.0[number].1.recv().unwrap();
            number.to_string()
        }
    }

    fn open(&self, number: usize) {
        self.0[number].0.send(()).unwrap();
    }
}

fn asking(site: &Site, number: usize) -> Client {
    let mut client = Client::new(site.addr);
    client.send(format!(
        "GET /{number} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    ));
    client
}

fn limits(threads: usize, accept: impl Into<Option<usize>>) -> Taskmaster {
    Taskmaster::with_limits(threads, accept)
        .unwrap()
        .queue_timeout(LONG)
}

#[test]
fn limits_hold_for_the_whole_and_a_queued_request_is_handled_when_another_shard_has_room() {
    on_a_shard(|| {
        // The first two requests are handled, on shards 0 and 1. The third is queued on shard 0.
        let gate = Gate::new();
        let app = gate.app();
        let server = on_shards(bind(Way::Handed).taskmaster(limits(2, 3)), 2);
        let site = Site::of(server, move |server| server.serve(app));
        let mut clients = vec![asking(&site, 0)];
        site.until((1, 0, 0));
        clients.push(asking(&site, 1));
        site.until((2, 0, 0));
        clients.push(asking(&site, 2));
        site.until((2, 1, 0));
        let refused = asking(&site, 3).last_answer(503);
        assert_eq!(refused.header("retry-after"), Some("5"));
        site.until((2, 1, 1));
        // The request on shard 1 ends, while the queue of shard 1 is empty.
        gate.open(1);
        clients[1].last_answer(200);
        site.until((2, 0, 1));
        clients.push(asking(&site, 4));
        site.until((2, 1, 1));
        for (client, number) in clients.iter_mut().zip([0, 1, 2, 4]) {
            if number != 1 {
                gate.open(number);
                let body = client.last_answer(200).body;
                assert_eq!(body, number.to_string().as_bytes());
            }
        }
        site.until((0, 0, 1));
        site.end();
    });
}

#[test]
fn limits_can_be_each_shards_own() {
    on_a_shard(|| {
        let gate = Gate::new();
        let app = gate.app();
        let server = on_shards(bind(Way::Handed).taskmaster(limits(1, None)), 2);
        let server = server.limits_per_shard(true);
        let site = Site::of(server, move |server| server.serve(app));
        let mut served = [asking(&site, 0), asking(&site, 1)];
        site.until((2, 0, 0));
        asking(&site, 2).last_answer(503);
        asking(&site, 3).last_answer(503);
        site.until((2, 0, 2));
        for (number, client) in served.iter_mut().enumerate() {
            gate.open(number);
            client.last_answer(200);
        }
        site.end();
    });
}

/// Many requests come and go under a limit that holds for all shards: never more than the limit are
/// handled, and no request is forgotten in a queue. With the higher limit, shards keep slots.
#[test]
fn no_request_is_forgotten_and_the_limit_is_kept() {
    for (way, limit) in WAYS.into_iter().flat_map(|way| [(way, 3), (way, 24)]) {
        on_a_shard(move || {
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let highest = most.clone();
            let app = move |_: &mut Request| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                "served"
            };
            let server = on_shards(bind(way).taskmaster(limits(limit, 1000)), 3);
            let site = Site::of(server, move |server| server.serve(app));
            let addr = site.addr;
            let clients: Vec<_> = (0..30)
                .map(|_| {
                    thread::spawn(move || {
                        for _ in 0..10 {
                            let mut client = Client::new(addr);
                            client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
                            assert_eq!(client.last_answer(200).body, b"served");
                        }
                    })
                })
                .collect();
            clients
                .into_iter()
                .for_each(|client| client.join().unwrap());
            assert!(highest.load(Ordering::SeqCst) <= limit);
            site.until((0, 0, 0));
            site.end();
        });
    }
}

#[test]
fn a_drain_ends_all_shards_and_tells_of_them_together() {
    for way in WAYS {
        on_a_shard(move || {
            let gate = Gate::new();
            let app = gate.app();
            let site = Site::of(on_shards(bind(way), 2), move |server| server.serve(app));
            let mut clients: Vec<_> = (0..8).map(|n| asking(&site, n)).collect();
            site.until((8, 0, 0));
            let handle = site.handle.clone();
            let drained = thread::spawn(move || handle.drained());
            site.handle.drain(LONG);
            // No client can connect any more.
            until(|| std::net::TcpStream::connect(site.addr).is_err());
            assert!(!drained.is_finished());
            for (n, client) in clients.iter_mut().enumerate() {
                gate.open(n);
                assert_eq!(client.last_answer(200).body, n.to_string().as_bytes());
            }
            let report = drained.join().unwrap().unwrap();
            assert_eq!((report.refused, report.cut.len()), (0, 0));
            // The connections that only probed the listener count too, where they were accepted.
            assert!(report.ended >= 8, "{report:?}");
            site.served.join().unwrap().unwrap();
        });
    }
}

#[test]
fn what_a_drain_cuts_is_named_whatever_shard_it_is_on() {
    on_a_shard(|| {
        let gate = Gate::new();
        let app = gate.app();
        let site = Site::of(on_shards(bind(Way::Handed), 2), move |server| {
            server.serve(app)
        });
        let clients = [asking(&site, 0), asking(&site, 1)];
        site.until((2, 0, 0));
        site.handle.drain(SHORT);
        let report = site.handle.drained().unwrap();
        let cut: HashSet<_> = report.cut.iter().map(|cut| cut.peer.unwrap()).collect();
        let peers = clients
            .iter()
            .map(|client| client.stream.local_addr().unwrap());
        assert_eq!(cut, peers.collect());
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn a_shard_that_fails_ends_all_of_it() {
    for way in WAYS {
        on_a_shard(move || {
            let site = Site::of(on_shards(bind(way), 2), |server| {
                server.serve_each(|shard| {
                    assert_ne!(shard, 1, "this app cannot be made");
                    shard_name
                })
            });
            let error = site.served.join().unwrap().unwrap_err();
            let text = error.to_string();
            assert!(text.contains("shard 1 panicked"), "{text}");
            assert!(text.contains("this app cannot be made"), "{text}");
            assert!(site.handle.drained().is_err());
            assert!(std::net::TcpStream::connect(site.addr).is_err());
        });
    }
}

#[test]
fn a_cancelled_caller_ends_all_of_it() {
    for way in WAYS {
        on_a_shard(move || {
            let gate = Gate::new();
            let app = gate.app();
            let site = Site::of(on_shards(bind(way), 2), move |server| server.serve(app));
            let mut clients: Vec<_> = (0..4).map(|n| asking(&site, n)).collect();
            site.until((4, 0, 0));
            site.served.cancel();
            assert!(site.served.join().is_err());
            for client in &mut clients {
                // Closed, or reset.
                let _ = io::Read::read(&mut client.stream, &mut [0]);
            }
            until(|| site.handle.counts().serving == 0);
        });
    }
}

#[test]
fn a_unix_socket_is_served_by_all() {
    on_a_shard(|| {
        let name = format!("ethreads-sharded-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let server = Server::from(UnixListener::bind(&path).unwrap());
        let server = on_shards(server.timeouts(timeouts(|_| ())), 2);
        let handle = server.handle();
        let served = thread::spawn(move || server.serve(shard_name));
        for expected in ["shard 0", "shard 1"] {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            let answer = io::read_to_string(stream).unwrap();
            assert!(answer.ends_with(expected), "{answer}");
        }
        handle.drain(LONG);
        served.join().unwrap().unwrap();
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_listener_of_ones_own_that_shares_its_port_is_shared() {
    on_a_shard(|| {
        let shared = TcpListener::builder().reuse_port(true);
        let listener = shared.bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Server::from(listener).timeouts(timeouts(|_| ()));
        let site = Site::of(on_shards(server, 2), |server| server.serve(shard_name));
        assert_eq!(site.addr, addr);
        // The body is the name of a shard. Both shards have an acceptor.
        let mut seen = HashSet::new();
        while seen.len() < 2 {
            seen.insert(body(&mut Client::new(addr)));
        }
        site.end();
    });
}

#[test]
fn it_is_served_once_and_from_any_os_thread() {
    let server = on_shards(bind(Way::Shared), 2);
    let (addr, handle) = (server.local_addr().unwrap(), server.handle());
    // This OS thread belongs to no shard: it drives a shard of its own while it waits.
    let serving = std::thread::spawn(move || {
        server.serve(shard_name).unwrap();
        server.serve(shard_name).unwrap_err().kind()
    });
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream
        .write_all(GET.replace("1.1", "1.0").as_bytes())
        .unwrap();
    assert!(io::read_to_string(stream).unwrap().contains("200 OK"));
    handle.drain(LONG);
    assert!(handle.drained().unwrap().took < Duration::from_secs(3600));
    assert_eq!(serving.join().unwrap(), io::ErrorKind::NotConnected);
}

#[test]
fn a_signal_drains_all_shards() {
    const NAME: &str = "http::sharded::a_signal_drains_all_shards";
    if let Some(output) = in_child(NAME) {
        assert!(output.status.success(), "{}", stderr(&output));
        return;
    }
    for way in WAYS {
        on_a_shard(move || {
            let server = on_shards(bind(way), 2);
            let site = Site::of(server, |server| server.run(shard_name));
            let mut client = Client::new(site.addr);
            assert_eq!(client.get("/").status, 200);
            signal_hook::low_level::raise(libc::SIGTERM).unwrap();
            site.served.join().unwrap().unwrap();
            client.end();
        });
    }
}

/// A logger that panics at the message of an acceptor that finds no descriptors.
struct Angry;

impl log::Log for Angry {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        assert!(!line.contains("connections with 503"), "in the logger");
    }

    fn flush(&self) {}
}

#[test]
fn an_acceptor_that_panics_ends_all_of_it() {
    const NAME: &str = "http::sharded::an_acceptor_that_panics_ends_all_of_it";
    if let Some(output) = in_child(NAME) {
        assert!(output.status.success(), "{}", stderr(&output));
        return;
    }
    log::set_logger(&Angry).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let few = Rlimit {
        current: Some(64),
        maximum: Some(64),
    };
    setrlimit(Resource::Nofile, few).unwrap();
    on_a_shard(|| {
        let site = Site::of(on_shards(bind(Way::Handed), 2), |server| {
            server.serve(shard_name)
        });
        // Both shards serve, so they have the descriptors that they need.
        for _ in 0..2 {
            body(&mut Client::new(site.addr));
        }
        // No descriptors are given back from here on.
        until(|| site.handle.counts().serving == 0);
        // The connection is in the listener's queue when no descriptor is left to accept it.
        let waiting = std::net::TcpStream::connect(site.addr).unwrap();
        let mut spare = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            spare.push(file);
        }
        until(|| site.served.is_finished());
        drop((spare, waiting));
        let error = site.served.join().unwrap().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the acceptor of the server panicked"),
            "{error}"
        );
    });
}
