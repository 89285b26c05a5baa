//! Patterns of paths and hosts.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::fmt;

use crate::http::exchange::route::Param;
use crate::http::message::decode_path;

/// One segment of a pattern, or the rest of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Text, decoded.
    Static(Box<str>),
    /// `{name}`: a segment that is not empty.
    Param(Box<str>),
    /// `{*name}`: all further segments, or none of them.
    Rest(Box<str>),
}

/// The pattern of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
}

/// What is wrong with a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PatternFault {
    NoSlash,
    RestNotLast,
    Braces(String),
    NameTwice(String),
    Escapes(String),
}

impl fmt::Display for PatternFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlash => f.write_str("it must begin with `/`"),
            Self::RestNotLast => f.write_str("`{*name}` must be its last segment"),
            Self::Braces(segment) => write!(
                f,
                "the segment `{segment}` must be text, `{{name}}` or `{{*name}}`"
            ),
            Self::NameTwice(name) => write!(f, "it has two parameters `{name}`"),
            Self::Escapes(segment) => {
                write!(f, "the segment `{segment}` is not percent-encoded UTF-8")
            }
        }
    }
}

fn segment(text: &str) -> Result<Segment, PatternFault> {
    let braces = || PatternFault::Braces(text.to_owned());
    let Some(inner) = text.strip_prefix('{') else {
        if text.contains(['{', '}']) {
            return Err(braces());
        }
        let decoded = decode_path(text).map_err(|_| PatternFault::Escapes(text.to_owned()))?;
        return Ok(Segment::Static(decoded.into()));
    };
    let inner = inner.strip_suffix('}').ok_or_else(braces)?;
    let (is_rest, name) = match inner.strip_prefix('*') {
        Some(name) => (true, name),
        None => (false, inner),
    };
    if name.is_empty() || name.contains(['{', '}', '*']) {
        return Err(braces());
    }
    Ok(match is_rest {
        true => Segment::Rest(name.into()),
        false => Segment::Param(name.into()),
    })
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, PatternFault> {
        if !text.starts_with('/') {
            return Err(PatternFault::NoSlash);
        }
        let pattern = Self {
            text: text.to_owned(),
        };
        let mut names: Vec<Box<str>> = Vec::new();
        let mut ended = false;
        for part in pattern.parts() {
            if ended {
                return Err(PatternFault::RestNotLast);
            }
            let (Segment::Param(name) | Segment::Rest(name)) = segment(part)? else {
                continue;
            };
            ended = part.starts_with("{*");
            if names.contains(&name) {
                return Err(PatternFault::NameTwice(name.into()));
            }
            names.push(name);
        }
        Ok(pattern)
    }

    /// As [`parse`](Self::parse), for a call that has no other way to report the fault.
    #[track_caller]
    pub(super) fn expect(text: &str) -> Self {
        match Self::parse(text) {
            Ok(pattern) => pattern,
            Err(fault) => panic!("malformed route `{text}`: {fault}"),
        }
    }

    /// This pattern below `prefix`, which must not end in `/` or `{*rest}`.
    pub(super) fn below(&self, prefix: &Prefix) -> Result<Self, PatternFault> {
        match self.text.as_str() {
            // The app's root is the prefix itself: `/api`, not `/api/`.
            "/" if !prefix.0.is_empty() => Self::parse(&prefix.0),
            text => Self::parse(&format!("{}{text}", prefix.0)),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.text[1..].split('/')
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = Segment> {
        // `parse` has checked each.
        self.parts().filter_map(|part| segment(part).ok())
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let numbered = self.segments().enumerate();
        let param = |(at, part)| match part {
            Segment::Static(_) => None,
            Segment::Param(name) => Some((name, at, false)),
            Segment::Rest(name) => Some((name, at, true)),
        };
        let params = numbered.filter_map(param);
        let make = |(name, segment, is_rest)| Param {
            name,
            segment,
            is_rest,
        };
        params.map(make).collect()
    }

    /// The pattern without the names of its parameters: what two routes that match the same paths
    /// have in common.
    pub(super) fn shape(&self) -> Vec<Option<String>> {
        let part = |part| match part {
            Segment::Static(text) => Some(format!("={text}")),
            Segment::Param(_) => Some("?".to_owned()),
            Segment::Rest(_) => None,
        };
        self.segments().map(part).collect()
    }
}

/// The path below which an app is nested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefix(String);

impl Prefix {
    #[track_caller]
    pub(super) fn expect(text: &str) -> Self {
        let text = match text {
            "/" => "",
            text => text,
        };
        if text.ends_with('/') {
            panic!("malformed prefix `{text}`: it must not end with `/`");
        }
        if !text.is_empty() && Pattern::expect(text).params().iter().any(|p| p.is_rest) {
            panic!("malformed prefix `{text}`: it must not have `{{*name}}`");
        }
        Self(text.to_owned())
    }

    /// This prefix below another one.
    pub(super) fn below(&self, outer: &Self) -> Self {
        Self(format!("{}{}", outer.0, self.0))
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }

    /// Whether `path` is the prefix or lies below it.
    pub(super) fn matches(&self, path: &str) -> bool {
        let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
        self.parts().all(|part| {
            let Some(given) = segments.next() else {
                return false;
            };
            match segment(part) {
                Ok(Segment::Static(text)) => {
                    decode_path(given).is_ok_and(|decoded| decoded == *text)
                }
                _ => !given.is_empty(),
            }
        })
    }

    /// Long prefixes come before short ones, and text before parameters.
    pub(super) fn rank(&self) -> (Reverse<usize>, Vec<bool>) {
        let is_param: Vec<bool> = self.parts().map(|part| part.starts_with('{')).collect();
        (Reverse(is_param.len()), is_param)
    }
}

/// The pattern of a host: `example.org`, `*.example.org`, or `[::1]`; without a port it matches
/// each port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostPattern(String);

impl HostPattern {
    #[track_caller]
    pub(super) fn expect(text: &str) -> Self {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let is_valid = !name.is_empty()
            && !name.contains('*')
            && crate::http::message::authority_is_valid(name.as_bytes());
        if !is_valid {
            panic!("malformed host `{text}`: expected `example.org` or `*.example.org`");
        }
        Self(text.to_ascii_lowercase())
    }

    /// Whether it matches the host of a request, which may have a port (RFC 9110 section 7.2).
    pub(super) fn matches(&self, host: &str) -> bool {
        let without_port = || match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let is_equal = |host: &str| match self.0.strip_prefix('*') {
            Some(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .filter(|at| *at > 0)
                .and_then(|at| host.get(at..))
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix)),
            None => host.eq_ignore_ascii_case(&self.0),
        };
        is_equal(host) || is_equal(without_port())
    }

    /// Hosts that are named come before those with a `*`, and long ones before short ones.
    pub(super) fn rank(&self) -> (bool, Reverse<usize>) {
        (self.0.starts_with('*'), Reverse(self.0.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_segment() {
        let fault = |text: &str| Pattern::parse(text).unwrap_err().to_string();
        assert_eq!(fault("users"), "it must begin with `/`");
        assert_eq!(fault(""), "it must begin with `/`");
        assert_eq!(fault("/{*a}/b"), "`{*name}` must be its last segment");
        assert_eq!(fault("/{a}/{a}"), "it has two parameters `a`");
        for braces in ["a{b}", "{}", "{*}", "{a", "a}", "{a}b", "{{a}}"] {
            let expected =
                format!("the segment `{braces}` must be text, `{{name}}` or `{{*name}}`");
            assert_eq!(fault(&format!("/x/{braces}")), expected);
        }
        assert_eq!(
            fault("/%ff"),
            "the segment `%ff` is not percent-encoded UTF-8"
        );
    }

    #[test]
    fn params_know_their_segments() {
        let params = Pattern::expect("/a/{b}/c/{*d}").params();
        let params: Vec<_> = params
            .iter()
            .map(|p| (&*p.name, p.segment, p.is_rest))
            .collect();
        assert_eq!(params, [("b", 1, false), ("d", 3, true)]);
    }

    #[test]
    fn a_prefix_matches_whole_segments() {
        let prefix = Prefix::expect("/api/{version}");
        for path in ["/api/1/users", "/api/1", "/%61pi/1/"] {
            assert!(prefix.matches(path), "{path}");
        }
        for path in ["/api", "/api//x", "/apis/1"] {
            assert!(!prefix.matches(path), "{path}");
        }
        assert!(Prefix::expect("/").matches("/a"));
    }

    #[test]
    fn hosts_match_with_and_without_a_port() {
        let host = HostPattern::expect("Example.org");
        assert!(host.matches("example.ORG") && host.matches("example.org:8080"));
        assert!(!host.matches("www.example.org") && !host.matches("example.org.evil"));
        let any = HostPattern::expect("*.example.org");
        assert!(any.matches("www.example.org:1") && any.matches("a.b.example.org"));
        assert!(!any.matches("example.org") && !any.matches(".example.org"));
        assert!(!any.matches("wwwexample.org"));
        assert!(HostPattern::expect("[::1]").matches("[::1]:80"));
        assert!(HostPattern::expect("localhost:80").matches("localhost:80"));
        assert!(!HostPattern::expect("localhost:80").matches("localhost:81"));
    }
}
