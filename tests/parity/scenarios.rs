// Included twice by `tests/parity.rs`, with `net`, `unix`, `thread`, `pipe` and so on of std and of
// this crate in scope.

use std::fmt::Debug;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

type Timeout = Option<Duration>;

const SHORT: Timeout = Some(Duration::from_millis(20));

/// Runs everything; `side` keeps the paths of the sides apart.
pub(crate) fn all(side: &str) -> super::Report {
    let mut report = Vec::new();
    tcp_errors(&mut report);
    tcp_streams(&mut report);
    tcp_timeouts(&mut report);
    tcp_listeners(&mut report);
    tcp_halves(&mut report);
    udp(&mut report);
    unix_streams(&mut report, &path(side, "stream"));
    unix_datagrams(&mut report, &path(side, "datagram"));
    pipes(&mut report);
    addresses(&mut report);
    files::all(&mut report, &path(side, "files"));
    report
}

/// Returns the value of `Ok`, or the kind of the error.
fn outcome<T: Debug>(result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn path(side: &str, name: &str) -> PathBuf {
    let name = format!("ethreads-parity-{}-{side}-{name}", std::process::id());
    std::env::temp_dir().join(name)
}

fn pair() -> (net::TcpStream, net::TcpStream) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn tcp_errors(report: &mut super::Report) {
    let (_socket, unused) = super::refusing();
    let connect = |addr: &SocketAddr| outcome(net::TcpStream::connect(addr));
    report.push(("tcp connect refused", connect(&unused)));
    let timed = |timeout| outcome(net::TcpStream::connect_timeout(&unused, timeout));
    report.push(("tcp connect_timeout refused", timed(Duration::from_secs(5))));
    report.push(("tcp connect_timeout zero", timed(Duration::ZERO)));
    report.push((
        "tcp connect nothing",
        outcome(net::TcpStream::connect(&[][..])),
    ));
    report.push((
        "tcp connect no port",
        outcome(net::TcpStream::connect("localhost")),
    ));
    report.push((
        "tcp connect bad port",
        outcome(net::TcpStream::connect("localhost:x")),
    ));
    report.push((
        "tcp connect no host",
        outcome(net::TcpStream::connect("a..b:80")),
    ));
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let again = net::TcpListener::bind(listener.local_addr().unwrap());
    report.push(("tcp bind in use", outcome(again)));
    report.push((
        "tcp bind elsewhere",
        outcome(net::TcpListener::bind("192.0.2.1:0")),
    ));
    report.push(("tcp bind nothing", outcome(net::TcpListener::bind(&[][..]))));
    let reset = |stream: &net::TcpStream| {
        let mut stream = stream;
        (
            outcome(stream.write(b"x")),
            outcome(stream.read(&mut [0; 8])),
        )
    };
    let (client, server) = pair();
    drop(server);
    let first = (&client).read(&mut [0; 8]);
    report.push(("tcp read at the end", outcome(first)));
    client.shutdown(Shutdown::Write).unwrap();
    let (write, read) = reset(&client);
    report.push(("tcp write after shutdown", write));
    report.push(("tcp read again", read));
    let (client, server) = pair();
    drop(client);
    report.push(("tcp shutdown", outcome(server.shutdown(Shutdown::Both))));
    report.push((
        "tcp read after shutdown",
        outcome((&server).read(&mut [0; 8])),
    ));
    let listener = OwnedFd::from(net::TcpListener::bind("127.0.0.1:0").unwrap());
    let stream = net::TcpStream::from(listener);
    report.push(("tcp peer_addr not connected", outcome(stream.peer_addr())));
    report.push((
        "tcp shutdown not connected",
        outcome(stream.shutdown(Shutdown::Both)),
    ));
    report.push((
        "tcp read not connected",
        outcome((&stream).read(&mut [0; 8])),
    ));
}

fn tcp_streams(report: &mut super::Report) {
    let (mut client, server) = pair();
    let echo = thread::spawn(move || {
        let (mut reader, mut writer) = (&server, &server);
        outcome(io::copy(&mut reader, &mut writer))
    });
    let n = client.write_vectored(&[IoSlice::new(b"he"), IoSlice::new(b"llo")]);
    report.push(("tcp write_vectored", outcome(n)));
    report.push(("tcp flush", outcome(client.flush())));
    client.shutdown(Shutdown::Write).unwrap();
    let (mut a, mut b) = ([0; 2], [0; 3]);
    client.peek(&mut a).unwrap();
    report.push(("tcp peek", format!("{a:?}")));
    let mut bufs = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
    report.push((
        "tcp read_vectored",
        outcome(client.read_vectored(&mut bufs)),
    ));
    report.push(("tcp data", format!("{a:?} {b:?}")));
    report.push(("tcp end", outcome(client.read(&mut a))));
    report.push(("tcp echoed", echo.join().unwrap()));
    report.push(("tcp nodelay before", outcome(client.nodelay())));
    report.push(("tcp set_nodelay", outcome(client.set_nodelay(true))));
    report.push(("tcp nodelay after", outcome(client.nodelay())));
    report.push(("tcp set_ttl", outcome(client.set_ttl(42))));
    report.push(("tcp ttl", outcome(client.ttl())));
    report.push(("tcp take_error", outcome(client.take_error())));
    let text = format!("{client:?}");
    let names: Vec<&str> = text
        .split(['{', ','])
        .map(|part| part.split(':').next().unwrap())
        .collect();
    report.push(("tcp debug", format!("{names:?}")));
    let number = client.as_raw_fd();
    let raw = client.into_raw_fd();
    report.push(("tcp raw fd", (number == raw).to_string()));
    // SAFETY: the descriptor was just given up by its owner.
    let client = unsafe { net::TcpStream::from_raw_fd(raw) };
    report.push(("tcp fd", (client.as_fd().as_raw_fd() == raw).to_string()));
}

fn tcp_timeouts(report: &mut super::Report) {
    let (client, _server) = pair();
    report.push(("tcp no timeout", outcome(client.read_timeout())));
    report.push((
        "tcp zero timeout",
        outcome(client.set_read_timeout(Some(Duration::ZERO))),
    ));
    report.push((
        "tcp zero write",
        outcome(client.set_write_timeout(Some(Duration::ZERO))),
    ));
    client.set_read_timeout(SHORT).unwrap();
    client.set_write_timeout(SHORT).unwrap();
    let clone = client.try_clone().unwrap();
    report.push(("tcp timeout of the clone", outcome(clone.read_timeout())));
    report.push(("tcp read timeout", outcome((&clone).read(&mut [0; 8]))));
    report.push(("tcp peek timeout", outcome(clone.peek(&mut [0; 8]))));
    let chunk = vec![0; 1 << 20];
    let error = loop {
        if let Err(error) = (&client).write(&chunk) {
            break error;
        }
    };
    report.push(("tcp write timeout", format!("{:?}", error.kind())));
    client.set_nonblocking(true).unwrap();
    report.push(("tcp non-blocking", outcome((&clone).read(&mut [0; 8]))));
    clone.set_nonblocking(false).unwrap();
    clone.set_read_timeout(None).unwrap();
    report.push(("tcp timeout taken back", outcome(client.read_timeout())));
}

fn tcp_listeners(report: &mut super::Report) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    report.push(("tcp accept non-blocking", outcome(listener.accept())));
    report.push((
        "tcp incoming non-blocking",
        outcome(listener.incoming().next().unwrap()),
    ));
    listener.set_nonblocking(false).unwrap();
    let clone = listener.try_clone().unwrap();
    let acceptor = thread::spawn(move || {
        clone
            .incoming()
            .take(2)
            .map(|s| s.unwrap())
            .collect::<Vec<_>>()
    });
    let clients: Vec<_> = (0..2)
        .map(|_| net::TcpStream::connect(addr).unwrap())
        .collect();
    report.push(("tcp accepted", acceptor.join().unwrap().len().to_string()));
    drop(clients);
    report.push((
        "tcp listener ttl",
        outcome(listener.set_ttl(9).and_then(|()| listener.ttl())),
    ));
    report.push(("tcp listener error", outcome(listener.take_error())));
    let text = format!("{listener:?}");
    let names: Vec<&str> = text
        .split(['{', ','])
        .map(|part| part.split(':').next().unwrap())
        .collect();
    report.push(("tcp listener debug", format!("{names:?}")));
    let fd = OwnedFd::from(listener);
    let listener = net::TcpListener::from(fd);
    report.push((
        "tcp listener again",
        (listener.local_addr().unwrap() == addr).to_string(),
    ));
}

fn tcp_halves(report: &mut super::Report) {
    let (mut client, mut server) = pair();
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    report.push((
        "tcp read to the end",
        outcome(server.read_to_string(&mut text)),
    ));
    server.write_all(b"answer").unwrap();
    drop(server);
    text.clear();
    report.push((
        "tcp the other half",
        outcome(client.read_to_string(&mut text)),
    ));
}

fn udp(report: &mut super::Report) {
    let a = net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let b = net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let (a_addr, b_addr) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    report.push(("udp bind in use", outcome(net::UdpSocket::bind(a_addr))));
    report.push(("udp send_to nothing", outcome(a.send_to(b"x", &[][..]))));
    report.push(("udp send not connected", outcome(a.send(b"x"))));
    report.push(("udp peer_addr", outcome(a.peer_addr())));
    report.push(("udp send_to", outcome(a.send_to(b"datagram", b_addr))));
    let mut buf = [0; 4];
    report.push((
        "udp peek_from",
        outcome(b.peek_from(&mut buf).map(|(n, from)| (n, from == a_addr))),
    ));
    report.push(("udp peek", outcome(b.peek(&mut buf))));
    report.push((
        "udp recv_from",
        outcome(b.recv_from(&mut buf).map(|(n, from)| (n, from == a_addr))),
    ));
    a.connect(b_addr).unwrap();
    report.push((
        "udp connected",
        (a.peer_addr().unwrap() == b_addr).to_string(),
    ));
    report.push(("udp send", outcome(a.send(b"more"))));
    report.push(("udp recv", outcome(b.recv(&mut buf))));
    report.push((
        "udp zero timeout",
        outcome(b.set_read_timeout(Some(Duration::ZERO))),
    ));
    b.set_read_timeout(SHORT).unwrap();
    report.push(("udp read timeout", outcome(b.recv(&mut buf))));
    b.set_nonblocking(true).unwrap();
    report.push(("udp non-blocking", outcome(b.recv_from(&mut buf))));
    report.push((
        "udp broadcast",
        outcome(b.set_broadcast(true).and_then(|()| b.broadcast())),
    ));
    report.push(("udp ttl", outcome(b.set_ttl(3).and_then(|()| b.ttl()))));
    let looped = b
        .set_multicast_loop_v4(false)
        .and_then(|()| b.multicast_loop_v4());
    report.push(("udp multicast loop", outcome(looped)));
    let ttl = b
        .set_multicast_ttl_v4(4)
        .and_then(|()| b.multicast_ttl_v4());
    report.push(("udp multicast ttl", outcome(ttl)));
    let join = b.join_multicast_v4(&Ipv4Addr::LOCALHOST, &Ipv4Addr::UNSPECIFIED);
    report.push(("udp join", outcome(join)));
    let leave = b.leave_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::UNSPECIFIED);
    report.push(("udp leave", outcome(leave)));
    report.push(("udp v6 on v4", outcome(b.set_multicast_loop_v6(true))));
    drop(b);
    a.send(b"to no peer").unwrap();
    report.push(("udp refused", outcome(a.recv(&mut buf))));
    report.push((
        "udp clone",
        outcome(a.try_clone().map(|c| c.local_addr().unwrap() == a_addr)),
    ));
}

fn unix_streams(report: &mut super::Report, path: &std::path::Path) {
    report.push((
        "unix connect to nothing",
        outcome(unix::UnixStream::connect(path)),
    ));
    let listener = unix::UnixListener::bind(path).unwrap();
    report.push(("unix bind in use", outcome(unix::UnixListener::bind(path))));
    report.push((
        "unix too long",
        outcome(unix::UnixListener::bind("x".repeat(200))),
    ));
    report.push(("unix with NUL", outcome(unix::UnixStream::connect("x\0y"))));
    let addr = listener.local_addr().unwrap();
    report.push((
        "unix local_addr",
        (addr.as_pathname() == Some(path)).to_string(),
    ));
    let mut client = unix::UnixStream::connect_addr(&addr).unwrap();
    let (mut server, from) = listener.accept().unwrap();
    report.push(("unix accept", format!("{from:?}")));
    report.push(("unix client", outcome(client.local_addr())));
    report.push((
        "unix peer",
        (client.peer_addr().unwrap().as_pathname() == Some(path)).to_string(),
    ));
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    report.push(("unix read", outcome(server.read_to_string(&mut text))));
    drop(server);
    report.push(("unix broken", outcome(client.write(b"x"))));
    report.push(("unix error", outcome(client.take_error())));
    listener.set_nonblocking(true).unwrap();
    report.push((
        "unix accept non-blocking",
        outcome((&listener).into_iter().next().unwrap()),
    ));
    drop(listener);
    report.push((
        "unix connect refused",
        outcome(unix::UnixStream::connect(path)),
    ));
    std::fs::remove_file(path).unwrap();
    let (a, b) = unix::UnixStream::pair().unwrap();
    report.push((
        "unix zero timeout",
        outcome(a.set_read_timeout(Some(Duration::ZERO))),
    ));
    a.set_read_timeout(SHORT).unwrap();
    report.push(("unix read timeout", outcome((&a).read(&mut [0; 8]))));
    a.set_write_timeout(SHORT).unwrap();
    let chunk = vec![0; 1 << 16];
    let error = loop {
        if let Err(error) = (&a).write(&chunk) {
            break error;
        }
    };
    report.push(("unix write timeout", format!("{:?}", error.kind())));
    drop(b);
    let text = format!("{a:?}");
    report.push(("unix debug", text.split(['{', ':']).take(2).collect()));
}

fn unix_datagrams(report: &mut super::Report, path: &std::path::Path) {
    let a = unix::UnixDatagram::unbound().unwrap();
    report.push(("unix datagram to nothing", outcome(a.send_to(b"x", path))));
    report.push(("unix datagram not connected", outcome(a.send(b"x"))));
    report.push(("unix datagram connect", outcome(a.connect(path))));
    let b = unix::UnixDatagram::bind(path).unwrap();
    report.push((
        "unix datagram in use",
        outcome(unix::UnixDatagram::bind(path)),
    ));
    report.push((
        "unix datagram send_to",
        outcome(a.send_to(b"datagram", path)),
    ));
    let mut buf = [0; 4];
    report.push(("unix datagram recv_from", outcome(b.recv_from(&mut buf))));
    let addr = b.local_addr().unwrap();
    report.push((
        "unix datagram addr",
        outcome(a.send_to_addr(b"more", &addr)),
    ));
    report.push(("unix datagram recv", outcome(b.recv(&mut buf))));
    report.push(("unix datagram connected", outcome(a.connect_addr(&addr))));
    report.push(("unix datagram send", outcome(a.send(b"again"))));
    b.set_read_timeout(SHORT).unwrap();
    report.push(("unix datagram left", outcome(b.recv(&mut buf))));
    report.push(("unix datagram read timeout", outcome(b.recv(&mut buf))));
    b.set_nonblocking(true).unwrap();
    report.push(("unix datagram non-blocking", outcome(b.recv_from(&mut buf))));
    report.push((
        "unix datagram shutdown",
        outcome(a.shutdown(Shutdown::Write)),
    ));
    report.push(("unix datagram broken", outcome(a.send(b"x"))));
    std::fs::remove_file(path).unwrap();
}

fn pipes(report: &mut super::Report) {
    let (mut reader, mut writer): (PipeReader, PipeWriter) = pipe().unwrap();
    let second = writer.try_clone().unwrap();
    let writing = thread::spawn(move || outcome(writer.write_all(&[7; 100_000])));
    drop(second);
    let mut data = Vec::new();
    report.push(("pipe read", outcome(reader.read_to_end(&mut data))));
    report.push(("pipe written", writing.join().unwrap()));
    let (reader, mut writer) = pipe().unwrap();
    drop(reader);
    report.push(("pipe broken", outcome(writer.write(b"x"))));
    let fd = OwnedFd::from(writer);
    report.push(("pipe again", outcome(PipeWriter::from(fd).write(b"x"))));
}

fn addresses(report: &mut super::Report) {
    fn list<A: ToSocketAddrs>(addr: A) -> String {
        outcome(
            addr.to_socket_addrs()
                .map(|addrs| addrs.collect::<Vec<_>>()),
        )
    }
    let (v4, v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    report.push(("address str", list("127.0.0.1:80")));
    report.push(("address v6 str", list("[::1]:80")));
    report.push(("address string", list(String::from("127.0.0.1:80"))));
    report.push(("address name", list("localhost:80")));
    report.push(("address pair", list(("127.0.0.1", 80))));
    report.push(("address v6 pair", list(("::1", 80))));
    report.push(("address string pair", list((String::from("127.0.0.1"), 80))));
    report.push(("address ip", list((IpAddr::V4(v4), 80))));
    report.push(("address v4", list((v4, 80))));
    report.push(("address v6", list((v6, 80))));
    report.push(("address socket v4", list(SocketAddrV4::new(v4, 80))));
    report.push(("address socket v6", list(SocketAddrV6::new(v6, 80, 1, 2))));
    report.push((
        "address slice",
        list(&[SocketAddr::from((v4, 80)), SocketAddr::from((v6, 80))][..]),
    ));
    let addr = SocketAddr::from((v4, 80));
    report.push(("address reference", list::<&&SocketAddr>(&&addr)));
    report.push(("address no port", list("127.0.0.1")));
    report.push(("address bad port", list("127.0.0.1:66000")));
    report.push(("address empty", list("")));
}

/// Names and types that no scenario above fixes.
#[allow(dead_code)]
fn signatures() {
    let _: fn(&net::TcpStream) -> io::Result<SocketAddr> = net::TcpStream::peer_addr;
    let _: fn(&net::TcpStream) -> io::Result<SocketAddr> = net::TcpStream::local_addr;
    let _: fn(&net::TcpStream, Shutdown) -> io::Result<()> = net::TcpStream::shutdown;
    let _: fn(&net::TcpStream, Timeout) -> io::Result<()> = net::TcpStream::set_write_timeout;
    let _: fn(&net::TcpStream) -> io::Result<Timeout> = net::TcpStream::write_timeout;
    let _: fn(&net::TcpListener) -> io::Result<(net::TcpStream, SocketAddr)> =
        net::TcpListener::accept;
    let _: for<'a> fn(&'a net::TcpListener) -> net::Incoming<'a> = net::TcpListener::incoming;
    let _: fn(&net::UdpSocket, &Ipv6Addr, u32) -> io::Result<()> =
        net::UdpSocket::join_multicast_v6;
    let _: fn(&net::UdpSocket, &Ipv6Addr, u32) -> io::Result<()> =
        net::UdpSocket::leave_multicast_v6;
    let _: fn(&net::UdpSocket) -> io::Result<bool> = net::UdpSocket::multicast_loop_v6;
    let _: fn(&net::UdpSocket, Timeout) -> io::Result<()> = net::UdpSocket::set_write_timeout;
    let _: fn(&net::UdpSocket) -> io::Result<Option<io::Error>> = net::UdpSocket::take_error;
    let _: fn() -> io::Result<(unix::UnixDatagram, unix::UnixDatagram)> = unix::UnixDatagram::pair;
    let _: fn(&unix::SocketAddr) -> io::Result<unix::UnixDatagram> = unix::UnixDatagram::bind_addr;
    let _: fn(&unix::SocketAddr) -> io::Result<unix::UnixListener> = unix::UnixListener::bind_addr;
    let _: fn(&unix::UnixListener) -> io::Result<unix::UnixListener> =
        unix::UnixListener::try_clone;
    let _: fn(&unix::UnixStream) -> io::Result<unix::UnixStream> = unix::UnixStream::try_clone;
    let _: fn(&unix::UnixStream, bool) -> io::Result<()> = unix::UnixStream::set_nonblocking;
    let _: fn(&unix::UnixStream) -> io::Result<Timeout> = unix::UnixStream::write_timeout;

    fn socket<T>()
    where
        T: AsFd + AsRawFd + FromRawFd + IntoRawFd + From<OwnedFd> + Into<OwnedFd>,
        T: Send + Sync + Debug,
    {
    }
    fn stream<T: Read + Write>()
    where
        for<'a> &'a T: Read + Write,
    {
    }
    socket::<net::TcpStream>();
    socket::<net::TcpListener>();
    socket::<net::UdpSocket>();
    socket::<unix::UnixStream>();
    socket::<unix::UnixListener>();
    socket::<unix::UnixDatagram>();
    socket::<PipeReader>();
    socket::<PipeWriter>();
    stream::<net::TcpStream>();
    stream::<unix::UnixStream>();
}
