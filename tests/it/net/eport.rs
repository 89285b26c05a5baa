//! Ports over pipes, sockets, files and terminals.

// Test helpers may panic like tests.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use std::thread as os;

use ethreads::io::{self, Eport};
use ethreads::{DriverKind, spawn, thread};
use rustix::fs::OFlags;

use crate::net::support::{
    assert_success, in_child, is_child, on_driver, on_each_driver, until, until_waiting,
};
use crate::support::spawn as spawn_child;

fn is_nonblocking(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd)
        .unwrap()
        .contains(OFlags::NONBLOCK)
}

#[test]
fn a_pipe_carries_more_than_it_holds() {
    on_each_driver(|| {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let data: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let sent = data.clone();
        let writing = spawn(move || writer.write_all(&sent));
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        writing.join().unwrap().unwrap();
        assert!(received == data);
    });
}

#[test]
fn a_pipe_without_its_other_end_is_over() {
    on_each_driver(|| {
        let (mut reader, writer) = io::pipe().unwrap();
        let second = writer.try_clone().unwrap();
        let reading = spawn(move || reader.read(&mut [0; 8]).unwrap());
        until_waiting(1);
        drop(writer);
        thread::yield_now();
        assert!(!reading.is_finished());
        drop(second);
        assert_eq!(reading.join().unwrap(), 0);

        let (reader, mut writer) = io::pipe().unwrap();
        let writing = spawn(move || writer.write_all(&[0; 1 << 20]).unwrap_err().kind());
        until_waiting(1);
        drop(reader);
        assert_eq!(writing.join().unwrap(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn close_wakes_all_waiters() {
    on_each_driver(|| {
        let (reader, _writer) = std::io::pipe().unwrap();
        let (socket, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let pipe = Rc::new(Eport::new(OwnedFd::from(reader)).unwrap());
        let socket = Rc::new(Eport::new(OwnedFd::from(socket)).unwrap());
        let waiters: Vec<_> = [&pipe, &pipe, &socket, &socket]
            .map(|port| {
                let port = port.clone();
                spawn(move || (&*port).read(&mut [0; 8]).unwrap_err().kind())
            })
            .into_iter()
            .collect();
        until_waiting(4);
        pipe.close();
        socket.close();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), ErrorKind::NotConnected);
        }
        assert_eq!(
            (&*socket).write(b"x").unwrap_err().kind(),
            ErrorKind::NotConnected
        );
        // The peer sees the end, although the descriptor is still open.
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn close_reaches_waiters_on_other_threads() {
    for kind in [DriverKind::Epoll, DriverKind::Polling] {
        let (reader, _writer) = std::io::pipe().unwrap();
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let pipe = Arc::new(Eport::new(OwnedFd::from(reader)).unwrap());
        let socket = Arc::new(Eport::new(OwnedFd::from(socket)).unwrap());
        let (ready, go) = std::sync::mpsc::channel();
        let read = |port: &Arc<Eport<OwnedFd>>| {
            let (port, ready) = (port.clone(), ready.clone());
            move || {
                ready.send(()).unwrap();
                (&*port).read(&mut [0; 8]).map_err(|error| error.kind())
            }
        };
        // The reads must end, whether they wait already or are about to wait.
        let threads = [
            on_driver(kind, read(&pipe)),
            on_driver(kind, read(&pipe)),
            on_driver(kind, read(&socket)),
            os::spawn(read(&socket)),
        ];
        for _ in &threads {
            go.recv().unwrap();
        }
        pipe.close();
        socket.close();
        let results = threads.map(|thread| thread.join().unwrap());
        assert_eq!(results[..2], [Err(ErrorKind::NotConnected); 2]);
        for result in &results[2..] {
            // A read that was tried just then has met the shutdown itself.
            assert!(
                [Err(ErrorKind::NotConnected), Ok(0)].contains(result),
                "{result:?}"
            );
        }
    }
}

#[test]
fn the_blocking_mode_comes_back() {
    on_each_driver(|| {
        let (reader, writer) = std::io::pipe().unwrap();
        let port = Eport::new(reader).unwrap();
        assert!(is_nonblocking(&port));
        let reader = port.into_inner();
        assert!(!is_nonblocking(&reader));
        // A descriptor that was non-blocking before stays non-blocking.
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        assert!(is_nonblocking(Eport::new(reader).unwrap().into_inner()));
        let shared = Eport::new_shared(writer).unwrap();
        assert!(!is_nonblocking(&shared));
        assert!(!is_nonblocking(shared.into_inner()));
        let (reader, _writer) = io::pipe().unwrap();
        assert!(is_nonblocking(&reader));
        assert!(!is_nonblocking(std::io::PipeReader::from(reader)));
    });
}

#[test]
fn shared_ports_wait_without_the_flag() {
    on_each_driver(|| {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut reader = Eport::new_shared(reader).unwrap();
        let mut writer = Eport::new_shared(writer).unwrap();
        let data: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let sent = data.clone();
        let reading = spawn(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).unwrap();
            received
        });
        until_waiting(1);
        assert_eq!(writer.write(&sent).unwrap(), 4096);
        assert_eq!(
            writer
                .write_vectored(&[IoSlice::new(&[]), IoSlice::new(&sent[4096..])])
                .unwrap(),
            4096
        );
        writer.write_all(&sent[8192..]).unwrap();
        drop(writer);
        assert!(reading.join().unwrap() == data);
    });
}

#[test]
fn read_with_runs_any_call() {
    on_each_driver(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let port = Eport::new(listener).unwrap();
        let accepting = spawn(move || port.read_with(|listener| listener.accept()).unwrap().1);
        until_waiting(1);
        let client = std::net::TcpStream::connect(addr).unwrap();
        assert_eq!(accepting.join().unwrap(), client.local_addr().unwrap());
    });
}

#[test]
fn a_socket_in_a_port_raises_no_signal() {
    on_each_driver(|| {
        let (socket, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(peer);
        let mut port = Eport::new(socket).unwrap();
        assert_eq!(port.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let error = port.write_vectored(&[IoSlice::new(b"x")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn files_are_read_and_written_on_the_pool() {
    on_each_driver(|| {
        let path = std::env::temp_dir().join(format!("ethreads-it-{:?}", os::current().id()));
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        let data: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
        let port = Eport::new(file).unwrap();
        (&port).write_all(&data).unwrap();
        assert_eq!(
            (&port)
                .write_vectored(&[IoSlice::new(&[]), IoSlice::new(b"end")])
                .unwrap(),
            3
        );
        port.get_ref().seek(SeekFrom::Start(0)).unwrap();
        let mut first = [0; 4];
        let mut bufs = [IoSliceMut::new(&mut []), IoSliceMut::new(&mut first)];
        assert_eq!((&port).read_vectored(&mut bufs).unwrap(), 4);
        let mut read = first.to_vec();
        (&port).read_to_end(&mut read).unwrap();
        assert!(read[..data.len()] == data && &read[data.len()..] == b"end");
        port.close();
        assert_eq!(
            (&port).read(&mut first).unwrap_err().kind(),
            ErrorKind::NotConnected
        );
        let null = Eport::new(std::fs::File::open("/dev/null").unwrap()).unwrap();
        assert_eq!((&null).read(&mut first).unwrap(), 0);
        let directory = Eport::new(std::fs::File::open("/").unwrap()).unwrap();
        assert_eq!(
            (&directory).read(&mut first).unwrap_err().kind(),
            ErrorKind::IsADirectory
        );
    });
}

#[test]
fn the_others_run_while_a_file_is_read() {
    on_each_driver(|| {
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let reading = spawn(move || {
            let mut port = Eport::new(file).unwrap();
            port.read(&mut [0; 1 << 16]).unwrap()
        });
        thread::yield_now();
        assert!(!reading.is_finished(), "the read has to wait for the pool");
        assert_eq!(reading.join().unwrap(), 1 << 16);
    });
}

#[test]
fn standard_streams_work_in_an_ethread() {
    const TEST: &str = "net::eport::standard_streams_work_in_an_ethread";
    if is_child(TEST) {
        return ethreads::run_main(|| {
            let other = spawn(|| {
                until_waiting(1);
                let mut stdout = io::stdout();
                writeln!(stdout, "the reader waits").unwrap();
            });
            let mut lines = BufReader::new(io::stdin()).lines();
            for line in lines.by_ref() {
                writeln!(io::stderr(), "got {}", line.unwrap()).unwrap();
            }
            other.join().unwrap();
            assert!(!is_nonblocking(io::stdin()) && !is_nonblocking(io::stdout()));
        })
        .unwrap();
    }
    let mut command = in_child(TEST);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = spawn_child(&mut command).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("the reader waits\n") {
        assert_ne!(stdout.read_line(&mut seen).unwrap(), 0, "{seen}");
    }
    stdin.write_all(b"one\ntwo\nthr").unwrap();
    stdin.write_all(b"ee\n").unwrap();
    drop(stdin);
    stdout.read_to_string(&mut seen).unwrap();
    let mut output = child.wait_with_output().unwrap();
    output.stdout = seen.into_bytes();
    assert_success(&output);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("got one\ngot two\ngot three\n"), "{stderr}");
}

#[test]
fn what_outlives_its_shards_forgets_them() {
    let (reader, writer) = std::io::pipe().unwrap();
    let port = Arc::new(Eport::new(reader).unwrap());
    for kind in [DriverKind::Epoll, DriverKind::Polling, DriverKind::Epoll] {
        let (port, mut writer) = (port.clone(), writer.try_clone().unwrap());
        on_driver(kind, move || {
            let reading = spawn(move || (&*port).read(&mut [0; 8]).unwrap());
            until_waiting(1);
            until(|stats| stats.sources == 1);
            writer.write_all(b"x").unwrap();
            assert_eq!(reading.join().unwrap(), 1);
        })
        .join()
        .unwrap();
    }
    drop(port);
}
