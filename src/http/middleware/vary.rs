//! The field `Vary` (RFC 9110 section 12.5.5).
#![forbid(unsafe_code)]

use http::HeaderValue;
use http::header::VARY;

use crate::http::message::Headers;

/// Notes that a response depends on a field of the request, unless that is noted already.
pub(super) fn add_vary(headers: &mut Headers, name: &'static str) {
    let names = |list: &HeaderValue| {
        let mut noted = list.to_str().unwrap_or_default().split(',').map(str::trim);
        noted.any(|noted| noted == "*" || noted.eq_ignore_ascii_case(name))
    };
    if !headers.get_all(&VARY).any(names) {
        headers.append(VARY, HeaderValue::from_static(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_noted_once() {
        let check = |before: &[&'static str], after: &[&str]| {
            let mut headers = Headers::new();
            for value in before {
                headers.append(VARY, HeaderValue::from_static(value));
            }
            add_vary(&mut headers, "Origin");
            assert_eq!(headers.get_all(&VARY).collect::<Vec<_>>(), after);
        };
        check(&[], &["Origin"]);
        check(&["*"], &["*"]);
        check(&["accept, origin"], &["accept, origin"]);
        check(&["accept", "ORIGIN"], &["accept", "ORIGIN"]);
        check(&["x-origin"], &["x-origin", "Origin"]);
    }
}
