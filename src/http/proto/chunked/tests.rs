use proptest::prelude::*;

use super::*;
use crate::http::proto::encode::{LAST_CHUNK, write_chunk};

/// The decoded body with the bytes used up, or the refusal; `None` if the body is incomplete.
type Outcome = Option<Result<(Vec<u8>, usize), ProtoError>>;

/// Feeds `input` in pieces that end at `ends` and takes out at most `room` bytes at a time.
fn feed(
    input: &[u8],
    limits: &Limits,
    ends: impl IntoIterator<Item = usize>,
    room: usize,
) -> Outcome {
    let mut decoder = ChunkedDecoder::new(limits);
    let mut body = Vec::new();
    let mut at = 0;
    for end in ends {
        let mut offence = false;
        loop {
            let mut dst = vec![0; room];
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

/// Decodes whole, byte by byte, at every split in two, and by runs; all must be the same.
#[track_caller]
fn decode_with(input: &[u8], limits: &Limits) -> Outcome {
    let whole = feed(input, limits, [input.len()], 64);
    assert_eq!(
        feed(input, limits, 0..=input.len(), 1),
        whole,
        "byte by byte"
    );
    for split in 0..input.len() {
        assert_eq!(
            feed(input, limits, [split, input.len()], 3),
            whole,
            "split at {split}"
        );
    }
    assert_eq!(by_runs(input, limits), whole, "by runs");
    whole
}

/// Bypasses the decoder for data, as a caller does that reads data straight into its own buffer.
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

#[track_caller]
fn accept(input: &str, expected: &str) {
    let rest = "GET / HTTP/1.1";
    let outcome = decode_with(format!("{input}{rest}").as_bytes(), &Limits::default());
    assert_eq!(
        outcome,
        Some(Ok((expected.into(), input.len()))),
        "{input:?}"
    );
}

#[track_caller]
fn refuse(input: &str, expected: ProtoError) {
    let outcome = decode_with(input.as_bytes(), &Limits::default());
    assert_eq!(outcome, Some(Err(expected)), "{input:?}");
}

/// However much is received at once: otherwise the reader of the data would see a difference.
#[test]
fn the_data_before_an_offence_is_given_first() {
    for input in [
        "3\r\nabc\r\nx",
        "3\r\nabcx",
        "3\r\nabc\r\n0;\x01",
        "3\r\nabc\r\n0\r\n:",
    ] {
        let mut decoder = ChunkedDecoder::new(&Limits::default());
        let mut dst = [0; 8];
        let progress = decoder.decode(input.as_bytes(), &mut dst).unwrap();
        let expected = Progress {
            consumed: input.len() - 1,
            produced: 3,
            done: false,
        };
        assert_eq!(progress, expected, "{input:?}");
        let rest = &input.as_bytes()[progress.consumed..];
        assert!(decoder.decode(rest, &mut dst).is_err(), "{input:?}");
    }
}

#[test]
fn chunks_rfc9112_7_1() {
    accept("0\r\n\r\n", "");
    accept("5\r\nhello\r\n0\r\n\r\n", "hello");
    accept(
        "1\r\na\r\nA\r\n0123456789\r\na\r\nabcdefghij\r\n000\r\n\r\n",
        "a0123456789abcdefghij",
    );
    accept("2\r\n\r\n\r\n0\r\n\r\n", "\r\n");
    accept("0000000000000002\r\nab\r\n0\r\n\r\n", "ab");
    accept(
        "000000000000000000002\r\nab\r\n00000000000000000000\r\n\r\n",
        "ab",
    );
    for input in [
        "",
        "5",
        "5\r",
        "5\r\nhell",
        "5\r\nhello",
        "0\r\n",
        "0\r\n\r",
        "0\r\na: b\r\n",
    ] {
        assert_eq!(
            decode_with(input.as_bytes(), &Limits::default()),
            None,
            "{input:?}"
        );
    }
}

#[test]
fn sizes_are_hexadecimal_and_bounded_rfc9112_7_1() {
    let mut decoder = ChunkedDecoder::new(&Limits::default());
    let progress = decoder.decode(b"ffffffffffffffff\r\nx", &mut []).unwrap();
    assert_eq!(progress.consumed, 18);
    assert_eq!(decoder.data_run(), u64::MAX);
    refuse("10000000000000000\r\n", ProtoError::ChunkSizeTooLarge);
    refuse("00ffffffffffffffff0\r\n", ProtoError::ChunkSizeTooLarge);
    for (input, got) in [
        ("\r\n", b'\r'),
        ("g\r\n", b'g'),
        ("-1\r\n", b'-'),
        ("+1\r\n", b'+'),
        (" 1\r\n", b' '),
        ("0x1\r\n", b'x'),
        ("1g\r\n", b'g'),
        ("1_0\r\n", b'_'),
        (";a\r\n", b';'),
        ("1.0\r\n", b'.'),
        ("\n", b'\n'),
    ] {
        refuse(input, ProtoError::ChunkSize { got });
    }
}

#[test]
fn line_ends_are_exact_rfc9112_7_1() {
    for (input, got) in [
        ("1\na\r\n", b'\n'),
        ("1\ra\r\n", b'a'),
        ("1\r\nab\r\n", b'b'),
        ("1\r\na\n", b'\n'),
        ("1\r\na\rb", b'b'),
        ("1\r\na\r\r\n", b'\r'),
        ("0\r\n\r\r", b'\r'),
        ("0\n\n", b'\n'),
        ("0\r\n\ra", b'a'),
        ("0\r\na: b\rc\r\n\r\n", b'c'),
    ] {
        refuse(input, ProtoError::ChunkLineEnd { got });
    }
}

#[test]
fn extensions_rfc9112_7_1_1() {
    for extension in [
        ";a",
        ";a=b",
        ";a=\"b\"",
        ";a;b",
        " ;a",
        ";\ta",
        ";a =b",
        ";a= b",
        ";a=b ;c",
        ";a=\"\"",
        ";a=\"\\\"\"",
        "\t; a = \"b;c=d\" ; e",
        ";a=\"\\\t \u{e9}\"",
    ] {
        accept(&format!("1{extension}\r\nx\r\n0{extension}\r\n\r\n"), "x");
    }
    for (extension, got) in [
        (";", b'\r'),
        (" ", b'\r'),
        (";a ", b'\r'),
        (";a=", b'\r'),
        (";a=b ", b'\r'),
        (" a", b'a'),
        (";;", b';'),
        (";=b", b'='),
        (";a==", b'='),
        (";a=\"b\"c", b'c'),
        (";a=\"\n\"", b'\n'),
        (";a=\"\r\"", b'\r'),
        (";a\n", b'\n'),
        (";a=\"\\\x01\"", 1),
        (";a b", b'b'),
        (";(", b'('),
        (";a=\0", 0),
    ] {
        refuse(
            &format!("1{extension}\r\nx\r\n0\r\n\r\n"),
            ProtoError::ChunkExtension { got },
        );
    }
}

#[test]
fn trailers_rfc9112_7_1_2() {
    accept("0\r\na: b\r\n\r\n", "");
    accept("1\r\nx\r\n0\r\nChecksum:abc\tdef\u{e9}\r\nE:\r\n\r\n", "x");
    for (trailer, got) in [
        (": b", b':'),
        (" a: b", b' '),
        ("a : b", b' '),
        ("a\r\n", b'\r'),
        ("a: \0", 0),
        ("a: b\r\n c", b' '),
        ("a: b\n", b'\n'),
        ("\u{7f}", 0x7f),
    ] {
        refuse(
            &format!("0\r\n{trailer}\r\n\r\n"),
            ProtoError::Trailer { got },
        );
    }
}

#[test]
fn extension_and_trailer_limits() {
    let limits = Limits {
        chunk_extension_bytes: 4,
        trailer_bytes: 6,
        ..Limits::default()
    };
    let run = |input: &str| {
        decode_with(input.as_bytes(), &limits)
            .unwrap()
            .map(|(_, len)| len)
    };
    // `;ab` and CR are four bytes; the limit is for all chunks together.
    assert_eq!(run("1;ab\r\nx\r\n0\r\n\r\n"), Ok(14));
    let too_large = Err(ProtoError::ChunkExtensionsTooLarge { limit: 4 });
    assert_eq!(run("1;abc\r\nx\r\n0\r\n\r\n"), too_large);
    assert_eq!(run("1;a\r\nx\r\n0;a\r\n\r\n"), too_large);
    assert_eq!(run("1;abcdefghijklmnopqrstuvwxyz"), too_large);

    assert_eq!(run("0\r\na:bc\r\n\r\n"), Ok(11));
    let too_large = Err(ProtoError::TrailerTooLarge { limit: 6 });
    assert_eq!(run("0\r\na:bcd\r\n\r\n"), too_large);
    assert_eq!(run("0\r\na:\r\nb:\r\n\r\n"), too_large);
    assert_eq!(run("0\r\nabcdefghijklmnopqrstuvwxyz"), too_large);
}

#[test]
fn an_empty_destination_takes_framing_only() {
    let mut decoder = ChunkedDecoder::new(&Limits::default());
    let progress = decoder.decode(b"2\r\nab", &mut []).unwrap();
    assert_eq!(
        progress,
        Progress {
            consumed: 3,
            produced: 0,
            done: false
        }
    );
    assert_eq!(decoder.data_run(), 2);
}

#[test]
#[should_panic(expected = "no more data is taken than the chunk has")]
fn taking_more_than_the_run_is_a_bug() {
    let mut decoder = ChunkedDecoder::new(&Limits::default());
    decoder.decode(b"2\r\n", &mut []).unwrap();
    decoder.advance(3);
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "\r\n", "0\r\n", "2\r\nab", ";a=b", ";a=\"", "a: b\r\n", "f", "\r", " ",
    ];
    let known = prop::sample::select(known.to_vec()).prop_map(|piece| piece.as_bytes().to_vec());
    let piece = prop_oneof![6 => known, 1 => prop::collection::vec(any::<u8>(), 0..4)];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn encoding_round_trips_at_random_splits(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        mut splits in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        room in 1..100_usize,
    ) {
        let mut wire = Vec::new();
        chunks.iter().for_each(|chunk| write_chunk(&mut wire, chunk));
        wire.extend_from_slice(LAST_CHUNK);
        let len = wire.len();
        wire.extend_from_slice(b"next");
        splits.sort_by_key(|split| split.index(len));
        let ends = splits.iter().map(|split| split.index(len)).chain([wire.len()]);
        let outcome = feed(&wire, &Limits::default(), ends, room);
        prop_assert_eq!(outcome, Some(Ok((chunks.concat(), len))));
    }

    #[test]
    fn arbitrary_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..100)) {
        decode_with(&input, &Limits::default());
    }

    #[test]
    fn splits_never_change_the_outcome(input in noise()) {
        let limits = Limits { chunk_extension_bytes: 9, trailer_bytes: 9, ..Limits::default() };
        decode_with(&input, &limits);
    }
}
