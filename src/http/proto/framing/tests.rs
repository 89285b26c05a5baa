use super::*;

fn survey(version: Version, fields: &str) -> Result<Framing, ProtoError> {
    let mut survey = Survey::default();
    for field in fields.split('|').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(':').unwrap();
        survey.note(name.as_bytes(), value.as_bytes())?;
    }
    survey.decide(version)
}

#[track_caller]
fn check_body(fields: &str, expected: Result<BodyLength, ProtoError>) {
    let got = survey(Version::HTTP_11, &format!("Host:a|{fields}"));
    assert_eq!(got.map(|framing| framing.body), expected, "{fields}");
}

#[track_caller]
fn check_body_10(fields: &str, expected: Result<BodyLength, ProtoError>) {
    let got = survey(Version::HTTP_10, fields);
    assert_eq!(got.map(|framing| framing.body), expected, "{fields}");
}

#[test]
fn no_length_no_body_rfc9112_6_3_item_7() {
    check_body("", Ok(BodyLength::None));
    check_body("Content-Type:a/b", Ok(BodyLength::None));
    check_body_10("", Ok(BodyLength::None));
}

#[test]
fn content_length_rfc9110_8_6() {
    check_body("Content-Length:0", Ok(BodyLength::Known(0)));
    check_body("content-LENGTH:5", Ok(BodyLength::Known(5)));
    check_body("content-length:007", Ok(BodyLength::Known(7)));
    check_body(
        "content-length:18446744073709551615",
        Ok(BodyLength::Known(u64::MAX)),
    );
    check_body_10("content-length:5", Ok(BodyLength::Known(5)));
    for malformed in [
        "",
        "+5",
        "-5",
        "5 5",
        "0x5",
        "5.0",
        "5a",
        "\u{661}",
        "18446744073709551616",
        "5,5",
        ",",
    ] {
        let field = format!("content-length:{malformed}");
        check_body(&field, Err(ProtoError::LengthMalformed));
    }
    check_body(
        "content-length:99999999999999999999",
        Err(ProtoError::LengthMalformed),
    );
    check_body(
        "content-length:5|content-length:5",
        Err(ProtoError::LengthRepeated),
    );
    check_body(
        "content-length:5|content-length:6",
        Err(ProtoError::LengthRepeated),
    );
}

#[test]
fn transfer_encoding_rfc9112_6_1() {
    check_body("Transfer-Encoding:chunked", Ok(BodyLength::Chunked));
    check_body("transfer-encoding:CHUNKED", Ok(BodyLength::Chunked));
    check_body(
        "transfer-encoding:gzip, chunked",
        Err(ProtoError::CodingUnknown),
    );
    check_body(
        "transfer-encoding:gzip|transfer-encoding:chunked",
        Err(ProtoError::CodingUnknown),
    );
    check_body(
        "transfer-encoding:identity,\tchunked",
        Err(ProtoError::CodingUnknown),
    );
    check_body(
        "transfer-encoding:chunked, chunked",
        Err(ProtoError::CodingRepeated),
    );
    check_body(
        "transfer-encoding:a,chunked,chunked",
        Err(ProtoError::CodingRepeated),
    );
    check_body(
        "transfer-encoding:chunked|transfer-encoding:chunked",
        Err(ProtoError::CodingRepeated),
    );
    for not_last in [
        "gzip",
        "identity",
        "chunked, gzip",
        "xchunked",
        "chunked, identity",
        "",
        " , ,",
    ] {
        let field = format!("transfer-encoding:{not_last}");
        check_body(&field, Err(ProtoError::CodingNotChunkedLast));
    }
    let not_last = "transfer-encoding:chunked|transfer-encoding:gzip";
    check_body(not_last, Err(ProtoError::CodingNotChunkedLast));
    for with_empty_elements in [",chunked", "chunked,", " ,\t,chunked, ,"] {
        let field = format!("transfer-encoding:{with_empty_elements}");
        check_body(&field, Ok(BodyLength::Chunked));
    }
    check_body(
        "transfer-encoding:|transfer-encoding:chunked",
        Ok(BodyLength::Chunked),
    );
    check_body(
        "transfer-encoding:a;b=\"c, chunked\", chunked",
        Err(ProtoError::CodingUnknown),
    );
    for malformed in [
        "chunked;a=b",
        "chunked;",
        "\u{b}chunked",
        "\"chunked\"",
        "chunked chunked",
    ] {
        let field = format!("transfer-encoding:{malformed}");
        check_body(&field, Err(ProtoError::CodingMalformed));
    }
}

#[test]
fn length_and_coding_together_rfc9112_6_3_item_3() {
    let both = Err(ProtoError::LengthAndCoding);
    check_body("content-length:5|transfer-encoding:chunked", both);
    check_body("transfer-encoding:chunked|content-length:5", both);
    check_body("transfer-encoding:gzip|content-length:5", both);
    check_body("content-length:0|transfer-encoding:identity", both);
}

#[test]
fn transfer_encoding_on_http10_rfc9112_6_1() {
    check_body_10("transfer-encoding:chunked", Err(ProtoError::CodingOnHttp10));
    check_body_10("transfer-encoding:gzip", Err(ProtoError::CodingOnHttp10));
    let both = "transfer-encoding:chunked|content-length:5";
    check_body_10(both, Err(ProtoError::CodingOnHttp10));
}

#[test]
fn host_rfc9112_3_2() {
    let status = |version, fields| survey(version, fields).map(|_| ());
    assert_eq!(status(Version::HTTP_11, ""), Err(ProtoError::HostMissing));
    assert_eq!(status(Version::HTTP_10, ""), Ok(()));
    assert_eq!(status(Version::HTTP_11, "HOST:"), Ok(()));
    assert_eq!(status(Version::HTTP_11, "Host:a:80"), Ok(()));
    for version in [Version::HTTP_10, Version::HTTP_11] {
        assert_eq!(
            status(version, "Host:a|host:a"),
            Err(ProtoError::HostRepeated)
        );
        assert_eq!(status(version, "Host:a/b"), Err(ProtoError::HostMalformed));
        assert_eq!(status(version, "Host:a, b"), Err(ProtoError::HostMalformed));
    }
}

#[track_caller]
fn check_keep_alive(version: Version, fields: &str, expected: bool) {
    let framing = survey(version, &format!("host:a|{fields}"));
    assert_eq!(
        framing.map(|framing| framing.keep_alive),
        Ok(expected),
        "{version:?} {fields}"
    );
}

#[test]
fn persistence_rfc9112_9_3() {
    for (fields, on_http11, on_http10) in [
        ("", true, false),
        ("Connection:close", false, false),
        ("Connection:CLOSE", false, false),
        ("Connection:keep-alive", true, true),
        ("Connection:Keep-Alive, Upgrade", true, true),
        ("Connection:keep-alive, close", false, false),
        ("Connection:close|Connection:keep-alive", false, false),
        ("Connection: , ,\tclose ,", false, false),
        ("Connection:closed", true, false),
        ("Connection:", true, false),
        ("Connection:Upgrade|Upgrade:h2c", true, false),
        ("Proxy-Connection:close", true, false),
    ] {
        check_keep_alive(Version::HTTP_11, fields, on_http11);
        check_keep_alive(Version::HTTP_10, fields, on_http10);
    }
}

#[track_caller]
fn check_expect(version: Version, fields: &str, expected: Result<bool, ProtoError>) {
    let framing = survey(version, &format!("host:a|{fields}"));
    assert_eq!(
        framing.map(|framing| framing.expect_continue),
        expected,
        "{fields}"
    );
}

#[test]
fn expectations_rfc9110_10_1_1() {
    let unknown = Err(ProtoError::ExpectationUnknown);
    check_expect(
        Version::HTTP_11,
        "content-length:5|expect:100-continue",
        Ok(true),
    );
    check_expect(
        Version::HTTP_11,
        "expect:100-Continue|transfer-encoding:chunked",
        Ok(true),
    );
    check_expect(
        Version::HTTP_11,
        "content-length:0|expect:100-continue",
        Ok(false),
    );
    check_expect(Version::HTTP_11, "expect:100-continue", Ok(false));
    check_expect(Version::HTTP_11, "content-length:5", Ok(false));
    check_expect(Version::HTTP_11, "content-length:5|expect:", Ok(false));
    check_expect(Version::HTTP_11, "expect:200-ok", unknown);
    check_expect(
        Version::HTTP_11,
        "content-length:5|expect:100-continue, x",
        unknown,
    );
    check_expect(Version::HTTP_11, "expect:x|expect:100-continue", unknown);
    check_expect(
        Version::HTTP_10,
        "content-length:5|expect:100-continue",
        Ok(false),
    );
    check_expect(Version::HTTP_10, "expect:x", Ok(false));
}
