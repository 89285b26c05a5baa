//! The table of defaults in the documentation of the module, against the defaults.

use std::time::Duration;

use super::{Limits, Taskmaster, Timeouts};
use crate::http::conn::body::DRAIN_LIMIT;
use crate::http::conn::lingering::MOST_LINGERING;

fn size(bytes: u64) -> String {
    match bytes {
        n if n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => format!("{n} bytes"),
    }
}

fn time(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{} s", time.as_secs()),
        millis => format!("{millis} ms"),
    }
}

/// The names of the fields of a struct of plain values, by its `Debug`.
fn fields(debug: &str) -> Vec<String> {
    let body = &debug[debug.find('{').unwrap() + 1..debug.rfind('}').unwrap()];
    let names = body
        .split(", ")
        .map(|field| field.split(':').next().unwrap());
    names.map(|name| name.trim().to_uppercase()).collect()
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let (l, t) = (Limits::default(), Timeouts::default());
    let expected = [
        ("Limits::HEAD_BYTES", size(l.head_bytes as u64)),
        (
            "Limits::REQUEST_LINE_BYTES",
            size(l.request_line_bytes as u64),
        ),
        ("Limits::FIELDS", l.fields.to_string()),
        ("Limits::BODY_BYTES", size(l.body_bytes)),
        (
            "Limits::CHUNK_EXTENSION_BYTES",
            size(l.chunk_extension_bytes.into()),
        ),
        ("Limits::TRAILER_BYTES", size(l.trailer_bytes.into())),
        ("Timeouts::IDLE", time(t.idle)),
        ("Timeouts::HEAD", time(t.head)),
        ("Timeouts::BODY", time(t.body)),
        ("Timeouts::BODY_RATE", format!("{} bytes/s", t.body_rate)),
        ("Timeouts::BODY_GRACE", time(t.body_grace)),
        ("Timeouts::WRITE", time(t.write)),
        ("Timeouts::LINGER", time(t.linger)),
        ("Timeouts::LINGER_TOTAL", time(t.linger_total)),
        ("Timeouts::IN_FLIGHT", time(t.in_flight)),
        // It follows the limit of descriptors, so it is no constant.
        ("Taskmaster::max_connections", "by `ulimit -n`".to_owned()),
        (
            "Taskmaster::MAX_THREADS",
            Taskmaster::MAX_THREADS.to_string(),
        ),
        ("Taskmaster::MAX_ACCEPT", Taskmaster::MAX_ACCEPT.to_string()),
        ("Taskmaster::QUEUE_TIMEOUT", time(Taskmaster::QUEUE_TIMEOUT)),
    ];
    let documented: Vec<(&str, String)> = include_str!("mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`"))
        .map(|row| {
            let (name, rest) = row.split_once("`] | ").unwrap();
            (name, rest.split(" | ").next().unwrap().to_owned())
        })
        .collect();
    assert_eq!(documented, expected);

    // No field is without a row.
    let of = |group: &str| {
        let rows = documented
            .iter()
            .filter_map(|(name, _)| name.strip_prefix(group));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of("Limits::"), fields(&format!("{l:?}")));
    assert_eq!(of("Timeouts::"), fields(&format!("{t:?}")));
}

#[test]
fn the_documented_fixed_limits_are_the_limits() {
    let docs = include_str!("mod.rs").replace("\n//! ", " ");
    for (limit, text) in [
        (
            size(DRAIN_LIMIT),
            "Up to {} of a body that no handler has read are discarded",
        ),
        (
            MOST_LINGERING.to_string(),
            "At most {} connections of a shard linger",
        ),
    ] {
        let text = text.replace("{}", &limit);
        assert!(docs.contains(&text), "{text}");
    }
}
