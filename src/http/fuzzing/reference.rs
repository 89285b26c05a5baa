//! A reference parser of the chunked coding, written from the grammar.
//!
//! It uses nothing of the library, so it shares no bug with it, and tests elsewhere can include
//! this file unchanged.
#![forbid(unsafe_code)]

/// RFC 9112 section 7.1 as a recursive descent over the whole input, one function per rule.
pub(crate) struct Chunks<'a> {
    input: &'a [u8],
    at: usize,
}

/// Why there is no body.
#[derive(Debug, PartialEq)]
pub(crate) enum Stop {
    Malformed,
    Incomplete,
}

impl<'a> Chunks<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// `*chunk last-chunk trailer-section CRLF`: returns the data, and the length of the coded
    /// body.
    pub(crate) fn body(mut self) -> Result<(Vec<u8>, usize), Stop> {
        let mut body = Vec::new();
        loop {
            let size = self.size()?;
            self.extensions()?;
            self.line_end()?;
            if size == 0 {
                break;
            }
            let left = &self.input[self.at..];
            let Some(data) = usize::try_from(size).ok().and_then(|size| left.get(..size)) else {
                return Err(Stop::Incomplete);
            };
            body.extend_from_slice(data);
            self.at += data.len();
            self.line_end()?;
        }
        while self.peek()? != b'\r' {
            self.trailer()?;
        }
        self.line_end()?;
        Ok((body, self.at))
    }

    fn peek(&self) -> Result<u8, Stop> {
        self.input.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    fn take(&mut self, wanted: impl FnOnce(u8) -> bool) -> Result<u8, Stop> {
        let byte = self.peek()?;
        if !wanted(byte) {
            return Err(Stop::Malformed);
        }
        self.at += 1;
        Ok(byte)
    }

    fn line_end(&mut self) -> Result<(), Stop> {
        self.take(|byte| byte == b'\r')?;
        self.take(|byte| byte == b'\n').map(drop)
    }

    /// `1*HEXDIG`; the value must fit into 64 bits.
    fn size(&mut self) -> Result<u64, Stop> {
        let mut size = 0_u64;
        let start = self.at;
        while let Some(digit) = char::from(self.peek()?).to_digit(16) {
            let larger = size.checked_mul(16).ok_or(Stop::Malformed)?;
            size = larger + u64::from(digit);
            self.at += 1;
        }
        if self.at == start {
            return Err(Stop::Malformed);
        }
        Ok(size)
    }

    /// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`
    fn extensions(&mut self) -> Result<(), Stop> {
        loop {
            let spaces = self.spaces()?;
            match self.peek()? {
                b';' => self.at += 1,
                b'\r' if spaces == 0 => return Ok(()),
                _ => return Err(Stop::Malformed),
            }
            self.spaces()?;
            self.token()?;
            let after_name = self.at;
            self.spaces()?;
            if self.peek()? != b'=' {
                self.at = after_name;
                continue;
            }
            self.at += 1;
            self.spaces()?;
            match self.peek()? {
                b'"' => self.quoted()?,
                _ => self.token()?,
            }
        }
    }

    fn spaces(&mut self) -> Result<usize, Stop> {
        let start = self.at;
        while matches!(self.peek()?, b' ' | b'\t') {
            self.at += 1;
        }
        Ok(self.at - start)
    }

    fn token(&mut self) -> Result<(), Stop> {
        self.take(is_token_byte)?;
        while is_token_byte(self.peek()?) {
            self.at += 1;
        }
        Ok(())
    }

    fn quoted(&mut self) -> Result<(), Stop> {
        self.take(|byte| byte == b'"')?;
        loop {
            match self.take(is_text)? {
                b'"' => return Ok(()),
                b'\\' => drop(self.take(is_text)?),
                _ => {}
            }
        }
    }

    /// `field-name ":" OWS field-value OWS CRLF`
    fn trailer(&mut self) -> Result<(), Stop> {
        self.token()?;
        self.take(|byte| byte == b':')?;
        while is_text(self.peek()?) {
            self.at += 1;
        }
        self.line_end()
    }
}

/// `HTAB / SP / VCHAR / obs-text`
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

/// `tchar`
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
