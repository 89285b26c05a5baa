//! Answers that cross the rest of their requests. After the last answer the server reads on until
//! the peer closes (RFC 9112 section 9.6), at no cost but a descriptor.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as StdTcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ethreads::http::{
    Limits, Request, Response, Server, ServerHandle, StatusCode, Taskmaster, WebServer,
};
use ethreads::net::UnixListener;
use ethreads::sync::remote;
use ethreads::{Runtime, runtime, thread};

use crate::http::pull::{addr, next, pull_server};
use crate::http::util::{Client, LONG, SHORT, Site, on_a_shard, settle, timeouts};
use crate::net::support::{until, until_true};

/// More than the kernel buffers between two sockets.
const UPLOAD: usize = 8 << 20;

/// Uploads per way of serving.
const UPLOADS: usize = 10;

fn not_found(_: &mut Request) -> StatusCode {
    StatusCode::NOT_FOUND
}

/// Uploads as Python's `http.client` does: writes the whole request before it reads.
fn upload(addr: SocketAddr) -> io::Result<String> {
    let mut stream = StdTcpStream::connect(addr)?;
    stream.set_write_timeout(Some(LONG))?;
    stream.set_read_timeout(Some(LONG))?;
    let head = format!("POST /nope HTTP/1.1\r\nhost: a\r\ncontent-length: {UPLOAD}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(&vec![b'x'; UPLOAD])?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// The outcomes of `UPLOADS` uploads, which run on another OS thread.
fn uploads(addr: SocketAddr) -> Vec<String> {
    let (sender, receiver) = remote::channel::unbounded();
    std::thread::spawn(move || {
        for _ in 0..UPLOADS {
            let outcome = upload(addr).unwrap_or_else(|error| error.to_string());
            sender.send(outcome).unwrap();
        }
    });
    (0..UPLOADS).map(|_| receiver.recv().unwrap()).collect()
}

#[track_caller]
fn all_refused(outcomes: &[String], status: &str) {
    assert_eq!(outcomes, [status; UPLOADS]);
}

/// A peer that has its last answer and does not close.
fn lingering(addr: SocketAddr) -> Client {
    let mut client = Client::new(addr);
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    client.end();
    client
}

fn no_longer_lingering(handle: &ServerHandle) {
    while handle.counts().lingering > 0 {
        thread::yield_now();
    }
}

/// A peer that has its last answer and goes on sending for as long as it can, on an OS thread of
/// its own.
struct Flood(Arc<AtomicBool>);

impl Flood {
    fn new(addr: SocketAddr) -> Self {
        let ends = Arc::<AtomicBool>::default();
        let ended = ends.clone();
        std::thread::spawn(move || {
            let mut stream = StdTcpStream::connect(addr).unwrap();
            stream.write_all(b"nonsense\r\n\r\n").unwrap();
            while !ends.load(Ordering::Relaxed) && stream.write_all(&[b'x'; 64 << 10]).is_ok() {}
        });
        Self(ended)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn tell(request: &mut Request) -> String {
    request.path().to_owned()
}

#[test]
fn an_upload_that_is_refused_gets_its_answer() {
    on_a_shard(|| {
        let site = Site::new(not_found);
        all_refused(&uploads(site.addr), "HTTP/1.1 404 Not Found");
        // No upload was served for longer than its answer took.
        assert_eq!(site.handle.counts().serving, 0);
        site.end();
    });
}

#[test]
fn an_upload_that_is_refused_by_a_program_that_reads_gets_its_answer() {
    on_a_shard(|| {
        let mut limits = Limits::default();
        limits.body_bytes = 1 << 20;
        let server = Server::bind("127.0.0.1:0").unwrap();
        let server = server.limits(limits).timeouts(timeouts(|_| ()));
        let server = Rc::new(WebServer::from(server));
        let reads = server.clone();
        let reader = thread::spawn(move || {
            assert!(reads.read().unwrap().is_none(), "they are all too large");
        });
        let outcomes = uploads(server.local_addr().unwrap());
        all_refused(&outcomes, "HTTP/1.1 413 Payload Too Large");
        server.close().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn an_upload_that_is_refused_by_any_shard_gets_its_answer() {
    on_a_shard(|| {
        for shared in [true, false] {
            let server = match shared {
                true => Server::bind_shared("127.0.0.1:0"),
                false => Server::bind("127.0.0.1:0"),
            };
            let server = server.unwrap().timeouts(timeouts(|_| ()));
            let server = server.on_shards(Runtime::builder().shards(2)).unwrap();
            let (addr, handle) = (server.local_addr().unwrap(), server.handle());
            let served = thread::spawn(move || server.serve(not_found));
            all_refused(&uploads(addr), "HTTP/1.1 404 Not Found");
            let silent = lingering(addr);
            // The connection of the last upload may have yet to notice the end of its peer.
            while (handle.counts().serving, handle.counts().lingering) != (0, 1) {
                thread::yield_now();
            }
            handle.drain(LONG);
            served.join().unwrap().unwrap();
            assert_eq!(handle.drained().unwrap().cut.len(), 0);
            drop(silent);
        }
    });
}

#[test]
fn an_upload_that_is_not_served_gets_its_503() {
    on_a_shard(|| {
        let taskmaster = Taskmaster::default().max_connections(1);
        let site = Site::with(
            |server| server.timeouts(timeouts(|_| ())).taskmaster(taskmaster),
            tell,
        );
        let mut busy = site.connect();
        busy.send("GET /first HTTP/1.1\r\n");
        all_refused(&uploads(site.addr), "HTTP/1.1 503 Service Unavailable");
        busy.send("host: a\r\n\r\n");
        assert_eq!(busy.answer().text(), "/first");
        site.end();
    });
}

#[test]
fn an_upload_without_an_ethread_gets_its_503() {
    on_a_shard(|| {
        let site = Site::with(
            |server| server.timeouts(timeouts(|_| ())).stack_size(2 << 30),
            tell,
        );
        all_refused(&uploads(site.addr), "HTTP/1.1 503 Service Unavailable");
        site.end();
    });
}

#[test]
fn what_another_protocol_said_last_is_not_lost() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| {
            Response::upgrade("rude", |mut stream| stream.write_all(b"bye").unwrap())
        });
        let mut stream = StdTcpStream::connect(site.addr).unwrap();
        let head = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: rude\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut client = Client::from(ethreads::net::TcpStream::from(stream));
        assert_eq!(client.head().status, 101);
        // The handler of the upgraded connection reads nothing of this.
        client.send(vec![b'x'; UPLOAD]);
        assert_eq!(client.rest(), "bye");
        client.finish();
        site.end();
    });
}

#[test]
fn a_connection_that_lingers_holds_no_place_and_no_stack() {
    on_a_shard(|| {
        let taskmaster = Taskmaster::default().max_connections(1);
        let site = Site::with(
            |server| server.timeouts(timeouts(|_| ())).taskmaster(taskmaster),
            tell,
        );
        let peers: Vec<_> = (1..=3)
            .map(|n| {
                let silent = lingering(site.addr);
                settle();
                let counts = site.handle.counts();
                assert_eq!(
                    (counts.serving, counts.lingering, counts.refused),
                    (0, n, 0)
                );
                assert_eq!(site.connect().get("/other").text(), "/other");
                until_true(|| site.handle.counts().serving == 0);
                silent
            })
            .collect();
        // The stacks of this ethread, of the server and of its acceptor.
        assert_eq!(runtime::stats().unwrap().stacks.live, 3);
        drop(peers);
        until_true(|| site.handle.counts().lingering == 0);
        until(|stats| stats.ethreads == 3 && stats.sources == 1);
        site.end();
    });
}

thread_local! {
    static VALUE: Rc<()> = Rc::default();
}

/// Like a value that a request leaves in a local that child ethreads inherit.
static INHERITED: thread::Local<RefCell<Option<Rc<()>>>> =
    thread::Local::inherited(RefCell::default, Clone::clone);

#[test]
fn a_connection_that_lingers_keeps_no_value_of_its_handler() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            INHERITED.with(|value| value.replace(Some(VALUE.with(Rc::clone))));
            request.connection_mut().insert(VALUE.with(Rc::clone));
            ([("connection", "close")], "x")
        });
        let mut silent = site.connect();
        silent.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        silent.answer();
        silent.end();
        until_true(|| site.handle.counts().serving == 0);
        assert_eq!(site.handle.counts().lingering, 1);
        assert_eq!(VALUE.with(Rc::strong_count), 1);
        site.end();
    });
}

#[test]
fn with_one_thread_others_are_served_while_a_connection_lingers() {
    on_a_shard(|| {
        let taskmaster = Taskmaster::single_threaded();
        let site = Site::with(
            |server| server.timeouts(timeouts(|_| ())).taskmaster(taskmaster),
            tell,
        );
        let silent = lingering(site.addr);
        for _ in 0..3 {
            assert_eq!(site.connect().get("/other").text(), "/other");
        }
        assert!(site.handle.counts().lingering > 0);
        drop(silent);
        site.end();
    });
}

#[test]
fn a_program_that_reads_is_not_kept_by_a_connection_that_lingers() {
    on_a_shard(|| {
        let server = pull_server();
        let mut silent = Client::new(addr(&server));
        silent.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let (client, _) = next(&server);
        client.write(([("connection", "close")], "x")).unwrap();
        silent.last_answer(200);
        let mut other = Client::new(addr(&server));
        other.send("GET /other HTTP/1.1\r\nhost: a\r\n\r\n");
        let (client, request) = next(&server);
        client.write(request.path().to_owned()).unwrap();
        assert_eq!(other.answer().text(), "/other");
        server.close().unwrap();
    });
}

#[test]
fn peers_that_flood_do_not_keep_the_others_waiting() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let floods: Vec<_> = (0..4).map(|_| Flood::new(site.addr)).collect();
        while site.handle.counts().lingering < floods.len() {
            thread::yield_now();
        }
        let mut client = site.connect();
        for n in 0..200 {
            let path = format!("/{n}");
            assert_eq!(client.get(&path).text(), path);
        }
        assert_eq!(site.handle.counts().lingering, floods.len());
        drop(floods);
        no_longer_lingering(&site.handle);
        site.end();
    });
}

#[test]
fn a_peer_that_never_stops_is_closed_when_its_time_is_over() {
    on_a_shard(|| {
        let site = Site::with(
            |server| server.timeouts(timeouts(|t| t.linger_total = SHORT)),
            tell,
        );
        let _flood = Flood::new(site.addr);
        while site.handle.counts().served == 0 {
            thread::yield_now();
        }
        no_longer_lingering(&site.handle);
        site.end();
    });
}

#[test]
fn a_peer_that_is_silent_is_closed_sooner_than_one_that_sends() {
    on_a_shard(|| {
        let site = Site::with(
            |server| server.timeouts(timeouts(|t| t.linger = SHORT)),
            tell,
        );
        let _flood = Flood::new(site.addr);
        while site.handle.counts().lingering == 0 {
            thread::yield_now();
        }
        let mut silent = lingering(site.addr);
        while site.handle.counts().lingering > 1 {
            thread::yield_now();
        }
        // The connection that was closed is the silent one.
        while silent.stream.write_all(b"x").is_ok() {
            thread::yield_now();
        }
        assert_eq!(site.handle.counts().lingering, 1);
        site.end();
    });
}

#[test]
fn a_drain_does_not_wait_for_a_peer_that_never_stops() {
    on_a_shard(|| {
        // Without a drain, this peer could go on for all of `linger_total`.
        let site = Site::with(
            |server| server.timeouts(timeouts(|t| (t.linger, t.in_flight) = (SHORT, SHORT))),
            tell,
        );
        let _flood = Flood::new(site.addr);
        while site.handle.counts().lingering == 0 {
            thread::yield_now();
        }
        site.handle.drain(LONG);
        site.served.join().unwrap().unwrap();
        let report = site.handle.drained().unwrap();
        assert_eq!((report.ended, report.cut.len()), (0, 0));
        assert!(report.took < LONG);
        until(|stats| stats.ethreads == 1 && stats.sources == 0);
    });
}

#[test]
fn at_the_end_of_a_drain_what_lingers_is_closed() {
    on_a_shard(|| {
        let site = Site::with(
            |server| server.timeouts(timeouts(|t| t.in_flight = LONG)),
            tell,
        );
        let mut silent = lingering(site.addr);
        site.handle.drain(SHORT);
        site.served.join().unwrap().unwrap();
        assert_eq!(site.handle.counts().lingering, 0);
        let report = site.handle.drained().unwrap();
        assert_eq!((report.ended, report.cut.len()), (0, 0));
        // The source is the client's socket in this test.
        until(|stats| stats.ethreads == 1 && stats.sources == 1);
        while silent.stream.write_all(b"x").is_ok() {}
    });
}

#[test]
fn an_answer_within_a_drain_reaches_a_peer_that_reads_late() {
    on_a_shard(|| {
        let site = Site::with(
            |server| server.timeouts(timeouts(|t| t.in_flight = LONG)),
            not_found,
        );
        let mut client = site.connect();
        settle();
        site.handle.drain(LONG);
        settle();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8388608\r\n\r\n");
        client.send(vec![b'x'; UPLOAD]);
        client.last_answer(404);
        site.served.join().unwrap().unwrap();
        assert_eq!(site.handle.drained().unwrap().ended, 1);
    });
}

#[test]
fn a_cancelled_serve_leaves_nothing_that_lingers() {
    on_a_shard(|| {
        let site = Site::new(tell);
        let _silent = lingering(site.addr);
        let _flood = Flood::new(site.addr);
        while site.handle.counts().lingering < 2 {
            thread::yield_now();
        }
        site.served.cancel();
        assert!(site.served.join().is_err());
        assert_eq!(site.handle.counts().lingering, 0);
        // The source is the client's socket in this test.
        until(|stats| stats.ethreads == 1 && stats.sources == 1);
    });
}

#[test]
fn unix_sockets_linger_too() {
    on_a_shard(|| {
        let name = format!("ethreads-lingering-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let server = Server::from(UnixListener::bind(&path).unwrap());
        let server = server.timeouts(timeouts(|_| ()));
        let handle = server.handle();
        let served = thread::spawn(move || server.serve(not_found));
        let (sender, receiver) = remote::channel::unbounded();
        let theirs = path.clone();
        std::thread::spawn(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(theirs).unwrap();
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {UPLOAD}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&vec![b'x'; UPLOAD]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            sender.send(answer).unwrap();
        });
        assert!(receiver.recv().unwrap().starts_with("HTTP/1.1 404 "));
        std::fs::remove_file(path).unwrap();
        handle.drain(LONG);
        served.join().unwrap().unwrap();
    });
}
