//! Whether a connection may go over to another protocol (RFC 9110 section 7.8).
#![forbid(unsafe_code)]

use http::Version;
use http::header::UPGRADE;

use crate::http::message::{HeaderView, Headers};

/// Whether a 101 with these headers may answer a request with those.
///
/// RFC 9110 section 15.2.2: a 101 names the new protocols; section 7.8: a server must not switch to
/// one that the client has not named, and must ignore what HTTP/1.0 names. An Upgrade that is not
/// listed in Connection was passed on by a proxy that did not know it, so is ignored too (section
/// 7.6.1).
pub(crate) fn may_switch(version: Version, request: HeaderView<'_>, response: &Headers) -> bool {
    let named = |protocol: &[u8]| {
        let mut protocols = request.get_all("upgrade").flat_map(members);
        protocols.any(|member| member.eq_ignore_ascii_case(protocol))
    };
    let is_listed = request
        .get_all("connection")
        .flat_map(members)
        .any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    let protocols = response.get_all(&UPGRADE);
    let mut protocols = protocols.flat_map(|value| members(value.as_bytes()));
    version == Version::HTTP_11
        && is_listed
        && protocols.next().is_some_and(named)
        && protocols.all(named)
}

/// The elements of a list that are not empty (RFC 9110 section 5.6.1.2).
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let members = list.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty())
}
