//! The value of a Transfer-Encoding field, taken apart (RFC 9112 section 6.1).
//!
//! ```text
//! Transfer-Encoding  = #transfer-coding
//! transfer-coding    = token *( OWS ";" OWS transfer-parameter )
//! transfer-parameter = token BWS "=" BWS ( token / quoted-string )
//! ```
#![forbid(unsafe_code)]

use super::grammar::{is_token_byte, is_value_byte};

/// One transfer coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TransferCoding<'a> {
    pub(super) name: &'a [u8],
    pub(super) has_parameters: bool,
}

/// Iterates over the codings of one field line; an item of `None` means that the line is malformed,
/// and is the last item.
///
/// Empty elements are skipped (RFC 9110 section 5.6.1.2). The limit on the head bounds their
/// number.
#[derive(Debug)]
pub(super) struct Codings<'a> {
    rest: &'a [u8],
    /// Whether an element may begin here: at the start, and after a comma.
    after_comma: bool,
}

impl<'a> Codings<'a> {
    pub(super) fn new(value: &'a [u8]) -> Self {
        Self {
            rest: value,
            after_comma: true,
        }
    }

    /// Skips optional whitespace (RFC 9110 section 5.6.3: SP and HTAB, nothing else).
    fn skip_whitespace(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Skips `byte` and the whitespace around it. If another byte is next, skips only the
    /// whitespace before that byte, and returns false.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_whitespace();
        let Some(rest) = self.rest.strip_prefix(&[byte]) else {
            return false;
        };
        self.rest = rest;
        self.skip_whitespace();
        true
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|&byte| !is_token_byte(byte));
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// Skips a quoted string (RFC 9110 section 5.6.4). Commas and semicolons in it do not separate.
    fn quoted_string(&mut self) -> Option<()> {
        let mut rest = self.rest.strip_prefix(b"\"")?;
        loop {
            rest = match rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Some(());
                }
                [b'\\', byte, rest @ ..] | [byte, rest @ ..] if is_value_byte(*byte) => rest,
                _ => return None,
            };
        }
    }

    fn coding(&mut self) -> Option<TransferCoding<'a>> {
        let mut coding = TransferCoding {
            name: self.token()?,
            has_parameters: false,
        };
        while self.take(b';') {
            coding.has_parameters = true;
            self.token()?;
            if !self.take(b'=') {
                return None;
            }
            match self.rest.first() {
                Some(b'"') => self.quoted_string()?,
                _ => self.token().map(|_| ())?,
            }
        }
        Some(coding)
    }
}

impl<'a> Iterator for Codings<'a> {
    type Item = Option<TransferCoding<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_whitespace();
        while self.take(b',') {
            self.after_comma = true;
        }
        if self.rest.is_empty() {
            return None;
        }
        let coding = self.coding().filter(|_| self.after_comma);
        self.after_comma = false;
        if coding.is_none() {
            self.rest = &[];
        }
        Some(coding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names, marked by a semicolon if they have parameters, up to the malformed element.
    fn parse(value: &str) -> String {
        let mut text = String::new();
        for coding in Codings::new(value.as_bytes()) {
            let Some(coding) = coding else {
                return text + "!";
            };
            text += str::from_utf8(coding.name).unwrap();
            text += if coding.has_parameters { "; " } else { " " };
        }
        text
    }

    #[test]
    fn lists_rfc9110_5_6_1() {
        for (value, expected) in [
            ("chunked", "chunked "),
            ("gzip,chunked", "gzip chunked "),
            ("gzip \t,\t chunked", "gzip chunked "),
            ("", ""),
            (" , ,\t,", ""),
            (",chunked,", "chunked "),
            (",, a , ,b,,", "a b "),
            ("a b", "a !"),
            ("a, b c, d", "a b !"),
            ("a@, b", "a !"),
            ("\"a\"", "!"),
            ("\u{b}a", "!"),
        ] {
            assert_eq!(parse(value), expected, "{value:?}");
        }
    }

    #[test]
    fn parameters_rfc9110_10_1_4() {
        for (value, expected) in [
            ("a;b=c", "a; "),
            ("a ;\tb = c ; d=e, f", "a; f "),
            ("a;b=\"c\", d", "a; d "),
            (r#"a;b="c,\"d;e", f"#, "a; f "),
            ("a;b=\"\u{e9}\"", "a; "),
            ("a;b=\"\"", "a; "),
            ("a;", "!"),
            ("a;b", "!"),
            ("a;b=", "!"),
            ("a;=b", "!"),
            ("a;b=\"c", "!"),
            ("a;b=\"c\\", "!"),
            ("a;b=\"c\\\"", "!"),
            ("a;b=\"\u{7f}\"", "!"),
            ("a;b=c d", "a; !"),
            ("a;;b=c", "!"),
        ] {
            assert_eq!(parse(value), expected, "{value:?}");
        }
    }
}
