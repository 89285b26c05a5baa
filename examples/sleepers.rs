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

use ethreads::{thread, time::Instant};
use hdrhistogram::Histogram;
use lexopt::prelude::*;

const USAGE: &str = "usage: sleepers [--sleepers 20] [--max SECONDS, 10] [--seconds 10] \
                     [--seed 1] [--quiet | --json]";

#[derive(Clone, Copy)]
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
    // Nanoseconds, to three digits.
    let late = Rc::new(RefCell::new(Histogram::<u64>::new(3)?));
    let all = late.clone();
    ethreads::run_main(move || {
        let end = Instant::now() + Duration::from_secs_f64(options.seconds);
        let spawn = |n| {
            let late = all.clone();
            thread::spawn(move || sleeper(n, options, end, &late))
        };
        let sleepers: Vec<_> = (0..options.sleepers).map(spawn).collect();
        sleepers.into_iter().try_for_each(thread::JoinHandle::join)
    })?
    .map_err(|_| "a sleeper panicked")?;

    let late = late.borrow();
    let count = late.len();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| late.value_at_quantile(q) as f64 / 1e3);
    if options.json {
        // A sleep that ends early is a panic.
        print!(r#"{{"count":{count},"early":0,"#);
        println!(r#""p50_us":{p50:.1},"p99_us":{p99:.1},"max_us":{max:.1}}}"#);
    } else {
        println!("count={count} p50={p50:.1} p99={p99:.1} max={max:.1} (lateness in µs)");
        draw(&late);
    }
    Ok(())
}

/// Sleeps for random periods as long as they are over by `end`.
fn sleeper(n: u32, options: Options, end: Instant, late: &RefCell<Histogram<u64>>) {
    let mut random = Random(options.seed << 32 | u64::from(n));
    loop {
        let period = Duration::from_secs_f64(options.max * random.fraction());
        let due = Instant::now() + period;
        if due > end {
            return;
        }
        thread::sleep(period);
        let lateness = Instant::now().checked_duration_since(due);
        let lateness = lateness.expect("a sleep never ends early");
        *late.borrow_mut() += lateness.as_nanos() as u64;
        if !options.quiet && !options.json {
            let (period, lateness) = (period.as_secs_f64(), lateness.as_secs_f64());
            println!("({n} {period:.6} {lateness:.6})");
        }
    }
}

/// One bar for each power of two, in microseconds.
fn draw(late: &Histogram<u64>) {
    let bars = late.iter_log(1_000, 2.0);
    let bars: Vec<_> = bars
        .map(|bar| (bar.value_iterated_to(), bar.count_since_last_iteration()))
        .skip_while(|bar| bar.1 == 0)
        .collect();
    let longest = bars.iter().map(|bar| bar.1).max().unwrap_or(0).max(1);
    for (last, count) in bars {
        let bar = "#".repeat((count * 50).div_ceil(longest) as usize);
        println!("< {:>7} µs {count:>8} {bar}", (last + 1) / 1_000);
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// At least 0, below 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ bits >> 31) >> 11) as f64 / (1u64 << 53) as f64
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
    let is_time = |seconds| Duration::try_from_secs_f64(seconds).is_ok();
    if !is_time(options.max) || !is_time(options.seconds) {
        return Err("not a length of time".into());
    }
    Ok(options)
}
