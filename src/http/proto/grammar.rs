//! The bytes that the grammar of HTTP names.
#![forbid(unsafe_code)]

/// `tchar` of RFC 9110 section 5.6.2.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~'
        )
}

/// `field-vchar`, SP and HTAB of RFC 9110 section 5.5, of which a field value or a quoted string
/// consists: all but the control characters.
pub(super) const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The elements of a list that are not empty (RFC 9110 section 5.6.1.2).
pub(crate) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let members = list.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty())
}
