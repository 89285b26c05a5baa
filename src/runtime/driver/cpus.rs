//! Which CPUs an OS thread may run on.
#![forbid(unsafe_code)]

use std::io;

/// Pins this OS thread to one of the CPUs that it may run on: the `n`th, modulo their number.
#[cfg(target_os = "linux")]
pub(crate) fn pin(n: usize) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None)?;
    let cpus: Vec<_> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .collect();
    let mut one = CpuSet::new();
    // `cpus` is not empty: the kernel leaves no OS thread without a CPU.
    one.set(cpus[n % cpus.len()]);
    Ok(sched_setaffinity(None, &one)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_n: usize) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "OS threads can be pinned to CPUs on Linux only: leave `Shards::pin` out",
    ))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::thread::sched_getaffinity;

    use super::pin;

    #[test]
    fn os_threads_take_turns_through_what_is_allowed() {
        let allowed = sched_getaffinity(None).unwrap().count() as usize;
        let pinned: Vec<_> = (0..2 * allowed)
            .map(|n| {
                let thread = std::thread::spawn(move || {
                    pin(n).unwrap();
                    sched_getaffinity(None).unwrap()
                });
                thread.join().unwrap()
            })
            .collect();
        assert!(pinned.iter().all(|cpus| cpus.count() == 1));
        let (once, again) = pinned.split_at(allowed);
        assert_eq!(once, again);
        assert!((1..allowed).all(|n| once[n] != once[n - 1]));
    }
}
