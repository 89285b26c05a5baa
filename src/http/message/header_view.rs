//! The fields of a received head, looked up in the read buffer.
#![forbid(unsafe_code)]

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// A piece of the connection's read buffer, as offsets from the start of the message.
///
/// Offsets survive the buffer being moved or grown, which references would not; 32 bits suffice
/// since no head is longer than that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The place of `part` within `buf`, of which it must be a subslice.
    #[inline]
    pub(crate) fn of(part: &[u8], buf: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(buf.as_ptr().addr());
        debug_assert!(
            start + part.len() <= buf.len(),
            "a span lies within its buffer"
        );
        Self {
            start: start as u32,
            len: part.len() as u32,
        }
    }

    /// Offset of the first byte.
    #[inline]
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    /// The bytes; empty if `buf` is not the buffer that the span was taken from.
    #[inline]
    pub(crate) fn bytes(self, buf: &[u8]) -> &[u8] {
        let start = self.start as usize;
        buf.get(start..start + self.len as usize)
            .unwrap_or_default()
    }
}

/// One field line of a received head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// The fields of a request, in the order they were sent.
///
/// A view into the connection's read buffer: a lookup compares names in place, ignoring case, and
/// copies nothing. Values are without surrounding whitespace.
///
/// Use [`HeaderView::to_header_map`] where an owned [`HeaderMap`] is wanted.
#[derive(Clone, Copy)]
pub struct HeaderView<'a> {
    buf: &'a [u8],
    fields: &'a [Field],
}

impl<'a> HeaderView<'a> {
    pub(crate) fn new(buf: &'a [u8], fields: &'a [Field]) -> Self {
        Self { buf, fields }
    }

    /// Returns the first value of the field `name`.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.get_all(name).next()
    }

    /// Returns the first value of the field `name` as text.
    ///
    /// `None` also if the value is not UTF-8, which RFC 9110 section 5.5 allows but hardly any
    /// client sends.
    pub fn get_str(&self, name: &str) -> Option<&'a str> {
        str::from_utf8(self.get(name)?).ok()
    }

    /// Returns every value of the field `name`, in the order sent.
    pub fn get_all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let buf = self.buf;
        self.fields
            .iter()
            .filter(move |field| field.name.bytes(buf).eq_ignore_ascii_case(name.as_bytes()))
            .map(move |field| field.value.bytes(buf))
    }

    /// Whether the field `name` was sent.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns all fields as (name, value), names spelled as they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let buf = self.buf;
        self.fields.iter().map(move |field| {
            // Names are tokens, so always ASCII: the default is never taken.
            let name = str::from_utf8(field.name.bytes(buf)).unwrap_or_default();
            (name, field.value.bytes(buf))
        })
    }

    /// Returns the number of field lines.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are no fields at all.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Copies the fields into a [`HeaderMap`].
    ///
    /// Order is kept among the values of one name.
    pub fn to_header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.fields.len());
        for (name, value) in self.iter() {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_bytes(value);
            // The parser admits nothing that these types refuse. If they ever differ, dropping a
            // field is better than a panic caused by a peer's bytes.
            if let (Ok(name), Ok(value)) = (name, value) {
                // Fails beyond 32,768 fields, which no limit in use allows.
                let _ = map.try_append(name, value);
            }
        }
        map
    }
}

impl HeaderView<'_> {
    /// Copies the fields out of the read buffer, as they are.
    pub(crate) fn to_stored(self) -> StoredFields {
        StoredFields {
            buf: self.buf.into(),
            fields: self.fields.into(),
        }
    }
}

/// The fields of a request that has left its connection.
pub(crate) struct StoredFields {
    buf: Box<[u8]>,
    fields: Box<[Field]>,
}

impl StoredFields {
    pub(crate) fn view(&self) -> HeaderView<'_> {
        HeaderView::new(&self.buf, &self.fields)
    }
}

impl fmt::Debug for HeaderView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(name, value): (_, &[u8])| (name, value.escape_ascii().to_string());
        f.debug_map().entries(self.iter().map(text)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static HEAD: &[u8] = b"Host: a\r\nX-Two: 1\r\nx-two: 2\r\nBin: \xff\r\nNone:\r\n";

    fn fields() -> Vec<Field> {
        HEAD.split(|&b| b == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                let colon = line.iter().position(|&b| b == b':').unwrap();
                let value = line[colon + 1..].trim_ascii();
                Field {
                    name: Span::of(&line[..colon], HEAD),
                    value: Span::of(value, HEAD),
                }
            })
            .collect()
    }

    #[test]
    fn lookup_ignores_case_rfc9110_5_1() {
        let fields = fields();
        let view = HeaderView::new(HEAD, &fields);
        assert_eq!(view.get("HOST"), Some(&b"a"[..]));
        assert_eq!(view.get("X-TWO"), Some(&b"1"[..]));
        assert_eq!(view.get_all("x-Two").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(view.get("x-tw"), None);
        assert_eq!(view.get_str("bin"), None);
        assert_eq!(view.get("bin"), Some(&b"\xff"[..]));
        assert_eq!(view.get_str("none"), Some(""));
        assert!(view.contains("none") && !view.contains("nothing"));
        assert_eq!((view.len(), view.is_empty()), (5, false));
    }

    #[test]
    fn converts_to_a_header_map() {
        let fields = fields();
        let map = HeaderView::new(HEAD, &fields).to_header_map();
        assert_eq!(map.len(), 5);
        assert_eq!(map["host"], "a");
        assert_eq!(map.get_all("x-two").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn a_span_of_another_buffer_reads_as_empty() {
        let fields = fields();
        assert_eq!(HeaderView::new(b"short", &fields).get("host"), None);
        assert_eq!(fields[4].value.bytes(b""), b"");
    }

    #[test]
    fn debug_shows_unprintable_bytes_escaped() {
        let fields = fields();
        let text = format!("{:?}", HeaderView::new(HEAD, &fields));
        assert!(
            text.contains(r#""Host": "a""#) && text.contains("xff"),
            "{text}"
        );
    }
}
