//! Checks the tables of the sentences of RFC 9112 and RFC 9110 that bind a server: each row says
//! whether the sentence is kept, the tests that show it exist, and no row is lost.

use std::collections::BTreeSet;

use super::{Source, assert_none, sources};

/// A table, and its sums: rows, rows that are kept, sentences for others.
const TABLES: [(&str, &str, [usize; 3]); 2] = [
    (
        "tests/rfc/rfc9112.txt",
        include_str!("../rfc/rfc9112.txt"),
        [59, 55, 56],
    ),
    (
        "tests/rfc/rfc9110.txt",
        include_str!("../rfc/rfc9110.txt"),
        [198, 73, 130],
    ),
];

const KEYWORDS: [&str; 6] = [
    "MUST",
    "MUST NOT",
    "SHOULD",
    "SHOULD NOT",
    "REQUIRED",
    "RECOMMENDED",
];

/// Why a sentence may not apply. The head of the first table explains the reasons.
const REASONS: [&str; 4] = ["handler", "never sent", "does not arise", "tls"];

/// Tests with this prefix exist to be named in the tables.
const PREFIX: &str = "rfc_";

struct Section<'a> {
    number: &'a str,
    /// The counts that the section claims: rows, and sentences for others.
    claimed: [usize; 2],
    rows: Vec<Row<'a>>,
}

struct Row<'a> {
    line: usize,
    keyword: &'a str,
    sentence: &'a str,
    verdict: &'a str,
    tests: Vec<&'a str>,
}

/// Returns the parts of a line, or `None` if there are fewer than wanted.
fn parts(line: &str, wanted: usize) -> Option<Vec<&str>> {
    let parts: Vec<&str> = line.split('|').map(str::trim).collect();
    (parts.len() >= wanted && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

fn parse_section(line: &str) -> Option<Section<'_>> {
    let parts = parts(line, 4)?;
    let [number, _, rows, others] = parts[..] else {
        return None;
    };
    Some(Section {
        number,
        claimed: [rows.parse().ok()?, others.parse().ok()?],
        rows: Vec::new(),
    })
}

fn parse_row(line: usize, text: &str) -> Option<Row<'_>> {
    let parts = parts(text, 3)?;
    let tests = parts.get(3).into_iter().flat_map(|tests| tests.split(','));
    (parts.len() <= 4).then(|| Row {
        line,
        keyword: parts[0],
        sentence: parts[1],
        verdict: parts[2],
        tests: tests.map(str::trim).collect(),
    })
}

fn parse<'a>(path: &str, text: &'a str) -> Vec<Section<'a>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (n, line) in (1..).zip(text.lines()) {
        if let Some(head) = line.strip_prefix("## ") {
            let section = parse_section(head);
            sections.push(section.unwrap_or_else(|| panic!("{path}:{n}: no section: {line}")));
        } else if !line.is_empty() && !line.starts_with('#') {
            let row = parse_row(n, line).unwrap_or_else(|| panic!("{path}:{n}: no row: {line}"));
            let section = sections.last_mut();
            section
                .unwrap_or_else(|| panic!("{path}:{n}: in no section"))
                .rows
                .push(row);
        }
    }
    sections
}

/// Orders section numbers, so that 10 comes after 9.
fn key(number: &str) -> Vec<u32> {
    number
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect()
}

/// Returns the tests of `tests/it`, as `module::name`.
fn existing_tests() -> BTreeSet<String> {
    let sources = sources(&["tests/it"]);
    sources.iter().flat_map(tests_of).collect()
}

fn tests_of(source: &Source) -> Vec<String> {
    let path = source.path.strip_prefix("tests/it/").unwrap();
    let module = path.trim_end_matches(".rs").replace('/', "::");
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.text.lines() {
        let name = line
            .strip_prefix("fn ")
            .and_then(|rest| rest.split('(').next());
        if let Some(name) = name.filter(|_| is_test) {
            names.push(format!("{module}::{name}"));
        }
        is_test = line == "#[test]";
    }
    names
}

fn complaint(row: &Row<'_>, tests: &BTreeSet<String>) -> Option<String> {
    if !KEYWORDS.contains(&row.keyword) {
        return Some(format!("no keyword: {}", row.keyword));
    }
    if !row.sentence.ends_with('.') {
        return Some(format!("no sentence: {}", row.sentence));
    }
    match row.verdict.strip_prefix("n/a: ") {
        Some(reason) if !REASONS.contains(&reason) => Some(format!("no reason: {reason}")),
        Some(_) if !row.tests.is_empty() => Some("does not apply, but has tests".into()),
        None if row.verdict != "kept" => Some(format!("no verdict: {}", row.verdict)),
        None if row.tests.is_empty() => Some("no test shows it".into()),
        _ => {
            let missing = row.tests.iter().find(|test| !tests.contains(**test));
            missing.map(|test| format!("there is no test {test}"))
        }
    }
}

#[test]
fn every_sentence_is_kept_and_shown_or_does_not_apply() {
    let tests = existing_tests();
    let mut complaints = Vec::new();
    for (path, text, _) in TABLES {
        for section in parse(path, text) {
            for row in &section.rows {
                let complaint = complaint(row, &tests);
                complaints.extend(complaint.map(|text| format!("{path}:{}: {text}", row.line)));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn no_sentence_is_lost() {
    for (path, text, claimed) in TABLES {
        let sections = parse(path, text);
        let mut sums = [0; 3];
        for section in &sections {
            let [rows, others] = section.claimed;
            assert_eq!(
                section.rows.len(),
                rows,
                "{path}: section {}",
                section.number
            );
            assert!(
                rows + others > 0,
                "{path}: section {} is empty",
                section.number
            );
            let kept = section.rows.iter().filter(|row| row.verdict == "kept");
            for (sum, part) in sums.iter_mut().zip([rows, kept.count(), others]) {
                *sum += part;
            }
        }
        assert_eq!(sums, claimed, "{path}");
        let numbers: Vec<_> = sections.iter().map(|section| key(section.number)).collect();
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "{path}: order of sections"
        );
    }
}

#[test]
fn every_test_of_a_sentence_is_named_by_one() {
    let rows = TABLES.map(|(path, text, _)| parse(path, text));
    let named: BTreeSet<&str> = rows
        .iter()
        .flatten()
        .flat_map(|section| &section.rows)
        .flat_map(|row| row.tests.iter().copied())
        .collect();
    let tests = existing_tests();
    let unnamed = tests
        .iter()
        .filter(|test| test.starts_with(PREFIX) && !named.contains(test.as_str()));
    assert_none(unnamed.cloned().collect());
}
