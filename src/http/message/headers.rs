//! The header list of a response.
#![forbid(unsafe_code)]

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// A short list of headers in the order in which they are sent.
///
/// Names may repeat (`set-cookie`). Lookup is a linear scan, which for the handful of headers of a
/// response is faster than hashing; the first header is stored inline, so that a response with
/// nothing but its `content-type` needs no allocation.
///
/// # Examples
///
/// ```
/// use ethreads::http::Headers;
/// use http::{HeaderValue, header::SET_COOKIE};
///
/// let mut headers = Headers::new();
/// headers.append(SET_COOKIE, HeaderValue::from_static("a=1"));
/// headers.append(SET_COOKIE, HeaderValue::from_static("b=2"));
/// assert_eq!(headers.get_all(&SET_COOKIE).count(), 2);
/// ```
#[derive(Clone, Default)]
pub struct Headers {
    /// Invariant: `None` only if `rest` is empty too.
    first: Option<(HeaderName, HeaderValue)>,
    rest: Vec<(HeaderName, HeaderValue)>,
}

impl Headers {
    /// Creates an empty list; allocates nothing.
    pub const fn new() -> Self {
        Self {
            first: None,
            rest: Vec::new(),
        }
    }

    /// A list of one header.
    #[inline]
    pub(super) const fn single(name: HeaderName, value: HeaderValue) -> Self {
        Self {
            first: Some((name, value)),
            rest: Vec::new(),
        }
    }

    /// The header, if there is exactly one.
    #[inline]
    pub(in crate::http) fn only(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.first.as_ref().filter(|_| self.rest.is_empty())
    }

    /// Adds a header after the existing ones, even if `name` is there already.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        if self.first.is_none() {
            self.first = Some((name, value));
        } else {
            self.rest.push((name, value));
        }
    }

    /// Sets a header: replaces the first one of that name and removes its repetitions, or appends.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        // A list of at most one header is the common case and needs no search.
        if self
            .first
            .as_ref()
            .is_none_or(|(first, _)| self.rest.is_empty() && *first == name)
        {
            self.first = Some((name, value));
            return;
        }
        let mut value = Some(value);
        if let Some(first) = self.first.as_mut().filter(|first| first.0 == name)
            && let Some(value) = value.take()
        {
            first.1 = value;
        }
        self.rest.retain_mut(|(other, old)| {
            if *other != name {
                return true;
            }
            value.take().map(|value| *old = value).is_some()
        });
        if let Some(value) = value {
            self.append(name, value);
        }
    }

    /// Removes every header of that name; returns whether there was one.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        let before = self.len();
        self.rest.retain(|(other, _)| other != name);
        if self.first.as_ref().is_some_and(|(first, _)| first == name) {
            self.first = (!self.rest.is_empty()).then(|| self.rest.remove(0));
        }
        self.len() != before
    }

    /// Removes all headers.
    pub fn clear(&mut self) {
        self.first = None;
        self.rest.clear();
    }

    /// Returns the first value of that name.
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.get_all(name).next()
    }

    /// Returns every value of that name, in order.
    pub fn get_all(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.iter()
            .filter(move |(other, _)| *other == name)
            .map(|(_, value)| value)
    }

    /// Whether there is a header of that name.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// Returns all headers in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.first
            .iter()
            .chain(&self.rest)
            .map(|(name, value)| (name, value))
    }

    /// Returns the number of headers, repetitions included.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl Extend<(HeaderName, HeaderValue)> for Headers {
    fn extend<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(&mut self, headers: I) {
        for (name, value) in headers {
            self.append(name, value);
        }
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Headers {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(headers: I) -> Self {
        let mut this = Self::new();
        this.extend(headers);
        this
    }
}

impl IntoIterator for Headers {
    type Item = (HeaderName, HeaderValue);
    type IntoIter = std::iter::Chain<
        std::option::IntoIter<(HeaderName, HeaderValue)>,
        std::vec::IntoIter<(HeaderName, HeaderValue)>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Self {
        let mut this = Self::new();
        let mut last = None;
        // The iterator names only the first of several values of one name.
        for (name, value) in map {
            last = name.or(last);
            if let Some(name) = &last {
                this.append(name.clone(), value);
            }
        }
        this
    }
}

impl From<Headers> for HeaderMap {
    fn from(headers: Headers) -> Self {
        headers.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, DATE, SERVER, SET_COOKIE};

    use super::*;

    fn list(pairs: &[(HeaderName, &'static str)]) -> Headers {
        pairs
            .iter()
            .map(|(n, v)| (n.clone(), HeaderValue::from_static(v)))
            .collect()
    }

    fn set(headers: &mut Headers, name: HeaderName, value: &'static str) {
        headers.insert(name, HeaderValue::from_static(value));
    }

    #[test]
    fn insert_replaces_in_place_and_drops_repetitions() {
        let mut headers = list(&[]);
        set(&mut headers, DATE, "0");
        set(&mut headers, DATE, "1");
        assert_eq!(headers, list(&[(DATE, "1")]));

        let mut headers = list(&[(DATE, "1"), (SERVER, "s"), (DATE, "2"), (SERVER, "t")]);
        set(&mut headers, SERVER, "u");
        assert_eq!(headers, list(&[(DATE, "1"), (SERVER, "u"), (DATE, "2")]));
        set(&mut headers, DATE, "3");
        assert_eq!(headers, list(&[(DATE, "3"), (SERVER, "u")]));
        set(&mut headers, CONTENT_TYPE, "c");
        assert_eq!(
            headers,
            list(&[(DATE, "3"), (SERVER, "u"), (CONTENT_TYPE, "c")])
        );
    }

    #[test]
    fn append_keeps_repetitions_and_order() {
        let headers = list(&[(SET_COOKIE, "a"), (DATE, "1"), (SET_COOKIE, "b")]);
        assert_eq!(headers.get_all(&SET_COOKIE).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(headers.get(&SET_COOKIE).unwrap(), "a");
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn remove_refills_the_inline_slot() {
        let mut headers = list(&[(SET_COOKIE, "a"), (DATE, "1"), (SET_COOKIE, "b")]);
        assert!(headers.remove(&SET_COOKIE));
        assert_eq!(headers, list(&[(DATE, "1")]));
        assert!(!headers.remove(&SET_COOKIE));
        assert!(headers.remove(&DATE));
        assert!(headers.is_empty() && !headers.contains(&DATE));
        assert_eq!(headers, Headers::default());
    }

    #[test]
    fn round_trips_through_a_header_map() {
        let headers = list(&[(SET_COOKIE, "a"), (SET_COOKIE, "b"), (DATE, "1")]);
        let map = HeaderMap::from(headers.clone());
        assert_eq!(map.len(), 3);
        assert_eq!(Headers::from(map), headers);
    }
}
