//! The language of comments and texts: the subject of a sentence is a thing, and no person.

use std::fs;

use super::{assert_none, everything, has_word, root};

/// Words that leave to the reader which ethread, waiter, peer or caller is meant.
const PERSONS: [&str; 7] = [
    "who",
    "whoever",
    "whom",
    "somebody",
    "anybody",
    "nobody",
    "everybody",
];

/// Texts that need one of them, by file.
const EXCEPTIONS: &[(&str, &str)] = &[
    // Data of requests and messages.
    ("tests/it/rfc/fields.rs", "nobody"),
    ("src/http/exchange/request.rs", "nobody"),
    ("src/http/pull/request.rs", "nobody"),
    ("src/sync/broadcast.rs", "anybody"),
];

/// Markdown and scripts, whose every line is text.
const TEXTS: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "deploy",
    "docs",
    "src",
    ".ci",
];

/// The comments and string literals of a Rust file, each with the line that it begins in.
fn texts_of(code: &str) -> Vec<(usize, &str)> {
    let mut texts = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(next) = code[at..].chars().next() {
        let rest = &code[at..];
        let len = if rest.starts_with("//") {
            let len = rest.find('\n').unwrap_or(rest.len());
            texts.push((line, &rest[..len]));
            len
        } else if let Some(len) = string_len(rest, code[..at].chars().next_back()) {
            texts.push((line, &rest[..len]));
            len
        } else if next == '\'' {
            char_len(rest)
        } else {
            next.len_utf8()
        };
        line += rest[..len].matches('\n').count();
        at += len;
    }
    texts
}

/// The length of a string literal, plain or raw, that begins here.
fn string_len(rest: &str, before: Option<char>) -> Option<usize> {
    if let Some(rest) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = rest.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return end.map(|end| end + 2);
    }
    let hashes = rest.strip_prefix('r')?;
    let count = hashes.len() - hashes.trim_start_matches('#').len();
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') || !hashes[count..].starts_with('"')
    {
        return None;
    }
    let end = format!("\"{}", "#".repeat(count));
    let begin = 1 + count + 1;
    rest[begin..].find(&end).map(|at| begin + at + end.len())
}

/// The length of a character literal, or of the quote of a lifetime.
fn char_len(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(1, |at| at + 4),
        Some(_) if chars.next().is_some_and(|(_, c)| c == '\'') => {
            rest[1..].find('\'').map_or(1, |at| at + 2)
        }
        _ => 1,
    }
}

/// The persons in a text, but for what is code in backticks.
fn persons_in(text: &str) -> Vec<&'static str> {
    let prose: String = text.split('`').step_by(2).collect();
    let prose = prose.to_lowercase();
    let persons = PERSONS.into_iter();
    persons.filter(|person| has_word(&prose, person)).collect()
}

fn markdown_and_scripts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut next: Vec<_> = TEXTS.iter().map(|text| root().join(text)).collect();
    while let Some(path) = next.pop() {
        if let Ok(entries) = fs::read_dir(&path) {
            next.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.extension().is_none_or(|extension| extension == "md")
            && let Ok(text) = fs::read_to_string(&path)
        {
            let name = path.strip_prefix(root()).unwrap();
            found.push((name.display().to_string(), text));
        }
    }
    found
}

#[test]
fn texts_speak_of_things() {
    let excepted = |path: &str, person: &str| {
        let mut exceptions = EXCEPTIONS.iter();
        exceptions.any(|(file, word)| *file == path && *word == person)
    };
    let mut complaints = Vec::new();
    let mut check = |path: &str, line: usize, text: &str| {
        for (n, text) in (line..).zip(text.lines()) {
            for person in persons_in(text) {
                if !excepted(path, person) {
                    complaints.push(format!("{path}:{n}: `{person}` in {:?}", text.trim()));
                }
            }
        }
    };
    for source in everything() {
        // It names them.
        if source.path == "tests/tidy/language.rs" {
            continue;
        }
        for (line, text) in texts_of(&source.text) {
            check(&source.path, line, text);
        }
    }
    for (path, text) in markdown_and_scripts() {
        check(&path, 1, &text);
    }
    assert_none(complaints);
}

/// Names of functions, those of tests too.
#[test]
fn names_speak_of_things() {
    let mut complaints = Vec::new();
    for source in everything() {
        for (n, line) in (1..).zip(source.text.lines()) {
            if let Some((_, name)) = line.split_once("fn ")
                && name[..name.find('(').unwrap_or(0)]
                    .split('_')
                    .any(|word| PERSONS.contains(&word))
                && source.path != "tests/tidy/language.rs"
            {
                complaints.push(format!("{}:{n}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn a_planted_person_is_found() {
    let code = r##"
        // Whoever waits.
        let c = '"'; let s = "nobody's \" turn"; let l: &'static str = r#"who" is"#;
        fn who() { let nobody = 1; /// calls `who`
        }
    "##;
    let found: Vec<_> = texts_of(code)
        .into_iter()
        .map(|(line, text)| (line, persons_in(text)))
        .collect();
    let expected = [
        (2, vec!["whoever"]),
        (3, vec!["nobody"]),
        (3, vec!["who"]),
        (4, vec![]),
    ];
    assert_eq!(found, expected);
}
