//! Making sockets, and their options.
