//! A million ethreads at once, each on a guarded stack of its own, and what they cost.
//!
//! Run with:
//!
//! ```text
//! cargo run --release --example million
//! cargo run --release --example million -- --ethreads 100000
//! ```
//!
//! A million need 5 GB of memory and 131 GB of address space. The last line tells, for each
//! ethread, its resident memory and its page tables; then the memory mappings of all, the seconds
//! until all slept, and the seconds from the first wake-up to the last join.

use std::error::Error;
use std::fs::read_to_string;
use std::io;
use std::time::Duration;

use ethreads::{Runtime, runtime, thread, time::Instant};
use lexopt::prelude::*;

const USAGE: &str = "usage: million [--ethreads 1000000]";

/// More than an ethread takes: a page of stack, a few hundred bytes of records, and page tables.
const BYTES_EACH: usize = 5_000;

/// Usable bytes of each stack.
const STACK_SIZE: usize = 64 << 10;

/// Longer than the example runs.
const NAP: Duration = Duration::from_secs(24 * 3600);

fn main() -> Result<(), Box<dyn Error>> {
    let ethreads = ethreads().map_err(|error| format!("{error}\n{USAGE}"))?;
    check_memory(ethreads * BYTES_EACH)?;
    let before = Memory::now()?;
    let runtime = Runtime::builder().watchdog(None);
    let line = runtime.run(move || measure(ethreads, &before))?;
    println!("{}", line.map_err(|error| error.to_string())?);
    Ok(())
}

/// Spawns the ethreads, lets each sleep, wakes and joins all.
fn measure(ethreads: usize, before: &Memory) -> io::Result<String> {
    let start = Instant::now();
    let mut threads = Vec::with_capacity(ethreads);
    for n in 0..ethreads {
        let sleeper = thread::Builder::new().stack_size(STACK_SIZE);
        let spawned = sleeper.spawn(|| thread::park_timeout(NAP));
        // The error names the limit to raise.
        threads.push(spawned.map_err(|error| {
            io::Error::new(error.kind(), format!("{n} ethreads, then: {error}"))
        })?);
    }
    // All of them run first.
    thread::yield_now();
    let spawn = start.elapsed().as_secs_f64();

    let stats = runtime::stats().expect("an ethread has a shard");
    assert_eq!((stats.timers, stats.ready), (ethreads, 0), "all sleep");
    let (stacks, this) = (stats.stacks, 1);
    assert_eq!(stacks.live, ethreads + this);
    let guards = stacks.madvise_guards + stacks.mprotect_guards;
    assert!(guards >= stacks.live, "every stack has its guard");
    let now = Memory::now()?;

    let start = Instant::now();
    threads.iter().for_each(|thread| thread.thread().unpark());
    for thread in threads {
        thread.join().expect("a sleeper does not panic");
    }
    let each = |now: usize, before: usize| now.saturating_sub(before).div_ceil(ethreads.max(1));
    Ok(format!(
        "ethreads={ethreads} rss_bytes_each={} pte_bytes_each={} vmas={} spawn_s={spawn:.3} \
         wake_join_s={:.3}",
        each(now.resident, before.resident),
        each(now.page_tables, before.page_tables),
        now.mappings.saturating_sub(before.mappings),
        start.elapsed().as_secs_f64(),
    ))
}

/// What the process takes, in bytes, and its number of mappings.
struct Memory {
    resident: usize,
    page_tables: usize,
    mappings: usize,
}

impl Memory {
    fn now() -> io::Result<Self> {
        let mappings = read_to_string("/proc/self/maps")?.lines().count();
        Ok(Self {
            resident: kilobytes("/proc/self/status", "VmRSS:")?,
            page_tables: kilobytes("/proc/self/status", "VmPTE:")?,
            mappings,
        })
    }
}

/// Fails where the kernel would kill the process later.
fn check_memory(needed: usize) -> Result<(), Box<dyn Error>> {
    let available = kilobytes("/proc/meminfo", "MemAvailable:")?;
    // The text "max" where there is no limit, and no file outside of a control group.
    let cgroup = read_to_string("/sys/fs/cgroup/memory.max").ok();
    let cgroup = cgroup.and_then(|text| text.trim().parse().ok());
    for (limit, name) in [
        (Some(available), "MemAvailable"),
        (cgroup, "the cgroup's memory.max"),
    ] {
        if let Some(limit) = limit.filter(|&limit| limit < needed) {
            let (needed, limit) = (needed >> 20, limit >> 20);
            return Err(format!("this takes {needed} MiB, but {name} is {limit} MiB").into());
        }
    }
    Ok(())
}

/// The bytes in the line of `file` that starts with `name`.
fn kilobytes(file: &str, name: &str) -> io::Result<usize> {
    let text = read_to_string(file)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
    value
        .and_then(|value| value.parse::<usize>().ok())
        .map(|value| value << 10)
        .ok_or_else(|| io::Error::other(format!("{file} has no line {name}")))
}

fn ethreads() -> Result<usize, lexopt::Error> {
    let mut ethreads = 1_000_000;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("ethreads") => ethreads = arguments.value()?.parse()?,
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(ethreads)
}
