//! The library as its users see it, one module per concept.
//!
//! The suite runs on the default driver, and again with `ETHREADS_DRIVER=polling`. Tests of time
//! run on the simulation driver (feature `sim`).

// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]

mod support;

mod cancel;
mod channel;
mod channel_ends;
mod coroutines;
mod deadlock;
mod driver;
mod ends;
mod fairness;
mod forgotten;
mod futures;
mod hazards;
mod hostile;
mod interrupts;
mod io_duplex;
mod overflow;
mod payloads;
mod remote;
mod scheduler;
mod scopes;
mod select;
mod select_io;
mod select_more;
mod shards;
mod shards_end;
mod shutdown;
mod signals;
mod stack_memory;
mod suspends;
mod sync;
mod sync_broadcast;
mod sync_condvar;
#[cfg(feature = "sim")]
mod sync_model;
mod sync_once;
mod sync_promise;
#[cfg(feature = "sim")]
mod sync_resource;
mod sync_rwlock;
mod sync_signal;
mod sync_watch;
mod timeouts;
mod watchdog;

#[cfg(feature = "sim")]
mod channel_model;
mod locals;
#[cfg(feature = "sim")]
mod model;
#[cfg(feature = "sim")]
mod sim;

mod fs;
mod fs_file;

mod net_descriptors;
mod net_eport;
mod net_host;
mod net_race;
mod net_support;
mod net_tcp;
mod net_udp;
mod net_unix;
mod net_waiters;

#[cfg(feature = "http")]
mod http_admission;
#[cfg(feature = "http")]
mod http_bodies;
#[cfg(feature = "http")]
mod http_closing;
#[cfg(feature = "http")]
mod http_continue;
#[cfg(feature = "http")]
mod http_corpus;
#[cfg(feature = "http")]
mod http_descriptors;
#[cfg(feature = "http")]
mod http_drain;
#[cfg(feature = "http")]
mod http_drain_counting;
#[cfg(feature = "http")]
mod http_drain_report;
#[cfg(feature = "http")]
mod http_exchange;
#[cfg(feature = "http")]
mod http_feed;
#[cfg(feature = "http")]
mod http_files;
#[cfg(feature = "http")]
mod http_framing;
#[cfg(feature = "http")]
mod http_from_main;
#[cfg(feature = "http")]
mod http_hooks;
#[cfg(feature = "http")]
mod http_keep_alive;
#[cfg(feature = "http")]
mod http_limits;
#[cfg(feature = "http")]
mod http_lingering;
#[cfg(feature = "http")]
mod http_panics;
#[cfg(feature = "http")]
mod http_pipelining;
#[cfg(feature = "http")]
mod http_pull;
#[cfg(feature = "http")]
mod http_pull_ends;
#[cfg(feature = "http")]
mod http_pull_run;
#[cfg(feature = "http")]
mod http_pull_writes;
#[cfg(feature = "http")]
mod http_rest;
#[cfg(feature = "http")]
mod http_server;
#[cfg(feature = "http")]
mod http_sharded;
#[cfg(feature = "http")]
mod http_shutdown;
#[cfg(feature = "http")]
mod http_splits;
#[cfg(feature = "http")]
mod http_streaming;
#[cfg(feature = "http")]
mod http_styles;
#[cfg(feature = "http")]
mod http_unix;
#[cfg(feature = "http")]
mod http_upgrade;
#[cfg(feature = "http")]
mod http_util;

#[cfg(feature = "http")]
mod rfc_chunked;
#[cfg(feature = "http")]
mod rfc_connection;
#[cfg(feature = "http")]
mod rfc_expect;
#[cfg(feature = "http")]
mod rfc_fields;
#[cfg(feature = "http")]
mod rfc_framing;
#[cfg(feature = "http")]
mod rfc_host;
#[cfg(feature = "http")]
mod rfc_request_line;
#[cfg(feature = "http")]
mod rfc_response;
#[cfg(feature = "http")]
mod rfc_support;
#[cfg(feature = "http")]
mod rfc_upgrade;

mod bridge_blocking;
mod bridge_drops;
mod bridge_no_threads;
mod bridge_on_ready;
mod bridge_remote;
mod bridge_run_until;
mod bridge_support;
mod bridge_suspend;
