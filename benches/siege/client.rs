//! The well-behaved client. It has OS threads of its own, so that its latencies do not include the
//! attackers' queue for the processor.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The pause between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(3);

/// The time after which a request is given up, and counted as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the client has measured.
pub(crate) struct Report {
    pub(crate) asked: u64,
    /// The reason for each request without a good answer.
    pub(crate) lost: Vec<String>,
    /// Requests that were answered with 503.
    pub(crate) turned_away: u64,
    /// Nanoseconds, to three digits.
    latencies: Histogram<u64>,
}

impl Report {
    fn new() -> Self {
        Self {
            asked: 0,
            lost: Vec::new(),
            turned_away: 0,
            latencies: Histogram::new(3).unwrap(),
        }
    }

    /// Median, 99th percentile and maximum, in milliseconds.
    pub(crate) fn latencies(&self) -> String {
        let [p50, p99] = [0.5, 0.99].map(|q| self.latencies.value_at_quantile(q) as f64 / 1e6);
        let worst = self.latencies.max() as f64 / 1e6;
        format!("{p50:>5.2} {p99:>5.1} {worst:>6.1}")
    }

    fn count(&mut self, began: Instant, answer: io::Result<(u16, Vec<u8>)>) {
        self.asked += 1;
        self.latencies += began.elapsed().as_nanos() as u64;
        match answer {
            Ok((200, body)) if body == b"Hello, World!" => {}
            Ok((503, _)) => self.turned_away += 1,
            Ok((status, _)) => self.lost.push(format!("status {status}")),
            Err(error) => self.lost.push(error.to_string()),
        }
    }
}

/// A client that keeps asking over one connection.
pub(crate) struct Kept {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    /// The report since the last one.
    Report(Sender<Report>),
    Ethreads(Sender<Result<usize, String>>),
}

impl Kept {
    pub(crate) fn start(address: SocketAddr) -> io::Result<Self> {
        let mut connection = connect(address)?;
        let (commands, queue) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut report = Report::new();
            loop {
                // A caller that no longer waits for the answer has failed already.
                match queue.recv_timeout(PAUSE) {
                    Ok(Command::Report(reply)) => {
                        let _ = reply.send(std::mem::replace(&mut report, Report::new()));
                    }
                    Ok(Command::Ethreads(reply)) => {
                        let _ = reply.send(ethreads(&mut connection));
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        let began = Instant::now();
                        let answer = ask(&mut connection, "/plaintext");
                        let is_lost = answer.is_err();
                        report.count(began, answer);
                        if is_lost && let Ok(another) = connect(address) {
                            connection = another;
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        Ok(Self {
            commands: Some(commands),
            thread: Some(thread),
        })
    }

    /// Returns the report since the last one.
    pub(crate) fn report(&self) -> Result<Report, String> {
        self.command(Command::Report)
    }

    /// Returns how many ethreads the server has.
    pub(crate) fn ethreads(&self) -> Result<usize, String> {
        self.command(Command::Ethreads)?
    }

    fn command<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, String> {
        let (reply, answer) = mpsc::channel();
        let commands = self.commands.as_ref().unwrap();
        let gone = "the client is gone";
        commands.send(command(reply)).map_err(|_| gone)?;
        answer.recv().map_err(|_| gone.to_owned())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.commands.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A client that asks over a new connection each time.
pub(crate) struct Fresh {
    state: Arc<AtomicU8>,
    thread: JoinHandle<Report>,
}

const WAITING: u8 = 0;
const ASKING: u8 = 1;
const STOPPED: u8 = 2;

impl Fresh {
    /// Asks nothing before [`begin`](Self::begin).
    pub(crate) fn start(address: SocketAddr) -> Self {
        let state = Arc::new(AtomicU8::new(WAITING));
        let its_state = state.clone();
        let thread = std::thread::spawn(move || {
            let mut report = Report::new();
            loop {
                match its_state.load(Ordering::Relaxed) {
                    STOPPED => return report,
                    ASKING => {
                        let began = Instant::now();
                        let answer = connect(address)
                            .and_then(|mut connection| ask(&mut connection, "/plaintext"));
                        report.count(began, answer);
                    }
                    _ => {}
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self { state, thread }
    }

    pub(crate) fn begin(&self) {
        self.state.store(ASKING, Ordering::Relaxed);
    }

    pub(crate) fn stop(self) -> Report {
        self.state.store(STOPPED, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

type Connection = BufReader<TcpStream>;

fn connect(address: SocketAddr) -> io::Result<Connection> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// Sends a request, and reads the answer to its end.
fn ask(connection: &mut Connection, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: siege\r\n\r\n");
    // A refusing server answers before the request and may have closed by now; its answer is still
    // here.
    let sent = connection.get_mut().write_all(request.as_bytes());
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        sent?;
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.get(9..12).and_then(|digits| digits.parse().ok());
    let status = status.ok_or_else(|| invalid("no status line"))?;
    let mut length = None;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("no field"))?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
    let mut body = vec![0; length.ok_or_else(|| invalid("no length"))?];
    connection.read_exact(&mut body)?;
    Ok((status, body))
}

fn ethreads(connection: &mut Connection) -> Result<usize, String> {
    let (status, body) = ask(connection, "/stats").map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&body);
    let ethreads = text.lines().find_map(|line| line.strip_prefix("ethreads "));
    ethreads
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("/stats answers {status} {text:?}"))
}
