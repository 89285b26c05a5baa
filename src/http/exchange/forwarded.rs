//! What trusted proxies tell about the client, in the fields of a request.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use crate::http::message::HeaderView;
use crate::net::Network;

/// The field in which the proxies in front of a server name the client.
///
/// A server must read the one that its proxies set, and no other one: a proxy passes on what a
/// client has written into the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedField {
    /// `Forwarded` (RFC 7239), with the parameters `for` and `proto`.
    Forwarded,
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` for the scheme.
    XForwardedFor,
}

/// Which field names the client, and which peers may send it.
#[derive(Debug)]
pub(in crate::http) struct Forwarding {
    pub(in crate::http) field: ForwardedField,
    pub(in crate::http) trusted: Vec<Network>,
}

/// The client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct ClientInfo {
    pub(in crate::http) address: Option<IpAddr>,
    /// `None` if no proxy tells.
    pub(in crate::http) scheme: Option<&'static str>,
}

/// What a proxy tells of the peer that it got the request from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hop {
    address: Option<IpAddr>,
    scheme: Option<&'static str>,
}

/// Whether a peer is one of these; a peer without an address is.
pub(in crate::http) fn is_trusted(trusted: &[Network], peer: Option<IpAddr>) -> bool {
    peer.is_none_or(|peer| trusted.iter().any(|network| network.contains(peer)))
}

impl Forwarding {
    /// Goes back from the peer, as long as it has come to proxies that are trusted.
    pub(in crate::http) fn client(
        &self,
        peer: Option<IpAddr>,
        headers: HeaderView<'_>,
    ) -> ClientInfo {
        let mut client = ClientInfo {
            address: peer,
            scheme: None,
        };
        if !is_trusted(&self.trusted, peer) {
            return client;
        }
        let hops = match self.field {
            ForwardedField::Forwarded => forwarded(headers),
            ForwardedField::XForwardedFor => x_forwarded(headers),
        };
        for hop in hops.iter().rev() {
            client.scheme = hop.scheme.or(client.scheme);
            let Some(address) = hop.address else { break };
            client.address = Some(address.to_canonical());
            if !is_trusted(&self.trusted, client.address) {
                break;
            }
        }
        client
    }
}

/// The elements of all fields of a name, in their order.
fn elements<'a>(headers: HeaderView<'a>, name: &'a str) -> impl Iterator<Item = &'a str> {
    // A value that is not text is one element that tells nothing.
    let values = headers
        .get_all(name)
        .map(|value| str::from_utf8(value).unwrap_or("?"));
    values.flat_map(|value| split_unquoted(value, ','))
}

fn x_forwarded(headers: HeaderView<'_>) -> Vec<Hop> {
    let hop = |element| Hop {
        address: node(element),
        scheme: None,
    };
    let mut hops: Vec<Hop> = elements(headers, "x-forwarded-for").map(hop).collect();
    let schemes: Vec<_> = elements(headers, "x-forwarded-proto").map(scheme).collect();
    if schemes.len() == hops.len() {
        for (hop, scheme) in hops.iter_mut().zip(schemes) {
            hop.scheme = scheme;
        }
    } else if let Some(last) = schemes.last() {
        // Most proxies replace the field instead of adding to it.
        match hops.last_mut() {
            Some(hop) => hop.scheme = *last,
            None => hops.push(Hop {
                address: None,
                scheme: *last,
            }),
        }
    }
    hops
}

/// RFC 7239 section 4.
fn forwarded(headers: HeaderView<'_>) -> Vec<Hop> {
    let hop = |element| {
        let mut hop = Hop::default();
        for pair in split_unquoted(element, ';') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            // No value of interest needs an escape.
            let value = value
                .strip_prefix('"')
                .map_or(Some(value), |rest| rest.strip_suffix('"'));
            if name.eq_ignore_ascii_case("for") {
                hop.address = value.and_then(node);
            } else if name.eq_ignore_ascii_case("proto") {
                hop.scheme = value.and_then(scheme);
            }
        }
        hop
    };
    elements(headers, "forwarded").map(hop).collect()
}

/// An address, with a port or without one; `None` for `unknown` and for names of a proxy's own
/// making.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bracketed.unwrap_or(text).parse().ok();
    address.or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

fn scheme(text: &str) -> Option<&'static str> {
    let known = ["http", "https"];
    known
        .into_iter()
        .find(|known| text.eq_ignore_ascii_case(known))
}

/// Splits a list at a separator, but not within quotes. Empty elements are left out (RFC 9110
/// section 5.6.1.2).
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(move |c| {
        let escapes = is_quoted && !is_escaped && c == '\\';
        let was_escaped = std::mem::replace(&mut is_escaped, escapes);
        if c == '"' && !was_escaped {
            is_quoted = !is_quoted;
        }
        c == separator && !is_quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::exchange::request::Request;

    fn client(field: ForwardedField, peer: &str, fields: &[(&str, &str)]) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        let trusted = trusted.map(|network| network.parse().unwrap()).into();
        let mut request = Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.build().unwrap();
        let forwarding = Forwarding { field, trusted };
        let found = forwarding.client(peer.parse().ok(), request.headers());
        let address = found
            .address
            .map_or("-".into(), |address| address.to_string());
        format!("{address} {}", found.scheme.unwrap_or("-"))
    }

    #[track_caller]
    fn check_x(peer: &str, fields: &[(&str, &str)], expected: &str) {
        assert_eq!(
            client(ForwardedField::XForwardedFor, peer, fields),
            expected
        );
    }

    #[track_caller]
    fn check(peer: &str, value: &str, expected: &str) {
        let fields = [("forwarded", value)];
        assert_eq!(client(ForwardedField::Forwarded, peer, &fields), expected);
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_client() {
        let fields = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
        ];
        check_x("9.9.9.9", &fields, "9.9.9.9 -");
        check("9.9.9.9", "for=1.1.1.1;proto=https", "9.9.9.9 -");
    }

    #[test]
    fn the_last_address_that_is_not_trusted_is_the_client() {
        let far = |value| [("x-forwarded-for", value)];
        check_x("10.0.0.1", &[], "10.0.0.1 -");
        check_x("10.0.0.1", &far("1.1.1.1"), "1.1.1.1 -");
        check_x("", &far("1.1.1.1"), "1.1.1.1 -");
        // What stands before was written by the client.
        check_x("10.0.0.1", &far("6.6.6.6, 1.1.1.1"), "1.1.1.1 -");
        check_x("10.0.0.1", &far("6.6.6.6, 1.1.1.1, 10.0.0.2,"), "1.1.1.1 -");
        check_x("10.0.0.1", &far("10.0.0.3, 10.0.0.2"), "10.0.0.3 -");
        check_x("10.0.0.1", &far("1.1.1.1, unknown"), "10.0.0.1 -");
        check_x("10.0.0.1", &far("1.1.1.1, x, 10.0.0.2"), "10.0.0.2 -");
        check_x("10.0.0.1", &far("1.1.1.1:4711"), "1.1.1.1 -");
        check_x("10.0.0.1", &far("::ffff:1.1.1.1"), "1.1.1.1 -");
        check_x("2001:db8::1", &far("[2001:dead::1]:80"), "2001:dead::1 -");
        let lines = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "1.1.1.1"),
        ];
        check_x("10.0.0.1", &lines, "1.1.1.1 -");
    }

    #[test]
    fn only_the_chosen_field_is_read() {
        let fields = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")];
        check_x("10.0.0.1", &fields, "1.1.1.1 -");
        assert_eq!(
            client(ForwardedField::Forwarded, "10.0.0.1", &fields),
            "2.2.2.2 -"
        );
    }

    #[test]
    fn the_scheme_is_that_of_the_client() {
        let with = |far, proto| [("x-forwarded-for", far), ("x-forwarded-proto", proto)];
        check_x("10.0.0.1", &with("1.1.1.1", "HTTPS"), "1.1.1.1 https");
        check_x("10.0.0.1", &with("1.1.1.1", "ftp"), "1.1.1.1 -");
        check_x(
            "10.0.0.1",
            &with("1.1.1.1, 10.0.0.2", "https, http"),
            "1.1.1.1 https",
        );
        check_x(
            "10.0.0.1",
            &with("1.1.1.1, 10.0.0.2", "https"),
            "1.1.1.1 https",
        );
        check_x(
            "10.0.0.1",
            &with("6.6.6.6, 1.1.1.1", "https, http"),
            "1.1.1.1 http",
        );
        check_x(
            "10.0.0.1",
            &[("x-forwarded-proto", "https")],
            "10.0.0.1 https",
        );
    }

    #[test]
    fn elements_of_forwarded_are_read() {
        check("10.0.0.1", "for=1.1.1.1", "1.1.1.1 -");
        check(
            "10.0.0.1",
            "For=\"1.1.1.1:80\"; PROTO=https;by=_x",
            "1.1.1.1 https",
        );
        check("10.0.0.1", "for=\"[2001:dead::1]:4711\"", "2001:dead::1 -");
        check(
            "10.0.0.1",
            "for=6.6.6.6, for=1.1.1.1;proto=http",
            "1.1.1.1 http",
        );
        check(
            "10.0.0.1",
            "for=1.1.1.1;proto=https, for=10.0.0.2;proto=http",
            "1.1.1.1 https",
        );
        check("10.0.0.1", "for=_hidden;proto=https", "10.0.0.1 https");
        check("10.0.0.1", "proto=https", "10.0.0.1 https");
        check("10.0.0.1", "for=\"1.1.1.1", "10.0.0.1 -");
        // A comma, a quote and a semicolon within quotes divide nothing.
        check(
            "10.0.0.1",
            "host=\"a,b;\\\",for=6.6.6.6\";for=1.1.1.1",
            "1.1.1.1 -",
        );
    }
}
