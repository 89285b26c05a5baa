//! Arbitrary exchanges with a served connection, and what must hold for each of them.
//!
//! An input is a program: its bytes say what is sent, and where the stream is cut. The fuzz target
//! and the corpus test both include this file.

use ethreads::http::Limits;

use crate::http::feed::{Cuts, Feed, Outcome, Target, responses};

/// Pieces of streams, so that a fuzzer need not find them byte by byte. The corpus refers to them
/// by number, so new pieces go to the end.
const FRAGMENTS: [&str; 32] = [
    "GET / HTTP/1.1\r\n",
    "POST / HTTP/1.1\r\n",
    "host: a\r\n",
    "\r\n",
    "content-length: 5\r\n",
    "transfer-encoding: chunked\r\n",
    "connection: close\r\n",
    "connection: keep-alive\r\n",
    "expect: 100-continue\r\n",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "trailer: x\r\n",
    "GET / HTTP/1.0\r\n",
    "HEAD / HTTP/1.1\r\n",
    "POST /unread HTTP/1.1\r\n",
    "POST /part HTTP/1.1\r\n",
    "POST /slowly HTTP/1.1\r\n",
    "POST /stream HTTP/1.1\r\n",
    "GET /nothing HTTP/1.1\r\n",
    "GET /close HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "GET http://b/c?d HTTP/1.1\r\n",
    "PUT /stream HTTP/1.0\r\n",
    "content-length: ",
    "transfer-encoding: ",
    "x: y\r\n",
    ";a=\"b\"",
    "chunked",
    " HTTP/",
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
];

/// Longer streams find nothing that shorter streams do not find.
const LONGEST: usize = 4096;

/// A server with the default limits, and a server with limits that are reached soon.
pub(crate) struct Servers {
    usual: Target,
    narrow: Target,
}

impl Servers {
    pub(crate) fn new() -> Self {
        let mut limits = Limits::default();
        limits.head_bytes = 128;
        limits.request_line_bytes = 32;
        limits.fields = 4;
        limits.body_bytes = 8;
        limits.chunk_extension_bytes = 8;
        limits.trailer_bytes = 16;
        Self {
            usual: Target::unix(Limits::default()),
            narrow: Target::unix(limits),
        }
    }

    /// Sends a stream whole and in pieces, and compares the outcomes.
    pub(crate) fn exchange(&self, data: &[u8]) {
        let Some((mode, program)) = data.split_first() else {
            return;
        };
        let target = if mode % 2 == 0 {
            &self.usual
        } else {
            &self.narrow
        };
        let (input, cuts) = stream(program);
        let ways = [Cuts::None, Cuts::All(&cuts)];
        let outcomes = target.outcomes(&ways.map(|cuts| Feed {
            input: &input,
            cuts,
        }));
        let [whole, pieces] = &outcomes[..] else {
            unreachable!("an outcome for each way")
        };
        for outcome in &outcomes {
            check(&input, outcome);
        }
        // If the peer waits for a 100 before it sends a body, whether the server waits for an
        // unread body depends on whether the body has begun to arrive (RFC 9110 section 10.1.1).
        if !contains(&input, b"100-continue") {
            assert_eq!(words(pieces), words(whole), "{}", input.escape_ascii());
            // A request that must be refused may be refused before or after the peer's end.
            if pieces.last_words.is_empty() && whole.last_words.is_empty() {
                assert_eq!(pieces.closed, whole.closed, "{}", input.escape_ascii());
            }
        }
    }

    #[allow(dead_code, reason = "those of the fuzzer live as long as it does")]
    pub(crate) fn end(self) {
        self.usual.end();
        self.narrow.end();
    }
}

/// Runs the program: returns what is sent, and where it is cut.
fn stream(program: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut input = Vec::new();
    let mut cuts = Vec::new();
    for &byte in program {
        if input.len() > LONGEST {
            break;
        }
        match byte {
            0..=0x1f => input.extend_from_slice(FRAGMENTS[usize::from(byte)].as_bytes()),
            // Text stands for itself, so that a corpus is readable and a dictionary works.
            0x20..=0x7f => input.push(byte),
            // Control characters, and the digits.
            0x80..=0xbf => input.push(byte & 0x3f),
            0xc0..=0xdf => cuts.push(input.len()),
            0xe0..=0xff => input.push(byte),
        }
    }
    (input, cuts)
}

/// Checks what must hold for every single outcome.
fn check(input: &[u8], outcome: &Outcome) {
    let words = words(outcome);
    let mut responses = responses(&words);
    let Some(first) = responses.next() else {
        assert_eq!(words, "", "{}", input.escape_ascii());
        return;
    };
    assert_eq!(first, 0, "{}", input.escape_ascii());
    let last = responses.last().unwrap_or(first);
    // RFC 9112 section 9.6: a server that closes says so, and sends nothing after that answer. To
    // HTTP/1.0 an answer without `keep-alive` says so too.
    let says_close = words.matches("\r\nconnection: close\r\n").count();
    assert!(says_close <= 1, "{}", input.escape_ascii());
    if says_close == 1 {
        assert!(words[last..].contains("\r\nconnection: close\r\n"));
    } else {
        // An answer that goes out before the end of the body cannot know how the body ends.
        let unread = contains(input, b"/unread")
            || contains(input, b"/part")
            || words.contains("HTTP/1.1 413 ");
        assert!(
            !outcome.closed || contains(input, b"HTTP/1.0") || unread,
            "closed without a word: {}",
            input.escape_ascii()
        );
    }
}

fn words(outcome: &Outcome) -> String {
    outcome.answers.clone() + &outcome.last_words
}

fn contains(input: &[u8], wanted: &[u8]) -> bool {
    let mut places = input.windows(wanted.len());
    places.any(|window| window.eq_ignore_ascii_case(wanted))
}
