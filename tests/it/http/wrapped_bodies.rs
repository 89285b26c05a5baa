//! Middleware that write the bodies of responses through something else.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::rc::Rc;

use ethreads::http::{App, Body, IntoResponse, Next, Request, Response};
use ethreads::sync::channel;
use ethreads::thread;

use crate::http::util::{Site, on_a_shard, settle};
use crate::support::OnDrop;

/// Writes each byte twice.
struct Twice<'a>(&'a mut dyn Write);

impl Write for Twice<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let doubled: Vec<u8> = data.iter().flat_map(|byte| [*byte; 2]).collect();
        self.0.write_all(&doubled)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn twice(request: &mut Request, next: Next<'_>) -> Response {
    let wrap = |old: Body| Body::writer(move |out| old.write_to(&mut Twice(out)));
    next.run(request).map_body(wrap)
}

#[test]
fn bodies_of_every_kind_pass_through_several_middleware() {
    on_a_shard(|| {
        let path = std::env::temp_dir().join(format!("ethreads-wrapped-{}", std::process::id()));
        std::fs::write(&path, "file").unwrap();
        let file = Rc::new(path.clone());
        let app = App::new()
            .get("/bytes", || "bytes")
            .get("/empty", || ())
            .get("/reader", || Body::reader(&b"reader"[..]))
            .get("/sized", || Body::sized_reader(io::repeat(b'x'), 3))
            .get("/writer", || Body::writer(|out| out.write_all(b"writer")))
            .get("/file", move || {
                Ok::<_, ethreads::http::HandlerError>(Body::file(File::open(&*file)?)?)
            })
            .around(twice)
            .around(twice);
        let site = Site::new(app);
        let mut client = site.connect();
        for (path, expected) in [
            ("/bytes", "bytes"),
            ("/empty", ""),
            ("/reader", "reader"),
            ("/sized", "xxx"),
            ("/writer", "writer"),
            ("/file", "file"),
        ] {
            let expected: String = expected.chars().flat_map(|c| [c; 4]).collect();
            assert_eq!(client.get(path).text(), expected, "{path}");
            client.send(format!("HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
            assert_eq!(client.head().status, 200, "{path}");
        }
        drop(client);
        site.end();
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn pieces_arrive_while_the_old_body_waits() {
    /// Returns a piece for each message.
    struct Pieces(channel::Receiver<&'static str>);

    impl Read for Pieces {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.recv().unwrap_or_default();
            (&mut &piece.as_bytes()[..]).read(buf)
        }
    }

    on_a_shard(|| {
        let (sender, receiver) = channel::unbounded();
        let (flushed, to_flush) = channel::unbounded::<&str>();
        let receivers = RefCell::new((Some(receiver), Some(to_flush)));
        let app = App::new()
            .get("/{kind}", move |request: &mut Request| {
                let mut receivers = receivers.borrow_mut();
                if request.path() == "/reader" {
                    return Body::reader(Pieces(receivers.0.take().unwrap()));
                }
                let pieces = receivers.1.take().unwrap();
                Body::writer(move |out| {
                    while let Ok(piece) = pieces.recv() {
                        out.write_all(piece.as_bytes())?;
                        out.flush()?;
                    }
                    Ok(())
                })
            })
            .around(twice);
        let site = Site::new(app);
        for (path, sender) in [("/reader", sender), ("/writer", flushed)] {
            let mut client = site.connect();
            client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
            assert_eq!(client.head().status, 200);
            // Each piece is sent only when the one before it has arrived.
            for (piece, expected) in [("ab", "aabb\r\n"), ("c", "cc\r\n")] {
                sender.send(piece).unwrap();
                client.until(expected);
            }
            drop(sender);
            client.until("0\r\n\r\n");
        }
        site.end();
    });
}

#[test]
fn a_body_of_the_wrong_length_is_not_ended() {
    on_a_shard(|| {
        let app = App::new()
            .get("/short", || Body::sized_reader(&b"ab"[..], 3))
            .get("/long", || {
                Body::sized_writer(3, |out| out.write_all(b"abcd"))
            })
            .get("/failed", || {
                Body::writer(|_| Err(io::Error::other("on purpose")))
            })
            .around(twice);
        let site = Site::new(app);
        for path in ["/short", "/long", "/failed"] {
            let output = site.exchange(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
            assert!(output.starts_with("HTTP/1.1 200 "), "{path}: {output}");
            assert!(!output.ends_with("0\r\n\r\n"), "{path}: {output}");
        }
        site.end();
    });
}

#[test]
fn a_held_guard_lasts_until_the_new_body_has_been_sent() {
    on_a_shard(|| {
        let log = Rc::<RefCell<Vec<&str>>>::default();
        let (in_body, in_guard, in_around) = (log.clone(), log.clone(), log.clone());
        let app = App::new()
            .get("/", move || {
                let (log, guard) = (in_body.clone(), in_guard.clone());
                let guard = OnDrop(move || guard.borrow_mut().push("guard"));
                let body = Body::writer(move |out| {
                    for _ in 0..2 {
                        out.write_all(&[b'x'; 100_000])?;
                        log.borrow_mut().push("piece");
                        thread::yield_now();
                    }
                    Ok(())
                });
                body.into_response().hold(guard)
            })
            .around(move |request, next| {
                let response = twice(request, next);
                in_around.borrow_mut().push("around");
                response
            });
        let site = Site::new(app);
        let mut client = site.connect();
        assert_eq!(client.get("/").body.len(), 400_000);
        settle();
        assert_eq!(*log.borrow(), ["around", "piece", "piece", "guard"]);
        drop(client);
        site.end();
    });
}

#[test]
fn an_upgrade_is_no_body_to_be_written() {
    on_a_shard(|| {
        let app = App::new()
            .get("/", || Response::upgrade("other", drop))
            .around(|request, next| {
                let mut response = next.run(request);
                let body = std::mem::take(response.body_mut());
                let error = body.write_to(&mut io::sink()).unwrap_err();
                error.to_string()
            });
        let response = app.call(Request::get("/"));
        let text = response.body().as_bytes();
        assert_eq!(text, Some(&b"an upgrade of the connection has no body"[..]));
    });
}
