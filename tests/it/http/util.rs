//! Shared by the tests of the HTTP server: a served server, and a client with its own
//! implementation of the protocol, so that it cannot share a mistake with the server.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use ethreads::http::{IntoHandler, IntoResponse, Server, ServerHandle, Timeouts};
use ethreads::net::TcpStream;
use ethreads::thread::{self, JoinHandle};
use socket2::{Domain, Socket, Type};

use crate::support::fresh;

/// A client that waits longer for something that must come has found a bug.
const PATIENCE: Duration = Duration::from_secs(120);

/// For timeouts that are meant to expire.
pub(crate) const SHORT: Duration = Duration::from_millis(20);

/// For timeouts that are not meant to expire.
pub(crate) const LONG: Duration = Duration::from_secs(300);

/// Runs `f` as the root ethread of a new shard.
pub(crate) fn on_a_shard(f: impl FnOnce() + Send + 'static) {
    fresh(|| ethreads::run_main(f)).unwrap();
}

/// Timeouts that do not expire, except for those that `change` sets.
pub(crate) fn timeouts(change: impl FnOnce(&mut Timeouts)) -> Timeouts {
    let mut timeouts = Timeouts::default();
    timeouts.idle = LONG;
    timeouts.head = LONG;
    timeouts.body = LONG;
    timeouts.body_grace = LONG;
    timeouts.write = LONG;
    timeouts.linger = LONG;
    // `in_flight` is no limit but a wait, and on one machine everything that was sent has arrived.
    timeouts.in_flight = Duration::ZERO;
    change(&mut timeouts);
    timeouts
}

/// Lets the other ethreads run as far as they can without new input.
pub(crate) fn settle() {
    // The driver is polled after at most 64 runs. A report of the driver, the server's turn and the
    // report of its answer are three turns; the rest is spare.
    for _ in 0..10 * 64 {
        thread::yield_now();
    }
}

/// A server that is served on this shard.
pub(crate) struct Site {
    pub(crate) addr: SocketAddr,
    pub(crate) handle: ServerHandle,
    pub(crate) served: JoinHandle<io::Result<()>>,
}

impl Site {
    pub(crate) fn new<M: 'static>(handler: impl IntoHandler<M, Output: IntoResponse>) -> Self {
        Self::with(|server| server.timeouts(timeouts(|_| ())), handler)
    }

    pub(crate) fn with<M: 'static>(
        configure: impl FnOnce(Server) -> Server,
        handler: impl IntoHandler<M, Output: IntoResponse>,
    ) -> Self {
        let server = configure(Server::bind("127.0.0.1:0").unwrap());
        let addr = server.local_addr().unwrap();
        let handle = server.handle();
        let served = thread::spawn(move || server.serve(handler));
        Self {
            addr,
            handle,
            served,
        }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(self.addr)
    }

    /// Sends `input` and the end of the stream, and returns all that comes back.
    #[track_caller]
    pub(crate) fn exchange(&self, input: impl AsRef<[u8]>) -> String {
        let mut client = self.connect();
        client.send(input);
        client.finish();
        client.rest()
    }

    /// Drains the server, which must be possible at once.
    #[track_caller]
    pub(crate) fn end(self) {
        self.handle.drain(LONG);
        self.served.join().unwrap().unwrap();
    }
}

/// A connection, seen from the client.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self::from(TcpStream::connect(addr).unwrap())
    }

    /// Connects from the loopback address 127.0.0.`host`. With a `host` of its own, a test finds
    /// its connection in the log, whatever ports the other tests get.
    pub(crate) fn from_host(addr: SocketAddr, host: u8) -> Self {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from(([127, 0, 0, host], 0)).into())
            .unwrap();
        socket.connect(&addr.into()).unwrap();
        Self::from(TcpStream::from(std::net::TcpStream::from(socket)))
    }

    /// Connects and sends `input` before any other ethread of this shard runs. A server on this
    /// shard finds the input when it first looks, however short its time limits are.
    pub(crate) fn with_input(addr: SocketAddr, input: impl AsRef<[u8]>) -> Self {
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        stream.write_all(input.as_ref()).unwrap();
        Self::from(TcpStream::from(stream))
    }

    pub(crate) fn send(&mut self, input: impl AsRef<[u8]>) {
        self.stream.write_all(input.as_ref()).unwrap();
    }

    pub(crate) fn finish(&self) {
        // A server that has finished with the connection may have closed it by now.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a GET for `path` and returns the answer.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        self.answer()
    }

    /// Receives until `n` bytes are there, or until the end of the stream.
    fn fill(&mut self, n: usize) {
        while self.received.len() < n {
            let mut buffer = [0; 64 * 1024];
            match self.stream.read(&mut buffer).unwrap() {
                0 => return,
                got => self.received.extend_from_slice(&buffer[..got]),
            }
        }
    }

    /// Receives up to and with `end`.
    #[track_caller]
    pub(crate) fn until(&mut self, end: &str) -> String {
        let end = end.as_bytes();
        let mut from = 0;
        loop {
            if let Some(at) = self.received[from..]
                .windows(end.len())
                .position(|w| w == end)
            {
                let taken = self.received.drain(..from + at + end.len()).collect();
                return String::from_utf8(taken).unwrap();
            }
            let len = self.received.len();
            from = (len + 1).saturating_sub(end.len());
            self.fill(len + 1);
            assert!(self.received.len() > len, "no {end:?} in {:?}", self.rest());
        }
    }

    #[track_caller]
    fn exactly(&mut self, n: usize) -> Vec<u8> {
        self.fill(n);
        assert!(self.received.len() >= n, "{n} bytes expected, then the end");
        self.received.drain(..n).collect()
    }

    /// A response head, and an empty body.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Answer {
        let head = self.until("\r\n\r\n");
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = status.unwrap_or_else(|| panic!("no response: {head:?}"));
        Answer {
            status: status.parse().unwrap(),
            head,
            body: Vec::new(),
        }
    }

    /// A whole response, to a request other than HEAD.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        answer.body = match (
            answer.header("content-length"),
            answer.header("transfer-encoding"),
        ) {
            (Some(length), None) => self.exactly(length.parse().unwrap()),
            (None, Some("chunked")) => self.chunks(),
            (None, None) if matches!(answer.status, 100 | 204 | 304) => Vec::new(),
            (None, None) => self.rest().into(),
            other => panic!("framing: {other:?}"),
        };
        answer
    }

    #[track_caller]
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk();
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    /// The next chunk of a body; an empty one is the last.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let size = self.until("\r\n");
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let chunk = self.exactly(size);
        assert_eq!(self.exactly(2), b"\r\n");
        chunk
    }

    /// Everything up to the end of the stream; a reset fails the test.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> String {
        String::from_utf8_lossy(&self.rest_bytes()).into_owned()
    }

    /// As [`rest`](Self::rest), for data that is not text.
    #[track_caller]
    pub(crate) fn rest_bytes(&mut self) -> Vec<u8> {
        self.fill(usize::MAX);
        std::mem::take(&mut self.received)
    }

    /// Expects the end of the stream.
    #[track_caller]
    pub(crate) fn end(&mut self) {
        assert_eq!(self.rest(), "");
    }

    /// Expects an answer of `status` that announces the end of the connection, and that end; ends
    /// this side too.
    #[track_caller]
    pub(crate) fn last_answer(&mut self, status: u16) -> Answer {
        let answer = self.answer();
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
        self.end();
        self.finish();
        answer
    }
}

impl From<TcpStream> for Client {
    fn from(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        // A request in two pieces would wait for a delayed acknowledgement.
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            received: Vec::new(),
        }
    }
}

impl Answer {
    /// The value of a header that must not be repeated.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value);
        assert_eq!(values.next(), None, "{name} is repeated in {:?}", self.head);
        value
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

/// Responses without their `date` lines, which change from second to second.
pub(crate) fn without_dates(output: &str) -> String {
    output
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("date: "))
        .collect()
}
