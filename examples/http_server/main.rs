//! An HTTP server with routes to try.
//!
//! Run with:
//!
//! ```text
//! cargo run --release --example http_server -- --addr 127.0.0.1:8080
//! curl -i http://127.0.0.1:8080/
//! wrk -c 64 http://127.0.0.1:8080/plaintext
//! ```
//!
//! With `--pull` the same routes are served by a loop that reads requests and answers them, instead
//! of by a handler. Ctrl-C lets the requests in flight end, a second one exits at once.

mod asked;
mod pulled;
mod routes;

use std::error::Error;
use std::io::{self, Read};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use ethreads::http::{Server, ServerHandle};
use ethreads::{net::UnixStream, thread};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

const USAGE: &str = "usage: http_server [--addr ADDRESS:PORT] [--pull]   (default 127.0.0.1:8080, \
                     port 0 chooses one)";

/// How long the requests in flight may take after a signal.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let Args { address, pull } = args()?;
    raise_descriptor_limit();
    ethreads::run_main(move || -> io::Result<()> {
        let server = Server::bind(address)?;
        drain_on_signals(server.handle())?;
        println!("listening on http://{}", server.local_addr()?);
        if pull {
            pulled::serve(&server.into())
        } else {
            server.serve(routes::answer)
        }
    })??;
    Ok(())
}

struct Args {
    address: String,
    /// Whether requests are pulled.
    pull: bool,
}

fn args() -> Result<Args, lexopt::Error> {
    let mut address = "127.0.0.1:8080".to_owned();
    let mut pull = false;
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("addr") => address = args.value()?.string()?,
            lexopt::Arg::Long("pull") => pull = true,
            lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            arg => return Err(arg.unexpected()),
        }
    }
    Ok(Args { address, pull })
}

use lexopt::ValueExt;

/// A connection is a descriptor, and the soft limit is often 1024: takes the hard one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!(
            "the limit on open files stays at {:?}: {error}",
            limit.current
        );
    }
}

/// An ethread that waits for SIGINT or SIGTERM, told by a byte in a socket pair.
fn drain_on_signals(server: ServerHandle) -> io::Result<()> {
    let (receiver, sender) = StdUnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGINT, sender.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGTERM, sender)?;
    let mut receiver = UnixStream::from(receiver);
    thread::Builder::new()
        .name("signals")
        .spawn(move || -> io::Result<()> {
            receiver.read_exact(&mut [0])?;
            log::info!("draining for at most {GRACE:?}");
            server.drain(GRACE);
            receiver.read_exact(&mut [0])?;
            log::info!("a second signal: exiting");
            std::process::exit(1)
        })?;
    Ok(())
}
