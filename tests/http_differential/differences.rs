//! The differences between the servers, and why they are right.

use crate::reference::Chunks;
use crate::servers::Seen;

/// The server that this one is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Hyper,
    Trillium,
}

/// The kind of the first difference between two accounts of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The peer passed on a request that this server refused.
    Strict,
    /// This server passed on a request that the peer refused.
    Lenient,
    /// Both passed it on, but only the peer found its body well-formed and whole.
    StrictBody,
    /// Both passed it on, but only this server found its body well-formed and whole.
    LenientBody,
    /// Both passed it on, with different targets.
    Target,
    /// Anything else: there is no good reason for it.
    Other,
}

/// A difference, with the stream that shows it.
pub(super) struct Difference<'a> {
    pub(super) kind: Kind,
    pub(super) peer: Peer,
    /// How many requests before it were the same.
    pub(super) after: usize,
    pub(super) input: &'a [u8],
}

/// A reason to differ.
pub(super) struct Rule {
    pub(super) peers: &'static [Peer],
    pub(super) kind: Kind,
    pub(super) reason: &'static str,
    applies: fn(&Difference<'_>) -> bool,
}

impl Rule {
    pub(super) fn explains(&self, difference: &Difference<'_>) -> bool {
        self.kind == difference.kind
            && self.peers.contains(&difference.peer)
            && (self.applies)(difference)
    }
}

/// The first difference between what this server saw and what the peer saw.
pub(super) fn first<'a>(
    ours: &[Seen],
    mut theirs: Vec<Seen>,
    peer: Peer,
    input: &'a [u8],
) -> Option<Difference<'a>> {
    if peer == Peer::Trillium {
        // Of an absolute-form target trillium reports the path only.
        for (ours, theirs) in ours.iter().zip(&mut theirs) {
            if path_of(&ours.target) == Some(&theirs.target) {
                theirs.target.clone_from(&ours.target);
            }
        }
    }
    let after = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    let kind = match (ours.get(after), theirs.get(after)) {
        (None, None) => return None,
        (None, Some(_)) => Kind::Strict,
        (Some(_), None) => Kind::Lenient,
        (Some(a), Some(b)) => {
            let with_our_body = Seen {
                body: a.body.clone(),
                ..b.clone()
            };
            let with_our_target = Seen {
                target: a.target.clone(),
                ..b.clone()
            };
            match (&a.body, &b.body) {
                (None, Some(_)) if with_our_body == *a => Kind::StrictBody,
                (Some(_), None) if with_our_body == *a => Kind::LenientBody,
                _ if with_our_target == *a => Kind::Target,
                _ => Kind::Other,
            }
        }
    };
    Some(Difference {
        kind,
        peer,
        after,
        input,
    })
}

/// The head, parsed as simply as possible: a rule must not depend on a parser that is tested.
impl<'a> Difference<'a> {
    /// Returns the first request and all that follows, without empty lines before it.
    fn request(&self) -> &'a [u8] {
        let blank = self
            .input
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'));
        &self.input[blank.count()..]
    }

    fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        self.request()
            .split_inclusive(|&byte| byte == b'\n')
            .take_while(|line| !matches!(line, [b'\n'] | [b'\r', b'\n']))
    }

    fn request_line(&self) -> Vec<&'a [u8]> {
        let line = self.lines().next().unwrap_or_default();
        line.trim_ascii_end().split(|&byte| byte == b' ').collect()
    }

    fn method(&self) -> &'a [u8] {
        self.request_line()[0]
    }

    fn target(&self) -> &'a [u8] {
        self.request_line().get(1).copied().unwrap_or_default()
    }

    fn is_http10(&self) -> bool {
        self.request_line().last() == Some(&&b"HTTP/1.0"[..])
    }

    /// Returns the values of a field, in lower case.
    fn values(&self, name: &str) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        for line in self.lines().skip(1) {
            let mut parts = line.splitn(2, |&byte| byte == b':');
            if parts
                .next()
                .unwrap_or_default()
                .eq_ignore_ascii_case(name.as_bytes())
            {
                let value = parts.next().unwrap_or_default();
                let value = value.strip_suffix(b"\n").unwrap_or(value);
                let value = value.strip_suffix(b"\r").unwrap_or(value);
                let start = value.iter().take_while(|&&b| is_space(b)).count();
                let end = value.iter().rev().take_while(|&&b| is_space(b)).count();
                let value = value.get(start..value.len() - end).unwrap_or_default();
                values.push(value.to_ascii_lowercase());
            }
        }
        values
    }

    fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// Returns what follows the fields: the empty line that ends the head, and the body.
    fn ending(&self) -> (&'a [u8], &'a [u8]) {
        let head: usize = self.lines().map(<[u8]>::len).sum();
        let rest = &self.request()[head..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        rest.split_at(end.map_or(rest.len(), |end| end + 1))
    }

    fn empty_line(&self) -> &'a [u8] {
        self.ending().0
    }

    fn body(&self) -> &'a [u8] {
        self.ending().1
    }

    fn is_chunked(&self) -> bool {
        self.has("transfer-encoding")
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

const BOTH: &[Peer] = &[Peer::Hyper, Peer::Trillium];
const HYPER: &[Peer] = &[Peer::Hyper];
const TRILLIUM: &[Peer] = &[Peer::Trillium];

pub(super) const RULES: &[Rule] = &[
    Rule {
        peers: HYPER,
        kind: Kind::Strict,
        reason: "RFC 9112 section 3.2: 400 without a Host in HTTP/1.1, and with several",
        applies: |d| match d.values("host").len() {
            0 => !d.is_http10(),
            hosts => hosts > 1,
        },
    },
    Rule {
        peers: BOTH,
        kind: Kind::Strict,
        reason: "RFC 9112 section 3.2: 400 to a Host that is not a host and a port",
        applies: |d| {
            let hosts = d.values("host");
            hosts.len() == 1 && !is_authority(&hosts[0])
        },
    },
    Rule {
        peers: HYPER,
        kind: Kind::Strict,
        reason: "RFC 9110 section 10.1.1: 417 to an expectation that is not known",
        applies: |d| {
            d.values("expect")
                .iter()
                .any(|value| value != b"100-continue")
                && !d.is_http10()
        },
    },
    Rule {
        peers: HYPER,
        kind: Kind::Strict,
        reason: "RFC 9112 section 6.1: both Content-Length and Transfer-Encoding may be an attack",
        applies: |d| d.has("content-length") && d.has("transfer-encoding"),
    },
    Rule {
        peers: BOTH,
        kind: Kind::Strict,
        reason: "RFC 9110 section 8.6: a Content-Length that is repeated may be refused",
        applies: |d| {
            let lengths = d.values("content-length");
            lengths.len() > 1 || lengths.iter().any(|value| value.contains(&b','))
        },
    },
    Rule {
        peers: HYPER,
        kind: Kind::Strict,
        reason: "RFC 9112 section 6.1: 501 to codings but chunked, which must come once",
        applies: |d| {
            let codings = d.values("transfer-encoding");
            codings.len() > 1 || codings.iter().any(|value| value != b"chunked")
        },
    },
    Rule {
        peers: BOTH,
        kind: Kind::Strict,
        reason: "RFC 9112 section 6.1: Transfer-Encoding in HTTP/1.0 is faulty",
        applies: |d| d.is_http10() && d.has("transfer-encoding"),
    },
    Rule {
        peers: BOTH,
        kind: Kind::Strict,
        reason: "RFC 9112 section 2.2: a recipient may take a bare LF, here in all lines or none",
        applies: |d| {
            let (mut with_cr, mut without) = (false, false);
            for line in d.lines().chain([d.empty_line()]) {
                with_cr |= line.ends_with(b"\r\n");
                without |= line.ends_with(b"\n") && !line.ends_with(b"\r\n");
            }
            with_cr && without
        },
    },
    Rule {
        peers: BOTH,
        kind: Kind::Strict,
        reason: "RFC 9110 section 7.4: 421 to an https target on a connection that is not secured",
        applies: |d| d.target().starts_with(b"https://"),
    },
    Rule {
        peers: BOTH,
        kind: Kind::Strict,
        reason: "RFC 9112 section 3.2: the target has one of four forms, and no fragment",
        applies: |d| {
            let target = d.target();
            let host = target.strip_prefix(b"http://").and_then(<[u8]>::first);
            let http = host.is_some_and(|byte| !b":/?".contains(byte));
            !target.starts_with(b"/") && !http || target.contains(&b'#')
        },
    },
    Rule {
        peers: BOTH,
        kind: Kind::Strict,
        reason: "RFC 9112 section 3: quotes and angle brackets are never sent as they are",
        applies: |d| d.target().iter().any(|byte| b"\"<>".contains(byte)),
    },
    Rule {
        peers: BOTH,
        kind: Kind::Strict,
        reason: "RFC 9110 section 4.2.4: user information is treated as an error",
        applies: |d| d.target().starts_with(b"http") && d.target().contains(&b'@'),
    },
    Rule {
        peers: BOTH,
        kind: Kind::Strict,
        reason: "RFC 9110 section 9.3.6: CONNECT is for proxies",
        applies: |d| d.method() == b"CONNECT",
    },
    Rule {
        peers: BOTH,
        kind: Kind::Strict,
        reason: "RFC 9110 section 7.6.1: `close` is an option beside others that are no text",
        applies: |d| {
            let has_close = |value: &Vec<u8>| value.windows(5).any(|part| part == b"close");
            let lists = d.values("connection");
            d.after == 1
                && lists
                    .iter()
                    .any(|value| has_close(value) && !value.is_ascii())
        },
    },
    Rule {
        peers: TRILLIUM,
        kind: Kind::Strict,
        reason: "RFC 9110 section 10.1.1: a peer that was not told to go on may send its body or \
                 not, so it is not known where its next request begins",
        applies: |d| d.after == 1 && d.has("expect") && d.has("content-length"),
    },
    Rule {
        peers: TRILLIUM,
        kind: Kind::Strict,
        reason: "RFC 9110 section 5.5: control characters but HTAB are invalid in a field value",
        applies: |d| {
            d.lines().skip(1).any(|line| {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                line.iter()
                    .any(|&byte| byte != b'\t' && byte.is_ascii_control())
            })
        },
    },
    Rule {
        peers: TRILLIUM,
        kind: Kind::Lenient,
        reason: "RFC 9110 section 9.1: what a method means is the handler's to know",
        applies: |d| {
            const REGISTERED: [&[u8]; 9] = [
                b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH",
                b"CONNECT",
            ];
            d.after > 0 || !REGISTERED.contains(&d.method())
        },
    },
    Rule {
        peers: TRILLIUM,
        kind: Kind::Lenient,
        reason: "RFC 9112 section 2.2: a recipient may take a bare LF, in all lines or none",
        applies: |d| {
            let blank = d.input.len() - d.request().len();
            d.input[..blank].starts_with(b"\n") || d.lines().all(|line| !line.ends_with(b"\r\n"))
        },
    },
    Rule {
        peers: TRILLIUM,
        kind: Kind::Lenient,
        reason: "RFC 9112 section 3.2.2: with an absolute-form target Host is ignored",
        applies: |d| d.target().starts_with(b"http"),
    },
    Rule {
        peers: TRILLIUM,
        kind: Kind::Lenient,
        reason: "RFC 3986 section 3.2.2: a host may be empty, or have commas and the like in it",
        applies: |d| {
            let hosts = d.values("host");
            hosts.len() == 1 && is_authority(&hosts[0])
        },
    },
    Rule {
        peers: TRILLIUM,
        kind: Kind::Lenient,
        reason: "RFC 9110 section 10.1.1: HTTP/1.0 knows no expectations",
        applies: |d| d.is_http10() && d.has("expect"),
    },
    Rule {
        peers: HYPER,
        kind: Kind::Lenient,
        reason: "RFC 9110 section 2.5: later minor versions are served as the last one known",
        applies: |d| {
            let version = d.request_line().last().copied().unwrap_or_default();
            matches!(
                version,
                [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9']
            )
        },
    },
    Rule {
        peers: HYPER,
        kind: Kind::Lenient,
        reason: "RFC 9110 section 5.6.1: empty elements of a list are skipped",
        applies: |d| {
            let list = d.values("transfer-encoding").join(&b',');
            let mut codings = list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            d.is_chunked() && codings.all(|coding| matches!(coding, b"" | b"chunked"))
        },
    },
    Rule {
        peers: BOTH,
        kind: Kind::Lenient,
        reason: "RFC 9112 section 3: braces and the like should be escaped in a target, \
                 but browsers send them as they are, and they have one meaning",
        applies: |d| d.target().iter().any(|byte| b"\\^`{|}".contains(byte)),
    },
    Rule {
        peers: HYPER,
        kind: Kind::Lenient,
        reason: "RFC 9110 section 8.6: any length may be announced; hyper has other uses for the \
                 largest numbers",
        applies: |d| d.values("content-length") == [b"18446744073709551615"],
    },
    Rule {
        peers: BOTH,
        kind: Kind::Target,
        reason: "RFC 9110 section 4.2.3: an empty path is the same as `/`, which the others write",
        applies: |d| d.target() == b"http://a",
    },
    Rule {
        peers: BOTH,
        kind: Kind::StrictBody,
        reason: "RFC 9112 section 7.1: the chunks are not what the grammar says",
        applies: |d| d.is_chunked() && Chunks::new(d.body()).body().is_err(),
    },
    Rule {
        peers: TRILLIUM,
        kind: Kind::LenientBody,
        reason: "RFC 9112 section 7.1: the chunks are what the grammar says",
        applies: |d| d.is_chunked() && Chunks::new(d.body()).body().is_ok(),
    },
];

/// The path and query of an absolute-form target.
fn path_of(target: &str) -> Option<&str> {
    let (_, rest) = target.split_once("://")?;
    Some(rest.find('/').map_or("/", |at| &rest[at..]))
}

/// Whether the text is host and port as in RFC 3986 section 3.2.
fn is_authority(text: &[u8]) -> bool {
    let text = str::from_utf8(text).unwrap_or("\0");
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    // RFC 9110 section 4.2.1: no port without a host.
    if host.is_empty() && !text.is_empty() {
        return false;
    }
    let port_fits = port.is_empty()
        || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host_fits = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    port_fits && host_fits
}

/// `*( unreserved / pct-encoded / sub-delims )`
fn is_name(name: &str) -> bool {
    let mut pieces = name.split('%');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c);
    let first = pieces.next().unwrap_or_default();
    first.chars().all(is_plain)
        && pieces.all(|piece| {
            let escaped = piece.get(..2).unwrap_or("-");
            escaped.bytes().all(|byte| byte.is_ascii_hexdigit()) && piece.chars().all(is_plain)
        })
}
