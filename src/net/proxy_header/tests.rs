use proptest::prelude::*;

use super::*;

fn header(source: &str, destination: &str) -> ProxyHeader {
    ProxyHeader::new(source.parse().unwrap(), destination.parse().unwrap())
}

/// A header of version 2, with a length of its own making.
fn binary(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([version_and_command, family]);
    bytes.extend((rest.len() as u16).to_be_bytes());
    bytes.extend(rest);
    bytes
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0x12, 0x67, 0x01, 0xBB];

#[track_caller]
fn check(input: &[u8], expected: ProxyHeader) {
    assert_eq!(ProxyHeader::parse(input), Ok(Some((expected, input.len()))));
    for end in 0..input.len() {
        assert_eq!(ProxyHeader::parse(&input[..end]), Ok(None), "{end} bytes");
    }
    let more = [input, b"GET / HTTP/1.1\r\n"].concat();
    assert_eq!(ProxyHeader::parse(&more), Ok(Some((expected, input.len()))));
}

#[test]
fn lines_are_read() {
    check(
        b"PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n",
        header("192.0.2.1:4711", "198.51.100.7:443"),
    );
    check(
        b"PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n",
        header("[2001:db8::1]:0", "[2001:db8::2]:65535"),
    );
    check(b"PROXY UNKNOWN\r\n", ProxyHeader::local());
    check(b"PROXY UNKNOWN ::1 what ever\r\n", ProxyHeader::local());
}

#[test]
fn malformed_lines_are_refused() {
    let malformed = [
        "GET / HTTP/1.1\r\n",
        "proxy TCP4 192.0.2.1 198.51.100.7 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.7 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 4711\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 4711 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 4711 0443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 4711 +443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 4711 65536\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.7 4711 443\r\n",
        "PROXY TCP4 ::1 ::1 4711 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.7 4711 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.7 4711 443\r\n",
        "PROXY UNKNOWNED\r\n",
        "PROXY \r\n",
    ];
    for line in malformed {
        assert!(ProxyHeader::parse(line.as_bytes()).is_err(), "{line}");
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE - 16));
    assert_eq!(long.len(), LINE);
    check(long.as_bytes(), ProxyHeader::local());
    let longer = format!("PROXY UNKNOWN {}", "x".repeat(LINE));
    assert!(ProxyHeader::parse(longer.as_bytes()).is_err());
}

#[test]
fn binary_headers_are_read() {
    let v4 = header("192.0.2.1:4711", "198.51.100.7:443");
    check(&binary(0x21, 0x11, &V4), v4);
    // With a field that is not known.
    let fields = [&V4[..], &[0xEE, 0, 2, 7, 7]].concat();
    check(&binary(0x21, 0x11, &fields), v4);
    check(&binary(0x20, 0x11, &V4), ProxyHeader::local());
    check(&binary(0x20, 0x00, &[]), ProxyHeader::local());
    check(&binary(0x20, 0xFF, &[1, 2, 3]), ProxyHeader::local());
    check(&binary(0x21, 0x00, &[1, 2, 3]), ProxyHeader::local());
    check(&binary(0x21, 0x31, &[0; 216]), ProxyHeader::local());
}

#[test]
fn malformed_binary_headers_are_refused() {
    let field = |field: &[u8]| binary(0x21, 0x11, &[&V4[..], field].concat());
    let malformed = [
        binary(0x11, 0x11, &V4),
        binary(0x22, 0x11, &V4),
        binary(0x21, 0x12, &V4),
        binary(0x21, 0x41, &V4),
        binary(0x21, 0x11, &V4[..11]),
        binary(0x21, 0x21, &V4),
        binary(0x21, 0x00, &[0; ProxyHeader::MAX_LEN]),
        field(&[1]),
        field(&[1, 0, 2, 7]),
        field(&[CRC32C, 0, 4, 0, 0, 0, 0]),
        field(&[CRC32C, 0, 0]),
    ];
    for bytes in malformed {
        assert!(ProxyHeader::parse(&bytes).is_err(), "{bytes:x?}");
    }
}

#[test]
fn a_checksum_is_verified() {
    // The check value of CRC-32C.
    assert_eq!(crc32c(b"123456789".iter().copied()), 0xE306_9283);
    let mut bytes = binary(0x21, 0x11, &[&V4[..], &[CRC32C, 0, 4, 0, 0, 0, 0]].concat());
    let sum = crc32c(bytes.iter().copied());
    let place = bytes.len() - 4;
    bytes[place..].copy_from_slice(&sum.to_be_bytes());
    check(&bytes, header("192.0.2.1:4711", "198.51.100.7:443"));
    bytes[20] ^= 1;
    assert!(ProxyHeader::parse(&bytes).is_err());
}

#[test]
fn headers_of_the_corpus_are_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/proxy_header");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        let (header, len) = ProxyHeader::parse(&input).unwrap().unwrap();
        check(&input[..len], header);
        count += 1;
    }
    assert!(count > 5, "{count} files in the corpus");
}

fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let address = prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::V4), any::<IpAddr>()];
    let address = (address, any::<u16>()).prop_map(SocketAddr::from);
    (address.clone(), address)
}

proptest! {
    #[test]
    fn what_is_written_is_read((source, destination) in addresses()) {
        let header = ProxyHeader::new(source, destination);
        for bytes in [header.to_v1(), header.to_v2()] {
            prop_assert!(bytes.len() <= LINE);
            check(&bytes, header);
        }
    }

    #[test]
    fn nothing_panics(input in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        (any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 0..64))
            .prop_map(|(fixed, rest)| [&SIGNATURE[..], &fixed, &rest].concat()),
        "PROXY (TCP4|TCP6|UNKNOWN) [0-9a-f.: ]{0,60}\r\n".prop_map(String::into_bytes),
    ]) {
        if let Ok(Some((header, len))) = ProxyHeader::parse(&input) {
            prop_assert!(len <= input.len());
            check(&input[..len], header);
        }
    }
}
