//! A simulation driver: virtual time, seeded choices, no sockets.
//!
//! Time stands still while anything is ready, and jumps to the next deadline when nothing is. It
//! does not jump while another OS thread holds a handle that can wake the shard: the driver then
//! really waits for that OS thread. Only the grace period of a shutdown ends in any case: in
//! virtual time or in real time, whichever comes first.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::clock::monotonic_now;
use super::report::Until;

/// Where virtual time begins: not at zero, so that code may subtract from "now".
const START: u64 = 1_000_000_000_000;

pub(crate) struct Sim {
    now: u64,
    random: SplitMix64,
    bell: Arc<Bell>,
    grace: Option<Grace>,
}

/// When the grace period of a shutdown is over, on each clock.
#[derive(Clone, Copy, Debug)]
struct Grace {
    ends: u64,
    really_ends: u64,
}

/// Wakes a shard that waits. [`Remote::notify`](super::Remote::notify) rings it.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    condvar: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.condvar.notify_one();
    }

    fn wait(&self, timeout: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) = self
            .condvar
            .wait_timeout_while(rung, timeout, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

impl Sim {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: START,
            random: SplitMix64(seed),
            bell: Arc::default(),
            grace: None,
        }
    }

    pub(super) fn remote(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    pub(super) fn now(&self) -> u64 {
        match self.grace {
            // Virtual time stands still while an ethread is ready, so real time also ends the grace
            // period.
            Some(grace) if monotonic_now() >= grace.really_ends => self.now.max(grace.ends),
            _ => self.now,
        }
    }

    /// Begins the grace period of a shutdown, and returns its end in virtual time.
    pub(super) fn begin_grace(&mut self, grace: u64) -> u64 {
        let ends = self.now.saturating_add(grace);
        let really_ends = monotonic_now().saturating_add(grace);
        self.grace = Some(Grace { ends, really_ends });
        ends
    }

    pub(super) fn choose(&mut self, n: usize) -> usize {
        (self.random.next() % n as u64) as usize
    }

    pub(super) fn wait(&mut self, until: Until, external: bool) {
        match until {
            Until::Now => {}
            // The other OS thread works in real time, so the grace period passes in real time, too.
            Until::At(deadline) if external && self.grace.is_some() => self.wait_along(deadline),
            _ if external => self.bell.wait(Duration::MAX),
            Until::At(deadline) => self.now = self.now.max(deadline),
            Until::Event => self.bell.wait(Duration::MAX),
        }
    }

    /// Lets virtual time pass as fast as real time does, up to `deadline`, until the bell is rung.
    fn wait_along(&mut self, deadline: u64) {
        let began = monotonic_now();
        let left = deadline.saturating_sub(self.now);
        self.bell.wait(Duration::from_nanos(left));
        self.now += (monotonic_now() - began).min(left);
    }
}

/// The error of every operation on a source under this driver.
pub(super) fn no_network() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the sim driver has no network and no files",
    )
}

/// The generator of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators"
/// (OOPSLA 2014): small, and the same on every platform.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_jumps_to_the_deadline_and_never_back() {
        let mut sim = Sim::new(1);
        let start = sim.now();
        sim.wait(Until::At(start + 5_000_000_000), false);
        assert_eq!(sim.now(), start + 5_000_000_000);
        sim.wait(Until::At(start), false);
        assert_eq!(sim.now(), start + 5_000_000_000);
    }

    #[test]
    fn time_stands_still_while_another_thread_may_call() {
        let mut sim = Sim::new(1);
        let start = sim.now();
        let bell = sim.remote();
        let thread = std::thread::spawn(move || bell.ring());
        sim.wait(Until::At(start + 1), true);
        thread.join().unwrap();
        assert_eq!(sim.now(), start);
    }

    #[test]
    fn a_grace_passes_in_real_time_while_another_thread_may_call() {
        let mut sim = Sim::new(1);
        let start = sim.now();
        let ends = sim.begin_grace(u64::MAX >> 1);
        assert_eq!(ends, start + (u64::MAX >> 1));
        let bell = sim.remote();
        let thread = std::thread::spawn(move || bell.ring());
        sim.wait(Until::At(ends), true);
        thread.join().unwrap();
        assert!(sim.now() < ends, "the call has ended the wait");
        let soon = sim.now() + 1000;
        sim.wait(Until::At(soon), true);
        assert_eq!(sim.now(), soon);
        sim.wait(Until::At(ends), false);
        assert_eq!(sim.now(), ends, "no handle is left outside");
    }

    #[test]
    fn a_grace_ends_although_no_ethread_waits() {
        let mut sim = Sim::new(1);
        let ends = sim.begin_grace(1000);
        while sim.now() < ends {
            std::thread::yield_now();
        }
        assert_eq!(sim.now(), ends);
    }

    #[test]
    fn choices_repeat_with_the_seed() {
        let choices = |seed| {
            let mut sim = Sim::new(seed);
            (0..100).map(|n| sim.choose(n + 1)).collect::<Vec<_>>()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
    }
}
