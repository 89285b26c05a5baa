//! Sockets, ports and streams in memory.

pub(crate) mod descriptors;
pub(crate) mod duplex;
pub(crate) mod eport;
pub(crate) mod host;
pub(crate) mod race;
pub(crate) mod support;
pub(crate) mod tcp;
pub(crate) mod udp;
pub(crate) mod unix;
pub(crate) mod waiters;
