//! Whole exchanges with a server on a Unix socket, in this process: see `exchange.rs` there.
#![no_main]

#[path = "../../tests/it/http/exchange.rs"]
mod exchange;
#[path = "../../tests/it/http/feed.rs"]
#[allow(dead_code)]
mod feed;

/// The modules at the paths that they have in the tests.
mod http {
    pub(crate) use crate::feed;
}

use exchange::Servers;

thread_local! {
    // The fuzzer's main thread is the shard. The servers live as long as the process does.
    static SERVERS: &'static Servers = Box::leak(Box::new(Servers::new()));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| SERVERS.with(|servers| servers.exchange(data)));
