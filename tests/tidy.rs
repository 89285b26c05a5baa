//! The rules of the code that no compiler checks: layers, places of `unsafe`, sizes, and the list
//! of the calls that suspend.

// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]

#[path = "tidy/duplicates.rs"]
mod duplicates;
#[path = "tidy/hostile.rs"]
mod hostile;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/language.rs"]
mod language;
#[path = "tidy/rfc.rs"]
mod rfc;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each part of the library may use, from the bottom up. Siblings in one line do not use each
/// other.
const LAYERS: &[(&str, &[&str])] = &[
    ("runtime", &[]),
    ("bridge", &["runtime"]),
    ("time", &["runtime", "bridge"]),
    ("thread", &["runtime", "bridge", "time"]),
    ("sync", &["runtime", "bridge", "time", "thread"]),
    ("io", &["runtime", "bridge", "time", "thread", "sync"]),
    (
        "net",
        &["runtime", "bridge", "time", "thread", "sync", "io"],
    ),
    ("fs", &["runtime", "bridge", "time", "thread", "sync", "io"]),
    (
        "process",
        &["runtime", "bridge", "time", "thread", "sync", "io"],
    ),
    (
        "signal",
        &["runtime", "bridge", "time", "thread", "sync", "io"],
    ),
    (
        "http",
        &[
            "runtime", "bridge", "time", "thread", "sync", "io", "net", "fs", "process", "signal",
        ],
    ),
    ("debug", &["runtime"]),
    ("sim", &["runtime", "time", "thread", "net"]),
];

/// Parts of `http` that work on values and bytes, and do no I/O.
const SANS_IO: [&str; 3] = ["src/http/message", "src/http/proto", "src/http/error"];

/// Crates that only these files and folders name.
const CRATES: &[(&str, &[&str])] = &[
    ("corosensei", &["src/runtime/stack"]),
    ("backtrace", &["src/runtime/stack/backtrace.rs"]),
    (
        "loom",
        &[
            "src/runtime/base/primitives.rs",
            "src/runtime/scheduler/queue/loom_tests.rs",
            "src/runtime/task/wake_cell/loom_tests.rs",
            "src/runtime/task/oneshot.rs",
            "src/runtime/task/pool/threads/loom_tests.rs",
            "src/runtime/base/thread_names/loom_tests.rs",
            "src/runtime/stack/registry/loom_tests.rs",
            "src/runtime/scheduler/watchdog/loom_tests.rs",
            "src/sync/remote",
            "src/http/admission/loom_tests.rs",
        ],
    ),
    ("brotli", &["src/http/middleware/compression/brotli.rs"]),
    ("flate2", &["src/http/middleware/compression/gzip.rs"]),
    ("zstd", &["src/http/middleware/compression/zstd.rs"]),
    ("multer", &["src/http/app/extract/multipart"]),
    (
        "futures_core",
        &["src/http/app/extract/multipart/parser.rs"],
    ),
    ("polling", &["src/runtime/driver/polling.rs"]),
    ("rustix", &["src/runtime/driver"]),
    ("socket2", &["src/runtime/driver"]),
    (
        "libc",
        // The last one names constants.
        &[
            "src/runtime/driver",
            "src/runtime/stack",
            "src/signal/kind.rs",
        ],
    ),
    ("httparse", &["src/http/proto/head.rs"]),
];

/// The files with `unsafe` in them.
const UNSAFE: &[&str] = &[
    "src/io/pipe.rs",
    "src/net/convert.rs",
    "src/runtime/driver/polling.rs",
    "src/runtime/driver/sigaction.rs",
    "src/runtime/driver/signal.rs",
    "src/runtime/scheduler/current.rs",
    "src/runtime/scheduler/watchdog.rs",
    "src/runtime/stack/arena.rs",
    "src/runtime/stack/chunk.rs",
    "src/runtime/stack/coroutine.rs",
    "src/runtime/stack/layout.rs",
    "src/runtime/stack/overflow.rs",
    "src/runtime/stack/registry.rs",
    "src/runtime/task/work.rs",
    "src/sync/mutex.rs",
    "src/sync/rwlock.rs",
    "src/thread/scope.rs",
];

/// The folders in which `unsafe` can never be allowed.
const FORBIDDEN: [&str; 3] = ["src/http/mod.rs", "src/sim/mod.rs", "src/debug/mod.rs"];

const MOST_LINES: usize = 700;
const MOST_COLUMNS: usize = 100;

/// A Rust file of the project.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
    }

    /// Returns the numbered lines of code, without their comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(self.text.lines());
        let lines = lines.map(|(n, line)| (n, line.split("//").next().unwrap_or_default()));
        lines.filter(|(_, line)| !line.trim().is_empty())
    }
}

impl Source {
    /// Returns the code without the tests beside it, which may use the layers above.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        let until = if self.is_test() { 0 } else { usize::MAX };
        self.code()
            .take(until)
            .take_while(|(_, line)| *line != "#[cfg(test)]")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        list(&root().join(folder), &mut paths);
    }
    assert!(!paths.is_empty());
    paths.sort();
    let relative = |path: &Path| {
        path.strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: relative(&path),
    };
    paths.into_iter().map(read).collect()
}

fn list(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn everything() -> Vec<Source> {
    sources(&["src", "tests", "examples", "benches", "fuzz/targets"])
}

#[track_caller]
fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Whether `text` has `word` as a whole word.
fn has_word(text: &str, word: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(in_word) && !text[at + word.len()..].starts_with(in_word)
    })
}

/// The top-level parts that a line names: `crate::io`, or each name in `crate::{io, net}`.
fn parts_used(line: &str) -> Vec<&str> {
    let name = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_');
    let mut parts = Vec::new();
    for (at, found) in line.match_indices("crate::") {
        let rest = &line[at + found.len()..];
        // `$crate::` of a macro is the same crate; `some_crate::` is not.
        if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        // A macro belongs to no part: it is at the root of the crate, wherever it is defined.
        if rest
            .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
            .starts_with('!')
        {
            continue;
        }
        match rest.strip_prefix('{') {
            Some(group) => parts.extend(group.split(',').map(|item| {
                let item = item.trim();
                &item[..name(item).unwrap_or(item.len())]
            })),
            None => parts.push(&rest[..name(rest).unwrap_or(rest.len())]),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[test]
fn layers_use_only_what_is_below_them() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        let Some((part, _)) = source.path["src/".len()..].split_once('/') else {
            continue;
        };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == part) else {
            complaints.push(format!("{}: {part} is in no layer", source.path));
            continue;
        };
        for (n, line) in source.shipped() {
            for used in parts_used(line) {
                let sans_io = source.is_in(&SANS_IO) && used != "http";
                if used != part && (sans_io || !allowed.contains(&used)) {
                    complaints.push(format!("{}:{n}: {part} uses {used}", source.path));
                }
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn http_knows_its_own_layers() {
    let below = |path: &str| match path {
        path if path.starts_with("src/http/proto") => Some(["message", "error", "proto"]),
        path if path.starts_with("src/http/message") => Some(["message", "error", "proto"]),
        _ => None,
    };
    let mut complaints = Vec::new();
    for source in sources(&["src/http"]) {
        let Some(allowed) = below(&source.path) else {
            continue;
        };
        for (n, line) in source.code() {
            for (at, found) in line.match_indices("crate::http::") {
                let used = &line[at + found.len()..];
                if !allowed.iter().any(|part| used.starts_with(part)) {
                    complaints.push(format!("{}:{n}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn crates_are_named_in_their_places_only() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        for (name, places) in CRATES {
            let own_module = source
                .code()
                .any(|(_, line)| line.trim() == format!("mod {name};"));
            if source.is_in(places) || source.is_test() {
                continue;
            }
            for (n, line) in source.code() {
                if names_crate(line, name, own_module) {
                    complaints.push(format!("{}:{n}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert_none(complaints);
}

/// Whether a line has a path that begins with this crate. If a module of this library has the same
/// name, a path of the crate begins with two colons.
fn names_crate(line: &str, name: &str, own_module: bool) -> bool {
    line.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = &line[..at];
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        match before.strip_suffix("::") {
            Some(start) => !start.ends_with(is_path),
            None => !own_module && !before.ends_with(is_path),
        }
    })
}

#[test]
fn the_clock_is_the_drivers() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        if source.is_in(&["src/runtime/driver"]) || source.is_test() {
            continue;
        }
        for (n, line) in source.code() {
            let imports = line.contains("std::time::") && has_word(line, "Instant");
            if imports || line.contains("SystemTime::now") {
                complaints.push(format!("{}:{n}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn unsafe_is_where_it_is_expected() {
    let allow = concat!("#![allow(", "unsafe_code)]");
    let mut allowed: Vec<String> = sources(&["src"])
        .into_iter()
        .filter(|source| !source.is_test() && source.text.contains(allow))
        .map(|source| source.path)
        .collect();
    allowed.sort();
    assert_eq!(allowed, UNSAFE);
    for path in FORBIDDEN {
        if let Ok(text) = fs::read_to_string(root().join(path)) {
            assert!(text.contains("#![forbid(unsafe_code)]"), "{path}");
        }
    }
}

#[test]
fn each_unsafe_block_says_why_it_is_sound() {
    let mut complaints = Vec::new();
    for source in everything() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (n, line) in source.code() {
            let opens = ["unsafe {", "unsafe impl"]
                .iter()
                .any(|open| line.contains(open));
            if !opens || source.path == file!() {
                continue;
            }
            let before = &lines[n.saturating_sub(9)..n];
            if !before.iter().any(|line| line.contains("// SAFETY:")) {
                complaints.push(format!("{}:{n}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn nothing_is_left_undone() {
    let marks = [
        "todo!",
        "unimplemented!",
        "dbg!",
        "#[ignore",
        "FIXME",
        "XXX",
    ];
    let mut complaints = Vec::new();
    for source in everything() {
        if source.path == file!() {
            continue;
        }
        for (n, line) in (1..).zip(source.text.lines()) {
            if marks.iter().any(|mark| line.contains(mark)) {
                complaints.push(format!("{}:{n}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn tests_do_not_sleep_to_synchronise() {
    let mut complaints = Vec::new();
    for source in everything() {
        if source.path == file!() {
            continue;
        }
        let mut in_test = source.is_test();
        let imports_std = source.text.contains("use std::thread;");
        for (n, line) in source.code() {
            in_test |= line.contains("#[cfg(test)]");
            let sleeps = line.contains("std::thread::sleep")
                || imports_std && has_word(line, "thread::sleep");
            if in_test && sleeps {
                complaints.push(format!("{}:{n}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn files_and_lines_keep_to_their_size() {
    let mut complaints = Vec::new();
    for source in everything() {
        let lines = source.text.lines().count();
        if lines > MOST_LINES {
            complaints.push(format!("{}: {lines} lines", source.path));
        }
        for (n, line) in (1..).zip(source.text.lines()) {
            if line.chars().count() > MOST_COLUMNS {
                complaints.push(format!(
                    "{}:{n}: {} columns",
                    source.path,
                    line.chars().count()
                ));
            }
        }
    }
    assert_none(complaints);
}

/// The public submodules of `sync`, which share names of types.
const MODULES_OF_SYNC: [&str; 6] = [
    "broadcast",
    "channel",
    "remote",
    "resource",
    "select",
    "watch",
];

/// Returns the public functions whose docs say, in their first paragraph, that they suspend.
fn documented_to_suspend(source: &Source) -> Vec<String> {
    let mut path = source.path.split('/').skip(1);
    let folder = path.next().unwrap_or_default();
    let module = path.next().unwrap_or_default().trim_end_matches(".rs");
    let module = Some(module).filter(|module| MODULES_OF_SYNC.contains(module));
    let mut found = Vec::new();
    // The type that the functions belong to, and whether the functions are a trait's.
    let mut owner: Option<(String, bool)> = None;
    let mut docs = String::new();
    for line in source.text.lines() {
        let code = line.trim();
        if let Some(text) = code.strip_prefix("///") {
            docs.push_str(text);
            docs.push('\n');
            continue;
        }
        if code.starts_with("#[") {
            continue;
        }
        if !line.starts_with(' ') && code.ends_with('}') {
            owner = None;
        }
        if let Some(header) = owner_of(code) {
            owner = Some(header);
        }
        let of_trait = owner.as_ref().is_some_and(|(_, of_trait)| *of_trait);
        if let Some(name) = function_name(code, of_trait)
            && first_paragraph_says_so(&docs)
        {
            let indented = line.starts_with(' ');
            let owner = owner
                .as_ref()
                .filter(|_| indented)
                .map(|(owner, _)| owner.as_str());
            let path: Vec<&str> = [Some(folder), module, owner, Some(name)]
                .into_iter()
                .flatten()
                .collect();
            found.push(path.join("::"));
        }
        docs.clear();
    }
    found
}

/// Returns the type of an `impl` or the name of a trait, and whether all its functions are public.
fn owner_of(code: &str) -> Option<(String, bool)> {
    let (rest, is_trait) = match code.strip_prefix("pub trait ") {
        Some(rest) => (rest, true),
        None => (code.strip_prefix("impl")?, false),
    };
    // An arrow is not the end of the generics.
    let rest = rest.replace("->", "");
    let rest = match rest.strip_prefix('<') {
        Some(generic) => generic.split_once('>')?.1,
        None => &rest,
    };
    let (owner, of_trait) = match rest.split_once(" for ") {
        Some((_, owner)) => (owner, true),
        None => (rest, is_trait),
    };
    let owner = owner.trim().trim_start_matches('&');
    let end = owner.find(['<', ' ', ':', '{']).unwrap_or(owner.len());
    Some((owner[..end].to_owned(), of_trait))
}

fn function_name(code: &str, of_trait: bool) -> Option<&str> {
    let rest = match code.strip_prefix("pub fn ") {
        Some(rest) => rest,
        None if of_trait => code.strip_prefix("fn ")?,
        None => return None,
    };
    rest.split(['(', '<']).next()
}

fn first_paragraph_says_so(docs: &str) -> bool {
    let first = docs.split("\n\n").next().unwrap_or_default();
    // Names in backticks are not prose.
    let prose: String = first.split('`').step_by(2).collect();
    let prose = prose.to_lowercase();
    has_word(&prose, "suspends") || has_word(&prose, "suspending")
}

/// Returns a call for each type that `$Stream` stands for: those in `mirror!(stream of ...)`. A
/// call without such a variable, or without such types, stays as it is.
fn of_each_type(call: String, sources: &[Source]) -> Vec<String> {
    let Some((before, (variable, after))) = call
        .split_once('$')
        .and_then(|(before, rest)| Some((before, rest.split_once("::")?)))
    else {
        return vec![call];
    };
    let mirror = format!("mirror!({} of ", variable.to_lowercase());
    let lines = sources.iter().flat_map(|source| source.text.lines());
    let rest = lines.filter_map(|line| line.strip_prefix(&mirror));
    let types = rest.filter_map(|rest| rest.split([',', ')']).next());
    let calls: Vec<_> = types
        .map(|name| format!("{before}{name}::{after}"))
        .collect();
    if calls.is_empty() { vec![call] } else { calls }
}

#[test]
fn calls_that_suspend_say_so_and_are_listed() {
    let sources = sources(&["src"]);
    let said: BTreeSet<String> = sources
        .iter()
        .filter(|s| !s.is_test())
        .flat_map(documented_to_suspend)
        .flat_map(|call| of_each_type(call, &sources))
        .collect();
    let listed: BTreeSet<String> = include_str!("suspends.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(" - ").next().unwrap_or_default().to_owned())
        .collect();
    let unlisted: Vec<_> = said.difference(&listed).collect();
    let unsaid: Vec<_> = listed.difference(&said).collect();
    assert!(
        unlisted.is_empty(),
        "not in tests/suspends.txt: {unlisted:?}"
    );
    assert!(
        unsaid.is_empty(),
        "the first paragraph of the docs does not say it: {unsaid:?}"
    );
}

#[test]
fn the_list_of_calls_is_sorted() {
    let listed = include_str!("suspends.txt")
        .lines()
        .filter(|line| !line.starts_with('#'));
    assert!(listed.is_sorted_by_key(|line| line.split(" - ").next().map(str::to_lowercase)));
}
