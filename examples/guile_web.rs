//! Hello world as with Guile's `(web server)`: a handler, and a state that goes from request to
//! request.
//!
//! Run with:
//!
//! ```text
//! cargo run --release --example guile_web
//! curl http://127.0.0.1:8080/
//! ```
//!
//! The loop that reads and answers is the program's own. The acceptor and each client run loops of
//! their own, all of them on this one OS thread. Ctrl-C ends it.

use std::error::Error;

use ethreads::http::{WebServer, pull::Request};

fn main() -> Result<(), Box<dyn Error>> {
    let server = match std::env::args().nth(1) {
        Some(address) => WebServer::bind(address)?,
        None => WebServer::open()?,
    };
    println!("listening on http://{}", server.local_addr()?);
    let hello = |_: &mut Request, hits: &u64| {
        let hits = hits + 1;
        Ok((format!("Hello, World! You are number {hits}.\n"), hits))
    };
    let hits = server.run_server(hello, 0)?;
    println!("{hits} hits");
    Ok(())
}
