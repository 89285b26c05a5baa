//! Request heads: finds the end of a head, and cuts the head into offsets.
//!
//! The only module that names httparse. A [`RequestHead`] belongs to a connection and is reused for
//! each of its requests, so that parsing allocates nothing once it has grown to the usual number of
//! fields.
//!
//! A head mostly arrives whole, and is then parsed at once, without a search for its end. If the
//! head is incomplete, the position of the search is kept. From then on each new byte is examined
//! once, and the parser runs again only when an empty line has been seen or a limit was reached. So
//! a peer that sends byte by byte costs two or three parser runs, not thousands.
#![forbid(unsafe_code)]

mod known;

use std::mem::MaybeUninit;

use http::{Method, Version};
use httparse::{EMPTY_HEADER, Header, Request, Status};

use super::ProtoError;
use super::framing::{Framing, Survey};
use super::grammar::is_token_byte;
use super::limits::Limits;
use crate::http::message::{
    Field, HeaderView, Span, Target, TargetFault, authority_form_is_valid, leading_path,
    target_fault,
};
use known::Known;

/// Fields for which there is room on the stack while parsing: 1 KiB, as the stacks of parked
/// connections make up the memory of this server. Heads with more fields take a second run on the
/// heap.
const INLINE_FIELDS: usize = 32;

/// A request head as offsets into the buffer it was parsed from.
#[derive(Debug, Default)]
// In this order, so that a known head touches two cache lines of it.
#[repr(C)]
pub(crate) struct RequestHead {
    known: Known,
    search: Search,
    framing: Framing,
    version: Version,
    method: Method,
    is_head: bool,
    takes_connect: bool,
    /// A copy, so that its UTF-8 need not be checked again at each access.
    target: String,
    /// Length of the path in `target`; zero unless the target begins with the path.
    path_len: usize,
    /// Bytes before the first field line, from which the offsets of fields count.
    line_len: usize,
    fields: Vec<Field>,
}

/// How far the search for the end of an incomplete head came.
#[derive(Clone, Copy, Debug, Default)]
struct Search {
    /// Bytes looked at; zero if the next [`RequestHead::parse`] begins a new head.
    seen: usize,
    /// Where the request line begins, after empty lines; final once another byte was seen.
    start: usize,
    /// Whether the request line has ended within `seen`.
    line_ended: bool,
}

impl RequestHead {
    /// Creates an empty head; allocates nothing.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sets whether CONNECT is taken; without this it is refused.
    pub(crate) fn take_connect(&mut self, takes_connect: bool) {
        self.takes_connect = takes_connect;
    }

    /// Parses the head that `buf` begins with and returns its length, or `None` if more bytes are
    /// needed.
    ///
    /// While it returns `None`, the next call must get the same bytes with more after them. After a
    /// head was returned, the next call begins a new head. All accessors that take a buffer need
    /// the buffer given here.
    ///
    /// # Errors
    ///
    /// If the bytes cannot become a request that is well-formed, unambiguous and within `limits`.
    /// Which error it is does not depend on how the bytes were split among calls.
    pub(crate) fn parse(
        &mut self,
        buf: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ProtoError> {
        if let Some(len) = self.known.repeated_by(buf) {
            if self.search.seen != 0 {
                self.search = Search::default();
            }
            return Ok(Some(len));
        }
        if self.search.seen != 0 {
            let ended = self.search.advance(buf);
            if !ended && !self.search.is_beyond(buf, limits) {
                return Ok(None);
            }
        }
        let parsed = self.attempt(buf, limits);
        match parsed {
            Ok(None) => {
                self.search.advance(buf);
            }
            Ok(Some(_)) | Err(_) => self.search = Search::default(),
        }
        parsed
    }

    /// Checks once more a head that stays incomplete.
    ///
    /// # Errors
    ///
    /// If the head is to be refused. [`RequestHead::parse`] finds that in a head that comes in
    /// pieces only at its end.
    #[cold]
    pub(crate) fn check_incomplete(
        &mut self,
        buf: &[u8],
        limits: &Limits,
    ) -> Result<(), ProtoError> {
        self.search = Search::default();
        self.attempt(buf, limits).map(drop)
    }

    /// The method.
    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// Whether the peer has sent a HEAD, to which no body is the answer, whatever the program has
    /// made of the method.
    pub(crate) fn is_head(&self) -> bool {
        self.is_head
    }

    /// The request target as sent; ASCII, and one of the forms that `Target::parse` accepts.
    #[inline]
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// The path, where the target is in origin-form (RFC 9112 section 3.2.1).
    #[inline]
    pub(crate) fn origin_path(&self) -> Option<&str> {
        self.target
            .get(..self.path_len)
            .filter(|path| !path.is_empty())
    }

    /// Replaces the method and the target, as the program asks for; the framing stays.
    ///
    /// # Errors
    ///
    /// If the target is none that the method may have.
    pub(crate) fn rewrite(&mut self, method: Method, target: &str) -> Result<(), ProtoError> {
        if method == Method::CONNECT && !authority_form_is_valid(target) {
            return Err(ProtoError::Target);
        }
        let path_len = accept_target(&method, target)?;
        // The next head is compared with what was received.
        self.known.forget();
        self.path_len = path_len;
        self.method = method;
        self.target.clear();
        self.target.push_str(target);
        Ok(())
    }

    /// HTTP/1.0 or HTTP/1.1.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The fields.
    pub(crate) fn headers<'a>(&'a self, buf: &'a [u8]) -> HeaderView<'a> {
        HeaderView::new(buf.get(self.line_len..).unwrap_or_default(), &self.fields)
    }

    /// How the body is delimited, and whether the connection stays open.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    /// Not inlined: its large frame would stay on the stack while the caller waits for more bytes.
    #[inline(never)]
    fn attempt(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ProtoError> {
        // The parser never sees bytes beyond the limit. So a violation there is not reported ahead
        // of the limit's own error, however much was received at once. Spans have 32 bits.
        let window = &buf[..buf.len().min(limits.head_bytes).min(u32::MAX as usize)];
        if let Some(result) = self.attempt_line(window, limits) {
            return result.map(Some);
        }
        let mut slots = [const { MaybeUninit::uninit() }; INLINE_FIELDS];
        let slots = &mut slots[..limits.fields.min(INLINE_FIELDS)];
        let mut request = Request::new(&mut []);
        let mut parsed = request.parse_with_uninit_headers(window, slots);
        let mut more;
        if parsed == Err(httparse::Error::TooManyHeaders) && limits.fields > INLINE_FIELDS {
            // A field takes at least three bytes, so a small head never reserves many slots.
            more = vec![EMPTY_HEADER; limits.fields.min(window.len() / 3)];
            request = Request::new(&mut more);
            parsed = request.parse(window);
        }
        if let Ok(Status::Complete(len)) = parsed {
            self.accept(&request, &window[..len], limits)?;
            return Ok(Some(len));
        }
        if parsed == Err(httparse::Error::Version)
            && let Some(minor) = later_minor_version(window)
        {
            return self.attempt_as_http_1_1(window, minor, limits);
        }
        refuse_or_wait(parsed, buf, window, limits)
    }

    /// RFC 9110 section 6.2: a higher minor version is processed as the highest one that is known.
    #[cold]
    fn attempt_as_http_1_1(
        &mut self,
        window: &[u8],
        minor: usize,
        limits: &Limits,
    ) -> Result<Option<usize>, ProtoError> {
        // Offsets into the copy are those into the original.
        let mut copy = window.to_vec();
        copy[minor] = b'1';
        self.attempt(&copy, limits)
    }

    /// Parses the request line alone, if the fields that follow it repeat those of the last head.
    fn attempt_line(
        &mut self,
        window: &[u8],
        limits: &Limits,
    ) -> Option<Result<usize, ProtoError>> {
        let (line, survey) = self.known.fields_repeated_by(window)?;
        let mut request = Request::new(&mut []);
        // The line is complete, and nothing follows it.
        if request.parse(line) != Ok(Status::Partial) {
            return None;
        }
        // Other forms of the target affect the meaning of the fields.
        if !request.path?.starts_with('/') {
            return None;
        }
        let len = line.len() + self.known.fields_len();
        self.known.forget();
        let accepted = self
            .accept_line(&request, line.len(), limits)
            .and_then(|()| {
                self.framing = survey.decide(self.version)?;
                self.line_len = line.len();
                self.known.remember(&window[..len], line.len(), survey);
                Ok(len)
            });
        Some(accepted)
    }

    /// Checks what httparse leaves to its caller, and stores the offsets.
    fn accept(
        &mut self,
        request: &Request<'_, '_>,
        head: &[u8],
        limits: &Limits,
    ) -> Result<(), ProtoError> {
        self.known.forget();
        self.line_len = match request.headers.first() {
            Some(field) => Span::of(field.name.as_bytes(), head).start(),
            // Without fields the head ends in an empty line of one or two bytes.
            None => head.len() - if head.ends_with(b"\r\n") { 2 } else { 1 },
        };
        let before_line = request
            .method
            .map_or(0, |method| Span::of(method.as_bytes(), head).start());
        self.accept_line(request, self.line_len - before_line, limits)?;
        let survey = self.accept_fields(request.headers, head)?;
        self.framing = survey.decide(self.version)?;
        // What follows a CONNECT may belong to a tunnel, so it is never read as a request.
        self.framing.keep_alive &= self.method != Method::CONNECT;
        self.known.remember(head, self.line_len, survey);
        Ok(())
    }

    /// Checks the request line, of `len` bytes.
    #[inline]
    fn accept_line(
        &mut self,
        request: &Request<'_, '_>,
        len: usize,
        limits: &Limits,
    ) -> Result<(), ProtoError> {
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(ProtoError::RequestLine);
        };
        let limit = limits.request_line_bytes;
        if len > limit {
            return Err(line_too_long(method.len() >= limit, limit));
        }
        self.version = match minor {
            0 => Version::HTTP_10,
            _ => Version::HTTP_11,
        };
        self.method = accept_method(method, target, self.takes_connect)?;
        self.is_head = self.method == Method::HEAD;
        self.path_len = accept_target(&self.method, target)?;
        self.target.clear();
        self.target.push_str(target);
        Ok(())
    }

    /// Checks the fields, one by one and together.
    #[inline]
    fn accept_fields(&mut self, fields: &[Header<'_>], head: &[u8]) -> Result<Survey, ProtoError> {
        // RFC 9112 section 2.2: a bare LF may be taken for a line end, and is, for requests that
        // are typed into netcat. But then in all lines: a bare LF among CRLFs suggests a sender
        // that wants an intermediary to have seen one line where this server sees two.
        let with_cr = head.ends_with(b"\r\n");
        let has_cr = |line_end: usize| {
            let before_lf = line_end.checked_sub(2).and_then(|at| head.get(at));
            before_lf == Some(&b'\r')
        };
        // The line before the empty line.
        let mut mixed = has_cr(head.len() - if with_cr { 2 } else { 1 }) != with_cr;
        let lines = &head[self.line_len..];
        self.fields.clear();
        self.fields.extend(fields.iter().map(|field| {
            let name = Span::of(field.name.as_bytes(), lines);
            mixed |= has_cr(self.line_len + name.start()) != with_cr;
            Field {
                name,
                value: Span::of(field.value, lines),
            }
        }));
        if mixed {
            return Err(ProtoError::LineEndsMixed);
        }
        let mut survey = Survey::default();
        for field in fields {
            let name = field.name.as_bytes();
            if Survey::concerns(name) {
                survey.note(name, field.value)?;
            }
        }
        Ok(survey)
    }
}

impl Search {
    /// Looks at the bytes not seen before; returns whether they complete an empty line.
    fn advance(&mut self, buf: &[u8]) -> bool {
        self.start = skip_empty_lines(buf, self.start);
        let mut ended = false;
        for (at, &byte) in buf.iter().enumerate().skip(self.seen.max(self.start)) {
            if byte == b'\n' {
                let before = &buf[self.start..at];
                ended |= before.ends_with(b"\n") || before.ends_with(b"\n\r");
                self.line_ended = true;
            }
        }
        self.seen = buf.len();
        ended
    }

    /// Whether enough bytes have come without an end to reach a limit.
    fn is_beyond(&self, buf: &[u8], limits: &Limits) -> bool {
        buf.len() >= limits.head_bytes
            || (!self.line_ended && buf.len() - self.start >= limits.request_line_bytes)
    }
}

/// RFC 9112 section 2.2: empty lines before a request line are skipped. Returns where the first
/// line begins that is not empty.
fn skip_empty_lines(buf: &[u8], mut start: usize) -> usize {
    loop {
        start += match buf.get(start..) {
            Some([b'\n', ..]) => 1,
            Some([b'\r', b'\n', ..]) => 2,
            _ => return start,
        };
    }
}

/// RFC 9112 section 3: 414 is for the target; a line without a target by then has too long a
/// method.
#[cold]
fn line_too_long(is_method: bool, limit: usize) -> ProtoError {
    if is_method {
        ProtoError::MethodTooLong { limit }
    } else {
        ProtoError::RequestLineTooLong { limit }
    }
}

/// The place of the digit, if the request line is one of HTTP/1.2 to HTTP/1.9.
#[cold]
fn later_minor_version(window: &[u8]) -> Option<usize> {
    let start = skip_empty_lines(window, 0);
    let len = window[start..].iter().position(|&b| b == b'\n')?;
    let line = &window[start..start + len];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        [rest @ .., b'2'..=b'9'] if rest.ends_with(b" HTTP/1.") => Some(start + rest.len()),
        _ => None,
    }
}

fn accept_method(method: &str, target: &str, takes_connect: bool) -> Result<Method, ProtoError> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| ProtoError::RequestLine)?;
    // RFC 9112 section 3.2.3: only CONNECT has the authority-form, and tunnels are for proxies.
    if method == Method::CONNECT {
        // RFC 9110 section 9.3.6: every recipient refuses an invalid port.
        if !authority_form_is_valid(target) {
            return Err(ProtoError::Target);
        }
        if !takes_connect {
            return Err(ProtoError::ConnectRefused);
        }
    }
    Ok(method)
}

/// RFC 9112 section 3.2: which targets a method may have. Returns the length of the path that the
/// target begins with, if it does.
#[inline]
fn accept_target(method: &Method, target: &str) -> Result<usize, ProtoError> {
    match leading_path(target) {
        Some(len) => Ok(len),
        None if Target::parse(method, target).is_some() => Ok(0),
        None => Err(match target_fault(target) {
            TargetFault::Malformed => ProtoError::Target,
            TargetFault::Misdirected => ProtoError::Misdirected,
        }),
    }
}

/// Decides about a head that is not complete.
#[cold]
fn refuse_or_wait(
    parsed: httparse::Result<usize>,
    buf: &[u8],
    window: &[u8],
    limits: &Limits,
) -> Result<Option<usize>, ProtoError> {
    let start = skip_empty_lines(window, 0);
    let line = window[start..]
        .split_inclusive(|&b| b == b'\n')
        .next()
        .unwrap_or_default();
    let line_ended = line.ends_with(b"\n");
    let limit = limits.request_line_bytes;
    if line.len() > limit || (line.len() == limit && !line_ended) {
        // A violation before the limit is still reported first.
        return match Request::new(&mut []).parse(&line[..limit]) {
            Err(error) if error != httparse::Error::Version => {
                Err(refusal(error, line, &[], limits))
            }
            _ => Err(line_too_long(!line[..limit].contains(&b' '), limit)),
        };
    }
    match parsed {
        // Only the whole line tells which version was meant.
        Err(httparse::Error::Version) if !line_ended && window.len() < limits.head_bytes => {
            Ok(None)
        }
        Err(error) => {
            let fields = &window[start + line.len()..];
            Err(refusal(error, line, fields, limits))
        }
        Ok(_) if buf.len() < limits.head_bytes => Ok(None),
        Ok(_) => Err(ProtoError::HeadTooLarge {
            limit: limits.head_bytes,
        }),
    }
}

fn refusal(error: httparse::Error, line: &[u8], fields: &[u8], limits: &Limits) -> ProtoError {
    use httparse::Error;
    match error {
        // RFC 9112 section 5.2: a folded line is a malformed name to the parser.
        Error::HeaderName if begins_with_a_fold(fields) => ProtoError::LineFolded,
        // RFC 9112 section 5.1: no whitespace before the colon.
        Error::HeaderName => ProtoError::FieldName,
        // RFC 9110 section 5.5: CR, LF and NUL must be refused in a value.
        Error::HeaderValue => ProtoError::FieldValue,
        // RFC 9112 section 2.2: a bare CR must not be taken for a line end.
        Error::NewLine => ProtoError::LineEnd,
        Error::Status | Error::Token => ProtoError::RequestLine,
        Error::TooManyHeaders => ProtoError::TooManyFields {
            limit: limits.fields,
        },
        Error::Version => {
            let version = line.splitn(3, |&b| b == b' ').nth(2).unwrap_or_default();
            // RFC 9112 section 2.3.
            match version {
                [
                    b'H',
                    b'T',
                    b'T',
                    b'P',
                    b'/',
                    major,
                    b'.',
                    minor,
                    b'\r' | b'\n',
                    ..,
                ] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                    ProtoError::VersionUnsupported
                }
                _ => ProtoError::VersionMalformed,
            }
        }
    }
}

/// Whether the first line with a malformed name begins with whitespace, which would make it a part
/// of the line before it.
fn begins_with_a_fold(fields: &[u8]) -> bool {
    let mut lines = fields.split(|&byte| byte == b'\n');
    let malformed = lines.find(|line| {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        name.is_empty() || name.len() == line.len() || !name.iter().all(|&b| is_token_byte(b))
    });
    malformed.is_some_and(|line| line.starts_with(b" ") || line.starts_with(b"\t"))
}

#[cfg(test)]
mod tests;
