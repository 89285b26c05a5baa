//! Requests that are valid except for a thing or two.

/// A generator of numbers that are the same everywhere (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Picks a usual string mostly, an odd one now and then.
    fn mostly<'a>(&mut self, usual: &[&'a str], odd: &[&'a str]) -> &'a str {
        if self.below(16) == 0 {
            self.pick(odd)
        } else {
            self.pick(usual)
        }
    }
}

/// How the body is announced and made.
#[derive(Clone, Copy)]
enum Body {
    None,
    Length,
    Chunked,
    Both,
}

/// Makes a request, which the next one can follow.
pub(super) fn request(random: &mut Random) -> Vec<u8> {
    let mut out = String::new();
    let version = random.mostly(
        &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"],
        &[
            "HTTP/2.0",
            "HTTP/3.0",
            "HTTP/1.2",
            "http/1.1",
            "HTTP/1.1 ",
            "HTTP/01.1",
            "HTTP/1",
            "HTTP/0.9",
            "",
        ],
    );
    out += random.mostly(&["", "", "", "\r\n"], &["\r\n\r\n", "\n", "\r", " "]);
    out += random.mostly(
        &["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"],
        &[
            "PATCH", "get", "BREW", "M-SEARCH", "", "G@T", "CONNECT", "TRACE",
        ],
    );
    out += random.mostly(&[" "], &["  ", "\t", " \t", ""]);
    out += random.mostly(
        &["/", "/a/b?c=d", "/%20?", "//x", "/a;b=c/d"],
        &[
            "*",
            "http://a/b",
            "http://a",
            "https://a:80/?q",
            "http://b/",
            "http://u@a/",
            "a:80",
            "x",
            "/a#b",
            "/\"",
            "/{}|^`",
            "/a\\b",
            "/\u{e9}",
            "/a\x7f",
            "",
            "/a?b?c#",
            "ftp://a/",
            "http://",
            "http:///",
        ],
    );
    out += random.mostly(&[" "], &["  ", "\t", ""]);
    out += version;
    out += random.mostly(&["\r\n"], &["\n", "\r", "\r\r\n", " \r\n"]);
    let body = random.pick(&[&Body::None, &Body::Length, &Body::Chunked, &Body::Chunked]);
    let body = if random.below(40) == 0 {
        &Body::Both
    } else {
        body
    };
    let data = [
        "",
        "x",
        "hello",
        "GET / HTTP/1.1\r\nhost: b\r\n\r\n",
        "\r\n\r\n",
    ];
    let data = random.pick(&data);
    fields(random, &mut out, *body, data.len());
    out += random.mostly(&["\r\n"], &["\n", "\r", "", " \r\n"]);
    match body {
        Body::None => {}
        Body::Length => out += data,
        Body::Chunked | Body::Both => chunks(random, &mut out, data),
    }
    disturb(random, latin1(&out))
}

/// Makes the header section, in any order.
fn fields(random: &mut Random, out: &mut String, body: Body, len: usize) {
    let mut lines = Vec::new();
    let host = random.mostly(
        &["a", "a", "a.b:80", "[::1]", "127.0.0.1:8080"],
        &[
            "", "a b", "a:b", "a/b", "u@a", "a,b", "[::1", "a:99999", "\u{e9}", "a%20b", "a:",
            "a\tb", "[v1.x]", "a?b", "a#b",
        ],
    );
    let hosts = random.pick(&[&1, &1, &1, &1, &1, &1, &1, &1, &1, &1, &1, &1, &1, &0, &2]);
    for _ in 0..*hosts {
        lines.push(("Host", host.to_owned()));
    }
    if matches!(body, Body::Length | Body::Both) || random.below(60) == 0 {
        let length = random.mostly(
            &["#"],
            &[
                "+#",
                "-#",
                "#, #",
                "#,",
                "0x#",
                "",
                "# #",
                "00#",
                "18446744073709551616",
                "18446744073709551615",
                "#\u{b2}",
                "#.0",
            ],
        );
        let length = length.replace('#', &len.to_string());
        if random.below(30) == 0 {
            lines.push(("Content-Length", length.clone()));
        }
        lines.push(("Content-Length", length));
    }
    if matches!(body, Body::Chunked | Body::Both) {
        let coding = random.mostly(
            &["chunked", "chunked", "Chunked"],
            &[
                "gzip, chunked",
                "chunked, gzip",
                "chunked, chunked",
                "identity",
                ", chunked",
                "chunked,",
                "chunked;x=y",
                "\"chunked\"",
                "",
                "x chunked",
                "gzip",
                "chunke",
            ],
        );
        lines.push(("transfer-encoding", coding.to_owned()));
        if random.below(30) == 0 {
            lines.push(("Transfer-Encoding", "chunked".to_owned()));
        }
    }
    for _ in 0..random.below(3) {
        let (name, value) = [
            ("Connection", "close"),
            ("Connection", "keep-alive"),
            ("connection", "x, Close"),
            ("Connection", "Keep-Alive, TE"),
            ("Connection", ", ,close,"),
            ("connection", "upgrade"),
            ("Expect", "100-continue"),
            ("Expect", "100-Continue"),
            ("expect", "x"),
            ("Accept", "*/*"),
            ("Accept", "text/html, text/plain;q=0.5"),
            ("X", ""),
            ("x", "a  b\tc"),
            ("X", "\u{e9}\u{ff}"),
            ("a!#$%&'*+-.^_`|~9", "y"),
            ("Upgrade", "h2c"),
            ("Cookie", "a=b; c=\"d\""),
        ][random.below(17)];
        lines.push((name, value.to_owned()));
    }
    let mut end = random.mostly(&["\r\n"], &["\n", "\r", "\r\n ", "\r\n\t", "\0\r\n"]);
    while !lines.is_empty() {
        let (name, value) = lines.swap_remove(random.below(lines.len()));
        *out += name;
        *out += random.mostly(
            &[": ", ": ", ":", ":\t "],
            &[" : ", "", "\t:", "::", ":\u{b}"],
        );
        *out += &value;
        *out += random.mostly(&["", "", " ", "\t"], &["\u{c}", "\0", "\x7f", "\r"]);
        *out += end;
        // Mostly not more than one line of its kind.
        if random.below(4) > 0 {
            end = "\r\n";
        }
    }
}

fn chunks(random: &mut Random, out: &mut String, data: &str) {
    let mut rest = data;
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(1 + random.below(rest.len()));
        rest = left;
        *out += random.mostly(&["", "", "0"], &["00000000000000000", "0x", "+", "-", " "]);
        *out += &format!("{:x}", piece.len());
        extension(random, out);
        *out += random.mostly(&["\r\n"], &["\n", "\r", " \r\n", "\r\r\n"]);
        *out += piece;
        *out += random.mostly(&["\r\n"], &["\n", "", "\r", "x\r\n"]);
    }
    *out += random.mostly(&["0", "0", "000"], &["", "00000000000000000", "0x0", "g"]);
    extension(random, out);
    *out += random.mostly(&["\r\n"], &["\n", "\r", ""]);
    *out += random.mostly(
        &["", "", "", "X: y\r\n", "a: b\r\nc:\r\n"],
        &[
            "x : y\r\n",
            " x: y\r\n",
            "x\r\n",
            "x: y\n",
            "x: \0\r\n",
            ": y\r\n",
            "x: y\r",
        ],
    );
    *out += random.mostly(&["\r\n"], &["\n", "", "\r", " \r\n"]);
}

fn extension(random: &mut Random, out: &mut String) {
    if random.below(6) == 0 {
        *out += random.mostly(
            &[";a", ";a=b", ";a=\"b\"", " ; a = b", ";a=\"\\\"\";c"],
            &[
                ";",
                ";=",
                ";a=",
                ";a=\"",
                ";a\n",
                ";a\r",
                ";\0",
                ";a=\"\n\"",
                ";a b",
                " ",
                ";a=b c",
            ],
        );
    }
}

/// Adds, removes or replaces one byte.
fn disturb(random: &mut Random, mut input: Vec<u8>) -> Vec<u8> {
    if random.below(6) == 0 {
        let bytes = b"\0\t\n\r  :,;/\"=%0195aZ\x7f\x80\xff";
        let byte = bytes[random.below(bytes.len())];
        let at = random.below(input.len());
        match random.below(3) {
            0 => input.insert(at, byte),
            1 => input[at] = byte,
            _ => drop(input.remove(at)),
        }
    }
    input
}

/// Maps each character to the byte of its number.
fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
        .collect()
}
