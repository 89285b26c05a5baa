//! Scopes: time limits for whole blocks of code, and children that end with their parent.
//!
//! Run with: `cargo run --example timeouts`

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use ethreads::net::{TcpListener, TcpStream};
use ethreads::{thread, time};

/// Answers each line after the number of milliseconds that it contains.
fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        thread::spawn(move || -> io::Result<()> {
            let mut lines = BufReader::new(&stream).lines();
            while let Some(line) = lines.next().transpose()? {
                thread::sleep(Duration::from_millis(line.parse().unwrap_or(0)));
                writeln!(&stream, "after {line} ms")?;
            }
            Ok(())
        });
    }
}

/// Connects, asks and reads: three waits, and one limit for all of them.
fn ask(server: std::net::SocketAddr, pause: u64, limit: Duration) -> io::Result<String> {
    time::timeout_io(limit, || {
        let mut stream = TcpStream::connect(server)?;
        writeln!(stream, "{pause}")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    ethreads::run_main(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = listener.local_addr()?;
        let _stops_with_main = thread::spawn(move || serve(&listener)).cancel_on_drop();

        let limit = Duration::from_millis(200);
        println!("in time: {}", ask(server, 10, limit)?);
        match ask(server, 60_000, limit) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => println!("too late: {error}"),
            other => println!("unexpected: {other:?}"),
        }

        // The first answer of three. The slower ethreads are cancelled, and have ended when the
        // scope ends.
        let (me, winner) = (thread::current(), Cell::new(None));
        thread::scope(|scope| {
            let racers = [60_000, 30, 30_000].map(|pause| {
                let (me, winner) = (&me, &winner);
                scope.spawn(move || {
                    winner.set(ask(server, pause, Duration::from_secs(5)).ok());
                    me.unpark();
                })
            });
            thread::park();
            racers.iter().for_each(|racer| racer.cancel());
        });
        println!("the first of three: {}", winner.take().unwrap_or_default());
        Ok(())
    })?
}

#[test]
fn it_ends() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
