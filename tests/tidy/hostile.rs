//! Checks the table of the calls that reach user code against the signatures.

use std::collections::{BTreeMap, BTreeSet};

use super::{MODULES_OF_SYNC, Source, sources};

/// Bounds without code: no call goes through them.
const MARKERS: [&str; 8] = [
    "Any",
    "Send",
    "Sync",
    "Unpin",
    "Copy",
    "Sized",
    "?Sized",
    "UnwindSafe",
];

/// Traits that only the library implements.
const SEALED: [&str; 4] = ["IntoRequest", "Parts", "Ends", "Operation"];

/// Types whose derived `Debug` prints a cell or a lock, which is borrowed or held while the writer,
/// user code, runs. No public type prints those.
const PRINT_CELLS: [&str; 4] = [
    "src/http/conn/buffers.rs: Buffers",
    "src/http/accept/handover.rs: Shared",
    "src/http/accept/listener.rs: Listener",
    "src/runtime/base/thread_names.rs: ThreadNames",
];

/// The head of a function, and of the `impl` or the trait that it is in.
struct Function<'a> {
    header: Option<&'a str>,
    is_public: bool,
    text: &'a str,
}

/// Returns what is in the brackets that `text` begins with, and what follows them.
fn bracketed(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    let inner = text.strip_prefix(open)?;
    let (mut depth, mut before) = (1, ' ');
    for (at, c) in inner.char_indices() {
        // The `>` of an arrow closes nothing.
        if c == open {
            depth += 1;
        } else if c == close && before != '-' {
            depth -= 1;
            if depth == 0 {
                return Some((&inner[..at], &inner[at + c.len_utf8()..]));
            }
        }
        before = c;
    }
    None
}

/// Returns the parts of `text` between `separator`s that are in no brackets.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut depth, mut before, mut start) = (0, ' ', 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '>' if before != '-' => depth -= 1,
            _ if c == separator && depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// Returns what a bound makes the library call.
fn word(bound: &str) -> Option<&'static str> {
    let bound = bound.trim();
    let bound = match bound.strip_prefix("for") {
        Some(rest) => bracketed(rest, '<', '>').map_or(bound, |(_, rest)| rest.trim()),
        None => bound,
    };
    if bound.starts_with('\'') || MARKERS.contains(&bound) {
        return None;
    }
    let end = bound.find(['<', '(']).unwrap_or(bound.len());
    let name = bound[..end].rsplit("::").next().unwrap_or_default();
    Some(match name {
        _ if SEALED.contains(&name) => return None,
        "Fn" | "FnMut" | "FnOnce" | "Plugin" => "Fn",
        "Into" | "TryInto" => "Into",
        "AsFd" | "Source" => "AsFd",
        "IntoIterator" | "Iterator" => "Iterator",
        "IntoFuture" | "Future" => "Future",
        "Error" | "StdError" => "Error",
        "AsRef" => "AsRef",
        "Clone" => "Clone",
        "Debug" => "Debug",
        "Default" => "Default",
        "Display" => "Display",
        "DeserializeOwned" => "Deserialize",
        "FromOptional" | "FromRequest" => "FromRequest",
        "Handler" | "IntoHandler" | "MadeHandler" => "Handler",
        "Service" => "Service",
        "Body" | "HttpBody" => "HttpBody",
        "Hash" => "Hash",
        "IntoResponse" => "IntoResponse",
        "Read" => "Read",
        "Serialize" => "Serialize",
        "SessionStore" => "SessionStore",
        "Write" => "IoWrite",
        "ToSocketAddrs" => "ToSocketAddrs",
        other => panic!("tests/tidy/hostile.rs does not know what `{other}` calls"),
    })
}

fn words_of(bounds: &str) -> impl Iterator<Item = &'static str> {
    split(bounds, '+').into_iter().filter_map(word)
}

/// Returns what the bounds of a list of parameters, or of a `where`, make the library call.
fn words_of_list(list: &str) -> impl Iterator<Item = &'static str> {
    let items = split(list, ',').into_iter();
    let bounded = items.filter(|item| !item.starts_with('\'') && !item.starts_with("const "));
    let bounds = bounded.filter_map(|item| item.split_once(": "));
    bounds.flat_map(|(_, bounds)| words_of(bounds))
}

/// Returns the parts of a head: parameters in angle brackets, the rest, and the `where`.
fn parts(head: &str) -> (&str, &str, &str) {
    let head = head.trim_end_matches(['{', ';', ' ']);
    let (generics, rest) = bracketed(head, '<', '>').unwrap_or(("", head));
    let (rest, bounds) = rest.split_once(" where ").unwrap_or((rest, ""));
    (generics, rest, bounds)
}

/// Returns the names of type parameters.
fn type_parameters(generics: &str) -> Vec<&str> {
    let all = split(generics, ',').into_iter();
    let types = all.filter(|item| !item.starts_with('\'') && !item.starts_with("const "));
    types
        .map(|item| item.split([':', '=']).next().unwrap_or_default().trim())
        .collect()
}

/// Returns the trait and the type of the head of an `impl`, or the name of a trait.
fn owner(header: &str) -> (Option<&str>, &str) {
    let end = |text: &str| text.find(['<', ' ', ':', '{', '(']).unwrap_or(text.len());
    if let Some(rest) = header.strip_prefix("pub trait ") {
        return (Some(rest), &rest[..end(rest)]);
    }
    let (_, rest, _) = parts(header.trim_start_matches("impl"));
    let (of, owner) = match rest.split_once(" for ") {
        Some((of, owner)) => (Some(of.trim()), owner),
        None => (None, rest),
    };
    let owner = owner.trim().trim_start_matches('&');
    let owner = owner.strip_prefix("'a ").unwrap_or(owner);
    (of, &owner[..end(owner)])
}

/// Returns what user code a function reaches, by its signature.
fn reaches(function: &Function<'_>) -> BTreeSet<&'static str> {
    let mut words = BTreeSet::new();
    let name = function.text.split("fn ").nth(1).unwrap_or_default();
    let signature = &name[name.find(['<', '(']).unwrap_or_default()..];
    let (generics, rest, bounds) = parts(signature);
    let arguments = bracketed(rest, '(', ')').map_or("", |(arguments, _)| arguments);
    words.extend(words_of_list(generics));
    words.extend(words_of_list(bounds));
    for argument in split(arguments, ',') {
        let Some((_, of_type)) = argument.split_once(": ") else {
            continue;
        };
        if let Some(bounds) = of_type.strip_prefix("impl ") {
            words.extend(words_of(bounds));
        }
        if of_type.contains("Context<") {
            words.insert("Wake");
        }
    }
    if let Some(header) = function.header.filter(|header| header.starts_with("impl")) {
        let (generics, _, bounds) = parts(header.trim_start_matches("impl"));
        words.extend(words_of_list(generics));
        words.extend(words_of_list(bounds));
        let types = type_parameters(generics);
        let trait_of_it = owner(header).0.unwrap_or_default();
        if trait_of_it == "Drop" && !types.is_empty() {
            words.insert("Drop");
        }
        if ["fmt::Debug", "fmt::Display"].contains(&trait_of_it) {
            words.insert("Write");
        }
        let values = split(arguments, ',')
            .into_iter()
            .filter_map(|it| it.split_once(": "));
        if values.into_iter().any(|(_, of_type)| {
            let inner = of_type.strip_prefix("Result<").unwrap_or(of_type);
            types.contains(&inner.split(',').next().unwrap_or_default())
        }) {
            words.insert("Drop");
        }
    }
    words
}

/// Returns the head of the `impl` of `Debug` that a call of a macro stands for.
fn debug_by_macro(code: &str) -> Option<String> {
    let (generics, of) = match code.strip_prefix("mirror!(socket of ") {
        Some(of) => ("", of),
        None => code
            .strip_prefix("opaque_debug!(impl")?
            .split_once(" for ")?,
    };
    let of = of.split([',', ';', ')']).next().unwrap_or_default();
    Some(format!("impl{generics} fmt::Debug for {of}"))
}

/// Returns the heads of the functions of a file, each in one line.
fn functions(source: &Source) -> Vec<(Option<String>, bool, String)> {
    let mut found = Vec::new();
    let mut header: Option<String> = None;
    // A head whose end is still to come.
    let mut open: Option<String> = None;
    for (_, line) in source.shipped() {
        let code = line.trim();
        if line.starts_with('}') {
            header = None;
        }
        if let Some(header) = debug_by_macro(line) {
            found.push((Some(header), false, "fn fmt(&self)".to_owned()));
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let begins = open.is_none() && indent <= 4 && {
            let rest = code.trim_start_matches("pub ").trim_start_matches("const ");
            rest.starts_with("fn ") || rest.starts_with("impl") || rest.starts_with("trait ")
        };
        let head = match open.take() {
            Some(head) => format!("{head} {code}"),
            None if begins => code.to_owned(),
            None => continue,
        };
        if !head.contains('{') && !head.ends_with(';') {
            open = Some(head);
            continue;
        }
        // A comma follows the last argument if each argument has a line of its own.
        let head = head.split('{').next().unwrap_or_default();
        let head = head
            .replace("( ", "(")
            .replace(", )", ")")
            .replace("< ", "<")
            .replace(", >", ">");
        if head.contains("fn ") && !head.starts_with("impl") && !head.contains("trait ") {
            let of = header.clone().filter(|_| line.starts_with(' ') || !begins);
            found.push((of.filter(|_| indent > 0), head.starts_with("pub "), head));
        } else {
            header = Some(head);
        }
    }
    found
}

/// Returns the public types of each folder.
fn public_types(all: &[Source]) -> BTreeSet<(String, String)> {
    let mut types = BTreeSet::new();
    for source in all {
        let folder = source.path.split('/').nth(1).unwrap_or_default();
        for (_, line) in source.shipped() {
            let line = line.trim();
            for kind in ["pub struct ", "pub enum ", "pub trait "] {
                if let Some(rest) = line.strip_prefix(kind) {
                    let end = rest
                        .find(|c: char| !c.is_alphanumeric())
                        .unwrap_or(rest.len());
                    types.insert((folder.to_owned(), rest[..end].to_owned()));
                }
            }
        }
    }
    types
}

/// Returns each public call that reaches user code, and what it reaches.
fn reaching() -> BTreeMap<String, BTreeSet<&'static str>> {
    let all: Vec<Source> = sources(&["src"])
        .into_iter()
        .filter(|source| !source.is_test() && !source.path.starts_with("src/http/fuzzing"))
        .collect();
    let types = public_types(&all);
    let mut found: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for source in &all {
        let mut path = source.path.split('/').skip(1);
        let folder = path.next().unwrap_or_default();
        let module = path.next().unwrap_or_default().trim_end_matches(".rs");
        let module = Some(module).filter(|module| MODULES_OF_SYNC.contains(module));
        if folder.ends_with(".rs") {
            continue;
        }
        for (header, is_public, text) in &functions(source) {
            let function = Function {
                header: header.as_deref(),
                is_public: *is_public,
                text,
            };
            let owner = function.header.map(owner);
            let (of, owner) = owner.map_or((None, None), |(of, owner)| (of, Some(owner)));
            if !function.is_public && of.is_none() {
                continue;
            }
            if of.is_some_and(|of| SEALED.iter().any(|sealed| of.starts_with(sealed)))
                || owner.is_some_and(|owner| !types.contains(&(folder.into(), owner.into())))
            {
                continue;
            }
            let words = reaches(&function);
            if words.is_empty() {
                continue;
            }
            let name = text.split("fn ").nth(1).unwrap_or_default();
            let name = name.split(['<', '(']).next().unwrap_or_default();
            let path = [Some(folder), module, owner, Some(name)]
                .into_iter()
                .flatten();
            let path = path.collect::<Vec<_>>().join("::");
            found.entry(path).or_default().extend(words);
        }
    }
    found
}

/// Returns the lines of the table: a call, and what it reaches.
fn listed() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut listed = BTreeMap::new();
    let lines = include_str!("../hostile.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let entry = line.split(" - ").next().unwrap_or_default();
        let (call, words) = entry.split_once(": ").expect("a call: what it reaches");
        let words = words.split(", ");
        let words: BTreeSet<_> = words.map(|word| word.trim_matches(['(', ')'])).collect();
        let before: Option<BTreeSet<_>> = listed.insert(call.to_owned(), words);
        assert!(before.is_none(), "{call} is listed twice");
    }
    listed
}

#[test]
fn calls_that_reach_code_of_the_users_are_listed() {
    let (found, listed) = (reaching(), listed());
    let line = |(call, words): (&String, &BTreeSet<&str>)| {
        let words: Vec<_> = words.iter().copied().collect();
        format!("{call}: {}", words.join(", "))
    };
    let unlisted = found
        .iter()
        .filter(|(call, words)| listed.get(*call) != Some(*words));
    let unlisted: Vec<_> = unlisted.map(line).collect();
    let unfound = listed.iter().filter(|(call, _)| !found.contains_key(*call));
    let unfound: Vec<_> = unfound.map(line).collect();
    assert!(
        unlisted.is_empty(),
        "not in tests/hostile.txt:\n{}",
        unlisted.join("\n")
    );
    assert!(
        unfound.is_empty(),
        "no such signature:\n{}",
        unfound.join("\n")
    );
}

#[test]
fn the_table_of_hostile_calls_is_sorted() {
    let lines = include_str!("../hostile.txt").lines();
    let calls = lines.filter(|line| !line.starts_with('#'));
    assert!(calls.is_sorted_by_key(|line| line.split(": ").next().map(str::to_lowercase)));
}

/// Returns the kind and the name of a type, if its definition begins here.
fn split_type(code: &str) -> Option<(&str, &str)> {
    let kinds = ["struct ", "enum "].into_iter();
    let mut split = kinds.filter_map(|kind| code.split_once(kind));
    split.find(|(before, _)| before.is_empty() || before.starts_with("pub"))
}

#[test]
fn derived_debug_prints_no_cell() {
    let mut found = BTreeSet::new();
    for source in sources(&["src"]).iter().filter(|source| !source.is_test()) {
        let (mut derived, mut inside) = (false, None);
        for (_, line) in source.shipped() {
            let code = line.trim();
            if code.starts_with("#[derive(") {
                derived = code.contains("Debug");
            } else if let Some((_, rest)) = split_type(code) {
                let end = rest.find(['<', '(', ' ', ';']).unwrap_or(rest.len());
                inside = derived.then(|| &rest[..end]);
                derived = false;
            }
            let cells = ["RefCell<", "Mutex<", "RwLock<"];
            if let Some(name) = inside
                && cells.iter().any(|cell| code.contains(cell))
            {
                found.insert(format!("{}: {name}", source.path));
            }
            if code.ends_with('}') || code.ends_with(';') {
                inside = None;
            }
        }
    }
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    let mut known = PRINT_CELLS.to_vec();
    known.sort_unstable();
    assert_eq!(found, known);
}
