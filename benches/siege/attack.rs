//! The attackers, each of them an ethread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ethreads::net::TcpStream;
use ethreads::thread::{self, JoinHandle, Thread};
use socket2::SockRef;

use crate::{HEIGHT, MAX_ACCEPT, TIMEOUT};

/// The outcome of a connection that the server has forgotten.
pub(crate) const HUNG: &str = "hung";

/// An attacker's whole stack.
const STACK_SIZE: usize = 64 << 10;

/// Longer than any timeout of the server.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause of a slow attacker between two steps.
const DRIP: Duration = Duration::from_millis(200);

/// What `/big` answers with.
const BIG: usize = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// More connections than the server handles and queues requests, each idle after a request.
    Crowd,
    /// Heads that come a byte at a time and never end.
    SlowHeads,
    /// Bodies that come a few bytes at a time and never end.
    SlowBodies,
    /// Half of the attackers read `/big` in drips, half do not read at all.
    SlowReaders,
    /// Connects that are reset at once, after a request or in the middle of a head.
    Resets,
    /// Bytes that mean nothing, some of them behind the beginning of a request.
    Noise,
}

impl Kind {
    pub(crate) const AGAINST_TIMEOUTS: [Self; 5] = [
        Self::SlowHeads,
        Self::SlowBodies,
        Self::SlowReaders,
        Self::Resets,
        Self::Noise,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crowd => "crowd",
            Self::SlowHeads => "slow heads",
            Self::SlowBodies => "slow bodies",
            Self::SlowReaders => "slow readers",
            Self::Resets => "resets",
            Self::Noise => "random bytes",
        }
    }

    pub(crate) fn attackers(self, divide: usize) -> usize {
        match self {
            // Together with the well-behaved client, twice as many as the requests that the server
            // accepts.
            Self::Crowd => MAX_ACCEPT / divide * 2 - 1,
            Self::SlowHeads => 2_000 / divide,
            Self::SlowBodies => 500 / divide,
            Self::SlowReaders => 200 / divide,
            Self::Resets => 5_000 / divide,
            Self::Noise => 2_000 / divide,
        }
    }

    /// The outcomes of the attackers, where they do not depend on the machine.
    pub(crate) fn outcomes(self, divide: usize) -> Option<BTreeMap<String, usize>> {
        let attackers = self.attackers(divide);
        let outcomes: &[(&str, usize)] = match self {
            // An idle connection holds no slot, so all are served.
            Self::Crowd => &[("200", attackers)],
            Self::SlowHeads | Self::SlowBodies => &[("408", attackers)],
            Self::Resets => &[("nothing", attackers)],
            Self::SlowReaders | Self::Noise => return None,
        };
        let owned = outcomes.iter().map(|(what, n)| ((*what).to_owned(), *n));
        Some(owned.collect())
    }
}

/// What the attackers share.
pub(crate) struct Field {
    kind: Kind,
    address: SocketAddr,
    attackers: usize,
    arrived: Cell<usize>,
    is_over: Cell<bool>,
    outcomes: RefCell<BTreeMap<String, usize>>,
    /// The ethread that leads the attack.
    leader: Thread,
}

impl Field {
    pub(crate) fn new(kind: Kind, address: SocketAddr, attackers: usize) -> Rc<Self> {
        Rc::new(Self {
            kind,
            address,
            attackers,
            arrived: Cell::default(),
            is_over: Cell::default(),
            outcomes: RefCell::default(),
            leader: thread::current(),
        })
    }

    /// Waits until so many attackers have arrived, or the patience is over.
    pub(crate) fn wait_for(&self, arrivals: usize) {
        let begin = ethreads::time::Instant::now();
        while self.arrived.get() < arrivals && begin.elapsed() < PATIENCE {
            thread::park_timeout(PATIENCE);
        }
    }

    fn arrive(&self) {
        self.arrived.set(self.arrived.get() + 1);
        self.leader.unpark();
    }

    fn wait_for_end(&self) {
        while !self.is_over.get() {
            thread::park();
        }
    }
}

/// An attack that is under way.
pub(crate) struct Attack(Vec<JoinHandle<()>>);

/// Starts all attackers.
pub(crate) fn begin(field: &Rc<Field>) -> Attack {
    let spawn = |n| {
        let field = field.clone();
        let attacker = move || {
            let outcome = attack(&field, n).unwrap_or_else(|error| outcome_of(&error));
            *field.outcomes.borrow_mut().entry(outcome).or_default() += 1;
        };
        let builder = thread::Builder::new().stack_size(STACK_SIZE);
        builder.spawn(attacker).unwrap()
    };
    Attack((0..field.attackers).map(spawn).collect())
}

impl Attack {
    /// Releases the attackers that hold their connections, joins all, and returns their outcomes.
    pub(crate) fn end(self, field: &Field) -> BTreeMap<String, usize> {
        field.is_over.set(true);
        for attacker in &self.0 {
            attacker.thread().unpark();
        }
        for attacker in self.0 {
            attacker.join().unwrap();
        }
        field.outcomes.take()
    }
}

fn outcome_of(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut => HUNG.to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "reset".to_owned(),
        _ => error.to_string(),
    }
}

/// Runs one attacker, and returns its outcome in a word.
fn attack(field: &Field, n: usize) -> io::Result<String> {
    let mut stream = TcpStream::connect(field.address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match field.kind {
        Kind::Crowd => crowd(field, &mut stream),
        Kind::SlowHeads => drip(
            field,
            &mut stream,
            b"GET / HTTP/1.1\r\nhost: a\r\nx: ",
            b"y",
        ),
        Kind::SlowBodies => {
            let head = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
            drip(field, &mut stream, head, b"slow body ")
        }
        Kind::SlowReaders => read_slowly(field, stream, n.is_multiple_of(2)),
        Kind::Resets => reset(field, &mut stream, n),
        Kind::Noise => noise(field, &mut stream, n),
    }
}

/// Asks, and if it is served holds the connection until the attack is over.
fn crowd(field: &Field, stream: &mut TcpStream) -> io::Result<String> {
    // The server answers a refused connection without reading its request, so this may fail.
    let _ = stream.write_all(b"GET /plaintext HTTP/1.1\r\nhost: a\r\n\r\n");
    let status = status(&read_head(stream)?);
    field.arrive();
    if status == "200" {
        field.wait_for_end();
    }
    Ok(status)
}

/// Sends a bit more now and then, until there is an answer.
fn drip(field: &Field, stream: &mut TcpStream, head: &[u8], more: &[u8]) -> io::Result<String> {
    stream.write_all(head)?;
    field.arrive();
    stream.set_read_timeout(Some(DRIP))?;
    for _ in 0..PATIENCE.as_millis() / DRIP.as_millis() {
        match read_head(stream) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            head => return head.map(|head| status(&head)),
        }
        // The connection may be closed; the answer tells.
        let _ = stream.write_all(more);
    }
    Ok(HUNG.to_owned())
}

/// Asks for a large body, and reads it in drips or not at all.
fn read_slowly(field: &Field, mut stream: TcpStream, sips: bool) -> io::Result<String> {
    SockRef::from(&stream).set_recv_buffer_size(4096)?;
    stream.write_all(b"GET /big HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let head = read_head(&mut stream)?;
    field.arrive();
    // Longer than the server waits for a peer to read.
    let drips = (TIMEOUT * 2 + HEIGHT).as_millis() / DRIP.as_millis();
    let mut taken = 0;
    let mut buffer = vec![0; 16 << 10];
    for _ in 0..drips {
        thread::sleep(DRIP);
        if sips {
            match stream.read(&mut buffer).or_else(reset_is_end)? {
                0 => return Ok(format!("{} cut", status(&head))),
                got => taken += got,
            }
        }
    }
    if sips {
        return Ok(format!("{} all along", status(&head)));
    }
    let rest = io::copy(&mut stream, &mut io::sink());
    taken += rest.unwrap_or(0) as usize;
    let is_whole = taken + 512 > BIG;
    Ok(format!(
        "{}{}",
        status(&head),
        if is_whole { " whole" } else { " cut" }
    ))
}

fn reset_is_end(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        ErrorKind::ConnectionReset => Ok(0),
        _ => Err(error),
    }
}

/// Ends the connection with a reset.
fn reset(field: &Field, stream: &mut TcpStream, n: usize) -> io::Result<String> {
    SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
    let said: &[u8] = match n % 3 {
        0 => b"",
        1 => b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n",
        _ => b"POST /echo HTTP/1.1\r\nho",
    };
    stream.write_all(said)?;
    field.arrive();
    Ok("nothing".to_owned())
}

/// Sends random bytes, and reads the answer.
fn noise(field: &Field, stream: &mut TcpStream, n: usize) -> io::Result<String> {
    let mut random = Random(n as u64);
    let prefixes: [&[u8]; 4] = [
        b"",
        b"GET /",
        b"GET / HTTP/1.1\r\nhost: a\r\n",
        b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    ];
    let mut bytes = prefixes[n % prefixes.len()].to_vec();
    let length = random.next() as usize % 4096;
    bytes.extend(std::iter::repeat_with(|| random.next() as u8).take(length));
    // The server may refuse before all bytes are sent.
    let _ = stream.write_all(&bytes);
    if random.next().is_multiple_of(2) {
        let _ = stream.shutdown(Shutdown::Write);
    }
    field.arrive();
    Ok(status(&read_head(stream)?))
}

/// Returns what comes up to the end of a head, or of the connection.
fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 512];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(head),
            got => head.extend_from_slice(&buffer[..got]),
        }
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(head);
        }
    }
}

/// The status in a head.
fn status(head: &[u8]) -> String {
    match head.get(9..12) {
        Some(status) => String::from_utf8_lossy(status).into_owned(),
        None => "nothing".to_owned(),
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }
}
