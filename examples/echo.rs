//! A TCP echo server: one ethread per connection.
//!
//! Run with:
//!
//! ```text
//! cargo run --release --example echo
//! nc 127.0.0.1 7000
//! ```

use std::io::{self, Read, Write};

use ethreads::{net::TcpListener, spawn};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    ethreads::run_main(move || -> io::Result<()> {
        let listener = TcpListener::bind(address)?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            let (mut stream, _) = listener.accept()?;
            spawn(move || -> io::Result<()> {
                let mut buffer = [0; 4096];
                loop {
                    match stream.read(&mut buffer)? {
                        0 => return Ok(()),
                        n => stream.write_all(&buffer[..n])?,
                    }
                }
            });
        }
    })??;
    Ok(())
}
