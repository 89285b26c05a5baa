//! Server-sent events.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ethreads::http::{App, Event, LastEventId, Request, Sse};
use ethreads::sync::channel;
use ethreads::thread;

use crate::http::util::{LONG, SHORT, Site, on_a_shard, settle};

/// Tells by its end that the closure that owns it has ended.
struct Flag(Rc<Cell<bool>>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn events_arrive_until_the_closure_ends() {
    on_a_shard(|| {
        let stream = |last: Option<LastEventId>| {
            let last = last.map_or("none".to_owned(), |last| last.0);
            Sse::new(move |events| {
                events.send(Event::new().name("last").data(&last))?;
                events.send(Event::new().id("7").data("a\nb"))
            })
        };
        let site = Site::new(App::new().get("/", stream));
        let mut client = site.connect();
        for (field, last) in [("", "none"), ("last-event-id: 6\r\n", "6")] {
            client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{field}\r\n"));
            let answer = client.answer();
            assert_eq!(answer.header("content-type"), Some("text/event-stream"));
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            let text = format!("event: last\ndata: {last}\n\nid: 7\ndata: a\ndata: b\n\n");
            assert_eq!(answer.text(), text);
        }
        client.finish();
        site.end();
    });
}

#[test]
fn each_event_is_sent_at_once() {
    on_a_shard(|| {
        let (sender, receiver) = channel::unbounded::<String>();
        let receiver = RefCell::new(Some(receiver));
        let stream = move || {
            let receiver = receiver.take().unwrap();
            let write = move |events: &ethreads::http::Events| {
                receiver
                    .iter()
                    .try_for_each(|text| events.send(Event::new().data(&text)))
            };
            Sse::new(write).keep_alive(LONG)
        };
        let site = Site::new(App::new().get("/", stream));
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        // The head does not wait for an event.
        assert_eq!(client.head().status, 200);
        for text in ["one", "two"] {
            sender.send(text.to_owned()).unwrap();
            assert!(client.until("\n\n").ends_with(&format!("data: {text}\n\n")));
        }
        drop(sender);
        client.until("0\r\n\r\n");
        client.finish();
        site.end();
    });
}

#[test]
fn comments_are_sent_while_the_closure_waits() {
    on_a_shard(|| {
        let stream = || {
            let wait = |_: &ethreads::http::Events| {
                thread::sleep(LONG);
                Ok(())
            };
            Sse::new(wait).keep_alive(SHORT)
        };
        let site = Site::new(App::new().get("/", stream));
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.head().status, 200);
        for _ in 0..3 {
            assert!(client.until("\n\n").ends_with("\r\n:\n\n"));
        }
        drop(client);
        site.end();
    });
}

#[test]
fn the_closure_ends_when_the_client_is_gone() {
    on_a_shard(|| {
        let ended = Rc::new(Cell::new(false));
        let flag = ended.clone();
        let stream = move || {
            let flag = Flag(flag.clone());
            let wait = move |_: &ethreads::http::Events| {
                let _flag = flag;
                thread::sleep(LONG);
                Ok(())
            };
            Sse::new(wait).keep_alive(SHORT)
        };
        let site = Site::new(App::new().get("/", stream));
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.head();
        settle();
        assert!(!ended.get());
        drop(client);
        while !ended.get() {
            thread::sleep(Duration::from_millis(1));
        }
        site.end();
    });
}

#[test]
fn an_error_of_the_closure_cuts_the_response_short() {
    on_a_shard(|| {
        let stream = || {
            Sse::new(|events| {
                events.send(Event::new().data("a"))?;
                let refused = events.send(Event::new().id("a\nb")).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
                Err(refused)
            })
        };
        let site = Site::new(App::new().get("/", stream));
        let output = site.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(output.contains("data: a\n\n"), "{output}");
        assert!(!output.ends_with("0\r\n\r\n"), "{output}");
        site.end();
    });
}

#[test]
fn a_head_request_does_not_run_the_closure() {
    on_a_shard(|| {
        let stream = || Sse::new(|_| panic!("the closure runs"));
        let site = Site::new(App::new().get("/", stream));
        let mut client = site.connect();
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
        let head = client.head();
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        client.finish();
        client.end();
        site.end();
    });
}

#[test]
fn a_drain_ends_the_stream_in_order() {
    on_a_shard(|| {
        let ended = Rc::new(Cell::new(false));
        let seen = ended.clone();
        let stream = move || {
            let flag = Flag(seen.clone());
            let write = move |events: &ethreads::http::Events| {
                let _flag = flag;
                events.send(Event::new().data("first"))?;
                // The closure cannot end by itself.
                thread::park();
                unreachable!("it is cancelled")
            };
            Sse::new(write).keep_alive(LONG)
        };
        let site = Site::new(App::new().get("/", stream));
        let mut open = site.connect();
        open.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        open.until("data: first\n\n");
        settle();
        assert!(!ended.get());
        site.handle.drain(LONG);
        open.until("0\r\n\r\n");
        assert!(ended.get());
        assert_eq!(open.rest(), "");
        let report = site.handle.drained().unwrap();
        assert!(report.cut.is_empty());
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn events_that_wait_at_a_drain_are_sent() {
    on_a_shard(|| {
        let stream = |request: &mut Request| {
            let draining = request.draining();
            let write = move |events: &ethreads::http::Events| {
                events.send(Event::new().data("first"))?;
                draining.wait();
                // The end of the stream comes before or after this: both wait for the same event.
                let _ = events.send(Event::new().data("late"));
                Ok(())
            };
            Sse::new(write).keep_alive(LONG)
        };
        let site = Site::new(App::new().get("/", stream));
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.until("data: first\n\n");
        site.handle.drain(LONG);
        let rest = client.rest();
        assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
        site.served.join().unwrap().unwrap();
    });
}
