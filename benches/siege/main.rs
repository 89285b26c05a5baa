//! The server under attack, and what a well-behaved client notices of it.
//!
//! Starts the example `http_server` and attacks it in one way after the other, while a client keeps
//! asking over one connection and over a new one each time. Prints a line for each attack. Linux
//! only: what the server holds is read from /proc.
//!
//! Run with:
//!
//! ```text
//! cargo bench --bench siege
//! cargo bench --bench siege -- --divide 10 --server-arg --pull
//! ```
//!
//! The numbers of a line: how many attacked; of the well-behaved client, how many requests it made
//! over its one connection and over new ones, how many had no good answer, and its latencies in
//! milliseconds; the server's descriptors, resident MiB and ethreads before, during and after;
//! lines in its log; what the attackers got.
//!
//! Latencies depend on the machine, so they are only printed. The benchmark fails if a good request
//! gets no answer, if an attacker's connection hangs, if the server keeps a descriptor or an
//! ethread, floods its log or does not end in order.

// An error here ends the benchmark.
#![allow(clippy::unwrap_used)]

mod attack;
mod client;
mod server;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use ethreads::{Runtime, thread};
use lexopt::ValueExt;

use crate::attack::{Field, Kind};
use crate::client::{Fresh, Kept, Report};
use crate::server::{Sample, Server};

const USAGE: &str = "\
usage: siege [--divide N] [--rounds N] [--server PATH] [--server-arg ARGUMENT]...

  --divide      attack with one Nth of the connections (default 1)
  --rounds      attack so many times (default 1)
  --server      the built example http_server (default: build it)
  --server-arg  is passed on to it
";

/// How many requests are handled, and how many are handled or queued, when a crowd attacks.
const MAX_THREADS: usize = 2_000;
const MAX_ACCEPT: usize = 2_500;

/// The server's timeouts in the other attacks: short, so that each attack runs into one.
const TIMEOUT: Duration = Duration::from_secs(3);

/// For how long all attackers are connected at the same time.
const HEIGHT: Duration = Duration::from_secs(1);

/// The server logs refusals every 5 s at most, and nothing for what a peer does wrong.
const MOST_LOG_LINES: u64 = 5;

/// How often to check whether the server has released everything, and the pause in between: 20 s in
/// all, longer than any of its timeouts.
const LOOKS: u32 = 1_000;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

fn main() -> Result<(), Box<dyn Error>> {
    let options = options().map_err(|error| format!("{error}\n{USAGE}"))?;
    raise_descriptor_limit()?;
    let program = match &options.server {
        Some(path) => path.clone(),
        None => build_server()?,
    };
    let mut complaints = Vec::new();
    println!("{}", Line::HEADER);
    for _ in 0..options.rounds {
        let crowded = [
            "--max-threads".to_owned(),
            (MAX_THREADS / options.divide).to_string(),
            "--max-accept".to_owned(),
            (MAX_ACCEPT / options.divide).to_string(),
        ];
        let timeouts = ["--timeouts".to_owned(), TIMEOUT.as_secs().to_string()];
        let servers: [(&[String], &[Kind]); 2] = [
            (&crowded, &[Kind::Crowd]),
            (&timeouts, &Kind::AGAINST_TIMEOUTS),
        ];
        for (arguments, kinds) in servers {
            let arguments = [arguments, &options.server_args].concat();
            let server = Server::start(&program, &arguments)?;
            let kept = Kept::start(server.address)?;
            for kind in kinds {
                let line = besiege(*kind, options.divide, &server, &kept)?;
                println!("{line}");
                line.complain(*kind, options.divide, &mut complaints);
            }
            drop(kept);
            if let Err(error) = server.stop() {
                complaints.push(error.to_string());
            }
        }
    }
    if complaints.is_empty() {
        return Ok(());
    }
    Err(complaints.join("\n").into())
}

/// Runs one attack, from its beginning until the server has released it.
fn besiege(
    kind: Kind,
    divide: usize,
    server: &Server,
    kept: &Kept,
) -> Result<Line, Box<dyn Error>> {
    let attackers = kind.attackers(divide);
    let before = server.sample(kept)?;
    let log_before = server.log_lines();
    kept.report()?;
    let fresh = Fresh::start(server.address);
    fresh.begin();
    let (at_height, height) = mpsc::channel();
    let address = server.address;
    // On an OS thread of its own, as waiting for the client may block this one.
    let attack = std::thread::spawn(move || {
        Runtime::builder().run(move || {
            let field = Field::new(kind, address, attackers);
            let attack = attack::begin(&field);
            field.wait_for(attackers);
            at_height.send(()).unwrap();
            thread::sleep(HEIGHT);
            attack.end(&field)
        })
    });
    height.recv()?;
    let during = server.sample(kept)?;
    let outcomes = attack.join().unwrap()?;
    let fresh = fresh.stop();
    let line = Line {
        kind,
        attackers,
        kept: kept.report()?,
        fresh,
        log_lines: server.log_lines() - log_before,
        outcomes,
        after: settled(server, kept, &before)?,
        before,
        during,
    };
    Ok(line)
}

/// Waits until the server holds what it held before. Returns the last sample if that does not
/// happen.
fn settled(server: &Server, kept: &Kept, before: &Sample) -> Result<Sample, Box<dyn Error>> {
    let mut sample = server.sample(kept)?;
    for _ in 0..LOOKS {
        if sample.holds_as_much_as(before) {
            break;
        }
        std::thread::sleep(LOOK_PAUSE);
        sample = server.sample(kept)?;
    }
    Ok(sample)
}

/// The results of one attack.
struct Line {
    kind: Kind,
    attackers: usize,
    kept: Report,
    fresh: Report,
    before: Sample,
    during: Sample,
    after: Sample,
    log_lines: u64,
    outcomes: BTreeMap<String, usize>,
}

impl Line {
    const HEADER: &str = "\
attack          n |  kept lost   p50   p99  worst | fresh lost away   p50   p99  worst \
| descriptors     | resident MiB      | ethreads        | log | the attackers got";

    /// Adds complaints about what must not happen on any machine.
    fn complain(&self, kind: Kind, divide: usize, complaints: &mut Vec<String>) {
        let mut expect = |is_met: bool, text: String| {
            if !is_met {
                complaints.push(format!("{}: {text}", self.kind.name()));
            }
        };
        let (before, after) = (&self.before, &self.after);
        expect(
            after.holds_as_much_as(before),
            format!("left over: {after:?}, before: {before:?}"),
        );
        for report in [&self.kept, &self.fresh] {
            expect(
                report.lost.is_empty(),
                format!("good requests were lost: {:?}", report.lost),
            );
            expect(report.asked > 0, "no request was made".to_owned());
        }
        expect(
            self.kept.turned_away == 0,
            "the one connection was turned away".to_owned(),
        );
        expect(
            self.fresh.turned_away == 0,
            "new connections were turned away".to_owned(),
        );
        expect(
            self.log_lines <= MOST_LOG_LINES,
            format!("{} lines in the log", self.log_lines),
        );
        if let Some(outcomes) = kind.outcomes(divide) {
            expect(
                self.outcomes == outcomes,
                format!("expected {outcomes:?}, got {:?}", self.outcomes),
            );
        }
        expect(
            !self.outcomes.contains_key(attack::HUNG),
            format!("connections hung: {:?}", self.outcomes),
        );
        let all = self.outcomes.values().sum::<usize>();
        expect(
            all == self.attackers,
            format!("{all} attackers told what they got"),
        );
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let samples = [&self.before, &self.during, &self.after];
        let of_samples = |value: fn(&Sample) -> String| samples.map(value).join("/");
        let (kept, fresh) = (&self.kept, &self.fresh);
        let outcomes: Vec<_> = self
            .outcomes
            .iter()
            .map(|(what, n)| format!("{n} x {what}"))
            .collect();
        write!(
            f,
            "{:<12} {:>4} | {:>5} {:>4} {} | {:>5} {:>4} {:>4} {} \
             | {:<15} | {:<17} | {:<15} | {:>3} | {}",
            self.kind.name(),
            self.attackers,
            kept.asked,
            kept.lost.len(),
            kept.latencies(),
            fresh.asked,
            fresh.lost.len(),
            fresh.turned_away,
            fresh.latencies(),
            of_samples(|sample| sample.descriptors.to_string()),
            of_samples(|sample| format!("{:.1}", sample.resident as f64 / f64::from(1 << 20))),
            of_samples(|sample| sample.ethreads.to_string()),
            self.log_lines,
            outcomes.join(", "),
        )
    }
}

/// Builds the example in release mode, beside this program.
fn build_server() -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--example", "http_server"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if !built.success() {
        return Err("the example http_server cannot be built".into());
    }
    // This is target/release/deps/siege-0123456789abcdef.
    let this = std::env::current_exe()?;
    let release = this.ancestors().nth(2).ok_or("no folder of programs")?;
    Ok(release.join("examples/http_server"))
}

/// Each attacker takes a descriptor of this process.
fn raise_descriptor_limit() -> Result<(), Box<dyn Error>> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

struct Options {
    divide: usize,
    rounds: usize,
    server: Option<PathBuf>,
    server_args: Vec<String>,
}

fn options() -> Result<Options, lexopt::Error> {
    let mut options = Options {
        divide: 1,
        rounds: 1,
        server: None,
        server_args: Vec::new(),
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("divide") => options.divide = args.value()?.parse()?,
            lexopt::Arg::Long("rounds") => options.rounds = args.value()?.parse()?,
            lexopt::Arg::Long("server") => options.server = Some(args.value()?.into()),
            lexopt::Arg::Long("server-arg") => options.server_args.push(args.value()?.string()?),
            // Passed by cargo bench.
            lexopt::Arg::Long("bench") => {}
            lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => {
                print!("{USAGE}");
                std::process::exit(0);
            }
            arg => return Err(arg.unexpected()),
        }
    }
    if !(1..=100).contains(&options.divide) {
        return Err("--divide is 1 to 100".into());
    }
    Ok(options)
}
