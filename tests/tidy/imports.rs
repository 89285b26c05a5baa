//! Which file of `src` imports which, read from `use` lines and from the paths in code, and the
//! circles among them.
//!
//! An import is an edge to the file that defines the item: re-exports, globs, `super` and `self`
//! are resolved. What only tests see is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

use super::{Source, assert_none, sources};

/// The rooms of the runtime, from the bottom up: a file imports files of its own room and of those
/// before it. What stands beside them in `src/runtime` is above them all.
const ROOMS: [&str; 8] = [
    "src/runtime/base/",
    "src/runtime/driver/",
    "src/runtime/stack/",
    "src/runtime/state/",
    "src/runtime/scheduler/",
    "src/runtime/io/",
    "src/runtime/task/",
    "src/runtime/",
];

/// The rooms of the server.
const ROOMS_OF_HTTP: [&str; 13] = [
    "src/http/message/",
    "src/http/admission/",
    "src/http/proto/",
    "src/http/error/",
    "src/http/exchange/",
    "src/http/conn/",
    "src/http/accept/",
    "src/http/server/",
    "src/http/pull/",
    "src/http/app/",
    "src/http/middleware/",
    "src/http/testing/",
    "src/http/",
];

/// The keywords after which the name of an item stands.
const ITEMS: [&str; 8] = [
    "fn", "struct", "enum", "union", "trait", "type", "const", "static",
];

type Path = Vec<String>;

/// A module, with what it names.
#[derive(Default)]
struct Module {
    file: String,
    items: BTreeSet<String>,
    /// The names that `use` brings in, with what they stand for.
    names: BTreeMap<String, Path>,
    globs: Vec<Path>,
    /// The paths in its code and in its `use` lines.
    paths: BTreeSet<Path>,
}

/// All modules by their paths from the root of the crate.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<Path, Module>,
    /// The file of each `macro_rules!`, which is called without a path of its own.
    macros: BTreeMap<String, String>,
}

/// What a path leads to.
enum Found {
    Module(Path),
    Item { file: String },
}

impl Crate {
    fn read(sources: &[Source]) -> Self {
        let mut this = Self::default();
        for source in sources {
            let tokens = TokenStream::from_str(&source.text).unwrap();
            let path = module_path(&source.path);
            this.read_module(path, &source.path, tokens);
        }
        this
    }

    fn read_module(&mut self, path: Path, file: &str, tokens: TokenStream) {
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut rest = &tokens[..];
        while let Some((token, after)) = rest.split_first() {
            if let Some(skipped) = skip_attribute(rest) {
                rest = skipped;
                continue;
            }
            rest = after;
            match ident(token).as_deref() {
                Some("mod") => {
                    let name = ident(&after[0]).unwrap();
                    if let Some(TokenTree::Group(body)) = after.get(1) {
                        let inner = [&path[..], &[name]].concat();
                        self.read_module(inner, file, body.stream());
                        rest = &after[2..];
                    }
                }
                Some("use") => rest = module.read_use(after, true),
                Some("macro_rules") => {
                    let name = format!("{}!", ident(&after[1]).unwrap());
                    self.macros.insert(name, file.to_owned());
                    rest = &after[2..];
                }
                Some(keyword) if ITEMS.contains(&keyword) => {
                    module.items.extend(after.first().and_then(ident));
                }
                Some(_) => rest = module.read_path(rest_from(&tokens, after)),
                None => {
                    if let TokenTree::Group(group) = token {
                        module.read_code(group.stream());
                    }
                }
            }
        }
        self.modules.insert(path, module);
    }

    /// The module that a path begins in, and what is left of it.
    fn begin<'a>(&self, at: &[String], path: &'a [String]) -> Option<(Path, &'a [String])> {
        let (first, mut rest) = path.split_first()?;
        let mut module = at.to_vec();
        match first.as_str() {
            "crate" => module.clear(),
            "self" => {}
            "super" => {
                module.pop();
            }
            _ => return Some((module, path)),
        }
        while let Some(("super", after)) = rest.split_first().map(|(s, a)| (s.as_str(), a)) {
            module.pop();
            rest = after;
        }
        Some((module, rest))
    }

    /// What a path in the module `at` leads to; nothing for one out of the crate.
    fn resolve(&self, at: &[String], path: &[String], depth: u32) -> Option<Found> {
        // A glob may lead back to the module that it stands in.
        if depth > 8 {
            return None;
        }
        let (mut module, rest) = self.begin(at, path)?;
        for (n, name) in rest.iter().enumerate() {
            let child = [&module[..], std::slice::from_ref(name)].concat();
            if self.modules.contains_key(&child) {
                module = child;
                continue;
            }
            match self.lookup(&module, name, depth)? {
                Found::Module(found) if n + 1 < rest.len() => {
                    return self.resolve(&found, &rest[n + 1..], depth + 1);
                }
                found => return Some(found),
            }
        }
        Some(Found::Module(module))
    }

    fn lookup(&self, at: &[String], name: &str, depth: u32) -> Option<Found> {
        let module = self.modules.get(at)?;
        if module.items.contains(name) {
            let file = module.file.clone();
            return Some(Found::Item { file });
        }
        if let Some(target) = module.names.get(name) {
            return self.resolve(at, target, depth + 1);
        }
        for target in &module.globs {
            if let Some(Found::Module(target)) = self.resolve(at, target, depth + 1)
                && let Some(found) = self.lookup(&target, name, depth + 1)
            {
                return Some(found);
            }
        }
        let file = self.macros.get(name)?.clone();
        Some(Found::Item { file })
    }

    /// The files that each file imports.
    fn imports(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let mut imports: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (at, module) in &self.modules {
            let imported = imports.entry(&module.file).or_default();
            for path in &module.paths {
                if let Some(Found::Item { file }) = self.resolve(at, path, 0)
                    && file != module.file
                {
                    imported.insert(file);
                }
            }
        }
        imports
    }
}

impl Module {
    /// Reads code that is not at the top of the module.
    fn read_code(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut rest = &tokens[..];
        while let Some((token, after)) = rest.split_first() {
            if let Some(skipped) = skip_attribute(rest) {
                rest = skipped;
                continue;
            }
            match (token, ident(token).as_deref()) {
                // A field or a method, unless it is the end of a range.
                (TokenTree::Punct(dot), _) if dot.as_char() == '.' => {
                    let is_range = dot.spacing() == Spacing::Joint;
                    rest = if is_range { &after[1..] } else { after };
                    if !is_range && rest.first().and_then(ident).is_some() {
                        rest = &rest[1..];
                    }
                }
                (_, Some("use")) => rest = self.read_use(after, false),
                (_, Some(_)) => rest = self.read_path(rest),
                (TokenTree::Group(group), _) => {
                    self.read_code(group.stream());
                    rest = after;
                }
                _ => rest = after,
            }
        }
    }

    /// Reads a path that begins here, and gives what follows it.
    fn read_path<'a>(&mut self, mut rest: &'a [TokenTree]) -> &'a [TokenTree] {
        let mut path = Vec::new();
        while let Some((token, after)) = rest.split_first()
            && let Some(name) = ident(token)
        {
            path.push(name);
            rest = after;
            match two_colons(rest) {
                Some(after) => rest = after,
                None => break,
            }
        }
        if let (Some(name), Some(next)) = (path.last_mut(), rest.first())
            && is_punct(next, '!')
        {
            name.push('!');
        }
        self.paths.insert(path);
        rest
    }

    /// Reads a `use` up to its semicolon, and gives what follows.
    fn read_use<'a>(&mut self, tokens: &'a [TokenTree], at_top: bool) -> &'a [TokenTree] {
        let end = tokens.iter().position(|token| is_punct(token, ';'));
        // `impl Trait + use<'a>`.
        let Some(end) = end.filter(|_| !is_punct(&tokens[0], '<')) else {
            return tokens;
        };
        let mut used = Vec::new();
        read_tree(&tokens[..end], &[], &mut used);
        for (name, path) in used {
            match name.as_str() {
                "*" if at_top => self.globs.push(path),
                _ => {
                    self.paths.insert(path.clone());
                    if at_top {
                        self.names.insert(name, path);
                    }
                }
            }
        }
        &tokens[end..]
    }
}

/// Reads a tree of a `use`: the names that it brings in, with their paths.
fn read_tree(tokens: &[TokenTree], prefix: &[String], used: &mut Vec<(String, Path)>) {
    let mut path = prefix.to_vec();
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        match token {
            TokenTree::Group(group) => {
                let tokens: Vec<_> = group.stream().into_iter().collect();
                for tree in tokens.split(|token| is_punct(token, ',')) {
                    read_tree(tree, &path, used);
                }
                return;
            }
            TokenTree::Punct(punct) if punct.as_char() == '*' => {
                used.push(("*".to_owned(), path));
                return;
            }
            TokenTree::Ident(name) if name == "as" => {
                used.push((ident(&after[0]).unwrap(), path));
                return;
            }
            TokenTree::Ident(name) if name != "self" || path.is_empty() => {
                path.push(name.to_string());
            }
            _ => {}
        }
        rest = after;
    }
    if let Some(name) = path.last().cloned() {
        used.push((name, path));
    }
}

/// What follows an attribute that begins here, and with it the item that only tests see.
fn skip_attribute(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    let (hash, after) = tokens.split_first()?;
    let after = match after.split_first() {
        Some((mark, inner)) if is_punct(mark, '!') => inner,
        _ => after,
    };
    let (TokenTree::Group(group), after) = after.split_first()? else {
        return None;
    };
    if !is_punct(hash, '#') || group.delimiter() != Delimiter::Bracket {
        return None;
    }
    let text = group.stream().to_string().replace(' ', "");
    if !text.starts_with("cfg(test") && !text.starts_with("cfg(all(test") {
        return Some(after);
    }
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is_punct(token, ';') || is_punct(token, ','),
    };
    let end = after.iter().position(ends).map_or(after.len(), |n| n + 1);
    Some(&after[end..])
}

fn ident(token: &TokenTree) -> Option<String> {
    match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_punct(token: &TokenTree, c: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == c)
}

fn two_colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    match tokens {
        [a, b, after @ ..] if is_punct(a, ':') && is_punct(b, ':') => Some(after),
        _ => None,
    }
}

/// The tokens from the one before `after` on.
fn rest_from<'a>(tokens: &'a [TokenTree], after: &[TokenTree]) -> &'a [TokenTree] {
    &tokens[tokens.len() - after.len() - 1..]
}

/// The path of the module in a file: `a::b` of `src/a/b.rs` and of `src/a/b/mod.rs`.
fn module_path(file: &str) -> Path {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let parts = path.split('/').map(str::to_owned);
    parts
        .filter(|part| part != "mod" && part != "lib")
        .collect()
}

/// The circles, each with the imports that tie it.
fn circles(sources: &[Source]) -> Vec<BTreeMap<String, Vec<String>>> {
    let read = Crate::read(sources);
    let imports = read.imports();
    let reached = |from: &str| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&str> = vec![from];
        while let Some(file) = next.pop() {
            for imported in imports.get(file).into_iter().flatten() {
                if reached.insert(imported.as_str()) {
                    next.push(imported);
                }
            }
        }
        reached
    };
    let reach: BTreeMap<&str, _> = imports.keys().map(|file| (*file, reached(file))).collect();
    let mut circles = Vec::new();
    let mut seen = BTreeSet::new();
    for (file, reached) in &reach {
        if !reached.contains(file) || !seen.insert(*file) {
            continue;
        }
        let circle: BTreeSet<&str> = reached
            .iter()
            .copied()
            .filter(|other| reach[other].contains(file))
            .collect();
        seen.extend(&circle);
        let ties = circle.iter().map(|member| {
            let ties = imports[member].iter();
            let ties = ties.filter(|file| circle.contains(file.as_str()));
            ((*member).to_owned(), ties.cloned().collect())
        });
        circles.push(ties.collect());
    }
    circles
}

/// The files of the library, without those that only tests see.
fn shipped() -> Vec<Source> {
    sources(&["src"])
        .into_iter()
        .filter(|source| !source.is_test() && !source.path.ends_with("loom_tests.rs"))
        .collect()
}

#[test]
fn files_import_each_other_in_no_circle() {
    let circles = circles(&shipped());
    let ties = circles.iter().flatten();
    let complaints = ties.map(|(file, ties)| format!("{file} is in a circle: it imports {ties:?}"));
    assert_none(complaints.collect());
}

/// The imports from a room to one above it.
fn upward_imports(sources: &[Source], rooms: &[&str]) -> Vec<String> {
    let room = |file: &str| rooms.iter().position(|room| file.starts_with(room));
    let mut upward = Vec::new();
    for (file, imported) in Crate::read(sources).imports() {
        for other in imported {
            if let (Some(from), Some(to)) = (room(file), room(&other))
                && from < to
            {
                upward.push(format!("{file} imports {other}, of a room above it"));
            }
        }
    }
    upward
}

#[test]
fn rooms_import_downwards() {
    let mut found = upward_imports(&shipped(), &ROOMS);
    found.extend(upward_imports(&shipped(), &ROOMS_OF_HTTP));
    assert_none(found);
}

#[test]
fn an_import_that_leads_up_is_found() {
    let files = [
        ("src/a/mod.rs", "mod low; mod high;"),
        ("src/a/low/mod.rs", "mod x; pub struct L;"),
        ("src/a/low/x.rs", "use super::super::high::H; use super::L;"),
        ("src/a/high/mod.rs", "use super::low::L; pub struct H;"),
    ];
    let sources: Vec<_> = files.iter().map(source).collect();
    let found = upward_imports(&sources, &["src/a/low/", "src/a/high/", "src/a/"]);
    assert_eq!(
        found,
        ["src/a/low/x.rs imports src/a/high/mod.rs, of a room above it"]
    );
}

/// A file that adds a method to the scheduler from another room is in the wrong room.
#[test]
fn methods_of_the_scheduler_are_in_its_room() {
    let elsewhere = shipped().into_iter().filter(|source| {
        let adds = |line: &str| line.starts_with("impl") && line.ends_with(" Scheduler {");
        !source.path.starts_with("src/runtime/scheduler/") && source.text.lines().any(adds)
    });
    assert_none(elsewhere.map(|source| source.path).collect());
}

fn source(&(path, text): &(&str, &str)) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

fn planted(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let sources: Vec<_> = files.iter().map(source).collect();
    let circles = circles(&sources);
    let names = circles.into_iter().map(|circle| circle.into_keys());
    names.map(Iterator::collect).collect()
}

/// The circles of a file with this text and of another file, which imports it.
fn beside_one_that_imports_it(text: &str) -> Vec<Vec<String>> {
    planted(&[
        ("src/lib.rs", "mod a; mod b; pub use b::B;"),
        ("src/a.rs", &format!("{text}\npub struct A;")),
        ("src/b.rs", "use crate::a::A; pub struct B(A);"),
    ])
}

#[test]
fn a_planted_circle_is_found() {
    let face = ("src/a/mod.rs", "mod b; mod c; pub use b::B; pub use c::*;");
    let b = ("src/a/b.rs", "use super::{C as D, d}; pub struct B(D);");
    let tied = "pub struct C; fn c() { let _ = crate::a::B::new(); }";
    let found = planted(&[face, b, ("src/a/c.rs", tied)]);
    assert_eq!(found, [["src/a/b.rs", "src/a/c.rs"]]);
}

#[test]
fn each_way_to_name_an_item_is_an_import() {
    let ways = [
        "use crate::b::B;",
        "use crate::b;\nfn f() { b::B::new(); }",
        "use crate::{b::{self}}; fn f(b: &b::B) {}",
        "use super::b::*; fn f() { B::new(); }",
        "use crate::B;",
        "fn f() -> crate::B { todo() }",
        "fn f() { if x { use super::b::B as C; } }",
        "macro_rules! m { () => { $crate::b::B::new() } }",
        "mod inner { fn f() { super::super::b::B::new(); } }",
    ];
    for way in ways {
        let found = beside_one_that_imports_it(way);
        assert_eq!(found, [["src/a.rs", "src/b.rs"]], "{way}");
    }
}

#[test]
fn what_is_no_import_ties_nothing() {
    let others = [
        "use std::b::B;",
        "//! See [`crate::b::B`].",
        "#[cfg(test)] mod tests { use crate::b::B; }",
        "#[cfg(test)] use crate::b::B;",
        "fn f() { let _ = \"crate::b::B\"; }",
        "mod b { pub struct B; } fn f() { b::B::new(); }",
    ];
    for other in others {
        let found = beside_one_that_imports_it(other);
        assert!(found.is_empty(), "{other}: {found:?}");
    }
}
