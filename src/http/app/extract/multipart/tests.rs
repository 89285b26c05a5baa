use std::io::Read;

use super::*;
use crate::http::app::App;
use crate::http::exchange::builder::RequestBuilder;
use crate::http::message::Response;

const KIND: &str = "multipart/form-data; boundary=x-y";

fn form(parts: &[(&str, &str)]) -> String {
    let mut form = String::new();
    for (header, body) in parts {
        form += &format!("--x-y\r\nContent-Disposition: form-data; {header}\r\n\r\n{body}\r\n");
    }
    form + "--x-y--\r\n"
}

/// Returns one byte at a time, so that each boundary is split everywhere.
struct Bytewise<R>(R);

impl<R: Read> Read for Bytewise<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let most = buf.len().min(1);
        self.0.read(&mut buf[..most])
    }
}

fn call<M: 'static, H>(handler: H, request: RequestBuilder) -> (u16, String)
where
    H: crate::http::exchange::handler::IntoHandler<M, Output: crate::http::message::IntoResponse>,
{
    let app = App::new().post("/", handler).body_limit(10_000);
    text_of(&app.call(request.build().unwrap()))
}

fn text_of(response: &Response) -> (u16, String) {
    let text = response.body().as_bytes().unwrap_or_default();
    let text = String::from_utf8(text.to_vec()).unwrap();
    (response.status().as_u16(), text)
}

fn post(kind: &str, body: String) -> RequestBuilder {
    Request::post("/").header("content-type", kind).body(body)
}

/// Lists the fields with what they hold.
fn listed(mut form: Multipart) -> Result<String> {
    let mut list = String::new();
    while let Some(mut field) = form.next_field()? {
        let text = field.text()?;
        let (name, file) = (field.name(), field.file_name());
        list += &format!("{name:?} {file:?} {:?} {text:?}\n", field.content_type());
    }
    Ok(list)
}

#[test]
fn fields_arrive_as_they_were_sent_however_they_are_split() {
    let parts = [
        ("name=\"a\"", "one"),
        ("name=\"empty\"", ""),
        (
            "name=\"f\"; filename=\"n.txt\"\r\nContent-Type: text/plain",
            "\r\n--x-\r\r\n--x-",
        ),
        ("name=\"\u{e4}\"", "--x-y"),
    ];
    let expected = "Some(\"a\") None None \"one\"\n\
                    Some(\"empty\") None None \"\"\n\
                    Some(\"f\") Some(\"n.txt\") Some(\"text/plain\") \"\\r\\n--x-\\r\\r\\n--x-\"\n\
                    Some(\"\u{e4}\") None None \"--x-y\"\n";
    let form = form(&parts);
    let whole = call(listed, post(KIND, form.clone()));
    assert_eq!(whole, (200, expected.to_owned()));
    let request = Request::post("/").header("content-type", KIND);
    let split = call(
        listed,
        request.body_reader(Bytewise(std::io::Cursor::new(form.clone()))),
    );
    assert_eq!(split, whole);
    // Behind the form, and before it, there may be anything.
    let around = call(listed, post(KIND, format!("before\r\n{form}after")));
    assert_eq!(around, whole);
    let quoted = "Multipart/Form-Data; a=b; boundary=\"x-y\"";
    assert_eq!(call(listed, post(quoted, form)), whole);
    assert_eq!(
        call(listed, post(KIND, "--x-y--\r\n".into())),
        (200, String::new())
    );
}

#[test]
fn what_is_not_read_is_skipped() {
    let names = |mut form: Multipart| {
        let mut names = String::new();
        while let Some(mut field) = form.next_field()? {
            names += field.name().unwrap_or_default();
            // Only the first byte.
            let _ = field.read(&mut [0])?;
        }
        Ok::<_, HandlerError>(names)
    };
    let long = "z".repeat(3000);
    let form = form(&[
        ("name=\"a\"", &long),
        ("name=\"b\"", ""),
        ("name=\"c\"", &long),
    ]);
    assert_eq!(call(names, post(KIND, form)), (200, "abc".to_owned()));
}

#[test]
fn bodies_that_are_no_forms_are_refused() {
    for (kind, body, status, expected) in [
        (
            "text/plain",
            "",
            415,
            "expected a body of type multipart/form-data, got text/plain",
        ),
        (
            "multipart/form-data",
            "",
            400,
            "expected a boundary of 1 to 70 bytes",
        ),
        (
            "multipart/form-data; boundary=",
            "",
            400,
            "expected a boundary of 1 to 70 bytes",
        ),
        (KIND, "", 400, "the form ends"),
        (
            KIND,
            "nothing",
            400,
            "the form ends without its last boundary",
        ),
        (
            KIND,
            "--x-y\r\n",
            400,
            "the form ends without its last boundary",
        ),
        (
            KIND,
            "--x-y\r\nno header\r\n\r\n\r\n--x-y--",
            400,
            "the header of a field is malformed",
        ),
        (
            KIND,
            "--x-y\r\na: b\r\n\r\nrest",
            400,
            "the form ends within a field",
        ),
        (
            KIND,
            "--x-y\r\na: b\r\n\r\nrest\r\n--x-y",
            400,
            "the form ends without",
        ),
        (KIND, "--x-y\r\na: b\r\n\r\n\u{0}\u{ff}\r\n--x-y--", 200, ""),
    ] {
        let (got, text) = call(listed, post(kind, body.to_owned()));
        assert_eq!(got, status, "{body:?}: {text}");
        assert!(text.contains(expected), "{body:?}: {text}");
    }
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    assert_eq!(call(listed, post(&long, String::new())).0, 400);
    let bytes = [b"--x-y\r\na: b\r\n\r\n".as_slice(), b"\xff", b"\r\n--x-y--"].concat();
    let request = Request::post("/").header("content-type", KIND).body(bytes);
    let (status, text) = call(listed, request);
    assert_eq!(
        (status, &*text),
        (400, "Bad Request: a field is not UTF-8\n")
    );
}

#[test]
fn limits_are_answered_with_413_and_their_names() {
    #[track_caller]
    fn check(limit: fn(Multipart) -> Multipart, parts: &[(&str, &str)], expected: &str) {
        let handler = move |form: Multipart| listed(limit(form));
        let (status, text) = call(handler, post(KIND, form(parts)));
        assert_eq!(
            (status, &*text),
            (413, &*format!("Payload Too Large: {expected}\n"))
        );
        // The same where nothing is collected, and where bytes come singly.
        let handler = move |form: Multipart| {
            let mut form = limit(form);
            while let Some(mut field) = form.next_field()? {
                std::io::copy(&mut field, &mut std::io::sink())?;
            }
            Ok::<_, HandlerError>("")
        };
        let body = Bytewise(std::io::Cursor::new(form(parts)));
        let request = Request::post("/")
            .header("content-type", KIND)
            .body_reader(body);
        let (status, text) = call(handler, request);
        let is_of_memory = expected.contains("memory");
        assert_eq!(status, if is_of_memory { 200 } else { 413 }, "{text}");
    }
    let two = [("name=\"a\"", "12345"), ("name=\"b\"", "")];
    check(
        |form| form.part_limit(1),
        &two,
        "the form has more than 1 fields, which `Multipart::part_limit` sets",
    );
    check(
        |form| form.field_limit(4),
        &two,
        "a field is larger than 4 bytes, which `Multipart::field_limit` sets",
    );
    check(
        |form| form.memory_limit(4),
        &two,
        "a field in memory is larger than 4 bytes, which `Multipart::memory_limit` sets",
    );
    check(
        |form| form.header_limit(30),
        &two,
        "the header of a field is larger than 30 bytes, which `Multipart::header_limit` sets",
    );
    let long = "z".repeat(10_000);
    check(
        |form| form,
        &[("name=\"a\"", &long)],
        "the form is larger than 10000 bytes, which `App::body_limit` sets",
    );
    // Right at the limits.
    let handler = |form: Multipart| listed(form.part_limit(2).field_limit(5).memory_limit(5));
    assert_eq!(call(handler, post(KIND, form(&two))).0, 200);
}

#[test]
fn a_form_that_has_failed_goes_on_failing() {
    let handler = |mut form: Multipart| {
        let first = form.next_field()?.map(|mut field| field.text());
        assert!(first.is_some_and(|text| text.is_err()));
        form.next_field()
            .map(|field| field.is_some())
            .map_err(HandlerError::from)?;
        Ok::<_, HandlerError>("")
    };
    let (status, text) = call(handler, post(KIND, "--x-y\r\na: b\r\n\r\nrest".into()));
    assert_eq!(status, 400);
    assert!(
        text.contains("the form could not be read to its end"),
        "{text}"
    );
}
