//! Files as response bodies.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use ethreads::http::{Body, Request, Result};

use crate::http::util::{SHORT, Site, on_a_shard, timeouts};

/// A file with bytes in which every mistake of order shows.
struct Sample {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Sample {
    fn new(name: &str, len: usize) -> Self {
        let path = std::env::temp_dir().join(format!("ethreads-{name}-{}", std::process::id()));
        let bytes: Vec<u8> = (0..len)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        fs::write(&path, &bytes).unwrap();
        Self { path, bytes }
    }

    fn open(&self) -> File {
        File::open(&self.path).unwrap()
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        fs::remove_file(&self.path).unwrap();
    }
}

#[test]
fn files_of_all_sizes_arrive_whole() {
    on_a_shard(|| {
        for len in [0, 1, 100, 16_384, 16_385, 262_144, 262_145, 3_000_000] {
            let sample = Sample::new("whole", len);
            let path = sample.path.clone();
            let site = Site::new(move |_: &mut Request| -> Result<Body> {
                Ok(Body::file(File::open(&path)?)?)
            });
            let mut client = site.connect();
            // Pipelined, so that the order of answers shows.
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3));
            for _ in 0..3 {
                let answer = client.answer();
                assert_eq!(answer.header("content-length"), Some(&*len.to_string()));
                assert!(answer.body == sample.bytes, "{len} bytes");
            }
            client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
            let head = client.head();
            // A HEAD response without a body may come from a handler that left the body out, so a
            // length of 0 is not announced.
            let announced = (len > 0).then(|| len.to_string());
            assert_eq!(head.header("content-length"), announced.as_deref());
            client.finish();
            client.end();
            site.end();
        }
    });
}

#[test]
fn a_file_that_is_not_in_memory_arrives_whole() {
    use rustix::fs::{Advice, fadvise};
    on_a_shard(|| {
        let sample = Sample::new("cold", 2_000_000);
        let path = sample.path.clone();
        let site = Site::new(move |_: &mut Request| -> Result<Body> {
            let file = File::open(&path)?;
            // The kernel gives up only clean pages.
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
            Ok(Body::file(file)?)
        });
        let mut client = site.connect();
        for _ in 0..3 {
            assert!(client.get("/").body == sample.bytes);
        }
        site.end();
    });
}

#[test]
fn ranges() {
    on_a_shard(|| {
        let sample = Sample::new("ranges", 1_000_000);
        let file = Arc::new(sample.open());
        let site = Site::new(move |request: &mut Request| {
            let numbers = request
                .query_pairs()
                .map(|(_, value)| value.parse().unwrap());
            let numbers: Vec<u64> = numbers.collect();
            Body::file_range(file.clone(), numbers[0], numbers[1])
        });
        let mut client = site.connect();
        for (offset, len) in [
            (0, 10),
            (7, 20_000),
            (300_000, 700_000),
            (999_999, 1),
            (5, 0),
        ] {
            let answer = client.get(&format!("/?at={offset}&len={len}"));
            assert!(
                answer.body == sample.bytes[offset..offset + len],
                "{offset} {len}"
            );
        }
        site.end();
    });
}

#[test]
fn a_file_that_is_too_short_ends_the_connection() {
    on_a_shard(|| {
        let sample = Sample::new("short", 300_000);
        let file = Arc::new(sample.open());
        let site = Site::new(move |request: &mut Request| match request.path() {
            "/small" => Body::file_range(file.clone(), 299_990, 100),
            "/large" => Body::file_range(file.clone(), 0, 300_001),
            _ => Body::file_range(file.clone(), 1_000_000, u64::MAX),
        });
        for (path, expected) in [("/small", 10), ("/large", 300_000), ("/beyond", 0)] {
            let mut client = site.connect();
            client.send(format!(
                "GET {path} HTTP/1.1\r\nhost: a\r\n\r\nGET /next HTTP/1.1\r\n"
            ));
            client.head();
            // An answer to the next request would be taken for the missing bytes.
            let rest = client.rest_bytes();
            client.finish();
            assert!(
                rest == sample.bytes[300_000 - expected..],
                "{path}: {}",
                rest.len()
            );
        }
        site.end();
    });
}

#[test]
fn only_regular_files() {
    let error = Body::file(File::open("/dev/null").unwrap()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("Body::reader"));
}

#[test]
fn a_peer_that_does_not_read_a_file_is_cut_off() {
    on_a_shard(|| {
        let sample = Sample::new("unread", 32 << 20);
        let file = Arc::new(sample.open());
        let site = Site::with(
            |server| server.timeouts(timeouts(|t| t.write = SHORT)),
            move |_: &mut Request| Body::file_range(file.clone(), 0, 32 << 20),
        );
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        // The head has arrived, so the server has begun to send the file.
        client.head();
        // Only the deadline can end the connection.
        site.end();
        let mut received = Vec::new();
        let _ = client.stream.read_to_end(&mut received);
        assert!(received.len() < 32 << 20);
    });
}
