//! No run of lines stands twice in the library: what two places share is written once.

use std::collections::HashMap;

use super::{Source, assert_none, sources};

/// A run of so many equal lines is a duplicate. Comments, docs and empty lines count.
const RUN: usize = 12;

/// Whether a line says anything: an empty line, or one of closing brackets only, does not.
fn says_something(line: &str) -> bool {
    line.chars().any(|c| !")]};,".contains(c))
}

/// The places in which a run of `RUN` lines begins that stands somewhere before, too.
fn duplicates(sources: &[Source]) -> Vec<String> {
    let texts: Vec<Vec<&str>> = sources
        .iter()
        .map(|source| source.text.lines().map(str::trim).collect())
        .collect();
    let mut first: HashMap<&[&str], (usize, usize)> = HashMap::new();
    let mut found = Vec::new();
    for (file, lines) in texts.iter().enumerate() {
        // The place of the line that the line before continues, if that is part of a duplicate.
        let mut continued = None;
        for (at, run) in lines.windows(RUN).enumerate() {
            let begin = *first.entry(run).or_insert((file, at));
            // A run that repeats itself overlaps its copy.
            let apart = begin.0 != file || begin.1 + RUN <= at;
            if !apart || !run.iter().any(|line| says_something(line)) {
                continued = None;
                continue;
            }
            if continued != Some(begin) {
                let path = |(file, at): (usize, usize)| {
                    let source: &Source = &sources[file];
                    format!("{}:{}", source.path, at + 1)
                };
                let places = (path(begin), path((file, at)));
                found.push(format!("{} and {} are the same", places.0, places.1));
            }
            continued = Some((begin.0, begin.1 + 1));
        }
    }
    found
}

#[test]
fn no_twelve_lines_stand_twice() {
    let shipped = sources(&["src"])
        .into_iter()
        .filter(|source| !source.is_test() && !source.path.ends_with("tests.rs"));
    assert_none(duplicates(&shipped.collect::<Vec<_>>()));
}

fn planted(files: &[(&str, String)]) -> Vec<String> {
    let source = |(path, text): &(&str, String)| Source {
        path: (*path).to_owned(),
        text: text.clone(),
    };
    duplicates(&files.iter().map(source).collect::<Vec<_>>())
}

/// So many lines, each different from the others.
fn lines(count: usize) -> String {
    (0..count).map(|n| format!("line {n}\n")).collect()
}

#[test]
fn a_planted_run_is_found() {
    let indented = lines(RUN + 3).replace("line", "    line");
    let found = planted(&[
        ("src/a.rs", format!("first\n{}", lines(RUN + 3))),
        ("src/b.rs", format!("other\n\n{indented}last\n")),
    ]);
    assert_eq!(found, ["src/a.rs:2 and src/b.rs:3 are the same"]);
    let twice = format!("{0}between\n{0}", lines(RUN));
    let found = planted(&[("src/a.rs", twice)]);
    assert_eq!(found, ["src/a.rs:1 and src/a.rs:14 are the same"]);
}

#[test]
fn what_is_no_run_is_not_found() {
    let short = lines(RUN - 1);
    let found = planted(&[
        ("src/a.rs", format!("first\n{short}second\n")),
        ("src/b.rs", format!("third\n{short}fourth\n")),
        ("src/c.rs", "})];\n\n},\n".repeat(2 * RUN)),
        ("src/d.rs", "})];\n\n},\n".repeat(2 * RUN)),
    ]);
    assert!(found.is_empty(), "{found:?}");
}
