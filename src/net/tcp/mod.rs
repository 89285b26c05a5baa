//! TCP.

mod listener;
mod stream;

pub use listener::{Incoming, ListenOptions, TcpListener};
pub use stream::TcpStream;
