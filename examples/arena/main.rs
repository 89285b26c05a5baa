//! The HTTP/1.1 cases of the public benchmark HttpArena. `README.md` beside this file says what
//! each case answers, and how it is measured.
//!
//! Run with:
//!
//! ```text
//! examples/arena/make_data.py /tmp/arena-data
//! cargo run --release --features gzip --example arena -- --data /tmp/arena-data
//! curl -i 'http://127.0.0.1:8080/json/3?m=2'
//! ```

mod app;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io;
use std::path::PathBuf;

use ethreads::Runtime;
use ethreads::http::Server;
use lexopt::ValueExt;

const USAGE: &str = "\
usage: arena --data FOLDER [--host HOST] [--port PORT] [--threads N]

  --data     the folder with dataset.json and static/, as make_data.py makes it
  --host     where to listen (default 127.0.0.1)
  --port     the port; 0 chooses one (default 8080)
  --threads  OS threads that serve; 0 is one for each CPU (default 0)
";

struct Args {
    data: PathBuf,
    host: String,
    port: u16,
    threads: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let Args {
        data,
        host,
        port,
        threads,
    } = args()?;
    ethreads::run_main(move || -> io::Result<()> {
        let address = (host.as_str(), port);
        if threads == 1 {
            let server = Server::bind(address)?;
            println!("listening on {server}");
            return server.run(app::app(&data)?);
        }
        // The system divides the connections among the listeners of the shards.
        let server = Server::bind_shared(address)?;
        println!("listening on {server}");
        let server = server.on_shards(Runtime::builder().shards(threads))?;
        server.run_each(move |_| app::app(&data))
    })??;
    Ok(())
}

fn args() -> Result<Args, lexopt::Error> {
    let (mut data, mut host, mut port, mut threads) = (None, "127.0.0.1".to_owned(), 8080, 0);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("data") => data = Some(args.value()?.into()),
            lexopt::Arg::Long("host") => host = args.value()?.string()?,
            lexopt::Arg::Long("port") => port = args.value()?.parse()?,
            lexopt::Arg::Long("threads") => threads = args.value()?.parse()?,
            lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => {
                print!("{USAGE}");
                std::process::exit(0);
            }
            arg => return Err(arg.unexpected()),
        }
    }
    Ok(Args {
        data: data.ok_or("--data is missing")?,
        host,
        port,
        threads,
    })
}
