//! The content codings that a client takes (RFC 9110 section 12.5.3).
#![forbid(unsafe_code)]

/// A content coding.
#[cfg_attr(
    not(any(feature = "gzip", feature = "brotli", feature = "zstd")),
    allow(unreachable_pub)
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `br`, of RFC 7932.
    Brotli,
    /// `zstd`, of RFC 8878.
    Zstd,
    /// `gzip`, of RFC 1952.
    Gzip,
}

/// The codings, that of the smallest files first.
const CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

impl Coding {
    /// The name in `Content-Encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The end of the name of a file in this coding.
    pub(crate) fn suffix(self) -> &'static str {
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

/// The codings that a client takes, with their weights in thousandths, in the order of [`CODINGS`].
/// Zero stands for a coding that it does not take, or wants less than none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted([u16; 3]);

impl Accepted {
    /// Reads the values of `Accept-Encoding`.
    pub(crate) fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut weights = [None; 3];
        let (mut any, mut identity) = (None, None);
        for value in values {
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
        let least = identity.unwrap_or(0);
        Self(weights.map(|weight| {
            let weight = weight.or(any).unwrap_or(0);
            if weight < least { 0 } else { weight }
        }))
    }

    /// The codings, the one with the highest weight first, and among equals that of the smallest
    /// files.
    pub(crate) fn iter(self) -> impl Iterator<Item = Coding> {
        let mut weighted = [0, 1, 2].map(|at| (self.0[at], CODINGS[at]));
        // Stable: among equals the order stays.
        weighted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let taken = weighted.into_iter().filter(|(weight, _)| *weight > 0);
        taken.map(|(_, coding)| coding)
    }

    /// The coding of `offered` with the highest weight, and among equals the first one.
    #[cfg(any(feature = "gzip", feature = "brotli", feature = "zstd"))]
    pub(crate) fn best_of(self, offered: &[Coding]) -> Option<Coding> {
        let weight = |coding: Coding| self.0[coding as usize];
        let mut best = None;
        for &coding in offered {
            if weight(coding) > best.map_or(0, weight) {
                best = Some(coding);
            }
        }
        best
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
    let units = digits.bytes().zip([100, 10, 1]);
    let thousandths: u16 = units
        .map(|(digit, unit)| u16::from(digit - b'0') * unit)
        .sum();
    let value = u16::from(whole == "1") * 1000 + thousandths;
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(field: &str) -> Accepted {
        Accepted::parse([field.as_bytes()].into_iter())
    }

    #[track_caller]
    fn check(field: &str, expected: &[Coding]) {
        let accepted: Vec<_> = parse(field).iter().collect();
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

    #[cfg(any(feature = "gzip", feature = "brotli", feature = "zstd"))]
    #[test]
    fn the_best_of_an_offer_is_found_by_its_weight() {
        let best_of = |field: &str, offered: &[Coding]| parse(field).best_of(offered);
        let (br, zstd, gzip) = (Coding::Brotli, Coding::Zstd, Coding::Gzip);
        assert_eq!(best_of("br, gzip, zstd", &[gzip, br, zstd]), Some(gzip));
        assert_eq!(best_of("br;q=0.9, gzip;q=0.1", &[gzip, br]), Some(br));
        assert_eq!(best_of("br, gzip;q=0.1", &[zstd, gzip]), Some(gzip));
        assert_eq!(best_of("br, gzip;q=0", &[zstd, gzip]), None);
        assert_eq!(best_of("gzip, identity;q=0.5", &[]), None);
        assert_eq!(best_of("gzip;q=0.5, identity", &[gzip]), None);
    }

    #[test]
    fn the_field_may_be_missing_or_repeated() {
        assert_eq!(Accepted::parse([].into_iter()), Accepted::default());
        let two = [&b"gzip"[..], &b"br;q=0.5"[..]];
        let accepted: Vec<_> = Accepted::parse(two.into_iter()).iter().collect();
        assert_eq!(accepted, [Coding::Gzip, Coding::Brotli]);
    }
}
