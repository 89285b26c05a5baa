//! The integration tests: one module per concept.

mod net_descriptors;
mod net_eport;
mod net_support;
mod net_tcp;
mod net_udp;
mod net_unix;
