//! Reading the body of a request, and serving: in the situations of the other calls.

use std::cell::RefCell;
use std::io::Read;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use ethreads::http::{Request, Result, Server};
use ethreads::io::duplex;
use ethreads::runtime::WouldPark;
use ethreads::{bridge, thread};

use super::calls::outcome;
use super::{Case, Row, Unwinding, When};
use crate::http::pull::{ask, next, pull_server};
use crate::http::util::{Client, Site, on_a_shard, settle};
use crate::support::{OnDrop, text};

/// The calls that need no request of their own.
pub(super) fn servers() -> [Row; 4] {
    [serving(), serving_one(), pulling(), closing()]
}

/// A pull server that is read from.
fn pulling() -> Row {
    let case = |when| {
        let server = pull_server();
        let mut peers = Vec::new();
        if when == When::Ready {
            // The server begins with its first read; this leaves a second request for the call.
            peers.push(ask(&server, &["/", "/"]));
            next(&server).0.write("").unwrap();
            settle();
        }
        let theirs = server.clone();
        let call = move || outcome(theirs.read().map(|request| usize::from(request.is_some())));
        Case::new(call, move |_| peers.push(ask(&server, &["/"])))
    };
    Row {
        name: "http::WebServer::read",
        case,
        result: "1",
        always_suspends: false,
        unwinding: Unwinding::WouldPark,
    }
}

/// A pull server that is closed while another OS thread has one of its requests.
fn closing() -> Row {
    let case = |when| {
        let server = pull_server();
        let mut outstanding = (when != When::Ready).then(|| {
            let peer = ask(&server, &["/"]);
            let (client, _) = next(&server);
            (client.into_remote(), peer)
        });
        let call = move || outcome(server.close().map(|()| 1));
        Case::new(call, move |_| {
            if let Some((client, peer)) = outstanding.take() {
                // The close waits for nothing more once the peer has its answer.
                peer.shutdown(std::net::Shutdown::Write).unwrap();
                client.write("");
            }
        })
    };
    Row {
        name: "http::WebServer::close",
        case,
        result: "1",
        always_suspends: false,
        unwinding: Unwinding::WouldPark,
    }
}

/// A server that is served, until it is drained.
fn serving() -> Row {
    let case = |when| {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let handle = server.handle();
        if when == When::Ready {
            handle.drain(Duration::from_secs(3600));
        }
        let call = move || outcome(server.serve(|_: &mut Request| "").map(|()| 1));
        Case::new(call, move |_| handle.drain(Duration::ZERO))
    };
    Row {
        name: "http::Server::serve",
        case,
        result: "1",
        // The call waits at least for the last look of its acceptor.
        always_suspends: true,
        unwinding: Unwinding::AlwaysWouldPark,
    }
}

/// A connection that is served, until its peer has gone.
fn serving_one() -> Row {
    let case = |when| {
        let (client, stream) = duplex(64);
        let mut client = (when != When::Ready).then_some(client);
        let server = Server::without_listener();
        let call = move || {
            outcome(
                server
                    .serve_connection(stream, |_: &mut Request| "")
                    .map(|()| 1),
            )
        };
        Case::new(call, move |_| drop(client.take()))
    };
    Row {
        name: "http::Server::serve_connection",
        case,
        result: "1",
        always_suspends: false,
        unwinding: Unwinding::AlwaysWouldPark,
    }
}

/// Reads the whole body, in one of four ways.
type Reads = fn(&mut Request) -> Result<String>;

const READS: [(&str, Reads); 4] = [
    ("bytes", |request| {
        Ok(String::from_utf8(request.bytes()?).unwrap())
    }),
    ("text", |request| Ok(request.text()?)),
    ("body", |request| {
        let mut text = String::new();
        request.body().read_to_string(&mut text)?;
        Ok(text)
    }),
    ("take_body", |request| {
        let mut text = String::new();
        request.take_body().read_to_string(&mut text)?;
        Ok(text)
    }),
];

/// Serves `handler`, with each way to read, to a client whose body is still to come.
fn each_way(
    handler: fn(&mut Request, Reads) -> Result<String>,
    client: fn(&str, &Site, &mut Client),
) {
    for (name, reads) in READS {
        on_a_shard(move || {
            let site = Site::new(move |request: &mut Request| handler(request, reads));
            let mut peer = site.connect();
            peer.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n");
            settle();
            client(name, &site, &mut peer);
        });
    }
}

#[test]
fn woken_by_the_body() {
    each_way(
        |request, reads| reads(request),
        |name, _, peer| {
            peer.send("wait");
            assert_eq!(peer.answer().text(), "wait", "{name}");
        },
    );
}

#[test]
fn a_body_that_is_there_already_lets_no_other_ethread_run() {
    for (name, reads) in READS {
        on_a_shard(move || {
            let site = Site::new(move |request: &mut Request| -> Result<String> {
                let other = thread::spawn(|| ());
                let body = reads(request)?;
                assert!(!other.is_finished(), "{name}");
                Ok(body)
            });
            let mut peer = site.connect();
            peer.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nhere");
            assert_eq!(peer.answer().text(), "here", "{name}");
        });
    }
}

#[test]
fn cancelled_with_its_server() {
    each_way(
        |request, reads| {
            let unwound = format!("{:?}", reads(request));
            unreachable!("it went on with {unwound}")
        },
        |name, site, peer| {
            site.served.cancel();
            settle();
            assert!(site.served.is_finished(), "{name}");
            peer.end();
        },
    );
}

#[test]
fn masked_it_waits_for_the_body() {
    each_way(
        |request, reads| thread::uncancellable(|| reads(request)),
        |name, site, peer| {
            let handlers = ethreads::runtime::stats().unwrap().io_waits;
            site.served.cancel();
            settle();
            // The acceptor is gone, and the handler is not.
            let left = ethreads::runtime::stats().unwrap().io_waits;
            assert_eq!(left, handlers - 1, "{name}");
            peer.send("late");
            // The next wait of the handler ends it.
            settle();
            assert_eq!(ethreads::runtime::stats().unwrap().ethreads, 1, "{name}");
        },
    );
}

#[test]
fn unwinding_it_never_switches() {
    each_way(
        |request, reads| {
            let unwinds = AssertUnwindSafe(|| {
                let _destructor = OnDrop(|| {
                    let error = reads(request).unwrap_err().to_string();
                    assert!(error.contains("while its ethread unwinds"), "{error}");
                });
                panic!("in the handler")
            });
            let payload = panic::catch_unwind(unwinds).unwrap_err();
            Ok(text(&*payload).to_owned())
        },
        |name, _, peer| assert_eq!(peer.answer().text(), "in the handler", "{name}"),
    );
}

#[test]
fn on_the_schedulers_side_it_panics() {
    each_way(
        |request, reads| {
            let caught = Rc::new(RefCell::new(String::new()));
            bridge::suspend(|me| {
                let call = panic::catch_unwind(AssertUnwindSafe(|| reads(request)));
                let payload = call.map(|given| panic!("it gave {given:?}")).unwrap_err();
                *caught.borrow_mut() = text(&*payload).to_owned();
                assert!(me.resume(()).is_ok());
            });
            Ok(caught.take())
        },
        |name, _, peer| {
            let answer = peer.answer();
            assert!(
                answer.text().contains("on the scheduler's side"),
                "{name}: {}",
                answer.text()
            );
        },
    );
}

#[test]
fn a_refusal_says_why() {
    on_a_shard(|| {
        let server = Rc::new(Server::bind("127.0.0.1:0").unwrap());
        let (theirs, handle) = (server.clone(), server.handle());
        let unwinds = thread::spawn(move || {
            let _destructor = OnDrop(|| {
                let error = theirs.serve(|_: &mut Request| "").unwrap_err();
                let source = error.get_ref().unwrap().downcast_ref::<WouldPark>();
                assert_eq!(source.unwrap().location.file(), file!());
            });
            panic!("on the way");
        });
        assert_eq!(text(&*unwinds.join().unwrap_err()), "on the way");
        // The failed call did not use up the server.
        handle.drain(Duration::ZERO);
        server.serve(|_: &mut Request| "").unwrap();
    });
}
