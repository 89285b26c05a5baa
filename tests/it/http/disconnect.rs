//! Handlers that end when their client leaves.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use ethreads::http::{App, Body, Request, Response, Server};
use ethreads::runtime::DriverKind;
use ethreads::sync::channel;
use ethreads::{bridge, runtime, thread};
use socket2::SockRef;

use crate::http::util::{Client, LONG, Site, on_a_shard, settle, timeouts};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Whether the driver of this shard sees that a client leaves.
fn sees_hangups() -> bool {
    runtime::stats().is_some_and(|stats| stats.driver == DriverKind::Epoll)
}

/// Runs a test on a shard whose driver sees that a client leaves.
fn on_a_seeing_shard(f: impl FnOnce() + Send + 'static) {
    on_a_shard(|| {
        if sees_hangups() {
            f();
        }
    });
}

/// What the hooks of a server have seen: statuses, and whether the answer was sent whole.
type Log = Arc<Mutex<Vec<(u16, bool)>>>;

fn cancelling(server: Server) -> (Server, Log) {
    let log = Log::default();
    let seen = log.clone();
    let server = server
        .timeouts(timeouts(|_| ()))
        .cancel_on_disconnect(true)
        .on_response(move |exchange| {
            let line = (exchange.status().as_u16(), exchange.is_complete());
            seen.lock().unwrap().push(line);
        });
    (server, log)
}

/// A handler that waits, and tells whether it runs.
#[derive(Clone, Default)]
struct Waiting(Rc<Cell<usize>>);

impl Waiting {
    fn wait(&self) -> &'static str {
        struct Leave<'a>(&'a Cell<usize>);

        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }

        self.0.set(self.0.get() + 1);
        let _leave = Leave(&self.0);
        thread::sleep(LONG);
        "waited"
    }

    #[track_caller]
    fn assert(&self, running: usize) {
        settle();
        assert_eq!(self.0.get(), running);
    }
}

fn reset(client: &Client) {
    let socket = SockRef::from(&client.stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

#[test]
fn a_client_that_leaves_ends_the_handler() {
    on_a_seeing_shard(|| {
        for leave in [
            |client: Client| drop(client),
            |client: Client| {
                reset(&client);
                drop(client);
            },
        ] {
            let waiting = Waiting::default();
            let (handler, mut log) = (waiting.clone(), Log::default());
            let configure = |server| {
                let (server, seen) = cancelling(server);
                log = seen;
                server
            };
            let site = Site::with(configure, move || handler.wait());
            let mut client = site.connect();
            client.send(GET);
            waiting.assert(1);
            leave(client);
            waiting.assert(0);
            assert_eq!(log.lock().unwrap()[0].0, 499);
            site.end();
        }
    });
}

#[test]
fn a_client_that_ends_its_side_gets_the_answer() {
    on_a_seeing_shard(|| {
        let waiting = Waiting::default();
        let handler = waiting.clone();
        let site = Site::with(|server| cancelling(server).0, move || handler.wait());
        let mut client = site.connect();
        client.send(GET);
        waiting.assert(1);
        client.finish();
        let answer = client.rest();
        assert!(answer.starts_with("HTTP/1.1 499 "), "{answer}");
        assert!(
            answer.ends_with("client closed the connection\n"),
            "{answer}"
        );
        // The end may have arrived with the request, even on a new connection.
        let answer = site.exchange(GET);
        assert!(answer.starts_with("HTTP/1.1 499 "), "{answer}");
        waiting.assert(0);
        site.end();
    });
}

#[test]
fn a_handler_that_does_not_wait_answers() {
    on_a_seeing_shard(|| {
        let site = Site::with(
            |server| cancelling(server).0,
            |request: &mut Request| request.text().unwrap(),
        );
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
        assert!(site.exchange(post).ends_with("\r\n\r\nhi"));
        site.end();
    });
}

#[test]
fn without_the_setting_the_handler_goes_on() {
    on_a_shard(|| {
        let waiting = Waiting::default();
        let handler = waiting.clone();
        let site = Site::new(move || handler.wait());
        let mut client = site.connect();
        client.send(GET);
        waiting.assert(1);
        drop(client);
        waiting.assert(1);
        site.handle.drain(std::time::Duration::ZERO);
        site.served.join().unwrap().unwrap();
        assert_eq!(waiting.0.get(), 0);
    });
}

#[test]
fn input_does_not_end_the_handler() {
    on_a_seeing_shard(|| {
        let waiting = Waiting::default();
        let handler = waiting.clone();
        let site = Site::with(|server| cancelling(server).0, move || handler.wait());
        let mut client = site.connect();
        client.send(GET);
        waiting.assert(1);
        // A pipelined request, and urgent data.
        client.send(GET);
        SockRef::from(&client.stream)
            .send_out_of_band(b"!")
            .unwrap();
        waiting.assert(1);
        drop(client);
        waiting.assert(0);
        site.end();
    });
}

#[test]
fn middleware_goes_on_and_sees_the_status() {
    on_a_seeing_shard(|| {
        let waiting = Waiting::default();
        let handler = waiting.clone();
        let seen = Rc::new(Cell::new(0));
        let statuses = seen.clone();
        let app =
            App::new()
                .get("/", move || handler.wait())
                .around(move |request, next| -> Response {
                    let response = next.run(request);
                    // A wait of the middleware is not ended.
                    thread::sleep(std::time::Duration::from_millis(1));
                    statuses.set(response.status().as_u16());
                    response
                });
        let site = Site::with(|server| cancelling(server).0, app);
        let mut client = site.connect();
        client.send(GET);
        waiting.assert(1);
        drop(client);
        while seen.get() == 0 {
            thread::yield_now();
        }
        assert_eq!(seen.get(), 499);
        waiting.assert(0);
        site.end();
    });
}

#[test]
fn an_app_sets_it_for_its_own_routes() {
    on_a_seeing_shard(|| {
        let (ends, stays) = (Waiting::default(), Waiting::default());
        let handlers = [ends.clone(), ends.clone(), stays.clone(), stays.clone()];
        let [a, b, c, d] = handlers;
        let inner = App::new()
            .get("/a", move || a.wait())
            .merge(
                App::new()
                    .get("/c", move || c.wait())
                    .cancel_on_disconnect(false),
            )
            .cancel_on_disconnect(true);
        // An app as the handler of a route.
        let nested = App::new().get("/app/b", move || b.wait());
        let app = App::new()
            .merge(inner)
            .merge(
                App::new()
                    .any("/app/{*rest}", nested)
                    .cancel_on_disconnect(true),
            )
            .get("/d", move || d.wait());
        let site = Site::new(app);
        let clients = ["/a", "/app/b", "/c", "/d"].map(|path| {
            let mut client = site.connect();
            client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
            client
        });
        ends.assert(2);
        stays.assert(2);
        drop(clients);
        ends.assert(0);
        stays.assert(2);
        site.handle.drain(std::time::Duration::ZERO);
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn an_uncancellable_part_is_finished() {
    on_a_seeing_shard(|| {
        let (sender, receiver) = channel::bounded::<()>(1);
        let done = Rc::new(Cell::new(""));
        let seen = done.clone();
        let handler = move || {
            thread::uncancellable(|| {
                receiver.recv().unwrap();
                seen.set("finished");
            });
            thread::sleep(LONG);
            seen.set("not ended");
        };
        let site = Site::with(|server| cancelling(server).0, handler);
        let mut client = site.connect();
        client.send(GET);
        settle();
        drop(client);
        settle();
        assert_eq!(done.get(), "");
        sender.send(()).unwrap();
        settle();
        assert_eq!(done.get(), "finished");
        site.end();
    });
}

#[test]
fn a_body_that_is_being_made_ends() {
    on_a_seeing_shard(|| {
        let waiting = Waiting::default();
        let writer = waiting.clone();
        let handler = move || {
            let writer = writer.clone();
            Body::writer(move |out| {
                io::Write::write_all(out, b"begun")?;
                io::Write::flush(out)?;
                writer.wait();
                Ok(())
            })
        };
        let site = Site::with(|server| cancelling(server).0, handler);
        let mut client = site.connect();
        client.send(GET);
        client.until("begun");
        waiting.assert(1);
        drop(client);
        waiting.assert(0);
        site.end();
    });
}

#[test]
fn the_next_request_is_watched_anew() {
    on_a_seeing_shard(|| {
        let waiting = Waiting::default();
        let handler = waiting.clone();
        let app = App::new()
            .get("/", move || handler.wait())
            .get("/quick", || "quick")
            .get("/stream", || Body::reader(&b"stream"[..]));
        let site = Site::with(|server| cancelling(server).0, app);
        let mut client = site.connect();
        for path in ["/quick", "/stream", "/quick"] {
            client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
            assert_eq!(client.answer().status, 200);
        }
        client.send(GET);
        waiting.assert(1);
        drop(client);
        waiting.assert(0);
        site.end();
    });
}

#[test]
fn a_stream_in_memory_and_a_unix_socket_are_watched() {
    on_a_seeing_shard(|| {
        let (near, far) = ethreads::io::duplex(1024);
        let (unix_near, unix_far) = ethreads::net::UnixStream::pair().unwrap();
        let waiting = Waiting::default();
        let (server, log) = cancelling(Server::without_listener());
        let server = Rc::new(server);
        let mut served = Vec::new();
        for stream in [ethreads::http::Stream::from(far), unix_far.into()] {
            let (server, handler) = (server.clone(), waiting.clone());
            served.push(thread::spawn(move || {
                server.serve_connection(stream, move || handler.wait())
            }));
        }
        io::Write::write_all(&mut &near, GET.as_bytes()).unwrap();
        io::Write::write_all(&mut &unix_near, GET.as_bytes()).unwrap();
        waiting.assert(2);
        near.shutdown(Shutdown::Write);
        waiting.assert(1);
        drop(unix_near);
        waiting.assert(0);
        drop(near);
        for served in served {
            let _ = served.join().unwrap();
        }
        assert_eq!(log.lock().unwrap().len(), 2);
        // Nothing is left behind.
        settle();
        assert_eq!(runtime::stats().unwrap().scopes, 0);
    });
}

#[test]
fn a_handler_that_only_its_client_can_end_is_no_deadlock() {
    on_a_seeing_shard(|| {
        let (near, far) = ethreads::net::UnixStream::pair().unwrap();
        let (server, log) = cancelling(Server::without_listener());
        let served = thread::spawn(move || server.serve_connection(far, thread::park));
        io::Write::write_all(&mut &near, GET.as_bytes()).unwrap();
        settle();
        drop(near);
        let _ = served.join().unwrap();
        assert_eq!(log.lock().unwrap()[0].0, 499);
    });
}

#[test]
fn a_cancel_of_the_connection_comes_first() {
    on_a_seeing_shard(|| {
        let waiting = Waiting::default();
        let handler = waiting.clone();
        let site = Site::with(|server| cancelling(server).0, move || handler.wait());
        let mut client = site.connect();
        client.send(GET);
        waiting.assert(1);
        site.handle.drain(std::time::Duration::ZERO);
        assert_eq!(client.rest(), "");
        site.served.join().unwrap().unwrap();
        waiting.assert(0);
    });
}

#[test]
fn a_wait_on_the_pool_is_left_behind() {
    on_a_seeing_shard(|| {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let receiver = Arc::new(Mutex::new(receiver));
        let ended = Rc::new(Cell::new(false));
        let seen = ended.clone();
        let handler = move || {
            let receiver = receiver.clone();
            let _flag = crate::support::OnDrop(|| seen.set(true));
            bridge::blocking(move || receiver.lock().unwrap().recv()).unwrap();
        };
        let site = Site::with(|server| cancelling(server).0, handler);
        let mut client = site.connect();
        client.send(GET);
        settle();
        drop(client);
        settle();
        assert!(ended.get());
        sender.send(()).unwrap();
        site.end();
    });
}
