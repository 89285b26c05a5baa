//! TCP.

mod listener;
mod race;
mod stream;

pub use listener::{Incoming, ListenOptions, TcpListener};
pub use stream::TcpStream;
