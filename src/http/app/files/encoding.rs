//! Which compressed sibling of a file a client takes (RFC 9110 section 12.5.3).
#![forbid(unsafe_code)]

use crate::http::message::HeaderView;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

/// The codings, the preferred one first.
const CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

impl Coding {
    /// The name in `Content-Encoding`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The end of the name of a file in this coding.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    fn is_named(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.name())
            || self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip")
    }
}

/// The codings that a client takes, the best one first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted([Option<Coding>; 3]);

impl Accepted {
    /// Reads `Accept-Encoding`. A coding that the client wants less than the plain file is left
    /// out.
    pub(super) fn parse(headers: HeaderView<'_>) -> Self {
        let mut weights = [None; 3];
        let (mut any, mut identity) = (None, None);
        for value in headers.get_all("accept-encoding") {
            let value = str::from_utf8(value).unwrap_or_default();
            for (name, weight) in value.split(',').filter_map(weighted) {
                if name == "*" {
                    any = Some(weight);
                } else if name.eq_ignore_ascii_case("identity") {
                    identity = Some(weight);
                } else if let Some(at) = CODINGS.iter().position(|coding| coding.is_named(name)) {
                    weights[at] = Some(weight);
                }
            }
        }
        let least = identity.unwrap_or(0).max(1);
        let mut wanted = [(0, None); 3];
        for (at, coding) in CODINGS.into_iter().enumerate() {
            let weight = weights[at].or(any).unwrap_or(0);
            if weight >= least {
                wanted[at] = (weight, Some(coding));
            }
        }
        // Stable: among equals the order is that of `CODINGS`.
        wanted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        Self(wanted.map(|(_, coding)| coding))
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Coding> {
        self.0.into_iter().flatten()
    }
}

/// A coding and its weight in thousandths. `None` if it is malformed.
fn weighted(item: &str) -> Option<(&str, u16)> {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let Some(parameter) = parts.next() else {
        return Some((name, 1000));
    };
    let (key, value) = parameter.split_once('=')?;
    let is_weight = key.trim_end().eq_ignore_ascii_case("q");
    is_weight.then_some((name, thousandths(value.trim_start())?))
}

/// A `qvalue`: from 0 to 1, with up to three digits behind the point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let is_value = matches!(whole, "0" | "1")
        && digits.len() <= 3
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_value {
        return None;
    }
    let value: u16 = format!("{whole}{digits:0<3}").parse().ok()?;
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::exchange::request::Request;

    #[track_caller]
    fn check(field: &str, expected: &[Coding]) {
        let request = Request::builder().header("accept-encoding", field);
        let request = request.build().unwrap();
        let accepted: Vec<_> = Accepted::parse(request.headers()).iter().collect();
        assert_eq!(accepted, expected, "{field}");
    }

    #[test]
    fn weights_decide_and_then_the_preference() {
        check("gzip, br", &[Coding::Brotli, Coding::Gzip]);
        check("gzip, deflate, br, zstd", &CODINGS);
        check("gzip;q=1.0, br;q=0.5", &[Coding::Gzip, Coding::Brotli]);
        check(
            "br;q=0.1,zstd; Q = 0.9 ,gzip;q=0.12",
            &[Coding::Zstd, Coding::Gzip, Coding::Brotli],
        );
        check("x-gzip", &[Coding::Gzip]);
        check("GZIP", &[Coding::Gzip]);
    }

    #[test]
    fn a_weight_of_zero_refuses() {
        check("gzip;q=0", &[]);
        check("gzip;q=0.000, br", &[Coding::Brotli]);
        check("*", &CODINGS);
        check("*, br;q=0", &[Coding::Zstd, Coding::Gzip]);
        check("*;q=0", &[]);
        check("*;q=0, gzip", &[Coding::Gzip]);
    }

    #[test]
    fn the_plain_file_may_be_wanted_more() {
        check("identity, gzip;q=0.5", &[]);
        check("identity;q=0.5, gzip", &[Coding::Gzip]);
        check("identity;q=0, gzip;q=0.1", &[Coding::Gzip]);
    }

    #[test]
    fn what_is_malformed_does_not_count() {
        for field in [
            "",
            ",",
            ";q=1",
            "gzip;q=2",
            "gzip;q=0.1234",
            "gzip;q",
            "gzip;x=1",
            "gzi",
        ] {
            check(field, &[]);
        }
    }

    #[test]
    fn without_the_field_the_plain_file_is_sent() {
        let request = Request::builder().build().unwrap();
        assert_eq!(Accepted::parse(request.headers()), Accepted::default());
    }
}
