//! Chunked bodies, whole and in pieces: `ethreads::http::fuzzing::chunked`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ethreads::http::fuzzing::chunked(data));
