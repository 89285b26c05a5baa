//! rustls: sessions between ethreads, and their state after a limit.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::DerefMut;
use std::rc::Rc;
use std::sync::Arc;

use ethreads::net::TcpStream;
use ethreads::sync::Semaphore;
use ethreads::thread::{self, Cancelled};
use ethreads::{spawn, time};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, Connection, ConnectionCommon, RootCertStore, ServerConfig,
    ServerConnection, SideData, StreamOwned, SupportedProtocolVersion,
};

use crate::{LIMITS, Limit, Over, SOON, byte_at, bytes, check, narrow_pair, tcp_pair};

type Version = &'static SupportedProtocolVersion;
type Client = StreamOwned<ClientConnection, TcpStream>;
type Server = StreamOwned<ServerConnection, TcpStream>;

const VERSIONS: [Version; 2] = [&TLS12, &TLS13];

/// One limit of each kind: the others differ only in what is around the call.
const KINDS: [Limit; 2] = [Limit::OfTheSocket, Limit::TimeoutIo];

impl<C, S> Over for StreamOwned<C, TcpStream>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    fn socket(&self) -> &TcpStream {
        self.get_ref()
    }
}

/// The two sides of a session that has not begun.
fn sides(version: Version) -> (ClientConnection, ServerConnection) {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../data/localhost.pem"));
    let certificate = certificate.unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../data/localhost.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();

    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    (
        ClientConnection::new(Arc::new(client), name).unwrap(),
        ServerConnection::new(Arc::new(server)).unwrap(),
    )
}

/// A session between the two ends of a connection.
fn session_over((client, server): (TcpStream, TcpStream), version: Version) -> (Client, Server) {
    let sides = sides(version);
    let mut client = StreamOwned::new(sides.0, client);
    let mut server = StreamOwned::new(sides.1, server);
    let greeted = spawn(move || {
        server.conn.complete_io(&mut server.sock).unwrap();
        server
    });
    client.conn.complete_io(&mut client.sock).unwrap();
    (client, greeted.join().unwrap())
}

fn session(version: Version) -> (Client, Server) {
    session_over(tcp_pair(), version)
}

/// Sends that nothing more comes.
fn close<C, S>(stream: &mut StreamOwned<C, TcpStream>)
where
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    stream.conn.send_close_notify();
    stream.flush().unwrap();
}

#[track_caller]
fn assert_reads(stream: &mut impl Read, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == expected, "it is garbled");
}

#[test]
fn two_ethreads_talk() {
    check(|| {
        for version in VERSIONS {
            let (mut client, mut server) = session(version);
            // In one record, in several, and more than the sockets take at once.
            let lengths = [1, 100, 16_384, 16_385, 500_000];
            let answers = spawn(move || {
                for length in lengths {
                    assert_reads(&mut server, &bytes(length));
                    server.write_all(&bytes(length)).unwrap();
                    server.flush().unwrap();
                }
                assert_eq!(server.read(&mut [0]).unwrap(), 0);
                close(&mut server);
            });
            for length in lengths {
                client.write_all(&bytes(length)).unwrap();
                client.flush().unwrap();
                assert_reads(&mut client, &bytes(length));
            }
            close(&mut client);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            answers.join().unwrap();
        }
    });
}

#[test]
fn a_read_that_has_timed_out_is_made_again() {
    check(|| {
        for version in VERSIONS {
            for limit in LIMITS {
                let (mut client, mut server) = session(version);
                let may_speak = Rc::new(Semaphore::new(0));
                let told = may_speak.clone();
                let speaks = spawn(move || {
                    for round in 1..4 {
                        told.acquire().forget();
                        server.write_all(&bytes(round * 1000)).unwrap();
                        server.flush().unwrap();
                        assert_reads(&mut server, &bytes(round));
                    }
                    close(&mut server);
                });
                for round in 1..4 {
                    for _ in 0..3 {
                        limit.elapses(&mut client, |client| client.read(&mut [0; 100]));
                    }
                    may_speak.add_permits(1);
                    assert_reads(&mut client, &bytes(round * 1000));
                    client.write_all(&bytes(round)).unwrap();
                    client.flush().unwrap();
                }
                speaks.join().unwrap();
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
            }
        }
    });
}

/// Returns what the server would send for this text.
fn records(server: &mut Server, text: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    server.conn.writer().write_all(text).unwrap();
    while server.conn.wants_write() {
        server.conn.write_tls(&mut records).unwrap();
    }
    records
}

#[test]
fn a_record_may_be_cut_anywhere() {
    check(|| {
        for version in VERSIONS {
            for limit in KINDS {
                let (mut client, mut server) = session(version);
                let text = bytes(20);
                let mut cut = 1;
                loop {
                    let record = records(&mut server, &text);
                    let Some((first, rest)) = record.split_at_checked(cut) else {
                        break assert!(cut > text.len());
                    };
                    server.sock.write_all(first).unwrap();
                    if !rest.is_empty() {
                        limit.elapses(&mut client, |client| client.read(&mut [0; 100]));
                    }
                    server.sock.write_all(rest).unwrap();
                    assert_reads(&mut client, &text);
                    cut += 1;
                }
            }
        }
    });
}

#[test]
fn records_may_come_in_many_pieces() {
    check(|| {
        for version in VERSIONS {
            for limit in KINDS {
                let (mut client, mut server) = session(version);
                let text = bytes(40_000);
                let mut got = Vec::new();
                let mut elapsed = 0;
                for piece in records(&mut server, &text).chunks(1000) {
                    server.sock.write_all(piece).unwrap();
                    let mut buffer = [0; 3000];
                    let error = loop {
                        match limit.within(&mut client, |client| client.read(&mut buffer)) {
                            Ok(n) => got.extend_from_slice(&buffer[..n]),
                            Err(error) => break error,
                        }
                    };
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                    elapsed += 1;
                }
                assert!(got == text, "it is garbled");
                assert!(elapsed > 40);
            }
        }
    });
}

/// Drives one side by hand, and lets the tested side go on after each piece of its output. Returns
/// how often the tested side has timed out.
fn greet_in_pieces(
    by_hand: &mut Connection,
    socket: &mut TcpStream,
    mut go_on: impl FnMut() -> io::Result<bool>,
) -> usize {
    let mut elapsed = 0;
    let mut is_done = false;
    while !is_done || by_hand.is_handshaking() {
        let mut says = Vec::new();
        while by_hand.wants_write() {
            by_hand.write_tls(&mut says).unwrap();
        }
        // Also if there is no output: the tested side may have to speak first.
        for piece in says.chunks(31).chain([&[][..]]) {
            socket.write_all(piece).unwrap();
            match go_on() {
                Ok(done) => is_done = done,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
                    elapsed += 1;
                }
            }
        }
        socket.set_nonblocking(true).unwrap();
        while let Ok(n) = by_hand.read_tls(socket) {
            assert_ne!(n, 0, "it has gone");
            by_hand.process_new_packets().unwrap();
        }
        socket.set_nonblocking(false).unwrap();
    }
    elapsed
}

/// Goes on with a handshake. Returns whether it is done.
fn go_on<C, S>(limit: Limit, stream: &mut StreamOwned<C, TcpStream>) -> io::Result<bool>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    if stream.conn.is_handshaking() {
        limit.within(stream, |stream| stream.conn.complete_io(&mut stream.sock))?;
    }
    Ok(!stream.conn.is_handshaking())
}

/// Sends something to the tested side, and receives something from it.
fn talk(by_hand: &mut Connection, socket: &mut TcpStream, other: &mut (impl Read + Write)) {
    by_hand.writer().write_all(b"question").unwrap();
    while by_hand.wants_write() {
        by_hand.write_tls(socket).unwrap();
    }
    assert_reads(other, b"question");
    other.write_all(b"answer").unwrap();
    other.flush().unwrap();
    let mut answer = Vec::new();
    while answer.len() < b"answer".len() {
        by_hand.read_tls(socket).unwrap();
        let state = by_hand.process_new_packets().unwrap();
        let mut part = vec![0; state.plaintext_bytes_to_read()];
        by_hand.reader().read_exact(&mut part).unwrap();
        answer.extend(part);
    }
    assert_eq!(answer, b"answer");
}

#[test]
fn a_handshake_that_has_timed_out_is_gone_on_with() {
    check(|| {
        for version in VERSIONS {
            for limit in KINDS {
                let (ours, mut theirs) = tcp_pair();
                let (client, server) = sides(version);
                let mut client = StreamOwned::new(client, ours);
                let mut by_hand = Connection::from(server);
                let elapsed =
                    greet_in_pieces(&mut by_hand, &mut theirs, || go_on(limit, &mut client));
                assert!(elapsed > 10, "only {elapsed} times");
                talk(&mut by_hand, &mut theirs, &mut client);

                let (ours, mut theirs) = tcp_pair();
                let (client, server) = sides(version);
                let mut server = StreamOwned::new(server, ours);
                let mut by_hand = Connection::from(client);
                let elapsed =
                    greet_in_pieces(&mut by_hand, &mut theirs, || go_on(limit, &mut server));
                assert!(elapsed > 5, "only {elapsed} times");
                talk(&mut by_hand, &mut theirs, &mut server);
            }
        }
    });
}

#[test]
fn a_session_outlives_a_reader_that_is_cancelled_or_unwound() {
    check(|| {
        for version in VERSIONS {
            let (client, mut server) = session(version);
            let client = Rc::new(RefCell::new(client));
            let text = bytes(20);
            for cut in [0, 1, 5, 20] {
                let record = records(&mut server, &text);
                let (first, rest) = record.split_at(cut);
                server.sock.write_all(first).unwrap();
                let theirs = client.clone();
                let reader = spawn(move || theirs.borrow_mut().read(&mut [0; 100]).is_ok());
                while ethreads::runtime::stats().unwrap().io_waits == 0 {
                    thread::yield_now();
                }
                reader.cancel();
                assert!(reader.join().unwrap_err().is::<Cancelled>());
                // A reader that ignores the errors of a deadline.
                let unwound = time::timeout(SOON, || {
                    loop {
                        assert!(client.borrow_mut().read(&mut [0; 100]).is_err());
                    }
                });
                unwound.unwrap_err();
                server.sock.write_all(rest).unwrap();
                assert_reads(&mut *client.borrow_mut(), &text);
            }
        }
    });
}

#[test]
fn a_write_that_has_timed_out_is_made_again() {
    const ENOUGH: usize = 3_000_000;
    check(|| {
        for version in VERSIONS {
            for limit in LIMITS {
                let (mut client, mut server) = session_over(narrow_pair(), version);
                let (mut sent, mut elapsed) = (0, 0);
                while elapsed < 3 {
                    let text: Vec<_> = (sent..sent + 5000).map(byte_at).collect();
                    match limit.within(&mut client, |client| client.write(&text)) {
                        Ok(n) => sent += n,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
                            elapsed += 1;
                        }
                    }
                    assert!(sent < ENOUGH, "the peer does not read, and it goes on");
                }
                let reader = spawn(move || {
                    let mut got = Vec::new();
                    server.read_to_end(&mut got).unwrap();
                    got
                });
                client.write_all(&[byte_at(sent)]).unwrap();
                close(&mut client);
                assert!(reader.join().unwrap() == bytes(sent + 1), "it is garbled");
            }
        }
    });
}
