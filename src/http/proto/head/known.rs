//! The last head of a connection, kept to recognise its repetition.
//!
//! The requests of a client over one connection mostly have the same fields to the byte, and often
//! the same request line. The result of parsing and checking holds for the same bytes again, so a
//! comparison replaces both. A head is never compared with heads of other connections: response
//! times must not reveal what another client has sent.
#![forbid(unsafe_code)]

use crate::http::proto::framing::Survey;

/// Longer heads are not kept, as an idle connection should hold little memory. This is enough for
/// what a browser sends without large cookies.
const KEPT_BYTES: usize = 1024;

/// A head that was accepted; empty if there is none.
#[derive(Debug, Default)]
pub(super) struct Known {
    head: Vec<u8>,
    /// Length of the request line in `head`.
    line_len: usize,
    /// The survey of its fields.
    survey: Survey,
}

impl Known {
    /// The length of the kept head, if `buf` begins with it.
    #[inline]
    pub(super) fn repeated_by(&self, buf: &[u8]) -> Option<usize> {
        (!self.head.is_empty() && buf.starts_with(&self.head)).then_some(self.head.len())
    }

    /// The request line that `buf` begins with, and the survey of the kept fields, if those follow
    /// it.
    pub(super) fn fields_repeated_by<'a>(&self, buf: &'a [u8]) -> Option<(&'a [u8], Survey)> {
        let fields = self
            .head
            .get(self.line_len..)
            .filter(|fields| !fields.is_empty())?;
        let line_len = buf.iter().position(|&byte| byte == b'\n')? + 1;
        let (line, rest) = buf.split_at(line_len);
        // The end of the line is part of what was checked.
        let same = line.ends_with(b"\r\n") && rest.starts_with(fields);
        same.then_some((line, self.survey))
    }

    pub(super) fn fields_len(&self) -> usize {
        self.head.len() - self.line_len
    }

    /// Keeps a head whose lines all end with CRLF, unless it is too long.
    pub(super) fn remember(&mut self, head: &[u8], line_len: usize, survey: Survey) {
        self.forget();
        if head.len() <= KEPT_BYTES && head.ends_with(b"\r\n") {
            self.head.extend_from_slice(head);
            (self.line_len, self.survey) = (line_len, survey);
        }
    }

    pub(super) fn forget(&mut self) {
        self.head.clear();
        self.line_len = 0;
    }
}
