//! The library as its users see it, one module per concept.
//!
//! The suite runs on the default driver, and again with `ETHREADS_DRIVER=polling`; what is about
//! time runs on the simulation driver (feature `sim`).

// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]

mod support;

mod cancel;
mod driver;
mod ends;
mod hazards;
mod overflow;
mod scheduler;
mod shutdown;
mod suspends;
mod watchdog;

#[cfg(feature = "sim")]
mod model;
#[cfg(feature = "sim")]
mod sim;

mod net_descriptors;
mod net_eport;
mod net_host;
mod net_support;
mod net_tcp;
mod net_udp;
mod net_unix;
mod net_waiters;

mod http_bodies;
mod http_continue;
mod http_drain;
mod http_framing;
mod http_keep_alive;
mod http_limits;
mod http_panics;
mod http_pipelining;
mod http_server;
mod http_streaming;
mod http_unix;
mod http_util;

mod bridge_blocking;
mod bridge_drops;
mod bridge_on_ready;
mod bridge_remote;
mod bridge_run_until;
mod bridge_support;
mod bridge_suspend;
