//! Feeds a served connection in pieces, and collects the outcome.
//!
//! Uses only the library's public interface, so the fuzz target for whole exchanges includes this
//! file as it is.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ethreads::http::{
    Body, IntoResponse, Limits, Request, Response, Result, Server, ServerHandle, StatusCode,
    Timeouts,
};
use ethreads::net::{TcpStream, UnixListener, UnixStream};
use ethreads::runtime;
use ethreads::thread::{self, JoinHandle};

/// No test here depends on time: a longer wait for something that must arrive has found a bug.
const PATIENCE: Duration = Duration::from_secs(30);

/// The interim response that a server may send before it reads a body (RFC 9110 section 10.1.1).
pub(crate) const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// A server on this shard with the handler [`report`].
pub(crate) struct Target {
    place: Place,
    handle: ServerHandle,
    served: JoinHandle<io::Result<()>>,
    echo: Echo,
}

enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A stream to be sent, and where it is cut: a piece is sent after the server has dealt with all
/// pieces before it.
pub(crate) struct Feed<'a> {
    pub(crate) input: &'a [u8],
    pub(crate) cuts: Cuts<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Cuts<'a> {
    /// Sent whole.
    None,
    /// After each byte.
    Bytes,
    /// At one position.
    At(usize),
    /// At each of these positions, in ascending order.
    All(&'a [usize]),
}

/// The outcome of a stream, without dates and interim responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What was sent back while the peer's side was open.
    pub(crate) answers: String,
    /// Whether the server ended the connection by itself.
    pub(crate) closed: bool,
    /// What was sent back after the peer had ended its side.
    pub(crate) last_words: String,
    /// How many interim responses there were.
    pub(crate) continues: usize,
}

impl Target {
    /// Serves on a Unix socket. Data that is sent there has arrived when the call returns, so the
    /// server is sure to receive each piece by itself.
    pub(crate) fn unix(limits: Limits) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "ethreads-feed-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        let server = Server::from(UnixListener::bind(&path).unwrap());
        Self::serve(server, Place::Unix(path), limits)
    }

    pub(crate) fn tcp(limits: Limits) -> Self {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        Self::serve(server, Place::Tcp(address), limits)
    }

    fn serve(server: Server, place: Place, limits: Limits) -> Self {
        let mut timeouts = Timeouts::default();
        timeouts.idle = 2 * PATIENCE;
        timeouts.head = 2 * PATIENCE;
        timeouts.body = 2 * PATIENCE;
        timeouts.body_grace = 2 * PATIENCE;
        timeouts.write = 2 * PATIENCE;
        timeouts.linger = 2 * PATIENCE;
        let server = server.limits(limits).timeouts(timeouts);
        let handle = server.handle();
        let served = thread::spawn(move || server.serve(report));
        Self {
            place,
            handle,
            served,
            echo: Echo::new(),
        }
    }

    /// Sends all of `feeds` at once, each on a connection of its own.
    pub(crate) fn outcomes(&self, feeds: &[Feed<'_>]) -> Vec<Outcome> {
        let mut peers: Vec<Peer> = feeds.iter().map(|_| self.connect()).collect();
        let rounds = feeds.iter().map(|feed| feed.pieces()).max();
        for round in 0..rounds.unwrap_or_default() {
            for (feed, peer) in feeds.iter().zip(&mut peers) {
                peer.send(feed.piece(round));
            }
            self.echo.settle();
        }
        peers.into_iter().map(Peer::outcome).collect()
    }

    pub(crate) fn outcome(&self, input: &[u8], cuts: Cuts<'_>) -> Outcome {
        self.outcomes(&[Feed { input, cuts }]).remove(0)
    }

    fn connect(&self) -> Peer {
        let stream = match &self.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                Stream::Tcp(stream)
            }
            Place::Unix(path) => Stream::Unix(UnixStream::connect(path).unwrap()),
        };
        stream.set_read_timeout(PATIENCE);
        Peer {
            stream,
            ended: false,
        }
    }

    /// Ends the server; no open connection may prevent that.
    pub(crate) fn end(self) {
        self.handle.drain(2 * PATIENCE);
        self.served.join().unwrap().unwrap();
        self.echo.end();
        if let Place::Unix(path) = self.place {
            std::fs::remove_file(path).unwrap();
        }
    }
}

impl<'a> Feed<'a> {
    fn pieces(&self) -> usize {
        match self.cuts {
            Cuts::None => 1,
            Cuts::Bytes => self.input.len(),
            Cuts::At(_) => 2,
            Cuts::All(cuts) => cuts.len() + 1,
        }
    }

    fn piece(&self, n: usize) -> &'a [u8] {
        let end = |n: usize| match self.cuts {
            Cuts::Bytes => Some(n + 1),
            Cuts::At(cut) if n == 0 => Some(cut),
            Cuts::All(cuts) => cuts.get(n).copied(),
            Cuts::None | Cuts::At(_) => None,
        };
        let whole = self.input.len();
        let start = n.checked_sub(1).map_or(0, |n| end(n).unwrap_or(whole));
        &self.input[start.min(whole)..end(n).unwrap_or(whole).min(whole)]
    }
}

/// The other side of a connection.
struct Peer {
    stream: Stream,
    /// The server takes no more input.
    ended: bool,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn set_read_timeout(&self, timeout: Duration) {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)).unwrap(),
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)).unwrap(),
        }
    }

    fn set_nonblocking(&self, nonblocking: bool) {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(nonblocking).unwrap(),
            Self::Unix(stream) => stream.set_nonblocking(nonblocking).unwrap(),
        }
    }

    fn shut_down_write(&self) {
        // A server that has finished with the connection may have closed it.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(data),
            Self::Unix(stream) => stream.write_all(data),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Peer {
    fn send(&mut self, data: &[u8]) {
        if !self.ended && !data.is_empty() {
            match self.stream.write_all(data) {
                Ok(()) => {}
                Err(error) if is_end(&error) => self.ended = true,
                Err(error) => panic!("sending: {error}"),
            }
        }
    }

    /// Takes what has arrived, then ends this side and takes the rest.
    fn outcome(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        self.stream.set_nonblocking(true);
        let answers = self.receive(&mut outcome.closed);
        self.stream.set_nonblocking(false);
        self.stream.shut_down_write();
        let mut ended = outcome.closed;
        let last_words = if ended {
            String::new()
        } else {
            self.receive(&mut ended)
        };
        assert!(
            ended,
            "the server keeps a connection that its peer has ended"
        );
        outcome.continues =
            answers.matches(CONTINUE).count() + last_words.matches(CONTINUE).count();
        outcome.answers = masked(&answers);
        outcome.last_words = masked(&last_words);
        outcome
    }

    fn receive(&mut self, ended: &mut bool) -> String {
        let mut received = Vec::new();
        let mut buffer = [0; 8 * 1024];
        *ended = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(got) => received.extend_from_slice(&buffer[..got]),
                Err(error) if is_end(&error) => break true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) => panic!("receiving: {error}"),
            }
        };
        String::from_utf8(received).unwrap()
    }
}

/// Whether the server has closed the connection while data was on its way to it. That happens when
/// a peer goes on sending after it asked for the end.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// A round trip through the driver.
struct Echo {
    stream: UnixStream,
    ethread: JoinHandle<()>,
}

impl Echo {
    fn new() -> Self {
        let (stream, mut other) = UnixStream::pair().unwrap();
        let ethread = thread::spawn(move || {
            let mut byte = [0];
            while other.read(&mut byte).unwrap() == 1 {
                other.write_all(&byte).unwrap();
            }
        });
        Self { stream, ethread }
    }

    /// Lets the other ethreads run as far as they can without new input. The driver reports what
    /// was sent before no later than the byte that is sent now.
    fn settle(&self) {
        let mut calm = 0;
        // A connection is accepted after one report, and reads at once; two more rounds are spare.
        while calm < 3 {
            (&self.stream).write_all(&[0]).unwrap();
            (&self.stream).read_exact(&mut [0]).unwrap();
            let ready = runtime::stats().map_or(0, |stats| stats.ready);
            calm = if ready == 0 { calm + 1 } else { 0 };
        }
    }

    fn end(self) {
        drop(self.stream);
        self.ethread.join().unwrap();
    }
}

fn masked(answers: &str) -> String {
    answers
        .replace(CONTINUE, "")
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("date: "))
        .collect()
}

impl Outcome {
    /// Without the interim responses: none is required where the body has arrived.
    pub(crate) fn without_continues(&self) -> Self {
        Self {
            continues: 0,
            ..self.clone()
        }
    }

    /// The outcome in short: the statuses, whether the server ended the connection, and what came
    /// after the peer's end.
    pub(crate) fn summary(&self) -> String {
        let mut summary = String::new();
        for status in statuses(&self.answers) {
            let _ = write!(summary, "{status} ");
        }
        summary.push_str(if self.closed { "closed" } else { "open" });
        for status in statuses(&self.last_words) {
            let _ = write!(summary, " {status}");
        }
        summary
    }
}

fn statuses(answers: &str) -> impl Iterator<Item = &str> {
    responses(answers).map(|at| &answers[at + STATUS_LINE.len()..][..3])
}

const STATUS_LINE: &str = "HTTP/1.1 ";

/// The positions at which responses begin: no response has a status line in its body.
pub(crate) fn responses(answers: &str) -> impl Iterator<Item = usize> {
    let places = answers.match_indices(STATUS_LINE).map(|(at, _)| at);
    places.filter(|at| {
        let status = answers
            .as_bytes()
            .get(at + STATUS_LINE.len()..)
            .unwrap_or_default();
        matches!(status, [a, b, c, b' ', ..] if [a, b, c].iter().all(|c| c.is_ascii_digit()))
    })
}

/// Answers how the request was understood. The path says how the body is read and how the answer is
/// made.
fn report(request: &mut Request) -> Result<Response> {
    let mut text = format!(
        "{} {} {:?} path {} query {:?} length {:?}\n",
        request.method(),
        request.target(),
        request.version(),
        request.path(),
        request.query(),
        request.content_length(),
    );
    for (name, value) in request.headers().iter() {
        let _ = writeln!(text, "{name} = {}", value.escape_ascii());
    }
    let mut body = Vec::new();
    match request.path() {
        "/unread" => {}
        // The size of a read is up to the server, so it is not reported.
        "/part" => {
            let _ = request.body().read(&mut [0; 2])?;
        }
        "/slowly" => {
            let mut piece = [0; 3];
            loop {
                match request.body().read(&mut piece)? {
                    0 => break,
                    got => body.extend_from_slice(&piece[..got]),
                }
                thread::yield_now();
            }
        }
        _ => body = request.bytes()?,
    }
    let _ = writeln!(text, "body {}", body.escape_ascii());
    // Answers are counted by their first bytes, so a body must not contain them.
    let text = text.replace("HTTP/", "HTTP ");
    Ok(match request.path() {
        "/nothing" => StatusCode::NO_CONTENT.into_response(),
        "/stream" => Body::writer(move |out| {
            for piece in text.as_bytes().chunks(40) {
                out.write_all(piece)?;
                out.flush()?;
            }
            Ok(())
        })
        .into_response(),
        "/close" => text.into_response().with_header("connection", "close"),
        _ => text.into_response(),
    })
}
