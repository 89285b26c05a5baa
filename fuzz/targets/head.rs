//! Request heads, whole and in pieces: `ethreads::http::fuzzing::head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ethreads::http::fuzzing::head(data));
