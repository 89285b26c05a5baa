//! Suspend and resume, blocking calls, waits without a stack.

pub(crate) mod blocking;
pub(crate) mod drops;
pub(crate) mod no_threads;
pub(crate) mod on_ready;
pub(crate) mod remote;
pub(crate) mod run_until;
pub(crate) mod support;
pub(crate) mod suspend;
