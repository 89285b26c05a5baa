//! Responses that are compressed while they are sent.

use std::io::{self, Read, Write};
use std::rc::Rc;

use ethreads::http::middleware::{Coding, compression};
use ethreads::http::{App, Body, Event, Files, Sse};
use ethreads::sync::channel;
use ethreads::thread;

use crate::http::util::{Answer, Client, LONG, Site, on_a_shard};

const CODINGS: &[Coding] = &[
    #[cfg(feature = "gzip")]
    Coding::Gzip,
    #[cfg(feature = "brotli")]
    Coding::Brotli,
    #[cfg(feature = "zstd")]
    Coding::Zstd,
];

fn name(coding: Coding) -> &'static str {
    match coding {
        Coding::Gzip => "gzip",
        Coding::Brotli => "br",
        Coding::Zstd => "zstd",
    }
}

/// A decoder of what `reader` gets.
fn decoder<'a>(coding: Coding, reader: impl Read + 'a) -> Box<dyn Read + 'a> {
    match coding {
        #[cfg(feature = "gzip")]
        Coding::Gzip => Box::new(flate2::read::GzDecoder::new(reader)),
        #[cfg(feature = "brotli")]
        Coding::Brotli => Box::new(brotli::Decompressor::new(reader, 4096)),
        #[cfg(feature = "zstd")]
        Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(reader).unwrap()),
        #[allow(unreachable_patterns)]
        _ => panic!("{coding:?} is not built in"),
    }
}

fn decoded(coding: Coding, compressed: &[u8]) -> String {
    let mut text = String::new();
    decoder(coding, compressed)
        .read_to_string(&mut text)
        .unwrap();
    text
}

fn get(client: &mut Client, path: &str, accepted: &str) -> Answer {
    client.send(format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\naccept-encoding: {accepted}\r\n\r\n"
    ));
    client.answer()
}

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("this is line {n}\n")).collect()
}

#[test]
fn responses_of_every_kind_arrive_compressed() {
    on_a_shard(|| {
        let path = std::env::temp_dir().join(format!("ethreads-gzip-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("lines.txt"), lines(50_000)).unwrap();
        let app = App::new()
            .get("/whole", || lines(1000))
            .get("/large", || lines(50_000))
            .get("/file/{*path}", Files::new(&path).unwrap())
            .get("/writer", || {
                let body = Body::writer(|out| {
                    for n in 0..50_000 {
                        writeln!(out, "this is line {n}")?;
                    }
                    Ok(())
                });
                ([("content-type", "text/plain")], body)
            })
            .apply(compression());
        let site = Site::new(app);
        let mut client = site.connect();
        for &coding in CODINGS {
            for (path, count, length_is_known) in [
                ("/whole", 1000, true),
                ("/large", 50_000, false),
                ("/file/lines.txt", 50_000, false),
                ("/writer", 50_000, false),
            ] {
                let answer = get(&mut client, path, name(coding));
                assert_eq!(
                    answer.header("content-encoding"),
                    Some(name(coding)),
                    "{path}"
                );
                assert_eq!(answer.header("vary"), Some("accept-encoding"), "{path}");
                let length = answer.header("content-length");
                assert_eq!(length.is_some(), length_is_known, "{path}");
                assert!(answer.body.len() < lines(count).len() / 2, "{path}");
                assert!(decoded(coding, &answer.body) == lines(count), "{path}");
                let plain = get(&mut client, path, "identity");
                assert_eq!(plain.header("content-encoding"), None, "{path}");
                assert!(plain.text() == lines(count), "{path}");
            }
            // A part of a file is a part of its plain bytes.
            let name = name(coding);
            client.send(format!(
                "GET /file/lines.txt HTTP/1.1\r\nhost: a\r\naccept-encoding: {name}\r\n\
                 range: bytes=0-2047\r\n\r\n"
            ));
            let part = client.answer();
            assert_eq!((part.status, part.header("content-encoding")), (206, None));
            assert!(part.text() == &lines(200)[..2048]);
        }
        drop(client);
        site.end();
        std::fs::remove_dir_all(path).unwrap();
    });
}

#[test]
fn a_client_that_has_the_compressed_file_gets_a_304() {
    on_a_shard(|| {
        let path = std::env::temp_dir().join(format!("ethreads-304-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("a.txt"), lines(500)).unwrap();
        let files = Files::new(&path).unwrap();
        let site = Site::new(App::new().get("/{*path}", files).apply(compression()));
        let mut client = site.connect();
        let accepted = name(CODINGS[0]);
        let answer = get(&mut client, "/a.txt", accepted);
        let tag = answer.header("etag").unwrap();
        assert!(tag.starts_with("W/\""), "{tag}");
        assert_eq!(answer.header("accept-ranges"), None);
        client.send(format!(
            "GET /a.txt HTTP/1.1\r\nhost: a\r\naccept-encoding: {accepted}\r\n\
             if-none-match: {tag}\r\n\r\n"
        ));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("etag")), (304, Some(tag)));
        drop(client);
        site.end();
        std::fs::remove_dir_all(path).unwrap();
    });
}

/// Reads the body of a chunked response, piece by piece, as it arrives.
struct Chunks<'a> {
    client: &'a mut Client,
    rest: Vec<u8>,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.client.chunk();
        }
        let got = self.rest.len().min(buf.len());
        buf[..got].copy_from_slice(&self.rest[..got]);
        self.rest.drain(..got);
        Ok(got)
    }
}

#[test]
fn each_event_is_delivered_before_the_next_one_is_made() {
    on_a_shard(|| {
        let (sender, receiver) = channel::unbounded::<channel::Receiver<u32>>();
        let events = move || {
            let numbers = receiver.recv().unwrap();
            Sse::new(move |events| {
                while let Ok(n) = numbers.recv() {
                    events.send(Event::new().data(&format!("event {n}")))?;
                }
                Ok(())
            })
        };
        let site = Site::new(App::new().get("/", events).apply(compression()));
        for &coding in CODINGS {
            let (numbers, source) = channel::unbounded();
            sender.send(source).unwrap();
            let mut client = site.connect();
            let name = name(coding);
            client.send(format!(
                "GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: {name}\r\n\r\n"
            ));
            assert_eq!(client.head().header("content-encoding"), Some(name));
            let chunks = Chunks {
                client: &mut client,
                rest: Vec::new(),
            };
            let mut plain = decoder(coding, chunks);
            for n in 0..5 {
                numbers.send(n).unwrap();
                let expected = format!("data: event {n}\n\n");
                let mut event = vec![0; expected.len()];
                plain.read_exact(&mut event).unwrap();
                assert_eq!(str::from_utf8(&event).unwrap(), expected);
            }
            drop(numbers);
            let mut end = Vec::new();
            plain.read_to_end(&mut end).unwrap();
            assert!(end.is_empty());
        }
        site.end();
    });
}

#[test]
fn a_drain_ends_a_compressed_stream_of_events_in_order() {
    on_a_shard(|| {
        for &coding in CODINGS {
            let events = || {
                Sse::new(|events| {
                    events.send(Event::new().data("one"))?;
                    loop {
                        thread::park();
                    }
                })
            };
            let site = Site::new(App::new().get("/", events).apply(compression()));
            let mut client = site.connect();
            let name = name(coding);
            client.send(format!(
                "GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: {name}\r\n\r\n"
            ));
            client.head();
            let chunks = Chunks {
                client: &mut client,
                rest: Vec::new(),
            };
            let mut plain = decoder(coding, chunks);
            let mut event = [0; 11];
            plain.read_exact(&mut event).unwrap();
            assert_eq!(&event, b"data: one\n\n");
            site.handle.drain(LONG);
            // The end of the coding, and of the body.
            let mut rest = Vec::new();
            plain.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty());
            drop(plain);
            client.finish();
            site.served.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_body_that_fails_is_not_ended() {
    on_a_shard(|| {
        let broken = || {
            let body = Body::writer(|out| {
                out.write_all(lines(100).as_bytes())?;
                out.flush()?;
                Err(io::Error::other("on purpose"))
            });
            ([("content-type", "text/plain")], body)
        };
        let app = App::new()
            .get("/broken", broken)
            .get("/whole", || lines(100));
        let site = Site::new(app.apply(compression()));
        for &coding in CODINGS {
            let name = name(coding);
            let mut client = site.connect();
            client.send(format!(
                "GET /broken HTTP/1.1\r\nhost: a\r\naccept-encoding: {name}\r\n\r\n"
            ));
            let output = client.rest_bytes();
            assert!(!output.ends_with(b"0\r\n\r\n"));
            // The next response with the same encoder is sound.
            let answer = get(&mut site.connect(), "/whole", name);
            assert_eq!(decoded(coding, &answer.body), lines(100));
        }
        site.end();
    });
}

#[test]
fn a_long_body_leaves_others_their_turns() {
    on_a_shard(|| {
        let text = Rc::new(lines(200_000));
        let body = text.clone();
        let app = App::new()
            .get("/long", move || body.to_string())
            .apply(compression());
        let site = Site::new(app);
        for &coding in CODINGS {
            let mut long = site.connect();
            let reader = thread::spawn(move || get(&mut long, "/long", name(coding)));
            let mut turns = 0;
            while !reader.is_finished() {
                thread::yield_now();
                turns += 1;
            }
            // At least one for each 64 KiB.
            assert!(turns > text.len() / 65_536, "{coding:?}: {turns}");
            let answer = reader.join().unwrap();
            assert!(decoded(coding, &answer.body) == *text);
        }
        site.end();
    });
}

#[test]
fn an_old_client_gets_a_body_until_the_end() {
    on_a_shard(|| {
        let app = App::new().get("/", || lines(50_000)).apply(compression());
        let site = Site::new(app);
        for &coding in CODINGS {
            let mut client = site.connect();
            client.send(format!(
                "GET / HTTP/1.0\r\naccept-encoding: {}\r\n\r\n",
                name(coding)
            ));
            let head = client.head();
            assert_eq!(head.header("transfer-encoding"), None);
            assert!(decoded(coding, &client.rest_bytes()) == lines(50_000));
        }
        site.end();
    });
}
