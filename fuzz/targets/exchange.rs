//! Whole exchanges with a server on a Unix socket, in this process: see `http_exchange.rs`.
#![no_main]

#[path = "../../tests/it/http_exchange.rs"]
mod http_exchange;
#[path = "../../tests/it/http_feed.rs"]
#[allow(dead_code)]
mod http_feed;

use http_exchange::Servers;

thread_local! {
    // The fuzzer's main thread is the shard. The servers live as long as the process does.
    static SERVERS: &'static Servers = Box::leak(Box::new(Servers::new()));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| SERVERS.with(|servers| servers.exchange(data)));
