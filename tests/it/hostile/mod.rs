//! Every library call that reaches user code, with user code that is hostile: one table of calls,
//! each run with each hostility.
//!
//! The tests do not expect a certain value of a call. They check what must hold whatever user code
//! does: the process goes on, nothing waits for ever, no deadlock is reported where there is none,
//! no value is lost or dropped twice, no resource of the scheduler stays in use, and the same
//! object can be called again.

#[cfg(feature = "http")]
mod apps;
mod bridges;
mod files;
mod kit;
mod locals;
mod locks;
mod logs;
mod messages;
#[cfg(feature = "http")]
mod middleware;
mod ports;
mod promises;
#[cfg(feature = "http")]
mod pulls;
#[cfg(feature = "http")]
mod servers;
#[cfg(feature = "http")]
mod streams;
mod sync_texts;
mod texts;
mod threads;

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;
use std::time::Duration;

use ethreads::runtime::Stats;
use ethreads::{RunError, Runtime, runtime, thread};

use crate::support::fresh;
use kit::{ALL, Hostility, Kit};

/// A library call that reaches user code.
struct Row {
    /// The name in `tests/hostile.txt`.
    name: &'static str,
    /// The kind of user code that the call reaches, as in `tests/hostile.txt`.
    at: &'static str,
    /// Distinguishes several cases of the same call.
    case: &'static str,
    play: fn(&Kit) -> Play,
    /// How often user code is hostile.
    times: usize,
    /// User code may not be reached: the value may be dropped only while its ethread unwinds, and
    /// does nothing then.
    unreached: bool,
    /// The library stops a panic of user code, and the call returns.
    shielded: bool,
    /// One value is leaked if user code unwinds.
    leaks: bool,
    /// The exceptions from what is expected, and why.
    but: &'static [(Hostility, But)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum But {
    /// The call unwinds although user code does not: user code cannot wait there.
    Unwinds,
    /// The ethread may end in another way, as it is part of the called object.
    Ends,
    /// The row is not run with this hostility.
    Skip,
}

fn row(name: &'static str, at: &'static str, play: fn(&Kit) -> Play) -> Row {
    Row {
        name,
        at,
        case: "",
        play,
        times: if at == "Write" { usize::MAX } else { 1 },
        unreached: false,
        leaks: false,
        shielded: false,
        but: &[],
    }
}

impl Row {
    fn but(self, but: &'static [(Hostility, But)]) -> Self {
        Self { but, ..self }
    }

    fn called(self, case: &'static str) -> Self {
        Self { case, ..self }
    }

    fn unreached(self) -> Self {
        Self {
            unreached: true,
            ..self
        }
    }

    fn shielded(self) -> Self {
        Self {
            shielded: true,
            ..self
        }
    }

    fn leaks(self) -> Self {
        Self {
            leaks: true,
            ..self
        }
    }

    fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    fn label(&self, hostility: Hostility) -> String {
        let Self { name, at, case, .. } = self;
        format!("{name} ({at}) {case} {hostility:?}")
    }

    fn exception(&self, hostility: Hostility) -> Option<But> {
        let mut found = self.but.iter().filter(|(of, _)| *of == hostility);
        found.next().map(|(_, but)| *but)
    }
}

/// How the ethread that makes the call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Returned,
    Panicked,
    Cancelled,
}

/// A call, and a check that the called object works as before.
struct Play {
    call: Box<dyn FnOnce()>,
    check: Box<dyn FnOnce(Ended)>,
}

impl Play {
    fn new(call: impl FnOnce() + 'static, check: impl FnOnce(Ended) + 'static) -> Self {
        Self {
            call: Box::new(call),
            check: Box::new(check),
        }
    }

    fn call(call: impl FnOnce() + 'static) -> Self {
        Self::new(call, |_| ())
    }
}

/// The resources that a shard has in use.
fn in_use(stats: &Stats) -> [usize; 6] {
    [
        stats.ethreads,
        stats.timers,
        stats.scopes,
        stats.io_waits,
        stats.sources,
        stats.stacks.live,
    ]
}

/// Yields until the resources in use are the same as before.
fn settle(before: [usize; 6], name: &str) {
    let mut now = [0; 6];
    for _ in 0..200_000 {
        now = in_use(&runtime::stats().unwrap());
        if now == before {
            return;
        }
        thread::yield_now();
    }
    panic!("{name}: in use are {now:?}, and were {before:?}");
}

/// Runs a row in which `spared` calls of user code come before the hostile ones.
fn run(row: &Row, hostility: Hostility, spared: usize) {
    let name = &*row.label(hostility);
    if std::env::var_os("HOSTILE_TRACE").is_some() {
        eprintln!("{name}");
    }
    let (play, at, times) = (row.play, row.at, row.times);
    let (unreached, leaks, shielded) = (row.unreached, row.leaks, row.shielded);
    let but = row.exception(hostility);
    let owned = name.to_owned();
    let result = Runtime::builder().run(move || {
        let name = &*owned;
        // The first spawn sets up what stays in use.
        thread::spawn(thread::yield_now).join().unwrap();
        let before = in_use(&runtime::stats().unwrap());
        let kit = Kit::new(at, hostility);
        let Play { call, check } = play(&kit);
        let armed = kit.clone();
        let calls = thread::spawn(move || {
            armed.arm(times, spared);
            call();
        });
        let ended = match calls.join() {
            Ok(()) => Ended::Returned,
            Err(payload) if payload.is::<thread::Cancelled>() => Ended::Cancelled,
            Err(payload) => {
                // The payload is forgotten, as it may panic when it is dropped.
                std::mem::forget(payload);
                Ended::Panicked
            }
        };
        match (hostility, but) {
            (Hostility::CancelSelf, None) => assert_ne!(ended, Ended::Panicked, "{name}"),
            (_, Some(But::Ends)) => {}
            (_, Some(But::Unwinds)) => assert_ne!(ended, Ended::Returned, "{name}"),
            (hostility, _) if hostility.panics() && !shielded => {
                assert_ne!(ended, Ended::Cancelled, "{name}")
            }
            _ => assert_eq!(ended, Ended::Returned, "{name}"),
        }
        let checked = panic::catch_unwind(AssertUnwindSafe(|| check(ended)));
        if let Err(payload) = checked {
            eprintln!("{name}: what was called is not as before");
            panic::resume_unwind(payload);
        }
        kit.arm(0, 0);
        kit.again(|| ());
        settle(before, name);
        let (born, dropped) = kit.lives();
        // A value that could not be dropped is leaked. The row says so with `leaks`.
        let leaked = usize::from(hostility.unwinds() && leaks);
        assert_eq!(
            born,
            dropped + leaked,
            "{name}: values that are lost, or dropped twice"
        );
        // A text may have fewer pieces than are spared.
        assert!(
            unreached || spared > 0 || kit.strikes() > 0,
            "{name}: the user's code was not reached"
        );
        // The shard goes on.
        assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
    });
    match result {
        Ok(()) => {}
        // A detached ethread has panicked.
        Err(RunError::Panicked(_)) if hostility.unwinds() || at == "Log" => {}
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Aborts the process, and prints the name of the row, if a row does not end in time.
struct Guard {
    begins: mpsc::Sender<String>,
}

/// Far more than any row takes.
const PATIENCE: Duration = Duration::from_secs(100);

impl Guard {
    fn new() -> Self {
        let (begins, begun) = mpsc::channel::<String>();
        std::thread::spawn(move || {
            let mut last = String::new();
            loop {
                match begun.recv_timeout(PATIENCE) {
                    Ok(name) => last = name,
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        eprintln!("hostile: {last} does not come to its end");
                        std::process::abort();
                    }
                }
            }
        });
        Self { begins }
    }

    fn begin(&self, row: &Row, hostility: Hostility) {
        self.begins.send(row.label(hostility)).unwrap();
    }
}

/// Runs each row with each hostility, and reports all that fail.
fn run_all(rows: Vec<Row>) {
    let guard = Guard::new();
    let only = std::env::var("HOSTILE_ROW").ok();
    let mut failed = Vec::new();
    for row in &rows {
        if only.as_ref().is_some_and(|only| row.name != only) {
            continue;
        }
        for hostility in ALL {
            if row.exception(hostility) == Some(But::Skip) {
                continue;
            }
            // A text is written in pieces, and each of these writes may be the hostile one.
            let spared: &[usize] = if row.at == "Write" { &[0, 2, 5] } else { &[0] };
            for spared in spared {
                guard.begin(row, hostility);
                let run = || fresh(|| run(row, hostility, *spared));
                if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(run)) {
                    std::mem::forget(payload);
                    failed.push(row.label(hostility));
                }
            }
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

fn tables() -> Vec<fn() -> Vec<Row>> {
    vec![
        threads::rows,
        locals::rows,
        locks::rows,
        messages::rows,
        promises::rows,
        bridges::rows,
        ports::rows,
        files::rows,
        texts::rows,
        sync_texts::rows,
        #[cfg(feature = "http")]
        apps::rows,
        #[cfg(feature = "http")]
        middleware::rows,
        #[cfg(feature = "http")]
        servers::rows,
        #[cfg(feature = "http")]
        streams::rows,
        #[cfg(feature = "http")]
        pulls::rows,
    ]
}

#[test]
fn the_table_is_complete() {
    let tested: BTreeSet<_> = tables()
        .into_iter()
        .flat_map(|rows| rows())
        .map(|row| (row.name, row.at))
        .collect();
    let lines = include_str!("../../hostile.txt").lines();
    let mut missing = Vec::new();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let entry = line.split(" - ").next().unwrap();
        let (call, words) = entry.split_once(": ").unwrap();
        let has_feature = match call.split("::").next() {
            Some("http") if call.starts_with("http::Compression::") => cfg!(feature = "gzip"),
            Some("http") if call.to_lowercase().contains("session") => cfg!(feature = "cookie"),
            Some("http") if call.starts_with("http::MultipartField::") => {
                cfg!(feature = "multipart")
            }
            Some("http") if call.starts_with("http::TempFile::") => cfg!(feature = "multipart"),
            Some("http") => cfg!(feature = "http"),
            Some("sim") => cfg!(feature = "sim"),
            _ => true,
        };
        let words = words.split(", ").filter(|word| !word.starts_with('('));
        let words = words.filter(|word| has_feature && !tested.contains(&(call, *word)));
        missing.extend(words.map(|word| format!("{call}: {word}")));
    }
    assert!(missing.is_empty(), "no row for\n{}", missing.join("\n"));
}
