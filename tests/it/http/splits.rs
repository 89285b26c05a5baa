//! However a stream is cut on its way, the outcome is the same.
//!
//! Each stream of the table goes through the whole connection loop whole, byte by byte and cut in
//! two at every position, alone and with another request right behind it.

use ethreads::http::Limits;

use self::table::{BAD_CHUNKS, BAD_HEADS, BEYOND_LIMITS, Case, GOOD, TORN, small};
use crate::http::feed::{Cuts, Feed, Outcome, Target};
use crate::http::util::on_a_shard;
use crate::support::no_child_begins;

mod table;

/// The number of connections at a time.
const BATCH: usize = 100;

/// A request that follows each case.
const SUCCESSOR: &str = "POST /last HTTP/1.1\r\nhost: z\r\ncontent-length: 4\r\n\r\nlast";

/// Sends `input` cut in each of the ways, and compares the outcomes.
#[track_caller]
fn check_all_cuts(target: &Target, input: &[u8]) -> Outcome {
    let whole = target.outcome(input, Cuts::None);
    let ways: Vec<Cuts<'_>> = (1..input.len())
        .map(Cuts::At)
        .chain([Cuts::Bytes])
        .collect();
    for batch in ways.chunks(BATCH) {
        let feeds: Vec<_> = batch.iter().map(|&cuts| Feed { input, cuts }).collect();
        for (feed, outcome) in feeds.iter().zip(target.outcomes(&feeds)) {
            assert_same(input, feed.cuts, &outcome, &whole);
        }
    }
    whole
}

#[track_caller]
fn assert_same(input: &[u8], cuts: Cuts<'_>, got: &Outcome, whole: &Outcome) {
    let (got, whole) = (got.without_continues(), whole.without_continues());
    assert_eq!(got, whole, "{cuts:?}: {}", input.escape_ascii());
}

#[track_caller]
fn check(target: &Target, input: &str, expected: &str) {
    let alone = check_all_cuts(target, input.as_bytes());
    assert_eq!(alone.summary(), expected, "{input:?}");
    let followed = check_all_cuts(target, [input, SUCCESSOR].concat().as_bytes());
    // A connection that stays open answers the next request, and a closed connection does not.
    let expected = match expected.strip_suffix("open") {
        Some(before) => format!("{before}200 open"),
        None => expected.to_owned(),
    };
    assert_eq!(followed.summary(), expected, "{input:?} and a successor");
}

#[test]
fn good_requests() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let target = Target::unix(Limits::default());
        for Case { input, expected } in GOOD {
            check(&target, input, expected);
        }
        target.end();
    });
}

#[test]
fn bad_heads() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let target = Target::unix(Limits::default());
        for Case { input, expected } in BAD_HEADS {
            check(&target, input, expected);
        }
        target.end();
    });
}

#[test]
fn bad_chunks() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let target = Target::unix(Limits::default());
        for body in BAD_CHUNKS {
            // The handler reads the body, or the server does after the handler.
            for (path, expected) in [("/", "400 closed"), ("/unread", "200 closed")] {
                let head = format!(
                    "POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
                );
                check(&target, &(head + body), expected);
            }
        }
        target.end();
    });
}

#[test]
fn beyond_the_limits() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let target = Target::unix(small());
        for Case { input, expected } in BEYOND_LIMITS {
            check(&target, input, expected);
        }
        target.end();
    });
}

#[test]
fn torn_streams() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let target = Target::unix(Limits::default());
        for Case { input, expected } in TORN {
            let outcome = check_all_cuts(&target, input.as_bytes());
            assert_eq!(outcome.summary(), *expected, "{input:?}");
        }
        target.end();
    });
}

/// TCP has a shortcut that Unix sockets lack: a short read shows that the socket is empty.
#[test]
fn the_same_on_tcp() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let target = Target::tcp(Limits::default());
        for Case { input, expected } in GOOD.iter().chain(BAD_HEADS).chain(TORN) {
            let thirds: Vec<usize> = (0..input.len()).step_by(3).collect();
            let feeds = [Cuts::None, Cuts::Bytes, Cuts::All(&thirds)].map(|cuts| Feed {
                input: input.as_bytes(),
                cuts,
            });
            for outcome in target.outcomes(&feeds) {
                assert_eq!(outcome.summary(), *expected, "{input:?}");
            }
        }
        target.end();
    });
}

/// The peer ends its side after any byte. A head that must be refused may be refused before or
/// after that end. Nothing else may depend on the cuts.
#[test]
fn every_beginning_of_a_stream() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let target = Target::unix(Limits::default());
        for Case { input, .. } in GOOD.iter().chain(BAD_HEADS) {
            let beginnings: Vec<_> = (0..input.len())
                .map(|end| &input.as_bytes()[..end])
                .collect();
            for batch in beginnings.chunks(BATCH) {
                let with = |cuts| {
                    let feeds: Vec<_> = batch.iter().map(|input| Feed { input, cuts }).collect();
                    target.outcomes(&feeds)
                };
                let outcomes = with(Cuts::None).into_iter().zip(with(Cuts::Bytes));
                for (input, (whole, bytes)) in batch.iter().zip(outcomes) {
                    let words = |outcome: &Outcome| outcome.answers.clone() + &outcome.last_words;
                    assert_eq!(words(&bytes), words(&whole), "{}", input.escape_ascii());
                }
            }
        }
        target.end();
    });
}

/// RFC 9110 section 10.1.1: a 100 is sent if no byte of the body has arrived with the head.
#[test]
fn an_expectation_is_answered_where_the_body_has_not_come() {
    let _at_once = no_child_begins();
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    on_a_shard(move || {
        let target = Target::unix(Limits::default());
        let input = [head, "body"].concat();
        let continues = |cuts| target.outcome(input.as_bytes(), cuts).continues;
        assert_eq!(continues(Cuts::None), 0);
        assert_eq!(continues(Cuts::Bytes), 1);
        for cut in 1..input.len() {
            assert_eq!(
                continues(Cuts::At(cut)),
                usize::from(cut == head.len()),
                "{cut}"
            );
        }
        target.end();
    });
}

/// The only outcome that depends on the cuts: a peer that got no 100 may or may not send the unread
/// body, so the start of the next request is in doubt (RFC 9110 section 10.1.1). Once the body has
/// begun to arrive there is no doubt.
#[test]
fn an_expectation_whose_body_is_not_read() {
    let _at_once = no_child_begins();
    let head =
        "POST /unread HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    on_a_shard(move || {
        let target = Target::unix(Limits::default());
        let input = [head, "body", SUCCESSOR].concat();
        for cut in 1..input.len() {
            let outcome = target.outcome(input.as_bytes(), Cuts::At(cut));
            let expected = if cut == head.len() {
                "200 closed"
            } else {
                "200 200 open"
            };
            assert_eq!(outcome.summary(), expected, "{cut}");
            assert_eq!(outcome.continues, 0, "{cut}");
        }
        target.end();
    });
}

/// The end of the server's buffer may fall anywhere in a request. That acts as one more cut, and
/// the received bytes have to be moved.
#[test]
fn the_end_of_the_buffer_may_be_anywhere() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let target = Target::unix(Limits::default());
        let rest = [
            "POST /slowly HTTP/1.1\r\nhost: a\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n\
             3;a\r\nabc\r\nb\r\n01234567890\r\n0\r\nx: y\r\n\r\n",
            "POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nunread",
            "POST /part HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\npartly",
            SUCCESSOR,
        ]
        .concat();
        let expected = target.outcome(rest.as_bytes(), Cuts::None);
        assert_eq!(expected.summary(), "200 200 200 200 open");
        // The buffer has 8 KiB: the padding moves its end through `rest`, and beyond.
        let lengths: Vec<usize> = (8192 - rest.len() - 10..8192 + 10).collect();
        for batch in lengths.chunks(BATCH) {
            let inputs: Vec<String> = batch.iter().map(|&len| padding(len) + &rest).collect();
            let feeds: Vec<_> = inputs
                .iter()
                .map(|input| Feed {
                    input: input.as_bytes(),
                    cuts: Cuts::None,
                })
                .collect();
            for (outcome, len) in target.outcomes(&feeds).iter().zip(batch) {
                assert_eq!(outcome.summary(), "200 200 200 200 200 open", "{len}");
                assert!(outcome.answers.ends_with(&expected.answers), "{len}");
            }
        }
        target.end();
    });
}

/// A request of exactly `len` bytes.
fn padding(len: usize) -> String {
    let (head, end) = ("GET / HTTP/1.1\r\nhost: a\r\nx: ", "\r\n\r\n");
    let fill = "x".repeat(len - head.len() - end.len());
    [head, &fill, end].concat()
}
