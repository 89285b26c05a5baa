//! An HTTP server with routes to try.
//!
//! Run with:
//!
//! ```text
//! cargo run --release --example http_server --all-features -- --addr 127.0.0.1:8080
//! curl -i http://127.0.0.1:8080/
//! wrk -c 64 http://127.0.0.1:8080/plaintext
//! ```
//!
//! With `--max-threads 2 --max-accept 3` try `curl -i http://127.0.0.1:8080/slow?ms=5000` in four
//! terminals: two are handled, one waits, one gets a 503.
//!
//! With `--timeouts 2` a peer that keeps the server waiting soon gets an error: try `nc` and send
//! nothing after `GET /`.
//!
//! `/stats` shows the server's connections, ethreads and stacks.
//!
//! With `--pull` most routes are served by a loop that reads requests and answers them, instead of
//! by an app.
//!
//! With `--shards 4` four OS threads serve, and with `--shards 0` one for each CPU. The ethreads
//! and stacks in `/stats` are those of the shard that answers.
//!
//! Behind a proxy on this machine, `--trust 127.0.0.1` lets `/client` tell the address of the
//! client. With the feature `listenfd`, `--activated` serves the socket that systemd passes on.
//! `deploy/` has the configuration of both.
//!
//! `/events` sends one event a second. With `--all-features` there are more routes:
//!
//! ```text
//! curl -F name=me -F file=@README.md http://127.0.0.1:8080/upload
//! curl --compressed -v http://127.0.0.1:8080/compressed
//! curl -v 'http://127.0.0.1:8080/cookies/set?name=a&value=b'
//! ```
//!
//! Ctrl-C lets the requests in flight end; a second Ctrl-C exits at once.

mod app;
mod asked;
mod more;
mod pulled;
mod routes;

use std::error::Error;
use std::io;
use std::time::Duration;

use ethreads::Runtime;
use ethreads::http::{ForwardedField, Server, Taskmaster, Timeouts};
use ethreads::net::Network;
use lexopt::ValueExt;

use crate::routes::Routes;

const USAGE: &str = "\
usage: http_server [--addr ADDRESS:PORT | --activated] [--trust NETWORK]
                   [--max-threads N|none] [--max-accept N|none] [--max-connections N]
                   [--timeouts SECONDS] [--static FOLDER] [--shards N | --pull]

  --addr             where to listen; port 0 chooses one (default 127.0.0.1:8080)
  --activated        serve the socket that the service manager passes on (feature listenfd)
  --trust            the proxies, such as 10.0.0.0/8, whose X-Forwarded-For tells the client; may
                     be repeated (default: none)
  --max-threads      requests that are handled at the same time (default 10000)
  --max-accept       those and the ones that wait, together (default a quarter more than are
                     handled; none: no request waits, beyond --max-threads the answer is 503)
  --max-connections  connections that are open, idle ones included (default: as many as the limit
                     of descriptors allows)
  --timeouts         how long a peer may be idle, take for a head, or pause in a body or in reading
                     an answer (default 75 for idle, 30 for the others)
  --static           the folder whose files are below /static/ (default: a small one of the example)
  --shards           OS threads that serve; 0 is one for each CPU (default 1)
  --pull             a loop reads the requests and answers them
";

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let Args {
        address,
        activated,
        proxies,
        taskmaster,
        timeouts,
        folder,
        shards,
        pull,
    } = args()?;
    // Here, since no other OS thread runs yet.
    let activated = if activated { Some(passed_on()?) } else { None };
    ethreads::run_main(move || -> io::Result<()> {
        let server = match activated {
            Some(server) => server,
            None if shards == 1 => Server::bind(address)?,
            None => Server::bind_shared(address)?,
        };
        let server = server.taskmaster(taskmaster).timeouts(timeouts);
        let server = server.trust_forwarded(ForwardedField::XForwardedFor, proxies);
        println!("listening on http://{}", server.local_addr()?);
        let handle = server.handle();
        if pull {
            return pulled::serve(server, Routes::new(handle));
        }
        if shards == 1 {
            return server.run(app::app(handle, folder.as_deref())?);
        }
        server
            .on_shards(Runtime::builder().shards(shards))?
            .run_each(move |_| app::app(handle.clone(), folder.as_deref()))
    })??;
    Ok(())
}

struct Args {
    address: String,
    /// Whether to serve a socket that is open already, instead.
    activated: bool,
    /// Peers that are trusted to name the client.
    proxies: Vec<Network>,
    /// How many connections are admitted.
    taskmaster: Taskmaster,
    /// How long a peer may take.
    timeouts: Timeouts,
    /// The folder of `/static/`.
    folder: Option<String>,
    /// OS threads that serve.
    shards: usize,
    /// Whether requests are pulled.
    pull: bool,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let mut address = "127.0.0.1:8080".to_owned();
    let mut timeouts = Timeouts::default();
    let mut folder = None;
    let (mut shards, mut pull) = (1, false);
    let (mut activated, mut proxies) = (false, Vec::new());
    let (mut max_threads, mut max_accept, mut max_connections) = (None, None, None);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("addr") => address = args.value()?.string()?,
            lexopt::Arg::Long("activated") => activated = true,
            lexopt::Arg::Long("trust") => proxies.push(args.value()?.parse()?),
            lexopt::Arg::Long("max-threads") => {
                max_threads = Some(args.value()?.parse_with(limit)?)
            }
            lexopt::Arg::Long("max-accept") => max_accept = Some(args.value()?.parse_with(limit)?),
            lexopt::Arg::Long("max-connections") => {
                max_connections = Some(args.value()?.parse_with(connections)?)
            }
            lexopt::Arg::Long("timeouts") => {
                let limit = args.value()?.parse_with(seconds)?;
                timeouts.idle = limit;
                timeouts.head = limit;
                timeouts.body = limit;
                timeouts.body_grace = limit;
                timeouts.write = limit;
            }
            lexopt::Arg::Long("static") => folder = Some(args.value()?.string()?),
            lexopt::Arg::Long("shards") => shards = args.value()?.parse()?,
            lexopt::Arg::Long("pull") => pull = true,
            lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => {
                print!("{USAGE}");
                std::process::exit(0);
            }
            arg => return Err(arg.unexpected().into()),
        }
    }
    let mut taskmaster = match (max_threads, max_accept) {
        (None, None) => Taskmaster::per_connection(),
        (threads, accept) => {
            let threads = threads.unwrap_or(Some(Taskmaster::MAX_THREADS));
            let accept =
                accept.unwrap_or_else(|| threads.map(|n| n.saturating_add((n / 4).max(1))));
            Taskmaster::with_limits(threads, accept)?
        }
    };
    if let Some(most) = max_connections {
        taskmaster = taskmaster.max_connections(most);
    }
    if pull && shards != 1 {
        return Err("--pull serves on one OS thread: leave --shards out".into());
    }
    Ok(Args {
        address,
        activated,
        proxies,
        taskmaster,
        timeouts,
        folder,
        shards,
        pull,
    })
}

/// The server of the first socket that the service manager has passed on.
#[cfg(feature = "listenfd")]
fn passed_on() -> Result<Server, Box<dyn Error>> {
    let first = Server::activated()?.into_iter().next();
    Ok(first.ok_or("--activated: no service manager has passed a socket on")?)
}

#[cfg(not(feature = "listenfd"))]
fn passed_on() -> Result<Server, Box<dyn Error>> {
    Err("--activated: the example was built without the feature `listenfd`".into())
}

fn seconds(text: &str) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

fn connections(text: &str) -> Result<usize, Box<dyn Error + Send + Sync>> {
    match text.parse()? {
        0 => Err("a limit of 0 connections serves none".into()),
        most => Ok(most),
    }
}

fn limit(text: &str) -> Result<Option<usize>, std::num::ParseIntError> {
    match text {
        "none" => Ok(None),
        number => number.parse().map(Some),
    }
}
