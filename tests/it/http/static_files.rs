//! Files of a directory, over sockets.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ethreads::http::{App, Files, HandlerError, IntoResponse, Request};

use crate::http::util::{Answer, Client, Site, on_a_shard};

/// A directory that is removed in the end, with what is beside it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ethreads-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("root/docs")).unwrap();
        let this = Self(path);
        this.write("../secret", "secret");
        this.write("page.html", "<p>0123456789</p>");
        this.write("docs/index.html", "the docs");
        this
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.root().join(name), text).unwrap();
    }

    fn files(&self) -> Files {
        Files::new(self.root()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Serves files of a new folder below `/s/`, and hands a client to `f`.
fn with_files(
    name: &'static str,
    configure: impl Fn(Files) -> Files + Send + 'static,
    f: impl FnOnce(&Folder, &mut Client) + Send + 'static,
) {
    on_a_shard(move || {
        let folder = Folder::new(name);
        let app = App::new().any("/s/{*path}", configure(folder.files()));
        let site = Site::new(app);
        let mut client = site.connect();
        f(&folder, &mut client);
        client.finish();
        drop(client);
        site.end();
    });
}

fn plain(files: Files) -> Files {
    files
}

/// Sends a GET with these fields.
#[track_caller]
fn get(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> Answer {
    send(client, "GET", path, fields);
    client.answer()
}

fn send(client: &mut Client, method: &str, path: &str, fields: &[(&str, &str)]) {
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let fields: String = fields.collect();
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n"
    ));
}

#[test]
fn files_arrive_with_their_type_and_validators() {
    with_files("static-plain", plain, |_, client| {
        // The second time the name is in memory.
        for _ in 0..2 {
            let answer = client.get("/s/page.html");
            assert_eq!((answer.status, answer.text()), (200, "<p>0123456789</p>"));
            let is = |name, value| assert_eq!(answer.header(name), Some(value));
            is("content-type", "text/html; charset=utf-8");
            is("content-length", "17");
            is("accept-ranges", "bytes");
            let tag = answer.header("etag").unwrap();
            assert!(tag.starts_with('"') && tag.ends_with("-11\""), "{tag}");
            assert!(answer.header("last-modified").unwrap().ends_with(" GMT"));
            for absent in ["vary", "cache-control", "content-encoding"] {
                assert_eq!(answer.header(absent), None);
            }
        }
    });
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    with_files("static-head", plain, |_, client| {
        send(client, "HEAD", "/s/page.html", &[("range", "bytes=0-1")]);
        let head = client.head();
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some("17"))
        );
        assert!(head.header("etag").is_some());
        send(client, "HEAD", "/s/page.html", &[("if-none-match", "*")]);
        assert_eq!(client.head().status, 304);
        // No byte of a body is between the heads.
        assert_eq!(client.get("/s/page.html").status, 200);
    });
}

#[test]
fn other_methods_are_refused_with_those_that_are_not() {
    with_files("static-methods", plain, |_, client| {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            send(client, method, "/s/page.html", &[("content-length", "0")]);
            let answer = client.answer();
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, Some("GET, HEAD"))
            );
        }
    });
}

#[test]
fn conditions_on_tags_and_dates_are_evaluated() {
    with_files(
        "static-conditions",
        |files| files.cache_control("no-cache"),
        |_, client| {
            let first = client.get("/s/page.html");
            let tag = first.header("etag").unwrap();
            let date = first.header("last-modified").unwrap();
            let old = "Sun, 06 Nov 1994 08:49:37 GMT";
            let mut check = |fields: &[(&str, &str)], status| {
                let answer = get(client, "/s/page.html", fields);
                assert_eq!(answer.status, status, "{fields:?}");
                if status == 304 {
                    assert_eq!(answer.header("etag"), Some(tag));
                    assert_eq!(answer.header("cache-control"), Some("no-cache"));
                    assert_eq!(answer.header("content-type"), None);
                }
            };
            check(&[("if-none-match", tag)], 304);
            check(&[("if-none-match", "\"other\"")], 200);
            check(&[("if-modified-since", date)], 304);
            check(&[("if-modified-since", old)], 200);
            check(&[("if-match", tag)], 200);
            check(&[("if-match", "\"other\"")], 412);
            check(&[("if-unmodified-since", date)], 200);
            check(&[("if-unmodified-since", old)], 412);
            check(
                &[("if-none-match", "\"other\""), ("if-modified-since", date)],
                200,
            );
            check(&[("range", "bytes=0-1"), ("if-range", tag)], 206);
            check(&[("range", "bytes=0-1"), ("if-range", date)], 206);
            check(&[("range", "bytes=0-1"), ("if-range", "\"other\"")], 200);
            check(&[("range", "bytes=0-1"), ("if-range", old)], 200);
            check(&[("range", "bytes=0-1"), ("if-none-match", tag)], 304);
            check(&[("range", "bytes=99-"), ("if-match", "\"other\"")], 412);
        },
    );
}

#[test]
fn a_range_is_answered_with_that_part() {
    with_files("static-range", plain, |_, client| {
        for (range, content, text) in [
            ("bytes=3-5", "bytes 3-5/17", "012"),
            ("bytes=-4", "bytes 13-16/17", "</p>"),
            ("bytes=3-4,4-5", "bytes 3-5/17", "012"),
            ("bytes=0-", "bytes 0-16/17", "<p>0123456789</p>"),
        ] {
            let answer = get(client, "/s/page.html", &[("range", range)]);
            assert_eq!((answer.status, answer.text()), (206, text));
            assert_eq!(answer.header("content-range"), Some(content));
            assert_eq!(
                answer.header("content-type"),
                Some("text/html; charset=utf-8")
            );
        }
        let answer = get(client, "/s/page.html", &[("range", "bytes=17-")]);
        assert_eq!(
            (answer.status, answer.header("content-range")),
            (416, Some("bytes */17"))
        );
        let many = "0-0,2-2,".repeat(9);
        let answer = get(
            client,
            "/s/page.html",
            &[("range", &format!("bytes={many}"))],
        );
        assert_eq!((answer.status, answer.body.len()), (200, 17));
    });
}

#[test]
fn several_ranges_are_answered_with_several_parts() {
    with_files("static-ranges", plain, |folder, client| {
        let answer = get(client, "/s/page.html", &[("range", "bytes=12-13,0-2")]);
        assert_eq!((answer.status, answer.header("content-range")), (206, None));
        let kind = answer.header("content-type").unwrap();
        let boundary = kind
            .strip_prefix("multipart/byteranges; boundary=")
            .unwrap();
        let part = |range: &str, text: &str| {
            format!(
                "\r\n--{boundary}\r\ncontent-type: text/html; charset=utf-8\r\n\
                 content-range: bytes {range}/17\r\n\r\n{text}"
            )
        };
        let parts = [part("12-13", "9<"), part("0-2", "<p>")].concat();
        assert_eq!(answer.text(), format!("{parts}\r\n--{boundary}--\r\n"));
        // Parts that need several reads.
        let big: Vec<u8> = (0..300_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        folder.write("big.bin", &big);
        let answer = get(client, "/s/big.bin", &[("range", "bytes=1-199999,250000-")]);
        let has = |part: &[u8]| answer.body.windows(part.len()).any(|found| found == part);
        assert!(has(&big[1..200_000]) && has(&big[250_000..]));
    });
}

#[test]
fn no_path_leads_out_of_the_directory() {
    with_files("static-outside", plain, |folder, client| {
        symlink("../secret", folder.root().join("link")).unwrap();
        symlink("..", folder.root().join("up")).unwrap();
        symlink("page.html", folder.root().join("inner")).unwrap();
        for path in [
            "../secret",
            "docs/../../secret",
            "%2e%2e/secret",
            "..%2fsecret",
            "docs%2findex.html",
            ".%2e/secret",
            "/etc/passwd",
            "%2fetc%2fpasswd",
            "page.html%00",
            "link",
            "up/secret",
            "inner",
            "page.html/",
            "page.html/more",
            "none",
            "docs//index.html",
        ] {
            let answer = client.get(&format!("/s/{path}"));
            assert_eq!(answer.status, 404, "{path}");
        }
        assert_eq!(client.get("/s/%zz").status, 400);
        assert_eq!(client.get(&format!("/s/{}", "x".repeat(300))).status, 404);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn links_are_followed_below_the_directory_if_wanted() {
    with_files("static-links", Files::links, |folder, client| {
        symlink("../secret", folder.root().join("out")).unwrap();
        symlink("/etc/passwd", folder.root().join("absolute")).unwrap();
        symlink("docs/../page.html", folder.root().join("inner")).unwrap();
        assert_eq!(client.get("/s/inner").status, 200);
        assert_eq!(client.get("/s/out").status, 404);
        assert_eq!(client.get("/s/absolute").status, 404);
    });
}

#[test]
fn only_regular_files_are_served() {
    with_files("static-special", plain, |folder, client| {
        let fifo = folder.root().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let socket = std::os::unix::net::UnixListener::bind(folder.root().join("socket")).unwrap();
        assert_eq!(client.get("/s/fifo").status, 404);
        assert_eq!(client.get("/s/socket").status, 404);
        drop(socket);
    });
}

#[test]
fn files_without_permission_are_forbidden() {
    // Root reads everything.
    if rustix::process::geteuid().is_root() {
        return;
    }
    with_files("static-forbidden", plain, |folder, client| {
        let path = folder.root().join("page.html");
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(client.get("/s/page.html").status, 403);
    });
}

#[test]
fn dot_files_are_hidden_unless_wanted() {
    let write = |folder: &Folder| {
        folder.write(".env", "key");
        fs::create_dir(folder.root().join(".git")).unwrap();
        folder.write(".git/config", "config");
    };
    with_files("static-dots", plain, move |folder, client| {
        write(folder);
        for path in ["/s/.env", "/s/%2eenv", "/s/.git/config", "/s/.git/"] {
            assert_eq!(client.get(path).status, 404, "{path}");
        }
    });
    with_files("static-dots-shown", Files::hidden, move |folder, client| {
        write(folder);
        assert_eq!(client.get("/s/.env").text(), "key");
        assert_eq!(client.get("/s/.git/config").text(), "config");
    });
}

#[test]
fn a_directory_is_answered_with_its_index() {
    with_files("static-index", plain, |_, client| {
        assert_eq!(client.get("/s/docs/").text(), "the docs");
        let answer = client.get("/s/docs?a=b");
        assert_eq!(
            (answer.status, answer.header("location")),
            (308, Some("./docs/?a=b"))
        );
        assert_eq!(client.get("/s/").status, 404);
    });
    with_files(
        "static-other-index",
        |files| files.index("page.html"),
        |_, client| {
            assert_eq!(client.get("/s/").text(), "<p>0123456789</p>");
            assert_eq!(client.get("/s/docs/").status, 404);
        },
    );
    with_files(
        "static-no-index",
        |files| files.index(""),
        |_, client| {
            assert_eq!(client.get("/s/docs/").status, 404);
            assert_eq!(client.get("/s/docs").status, 404);
        },
    );
}

#[test]
fn a_directory_is_listed_if_wanted() {
    with_files("static-listing", Files::listing, |folder, client| {
        folder.write("<b>.txt", "");
        folder.write(".env", "");
        let answer = client.get("/s/");
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let page = answer.text();
        assert!(page.contains("<a href=\"./docs/\">docs/</a>"), "{page}");
        assert!(
            page.contains("<a href=\"./%3Cb%3E.txt\">&lt;b&gt;.txt</a>"),
            "{page}"
        );
        assert!(!page.contains(".env") && !page.contains("secret"), "{page}");
        assert_eq!(client.get("/s/docs/").text(), "the docs");
        assert_eq!(client.get("/s/page.html/").status, 404);
    });
}

#[test]
fn a_compressed_sibling_is_sent_if_the_client_takes_it() {
    with_files(
        "static-compressed",
        Files::precompressed,
        |folder, client| {
            folder.write("page.html.br", "brotli");
            folder.write("page.html.gz", "gzip");
            fs::create_dir(folder.root().join("page.html.zst")).unwrap();
            let mut tags = Vec::new();
            for (accepted, coding, text) in [
                ("gzip, br, zstd", Some("br"), "brotli"),
                ("gzip, br;q=0.5", Some("gzip"), "gzip"),
                ("zstd", None, "<p>0123456789</p>"),
                ("br;q=0, identity", None, "<p>0123456789</p>"),
            ] {
                let accepted = [("accept-encoding", accepted)];
                let answer = get(client, "/s/page.html", &accepted);
                assert_eq!((answer.status, answer.text()), (200, text));
                assert_eq!(answer.header("content-encoding"), coding);
                assert_eq!(
                    answer.header("content-type"),
                    Some("text/html; charset=utf-8")
                );
                assert_eq!(answer.header("vary"), Some("accept-encoding"));
                tags.push(answer.header("etag").unwrap().to_owned());
                let again = [accepted[0], ("if-none-match", &*tags[tags.len() - 1])];
                let answer = get(client, "/s/page.html", &again);
                assert_eq!(
                    (answer.status, answer.header("vary")),
                    (304, Some("accept-encoding"))
                );
            }
            tags.sort();
            tags.dedup();
            assert_eq!(tags.len(), 3, "{tags:?}");
            let part = [("accept-encoding", "br"), ("range", "bytes=0-2")];
            let answer = get(client, "/s/page.html", &part);
            assert_eq!((answer.status, answer.text()), (206, "bro"));
        },
    );
}

#[test]
fn a_file_that_is_replaced_has_another_tag() {
    with_files("static-replaced", plain, |folder, client| {
        let before = client.get("/s/page.html");
        folder.write("new", "<p>abcdefghij</p>");
        let new = fs::File::options()
            .append(true)
            .open(folder.root().join("new"))
            .unwrap();
        new.set_modified(SystemTime::now() + Duration::from_secs(3600))
            .unwrap();
        fs::rename(folder.root().join("new"), folder.root().join("page.html")).unwrap();
        let tag = before.header("etag").unwrap();
        let after = get(client, "/s/page.html", &[("if-none-match", tag)]);
        assert_eq!((after.status, after.text()), (200, "<p>abcdefghij</p>"));
        // The time is in the future, and is not told.
        assert_eq!(after.header("last-modified"), after.header("date"));
    });
}

#[test]
fn a_file_that_is_replaced_while_it_is_sent_arrives_as_it_was() {
    with_files("static-replaced-late", plain, |folder, client| {
        let big = vec![b'a'; 4_000_000];
        folder.write("big.bin", &big);
        send(client, "GET", "/s/big.bin", &[]);
        assert_eq!(client.head().header("content-length"), Some("4000000"));
        folder.write("new", vec![b'b'; 4_000_000]);
        fs::rename(folder.root().join("new"), folder.root().join("big.bin")).unwrap();
        client.finish();
        assert!(client.rest_bytes() == big);
    });
}

#[test]
fn a_file_that_is_truncated_while_it_is_sent_ends_the_connection() {
    with_files("static-truncated", plain, |folder, client| {
        folder.write("big.bin", vec![b'a'; 16_000_000]);
        send(client, "GET", "/s/big.bin", &[]);
        assert_eq!(client.head().header("content-length"), Some("16000000"));
        let file = fs::File::options()
            .write(true)
            .open(folder.root().join("big.bin"))
            .unwrap();
        file.set_len(10).unwrap();
        let got = client.rest_bytes();
        assert!(got.len() < 16_000_000, "{} bytes", got.len());
    });
}

#[test]
fn files_that_are_not_in_memory_arrive_whole() {
    use rustix::fs::{Advice, fadvise};
    with_files("static-cold", plain, |folder, client| {
        for len in [0, 1, 65_536, 65_537, 1_000_000] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let path = folder.root().join("cold.bin");
            fs::write(&path, &bytes).unwrap();
            let file = fs::File::open(&path).unwrap();
            file.sync_all().unwrap();
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            let answer = client.get("/s/cold.bin");
            assert!(answer.status == 200 && answer.body == bytes, "{len} bytes");
        }
    });
}

#[test]
fn the_app_renders_what_files_refuse() {
    on_a_shard(|| {
        let folder = Folder::new("static-rendered");
        let app = App::new().get("/{*path}", folder.files()).on_error(
            |error: &HandlerError, _: Option<&Request>| {
                (
                    error.status_code(),
                    format!("rendered {}", error.status_code()),
                )
                    .into_response()
            },
        );
        let site = Site::new(app);
        let mut client = site.connect();
        assert_eq!(client.get("/none").text(), "rendered 404 Not Found");
        let answer = get(&mut client, "/page.html", &[("range", "bytes=99-")]);
        assert_eq!(answer.text(), "rendered 416 Range Not Satisfiable");
        assert_eq!(answer.header("content-range"), Some("bytes */17"));
        client.finish();
        site.end();
    });
}

#[test]
fn a_route_without_a_rest_names_the_file_by_its_whole_path() {
    on_a_shard(|| {
        let folder = Folder::new("static-whole-path");
        let app = App::new()
            .get("/page.html", folder.files())
            .fallback(folder.files());
        let site = Site::new(app);
        let mut client = site.connect();
        assert_eq!(client.get("/page.html").status, 200);
        assert_eq!(client.get("/docs/index.html").text(), "the docs");
        assert_eq!(client.get("//evil.example/..").status, 404);
        client.finish();
        site.end();
    });
}

#[test]
fn a_root_that_is_no_directory_is_an_error() {
    let folder = Folder::new("static-no-root");
    Files::new(folder.root().join("none")).unwrap_err();
    Files::new(folder.root().join("page.html")).unwrap_err();
    Files::new(Path::new("")).unwrap_err();
}
