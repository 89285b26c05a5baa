//! Chunked bodies.
#![forbid(unsafe_code)]

use super::reference::{Chunks, Stop};
use super::settings::settings;
use crate::http::proto::ProtoError;
use crate::http::proto::chunked::ChunkedDecoder;
use crate::http::proto::encode::{LAST_CHUNK, write_chunk};
use crate::http::proto::limits::Limits;

/// The decoded body with the bytes used up, or the refusal; `None` if the body is incomplete.
type Outcome = Option<Result<(Vec<u8>, usize), ProtoError>>;

/// Decodes a body whole, in pieces, by runs that bypass the decoder, and by the reference parser;
/// all must agree. Then encodes the input and decodes it again.
///
/// # Panics
///
/// If the decoder or the encoder has a fault.
pub fn chunked(data: &[u8]) {
    let Some((mode, cuts, input)) = settings(data) else {
        return;
    };
    let limits = limits(mode);
    let room = usize::from(mode >> 1) + 1;
    let whole = feed(input, &limits, [input.len()], input.len().max(1));
    let pieces = feed(input, &limits, [cuts[0], cuts[1], input.len()], room);
    assert_eq!(pieces, whole, "cut at {cuts:?}, room for {room}");
    assert_eq!(
        feed(input, &limits, 0..=input.len(), 1),
        whole,
        "byte by byte"
    );
    assert_eq!(by_runs(input, &limits), whole, "by runs");
    match (&whole, Chunks::new(input).body()) {
        // The reference has no limits.
        (Some(Err(error)), _) if error.is_limit() => {}
        (Some(Ok(decoded)), Ok(reference)) => assert_eq!(*decoded, reference),
        (Some(Err(_)), Err(Stop::Malformed)) | (None, Err(Stop::Incomplete)) => {}
        (decoded, reference) => panic!("{decoded:?}, by the grammar {reference:?}"),
    }
    round_trip(input, cuts);
}

/// The default limits, or small ones that are reached soon.
fn limits(mode: u8) -> Limits {
    if mode & 1 == 0 {
        return Limits::default();
    }
    Limits {
        chunk_extension_bytes: 8,
        trailer_bytes: 16,
        ..Limits::default()
    }
}

/// Feeds `input` in pieces that end at `ends`, and takes out at most `room` bytes at a time.
fn feed(
    input: &[u8],
    limits: &Limits,
    ends: impl IntoIterator<Item = usize>,
    room: usize,
) -> Outcome {
    let mut decoder = ChunkedDecoder::new(limits);
    let mut body = Vec::new();
    let mut dst = vec![0; room];
    let mut at = 0;
    for end in ends {
        let mut offence = false;
        loop {
            let progress = match decoder.decode(&input[at..end], &mut dst) {
                Ok(progress) => progress,
                Err(error) => return Some(Err(error)),
            };
            assert!(!offence, "stopped early");
            at += progress.consumed;
            body.extend_from_slice(&dst[..progress.produced]);
            assert_eq!(progress.done, decoder.is_done());
            if progress.done {
                return Some(Ok((body, at)));
            }
            if at == end {
                break;
            }
            // Fewer bytes than `room` only before a violation, which the next call must report.
            offence = progress.produced < room;
        }
    }
    None
}

/// Bypasses the decoder for data, as a caller does that reads data into its own buffer.
fn by_runs(input: &[u8], limits: &Limits) -> Outcome {
    let mut decoder = ChunkedDecoder::new(limits);
    let mut body = Vec::new();
    let mut at = 0;
    while at < input.len() && !decoder.is_done() {
        match decoder.decode(&input[at..], &mut []) {
            Ok(progress) => at += progress.consumed,
            Err(error) => return Some(Err(error)),
        }
        let run = decoder.data_run().min((input.len() - at) as u64);
        body.extend_from_slice(&input[at..at + run as usize]);
        decoder.advance(run);
        at += run as usize;
    }
    decoder.is_done().then_some(Ok((body, at)))
}

/// Encodes the input as three chunks and decodes them.
fn round_trip(input: &[u8], cuts: [usize; 2]) {
    let mut encoded = Vec::new();
    for piece in [
        &input[..cuts[0]],
        &input[cuts[0]..cuts[1]],
        &input[cuts[1]..],
    ] {
        write_chunk(&mut encoded, piece);
    }
    encoded.extend_from_slice(LAST_CHUNK);
    let len = encoded.len();
    encoded.extend_from_slice(b"next");
    let decoded = feed(&encoded, &Limits::default(), [encoded.len()], 64);
    assert_eq!(
        decoded,
        Some(Ok((input.to_vec(), len))),
        "encoded and decoded"
    );
}
