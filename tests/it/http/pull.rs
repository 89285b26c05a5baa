//! The pull server: which code may read from it, and what it returns.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::rc::Rc;

use ethreads::http::pull::{Request, WebServer};
use ethreads::http::{Limits, Server};
use ethreads::net::{TcpListener, UnixListener, UnixStream};
use ethreads::runtime::WouldPark;
use ethreads::thread;

use crate::http::util::{Client, LONG, on_a_shard, settle, timeouts};
use crate::support::{OnDrop, fresh, text};

/// A pull server whose timeouts do not expire.
pub(crate) fn pull_server() -> Rc<WebServer> {
    let server = Server::bind("127.0.0.1:0").unwrap();
    Rc::new(WebServer::from(server.timeouts(timeouts(|_| ()))))
}

pub(crate) fn addr(server: &WebServer) -> SocketAddr {
    server.local_addr().unwrap()
}

/// The next request, which must come.
#[track_caller]
pub(crate) fn next(server: &WebServer) -> (ethreads::http::pull::Client, Request) {
    server.read().unwrap().expect("the server is open")
}

/// A client that sends requests for `paths` at once, and blocks its OS thread.
pub(crate) fn ask(server: &WebServer, paths: &[&str]) -> StdTcpStream {
    let mut stream = StdTcpStream::connect(addr(server)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let requests: String = paths
        .iter()
        .map(|path| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .collect();
    stream.write_all(requests.as_bytes()).unwrap();
    stream
}

/// What the kernel has received by now, whichever ethread runs.
#[track_caller]
pub(crate) fn received(stream: &mut StdTcpStream) -> String {
    stream.set_nonblocking(true).unwrap();
    let mut output = Vec::new();
    let end = stream.read_to_end(&mut output);
    stream.set_nonblocking(false).unwrap();
    if let Err(error) = end {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
    String::from_utf8(output).unwrap()
}

#[test]
fn it_listens_on_port_8080_unless_told_otherwise() {
    // The port is in use, whether this test or another program holds it.
    let _held = std::net::TcpListener::bind(WebServer::DEFAULT_ADDRESS);
    let error = WebServer::open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert_eq!(WebServer::DEFAULT_ADDRESS, "127.0.0.1:8080");
}

#[test]
fn the_plain_os_thread_is_in_charge() {
    fresh(|| {
        let server = pull_server();
        let mut peer = ask(&server, &["/a"]);
        let (client, request) = next(&server);
        assert_eq!(request.path(), "/a");
        assert_eq!(received(&mut peer), "");
        server.write(client, "b").unwrap();
        assert!(received(&mut peer).ends_with("\r\n\r\nb"));
        server.close().unwrap();
        assert!(server.read().unwrap().is_none());
    });
}

#[test]
fn a_reader_that_need_not_wait_is_no_deadlock() {
    fresh(|| {
        let server = pull_server();
        let address = addr(&server);
        // The peer connects at any time; nothing on this shard knows of it.
        let peer = std::thread::spawn(move || {
            let mut peer = StdTcpStream::connect(address).unwrap();
            peer.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            peer.read_to_string(&mut answer).unwrap();
            answer
        });
        let (client, _) = next(&server);
        client.write("late").unwrap();
        server.close().unwrap();
        assert!(peer.join().unwrap().ends_with("late"));
    });
}

#[test]
fn an_ethread_is_in_charge() {
    on_a_shard(|| {
        let server = pull_server();
        let theirs = server.clone();
        let loops = thread::spawn(move || {
            let mut count = 0;
            while let Some((client, request)) = theirs.read().unwrap() {
                count += 1;
                theirs.write(client, request.path().to_owned()).unwrap();
            }
            count
        });
        let mut peer = Client::new(addr(&server));
        for path in ["/1", "/2", "/3"] {
            assert_eq!(peer.get(path).text(), path);
        }
        drop(peer);
        server.close().unwrap();
        assert_eq!(loops.join().unwrap(), 3);
    });
}

#[test]
fn several_read_and_each_request_goes_to_the_one_that_waited_longest() {
    on_a_shard(|| {
        let server = pull_server();
        let readers: Vec<_> = (0..3)
            .map(|n| {
                let server = server.clone();
                thread::spawn(move || {
                    let (client, request) = next(&server);
                    client.write(format!("{n}{}", request.path())).unwrap();
                })
            })
            .collect();
        settle();
        for n in 0..3 {
            let answer = Client::new(addr(&server)).get("/x");
            assert_eq!(answer.text(), format!("{n}/x"));
        }
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn a_cancelled_reader_takes_no_request_with_it() {
    on_a_shard(|| {
        let server = pull_server();
        let (first, second) = (server.clone(), server.clone());
        let first = thread::spawn(move || first.read().map(|_| ()));
        let second = thread::spawn(move || next(&second).1.path().to_owned());
        settle();
        first.cancel();
        let peer = ask(&server, &["/a"]);
        assert_eq!(second.join().unwrap(), "/a");
        assert!(first.join().is_err());
        drop(peer);
    });
}

#[test]
fn a_request_keeps_what_it_was() {
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        let me = peer.stream.local_addr().unwrap();
        peer.send(
            "POST /p%20q?a=1&b=%32 HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nx-two: 2\r\n\
             content-length: 5\r\n\r\nfirst",
        );
        let (client, mut first) = next(&server);
        client.write("").unwrap();
        // The connection reuses its buffer.
        peer.answer();
        peer.send("GET http://c:1/zzzzzzzzzzzzz HTTP/1.1\r\nhost: bbbbbbbbbbbbb\r\n\r\n");
        let (client, second) = next(&server);
        assert_eq!((first.host(), second.host()), (Some("a"), Some("c:1")));
        assert_eq!(
            (second.body(), second.content_length()),
            (&b""[..], Some(0))
        );
        client.write("").unwrap();
        assert_eq!(*first.method(), http::Method::POST);
        assert_eq!(first.version(), http::Version::HTTP_11);
        assert_eq!(first.target(), "/p%20q?a=1&b=%32");
        assert_eq!(first.path(), "/p%20q");
        assert_eq!(first.decoded_path().unwrap(), "/p q");
        assert_eq!(first.query(), Some("a=1&b=%32"));
        let pairs: Vec<_> = first.query_pairs().collect();
        assert_eq!(pairs, [("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!(first.header("HOST"), Some("a"));
        let all: Vec<_> = first.headers().get_all("x-two").collect();
        assert_eq!(all, [b"1", b"2"]);
        assert_eq!(first.content_length(), Some(5));
        assert_eq!(first.peer_addr(), Some(me));
        assert_eq!(first.local_addr(), Some(addr(&server)));
        let http = first.to_http().unwrap();
        assert_eq!(
            (http.uri().path(), &http.headers()["host"]),
            ("/p%20q", &"a".parse().unwrap())
        );
        let shown = format!("{first:?}");
        assert!(
            shown.contains("/p%20q") && shown.contains("5 bytes"),
            "{shown}"
        );
        assert_eq!(first.body(), b"first");
        assert_eq!(first.text().unwrap(), "first");
        assert_eq!(first.bytes().unwrap(), b"");
    });
}

#[test]
fn bodies_come_whole_however_they_were_sent() {
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        peer.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nchu");
        let theirs = server.clone();
        let reader = thread::spawn(move || next(&theirs));
        settle();
        assert!(!reader.is_finished(), "half a body has come");
        peer.send("\r\n4\r\nnked\r\n0\r\n\r\n");
        let (client, request) = reader.join().unwrap();
        assert_eq!(
            (request.body(), request.content_length()),
            (&b"chunked"[..], None)
        );
        client.write("").unwrap();
        assert_eq!(peer.answer().status, 200);
        // RFC 9110 section 10.1.1: a peer that waits for a 100 before it sends its body gets a 100.
        peer.send(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n",
        );
        let theirs = server.clone();
        let reader = thread::spawn(move || next(&theirs));
        assert_eq!(peer.answer().status, 100);
        peer.send("ok");
        let (client, mut request) = reader.join().unwrap();
        client.write(request.bytes().unwrap()).unwrap();
        assert_eq!(peer.answer().text(), "ok");
    });
}

#[test]
fn what_is_no_whole_request_is_answered_by_its_connection() {
    on_a_shard(|| {
        let mut limits = Limits::default();
        limits.body_bytes = 4;
        let server = Server::bind("127.0.0.1:0").unwrap();
        let server = server.limits(limits).timeouts(timeouts(|_| ()));
        let server = Rc::new(WebServer::from(server));
        let theirs = server.clone();
        let reader = thread::spawn(move || next(&theirs));
        let post = |rest: &str| {
            let mut peer = Client::new(addr(&server));
            peer.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{rest}"));
            peer.finish();
            peer.answer().status
        };
        assert_eq!(post("content-length: 5\r\n\r\nlarge"), 413);
        assert_eq!(
            post("transfer-encoding: chunked\r\n\r\n5\r\nlarge\r\n0\r\n\r\n"),
            413
        );
        assert_eq!(post("content-length: 4\r\n\r\nbro"), 400);
        assert_eq!(post("transfer-encoding: chunked\r\n\r\nnonsense\r\n"), 400);
        assert_eq!(post("nonsense\r\n\r\n"), 400);
        assert!(!reader.is_finished(), "none of them is the program's");
        let mut peer = Client::new(addr(&server));
        peer.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\ngood");
        let (client, mut request) = reader.join().unwrap();
        client.write(request.text().unwrap()).unwrap();
        assert_eq!(peer.answer().text(), "good");
    });
}

#[test]
fn a_text_that_is_none_is_an_error_of_the_request() {
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n\xff");
        let (client, mut request) = next(&server);
        let error = request.text().unwrap_err();
        assert!(error.is_peer());
        client
            .write(ethreads::http::HandlerError::from(error))
            .unwrap();
        assert_eq!(peer.answer().status, 400);
    });
}

#[test]
fn connections_live_on_as_their_peers_want() {
    on_a_shard(|| {
        let server = pull_server();
        let theirs = server.clone();
        let loops = thread::spawn(move || {
            while let Some((client, request)) = theirs.read().unwrap() {
                match request.path() {
                    "/close" => client.write(([("connection", "close")], "x")),
                    _ => client.write("x"),
                }
                .unwrap();
            }
        });
        let mut peer = Client::new(addr(&server));
        for _ in 0..300 {
            assert_eq!(peer.get("/").header("connection"), None);
        }
        peer.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        assert_eq!(peer.answer().header("connection"), Some("keep-alive"));
        peer.send("GET /close HTTP/1.1\r\nhost: a\r\n\r\n");
        peer.last_answer(200);
        drop(peer);
        server.close().unwrap();
        loops.join().unwrap();
    });
}

#[test]
fn a_ready_listener_of_either_kind_is_served() {
    on_a_shard(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = WebServer::from(listener);
        let mut peer = Client::new(addr(&server));
        peer.send("GET /tcp HTTP/1.1\r\nhost: a\r\n\r\n");
        let (client, request) = next(&server);
        client.write(request.path().to_owned()).unwrap();
        assert_eq!(peer.answer().text(), "/tcp");
    });
    on_a_shard(|| {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("ethreads-pull-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let server = WebServer::from(UnixListener::bind(&path).unwrap());
        let mut peer = UnixStream::connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = server.local_addr().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        peer.write_all(b"GET /unix HTTP/1.0\r\n\r\n").unwrap();
        let (client, request) = next(&server);
        assert_eq!((request.peer_addr(), request.local_addr()), (None, None));
        client.write(request.path().to_owned()).unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("/unix"), "{answer}");
    });
}

#[test]
fn a_listener_that_fails_is_an_error_of_one_read() {
    fresh(|| {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::from(std::os::fd::OwnedFd::from(ours));
        let server = WebServer::from(TcpListener::from(listener));
        server.read().unwrap_err();
        assert!(server.read().unwrap().is_none());
        server.close().unwrap();
    });
}

#[test]
fn while_it_unwinds_an_ethread_neither_reads_nor_waits() {
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = ask(&server, &["/"]);
        let (client, _) = next(&server);
        let theirs = server.clone();
        let mut client = Some(client);
        let reader = thread::spawn(move || {
            let _destructor = OnDrop(|| {
                let error = theirs.read().unwrap_err();
                let source = error.get_ref().unwrap().downcast_ref::<WouldPark>();
                assert_eq!(source.unwrap().location.file(), file!());
                if let Some(client) = client.take() {
                    client.write("from a destructor").unwrap();
                }
            });
            panic!("on the way")
        });
        assert_eq!(text(&*reader.join().unwrap_err()), "on the way");
        settle();
        assert!(received(&mut peer).ends_with("from a destructor"));
    });
}
