//! Headers of the PROXY protocol, whole and in pieces; what was read is written and read again.

#![no_main]

use ethreads::net::ProxyHeader;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(Some((header, len))) = ProxyHeader::parse(input) else {
        return;
    };
    assert!(len <= input.len().min(ProxyHeader::MAX_LEN));
    for end in 0..len {
        assert_eq!(ProxyHeader::parse(&input[..end]), Ok(None));
    }
    for written in [header.to_v1(), header.to_v2()] {
        assert_eq!(
            ProxyHeader::parse(&written),
            Ok(Some((header, written.len())))
        );
    }
});
