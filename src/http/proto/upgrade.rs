//! Whether a connection may switch to another protocol (RFC 9110 section 7.8).
#![forbid(unsafe_code)]

use http::Version;
use http::header::UPGRADE;

use super::grammar::members;
use crate::http::message::{HeaderView, Headers};

/// Whether a 101 with the headers `response` may answer a request with the headers `request`.
///
/// RFC 9110 section 15.2.2: a 101 names the new protocols. Section 7.8: a server must not switch to
/// a protocol that the client has not named, and must ignore the protocols that an HTTP/1.0 request
/// names. An Upgrade that is not listed in Connection was passed on by a proxy that did not know
/// the field, so it is ignored too (section 7.6.1).
pub(crate) fn may_switch(version: Version, request: HeaderView<'_>, response: &Headers) -> bool {
    let named = |protocol: &[u8]| is_offered(version, request, protocol);
    let protocols = response.get_all(&UPGRADE);
    let mut protocols = protocols.flat_map(|value| members(value.as_bytes()));
    protocols.next().is_some_and(named) && protocols.all(named)
}

/// Whether a request with these headers offers to switch to `protocol`.
pub(crate) fn is_offered(version: Version, request: HeaderView<'_>, protocol: &[u8]) -> bool {
    let lists = |field, wanted: &[u8]| {
        let mut all = request.get_all(field).flat_map(members);
        all.any(|member| member.eq_ignore_ascii_case(wanted))
    };
    version == Version::HTTP_11 && lists("connection", b"upgrade") && lists("upgrade", protocol)
}
