//! Request heads.
#![forbid(unsafe_code)]

use http::{Method, Version};

use super::settings::settings;
use crate::http::message::Target;
use crate::http::proto::ProtoError;
use crate::http::proto::framing::{BodyLength, Framing};
use crate::http::proto::grammar::is_token_byte;
use crate::http::proto::head::RequestHead;
use crate::http::proto::limits::Limits;

/// The outcome of parsing a head, in owned form.
#[derive(Debug, PartialEq)]
enum Outcome {
    Head(usize, Parsed),
    Refused(ProtoError),
    Incomplete,
}

#[derive(Debug, PartialEq)]
struct Parsed {
    method: Method,
    target: String,
    version: Version,
    fields: Vec<(String, Vec<u8>)>,
    framing: Framing,
}

/// Parses a head whole and in pieces, and checks what was accepted.
///
/// # Panics
///
/// If the parser has a fault.
pub fn head(data: &[u8]) {
    let Some((mode, cuts, input)) = settings(data) else {
        return;
    };
    let limits = limits(mode);
    let whole = feed(input, &limits, [input.len()]);
    let pieces = feed(input, &limits, [cuts[0], cuts[1], input.len()]);
    assert_eq!(pieces, whole, "cut at {cuts:?}");
    if input.len() < 512 {
        assert_eq!(feed(input, &limits, 0..=input.len()), whole, "byte by byte");
    }
    let Outcome::Head(len, parsed) = whole else {
        return;
    };
    check_successors(&input[..len], &input[len..], &limits, mode);
    assert!(len <= limits.head_bytes && parsed.fields.len() <= limits.fields);
    // The head ends no sooner than at `len`: without its last byte it is incomplete.
    assert_eq!(
        feed(&input[..len - 1], &limits, [len - 1]),
        Outcome::Incomplete
    );
    parsed.check();
    let again = parsed.written();
    let generous = Limits {
        head_bytes: 1 << 20,
        request_line_bytes: 1 << 20,
        ..limits
    };
    assert_eq!(
        feed(&again, &generous, [again.len()]),
        Outcome::Head(again.len(), parsed),
        "written again"
    );
}

/// Request lines to put before fields that the parser knows already.
const LINES: [&str; 8] = [
    "GET / HTTP/1.1\r\n",
    "POST /a?b HTTP/1.0\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "GET http://a/ HTTP/1.1\r\n",
    "GET / HTTP/1.1\n",
    "\r\nGET / HTTP/1.1\r\n",
    "CONNECT a:1 HTTP/1.1\r\n",
    "GET  / HTTP/2.0\r\n",
];

/// Parses inputs that may follow `head` on its connection: the head parsed before must make no
/// difference.
fn check_successors(head: &[u8], rest: &[u8], limits: &Limits, mode: u8) {
    let line_end = head
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = LINES[usize::from(mode >> 1) % LINES.len()].as_bytes();
    let similar = [line, &head[line_end..], rest].concat();
    for next in [rest, &[head, rest].concat(), &similar] {
        let fresh = feed(next, limits, [next.len()]);
        for ends in [[next.len(); 2], [next.len() / 2, next.len()]] {
            let mut used = RequestHead::new();
            let first = feed_to(&mut used, head, limits, [head.len()]);
            assert!(matches!(first, Outcome::Head(..)), "{first:?}");
            assert_eq!(
                feed_to(&mut used, next, limits, ends),
                fresh,
                "after another"
            );
        }
    }
}

/// The default limits, or small ones that are reached soon.
fn limits(mode: u8) -> Limits {
    if mode & 1 == 0 {
        return Limits::default();
    }
    Limits {
        head_bytes: 64,
        request_line_bytes: 24,
        fields: 3,
        ..Limits::default()
    }
}

/// Feeds `input` in pieces that end at `ends`, then the end of the stream.
fn feed(input: &[u8], limits: &Limits, ends: impl IntoIterator<Item = usize>) -> Outcome {
    feed_to(&mut RequestHead::new(), input, limits, ends)
}

fn feed_to(
    head: &mut RequestHead,
    input: &[u8],
    limits: &Limits,
    ends: impl IntoIterator<Item = usize>,
) -> Outcome {
    for end in ends {
        let buf = &input[..end];
        match head.parse(buf, limits) {
            Ok(None) => {}
            Err(error) => return Outcome::Refused(error),
            Ok(Some(len)) => {
                let fields = head.headers(buf).iter();
                let parsed = Parsed {
                    method: head.method().clone(),
                    target: head.target().into(),
                    version: head.version(),
                    fields: fields
                        .map(|(name, value)| (name.into(), value.into()))
                        .collect(),
                    framing: head.framing(),
                };
                return Outcome::Head(len, parsed);
            }
        }
    }
    match head.check_incomplete(input, limits) {
        Err(error) => Outcome::Refused(error),
        Ok(()) => Outcome::Incomplete,
    }
}

impl Parsed {
    /// Checks the properties of every accepted head, independently of the parser.
    fn check(&self) {
        assert_ne!(self.method, Method::CONNECT);
        assert!(self.method.as_str().bytes().all(is_token_byte));
        assert!(self.target.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(Target::parse(&self.method, &self.target).is_some());
        for (name, value) in &self.fields {
            assert!(
                !name.is_empty() && name.bytes().all(is_token_byte),
                "{name}"
            );
            let is_control = |byte: &u8| *byte != b'\t' && byte.is_ascii_control();
            assert!(!value.iter().any(is_control), "{name}: {value:?}");
            let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
            assert!(!is_space(value.first()) && !is_space(value.last()));
        }
        self.check_framing();
    }

    fn check_framing(&self) {
        let is_http10 = self.version == Version::HTTP_10;
        let hosts = self.values("host").count();
        assert!(hosts == 1 || is_http10 && hosts == 0, "{hosts} hosts");
        let length: Vec<_> = self.values("content-length").collect();
        // RFC 9110 section 5.6.1: a list may have empty elements.
        let coding: Vec<_> = self.values("transfer-encoding").collect();
        let coding = coding.join(",");
        let coding = coding
            .split(',')
            .map(|coding| coding.trim_matches([' ', '\t']));
        let coding: Vec<_> = coding.filter(|coding| !coding.is_empty()).collect();
        let body = match (&length[..], &coding[..]) {
            ([], []) => BodyLength::None,
            ([digits], []) => {
                assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
                BodyLength::Known(digits.parse().unwrap_or_else(|_| panic!("{digits}")))
            }
            ([], ["chunked"]) if !is_http10 => BodyLength::Chunked,
            other => panic!("accepted {other:?}"),
        };
        assert_eq!(self.framing.body, body);
        let has_option = |wanted| {
            let mut lists = self.values("connection");
            lists.any(|list| {
                list.split(',')
                    .any(|option| option.trim_matches([' ', '\t']) == wanted)
            })
        };
        let keep_alive = !has_option("close") && (!is_http10 || has_option("keep-alive"));
        assert_eq!(self.framing.keep_alive, keep_alive);
    }

    /// The values of a field, in lower case.
    fn values(&self, name: &str) -> impl Iterator<Item = String> {
        let fields = self.fields.iter();
        let fields = fields.filter(move |(key, _)| key.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase())
    }

    /// The same head in its simplest form.
    fn written(&self) -> Vec<u8> {
        let minor = u8::from(self.version == Version::HTTP_11);
        let mut head = format!("{} {} HTTP/1.{minor}\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}
