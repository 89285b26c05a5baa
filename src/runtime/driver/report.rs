//! The limit of a wait, and its reports.
#![forbid(unsafe_code)]

/// How long [`Driver::wait`](super::Driver::wait) may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Not at all.
    Now,
    /// Until this time on the driver's clock, in nanoseconds.
    At(u64),
    /// Until something is reported or [`Remote::notify`](super::Remote::notify) is called.
    Event,
}

/// One report of a wait: in which directions the descriptor may be ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) key: u64,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// The peer's FIN, a hangup, an error or urgent data was seen.
    pub(crate) hangup: bool,
    /// The peer's FIN, a hangup or an error was seen: `hangup` without urgent data. Always false
    /// with a driver that does not ask for the FIN.
    pub(crate) gone: bool,
}
