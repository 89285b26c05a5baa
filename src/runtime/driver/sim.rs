//! A driver without a world: virtual time, seeded choices, no sockets.
//!
//! Time stands still while anything is ready, and jumps to the next deadline when nothing is. It
//! does not jump while another OS thread holds a handle that can wake the shard: then the wait is
//! a real one, for that thread.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::Until;

/// Where virtual time begins: not at zero, so that code which subtracts from "now" is not tripped.
const START: u64 = 1_000_000_000_000;

#[derive(Debug)]
pub(crate) struct Sim {
    now: u64,
    random: SplitMix64,
    bell: Arc<Bell>,
}

/// What [`Remote::notify`](super::Remote::notify) rings.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    condvar: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.condvar.notify_one();
    }

    fn wait(&self) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rung = self
            .condvar
            .wait_while(rung, |rung| !*rung)
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
        }
    }

    pub(super) fn remote(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    pub(super) fn choose(&mut self, n: usize) -> usize {
        (self.random.next() % n as u64) as usize
    }

    pub(super) fn wait(&mut self, until: Until, external: bool) {
        match until {
            Until::Now => {}
            _ if external => self.bell.wait(),
            Until::At(deadline) => self.now = self.now.max(deadline),
            Until::Event => self.bell.wait(),
        }
    }
}

/// What every operation on a source says under this driver.
pub(super) fn no_network() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the sim driver has no network and no files",
    )
}

/// The generator of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators"
/// (OOPSLA 2014): small, and the same on every platform.
#[derive(Debug)]
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
    fn choices_repeat_with_the_seed() {
        let choices = |seed| {
            let mut sim = Sim::new(seed);
            (0..100).map(|n| sim.choose(n + 1)).collect::<Vec<_>>()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
    }
}
