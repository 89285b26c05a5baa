//! Checks the list of the calls against the sources and the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What is not listed: the head of the list says why.
const NOT_LISTED: &str = "src/runtime/task/pool";

/// The beginnings of calls that the system may refuse for lack of something.
const CALLS: [&str; 32] = [
    "Poller::new(",
    "Socket::new_raw(",
    "Socket::pair(",
    "acceptfrom(",
    "acceptfrom_with(",
    "add_with_mode(",
    "epoll::add(",
    "epoll::create(",
    "eventfd(0",
    "get().try_clone(",
    "get_ref().try_clone(",
    "libc::madvise(",
    "libc::mmap(",
    "libc::mprotect(",
    "libc::munmap(",
    "libc::sigaltstack(&stack",
    "net::bind(",
    "net::connect(",
    "net::send(",
    "net::sendmsg(",
    "net::sendto(",
    "pipe::pipe(",
    "pipe::pipe_with(",
    "fs::sendfile(",
    "rustix::io::write(",
    "rustix::io::writev(",
    "socket.bind(",
    "socket.listen(",
    "thread::Builder::new(",
    "timerfd_create(",
    "try_clone_to_owned(",
    "writer.try_clone(",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(path: PathBuf, found: &mut Vec<PathBuf>) {
    if let Ok(entries) = fs::read_dir(&path) {
        entries.for_each(|entry| rust_files(entry.unwrap().path(), found));
    } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
        found.push(path);
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The calls in the sources, each with its file.
fn found() -> BTreeSet<(String, &'static str)> {
    let mut files = Vec::new();
    rust_files(root().join("src"), &mut files);
    let mut found = BTreeSet::new();
    for file in files {
        let path = file.strip_prefix(root()).unwrap().to_str().unwrap();
        if path.contains("tests") || path.starts_with(NOT_LISTED) {
            continue;
        }
        let text = read(&file);
        let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code = shipped.lines().map(|line| line.split("//").next().unwrap());
        for line in code {
            let calls = CALLS.into_iter().filter(|call| line.contains(call));
            found.extend(calls.map(|call| (path.to_owned(), call)));
        }
    }
    found
}

/// The rows of the list: file, call, and the rest.
fn rows() -> Vec<[&'static str; 3]> {
    let lines = include_str!("../exhausted.txt").lines();
    let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let columns = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    columns
        .map(|columns| columns.try_into().expect("a row has three columns"))
        .collect()
}

#[test]
fn each_call_that_takes_something_is_listed() {
    let found = found();
    let rows = rows();
    let listed =
        |(path, call): &&(String, &str)| rows.iter().any(|row| row[0] == path && row[1] == *call);
    let unlisted: Vec<_> = found.iter().filter(|call| !listed(call)).collect();
    assert!(
        unlisted.is_empty(),
        "not in tests/exhausted.txt: {unlisted:#?}"
    );
    // A row of a whole folder names no call.
    let is_of_file = |row: &&[&str; 3]| row[0].ends_with(".rs");
    let gone = |row: &&[&str; 3]| {
        let in_sources = found
            .iter()
            .any(|(path, call)| row[0] == path && row[1] == *call);
        !in_sources
    };
    let gone: Vec<_> = rows.iter().filter(is_of_file).filter(gone).collect();
    assert!(gone.is_empty(), "not in the sources: {gone:#?}");
}

/// Whether there is a test of that name, as `cargo test` names it after its file or crate.
fn is_test(name: &str) -> bool {
    let Some((module, function)) = name.rsplit_once("::") else {
        return false;
    };
    let module = module.replace("::", "/");
    let files = [
        format!("tests/exhausted/{module}.rs"),
        format!("tests/{module}.rs"),
        format!("src/{module}.rs"),
    ];
    let mut files = files.iter().map(|file| root().join(file));
    files.any(|file| {
        fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("fn {function}()")))
    })
}

#[test]
fn each_row_names_its_tests_or_says_why_there_is_none() {
    for row in rows() {
        if row[2].starts_with("none: ") {
            continue;
        }
        for test in row[2].split(',').map(str::trim) {
            assert!(is_test(test), "{row:?}: no test `{test}`");
        }
    }
}
