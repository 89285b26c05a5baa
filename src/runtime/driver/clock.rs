//! The clocks of the system.
#![forbid(unsafe_code)]

/// The system's monotonic clock in nanoseconds: the clock of both readiness drivers, and of OS
/// threads without a shard.
pub(crate) fn monotonic_now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Monotonic time is never negative, and 2^64 ns are 584 years.
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

/// The system's wall clock, in seconds since the Unix epoch.
#[cfg(feature = "http")]
pub(crate) fn wall_seconds() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::try_from(time.tv_sec).unwrap_or(0)
}

/// Sets this OS thread's timer slack to 1 ns, so that waits end when they should and not up to
/// 50 µs later (`PR_SET_TIMERSLACK`, prctl(2)).
pub(crate) fn sharpen_timers() {
    #[cfg(target_os = "linux")]
    {
        // A refusal costs precision only.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
}
