//! How late sleeping ethreads wake up.
//!
//! Each sleeper sleeps for random periods and, at each wake-up, prints its number, the period and
//! how late it is, in seconds. The last lines sum up.
//!
//! Run with:
//!
//! ```text
//! cargo run --release --example sleepers
//! cargo run --release --example sleepers -- --sleepers 10000 --max 1 --quiet
//! ```

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use ethreads::{Runtime, thread, time::Instant};
use hdrhistogram::Histogram;
use lexopt::prelude::*;

const USAGE: &str = "usage: sleepers [--sleepers 20] [--max SECONDS, 10] [--seconds 10] \
                     [--seed 1] [--quiet | --json]";

#[derive(Clone)]
struct Options {
    sleepers: u32,
    max: f64,
    seconds: f64,
    seed: u64,
    quiet: bool,
    json: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options().map_err(|error| format!("{error}\n{USAGE}"))?;
    let (max, end) = (
        Duration::try_from_secs_f64(options.max)?,
        Duration::try_from_secs_f64(options.seconds)?,
    );
    // Nanoseconds, to three digits.
    let late = Rc::new(RefCell::new(Histogram::<u64>::new(3)?));
    let (all, talk) = (late.clone(), !options.quiet && !options.json);
    Runtime::builder()
        .stack_size(64 << 10)
        .run(move || {
            let end = Instant::now() + end;
            let sleep = move |n, mut random: Random| {
                while let Some((period, lateness)) = nap(random.period(max), end) {
                    *all.borrow_mut() += lateness.as_nanos() as u64;
                    if talk {
                        let (period, lateness) = (period.as_secs_f64(), lateness.as_secs_f64());
                        println!("({n} {period:.6} {lateness:.6})");
                    }
                }
            };
            let sleepers: Vec<_> = (0..options.sleepers)
                .map(|n| {
                    let (sleep, random) =
                        (sleep.clone(), Random(options.seed << 32 | u64::from(n)));
                    thread::spawn(move || sleep(n, random))
                })
                .collect();
            sleepers.into_iter().try_for_each(thread::JoinHandle::join)
        })?
        .map_err(|_| "a sleeper panicked")?;
    let late = late.borrow();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| late.value_at_quantile(q) as f64 / 1e3);
    let count = late.len();
    if options.json {
        // A sleep that ended early would have panicked.
        println!(
            r#"{{"count":{count},"early":0,"p50_us":{p50:.1},"p99_us":{p99:.1},"max_us":{max:.1}}}"#
        );
    } else {
        println!("count={count} p50={p50:.1} p99={p99:.1} max={max:.1} (lateness in µs)");
        draw(&late);
    }
    Ok(())
}

/// Sleeps once, unless that would end after `end`: the period, and how late it ended.
fn nap(period: Duration, end: Instant) -> Option<(Duration, Duration)> {
    let due = Instant::now() + period;
    if due > end {
        return None;
    }
    thread::sleep(period);
    let late = Instant::now().checked_duration_since(due);
    Some((period, late.expect("a sleep never ends early")))
}

/// One bar for each power of two, in microseconds.
fn draw(late: &Histogram<u64>) {
    let bars: Vec<_> = late.iter_log(1_000, 2.0).collect();
    let count =
        |bar: &hdrhistogram::iterators::IterationValue<u64>| bar.count_since_last_iteration();
    let longest = bars.iter().map(count).max().unwrap_or(1).max(1);
    for bar in &bars {
        let width = (count(bar) * 50).div_ceil(longest) as usize;
        let limit = (bar.value_iterated_to() + 1) / 1_000;
        println!("< {limit:>7} µs {:>8} {}", count(bar), "#".repeat(width));
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// More than nothing, and at most `max`.
    fn period(&mut self, max: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let fraction = ((bits ^ bits >> 31) >> 11) as f64 / (1u64 << 53) as f64;
        max.mul_f64(fraction).max(Duration::from_nanos(1))
    }
}

fn options() -> Result<Options, lexopt::Error> {
    let mut options = Options {
        sleepers: 20,
        max: 10.0,
        seconds: 10.0,
        seed: 1,
        quiet: false,
        json: false,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("sleepers") => options.sleepers = arguments.value()?.parse()?,
            Long("max") => options.max = arguments.value()?.parse()?,
            Long("seconds") => options.seconds = arguments.value()?.parse()?,
            Long("seed") => options.seed = arguments.value()?.parse()?,
            Long("quiet") => options.quiet = true,
            Long("json") => options.json = true,
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(options)
}
