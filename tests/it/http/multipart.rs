//! Forms with files, as they arrive.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ethreads::http::{App, Body, HandlerError, Multipart, Request, Response, Result, TempFile};
use ethreads::sync::channel;
use ethreads::thread;

use crate::http::util::{Client, Site, on_a_shard, settle};

const HEAD: &str = "POST /upload HTTP/1.1\r\nhost: a\r\n\
                    content-type: multipart/form-data; boundary=x\r\n";

fn part(name: &str) -> String {
    format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n")
}

fn send_chunk(client: &mut Client, data: &str) {
    client.send(format!("{:x}\r\n{data}\r\n", data.len()));
}

fn begin(client: &mut Client) {
    client.send(format!("{HEAD}transfer-encoding: chunked\r\n\r\n"));
}

fn end(client: &mut Client) {
    send_chunk(client, "\r\n--x--\r\n");
    client.send("0\r\n\r\n");
}

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ethreads-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_field_is_read_while_the_rest_is_on_its_way() {
    on_a_shard(|| {
        let (sender, receiver) = channel::unbounded();
        let handler = move |mut form: Multipart| {
            while let Some(mut field) = form.next_field()? {
                sender
                    .send(field.name().unwrap_or_default().to_owned())
                    .unwrap();
                let mut buffer = [0; 100];
                loop {
                    match field.read(&mut buffer)? {
                        0 => break,
                        got => sender.send(String::from_utf8_lossy(&buffer[..got]).into_owned()),
                    }
                    .unwrap();
                }
            }
            Ok::<_, HandlerError>("done")
        };
        let site = Site::new(App::new().post("/upload", handler));
        let mut client = site.connect();
        begin(&mut client);
        let mut send = |data: &str, seen: &str| {
            send_chunk(&mut client, data);
            assert_eq!(receiver.recv().unwrap(), seen);
        };
        send(&part("a"), "a");
        send("one", "one");
        send("two", "two");
        send(&format!("\r\n{}", part("b")), "b");
        send("three", "three");
        end(&mut client);
        assert_eq!(client.answer().text(), "done");
        drop(client);
        site.end();
    });
}

#[test]
fn files_are_saved_under_their_names_when_they_are_complete() {
    on_a_shard(|| {
        let folder = folder("save");
        let to = folder.join("saved");
        std::fs::write(&to, "old").unwrap();
        let path = to.clone();
        let handler = move |mut form: Multipart| {
            let mut answer = String::new();
            while let Some(mut field) = form.next_field()? {
                answer += &field.save_to(&path)?.to_string();
            }
            Ok::<_, HandlerError>(answer)
        };
        let site = Site::new(App::new().post("/upload", handler).body_limit(1 << 30));
        let mut client = site.connect();
        begin(&mut client);
        send_chunk(&mut client, &part("a"));
        let piece = "0123456789".repeat(20_000);
        for _ in 0..5 {
            send_chunk(&mut client, &piece);
            settle();
            assert_eq!(std::fs::read_to_string(&to).unwrap(), "old");
        }
        end(&mut client);
        assert_eq!(client.answer().text(), "1000000");
        assert!(std::fs::read_to_string(&to).unwrap() == piece.repeat(5));
        assert_eq!(names_in(&folder), ["saved"]);
        // A client that leaves leaves nothing behind.
        begin(&mut client);
        send_chunk(&mut client, &part("a"));
        send_chunk(&mut client, "new");
        settle();
        drop(client);
        site.end();
        assert!(std::fs::read_to_string(&to).unwrap() == piece.repeat(5));
        assert_eq!(names_in(&folder), ["saved"]);
        std::fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn a_temporary_file_lasts_as_long_as_its_value() {
    /// Keeps the path of each file, and what it holds.
    type Seen = Rc<RefCell<Vec<(PathBuf, String)>>>;

    fn look(file: &TempFile, seen: &Seen) -> Result<()> {
        let mut text = String::new();
        file.open()?.read_to_string(&mut text)?;
        assert_eq!(text.len() as u64, file.len());
        seen.borrow_mut().push((file.path().to_owned(), text));
        Ok(())
    }

    on_a_shard(|| {
        let seen = Seen::default();
        let (dropped, inserted, held) = (seen.clone(), seen.clone(), seen.clone());
        let kept = folder("kept").join("file");
        let persisted = kept.clone();
        let file_of = |mut form: Multipart| -> Result<TempFile> {
            let mut field = form.next_field()?.expect("a field");
            Ok(field.to_temp_file()?)
        };
        let app = App::new()
            .post("/drop", move |form: Multipart| {
                let file = file_of(form)?;
                look(&file, &dropped)
            })
            .post("/insert", move |form: Multipart, request: &mut Request| {
                let file = file_of(form)?;
                look(&file, &inserted)?;
                request.insert(file);
                Ok::<_, HandlerError>(())
            })
            .post("/hold", move |form: Multipart| {
                let file = file_of(form)?;
                look(&file, &held)?;
                let path = file.path().to_owned();
                let body = Body::writer(move |out| {
                    thread::yield_now();
                    out.write_all(&std::fs::read(path)?)
                });
                Ok::<_, HandlerError>(Response::default().with_body(body).hold(file))
            })
            .post("/persist", move |form: Multipart| {
                Ok::<_, HandlerError>(file_of(form)?.persist(&persisted)?)
            })
            .post("/panic", move |form: Multipart| -> Result<()> {
                let _file = file_of(form)?;
                panic!("on purpose");
            });
        let site = Site::new(app);
        let form = format!("{}hello\r\n--x--\r\n", part("a"));
        for path in ["/drop", "/insert", "/hold", "/persist"] {
            let mut client = site.connect();
            let head = HEAD.replace("/upload", path);
            client.send(format!(
                "{head}content-length: {}\r\n\r\n{form}",
                form.len()
            ));
            let answer = client.answer();
            assert_eq!(answer.status, 200, "{path}");
            let expected = if path == "/hold" { "hello" } else { "" };
            assert_eq!(answer.text(), expected, "{path}");
        }
        site.end();
        let seen = seen.borrow();
        assert_eq!(seen.len(), 3);
        for (path, text) in &*seen {
            assert_eq!(text, "hello");
            assert!(!path.exists(), "{}", path.display());
        }
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "hello");
        std::fs::remove_dir_all(kept.parent().unwrap()).unwrap();
    });
}

#[test]
fn a_form_that_is_announced_as_too_large_is_refused_before_it_is_sent() {
    on_a_shard(|| {
        let handler = |_: Multipart| "done";
        let site = Site::new(App::new().post("/upload", handler).body_limit(1000));
        let mut client = site.connect();
        client.send(format!(
            "{HEAD}expect: 100-continue\r\ncontent-length: 1001\r\n\r\n"
        ));
        let answer = client.last_answer(413);
        let text = "Payload Too Large: the form is larger than 1000 bytes, which \
                    `App::body_limit` sets\n";
        assert_eq!(answer.text(), text);
        // A smaller one is asked for.
        let mut client = site.connect();
        client.send(format!(
            "{HEAD}expect: 100-continue\r\ncontent-length: 9\r\n\r\n"
        ));
        assert_eq!(client.head().status, 100);
        client.send("--x--\r\n\r\n");
        assert_eq!(client.answer().text(), "done");
        drop(client);
        site.end();
    });
}

#[test]
fn a_form_is_read_while_the_response_is_sent() {
    on_a_shard(|| {
        let handler = |mut form: Multipart| {
            Body::writer(move |out| {
                while let Some(mut field) = form.next_field()? {
                    writeln!(out, "{}", field.text()?)?;
                    out.flush()?;
                }
                Ok(())
            })
        };
        let site = Site::new(App::new().post("/upload", handler));
        let mut client = site.connect();
        begin(&mut client);
        assert_eq!(client.head().status, 200);
        send_chunk(&mut client, "--x");
        for text in ["one", "two"] {
            let header = "\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n";
            send_chunk(&mut client, &format!("{header}{text}\r\n--x"));
            assert_eq!(client.chunk(), format!("{text}\n").as_bytes());
        }
        send_chunk(&mut client, "--\r\n");
        client.send("0\r\n\r\n");
        client.until("0\r\n\r\n");
        drop(client);
        site.end();
    });
}
