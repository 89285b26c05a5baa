//! Restarts without a lost request: the next process has the listener of the one before.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use ethreads::http::{App, Server};

const CHILD: &str = "ETHREADS_TEST_RESTART";

/// The listener that is the standard input.
fn inherited() -> io::Result<Server> {
    let inherited: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let listener = TcpListener::from(inherited);
    Ok(ethreads::net::TcpListener::from(listener).into())
}

/// Serves until SIGTERM. The answers name the process.
fn serve(server: &Server, name: String) -> io::Result<()> {
    let upload = name.clone();
    let app = App::new()
        .get("/", move || name.clone())
        .post("/", move |body: String| format!("{upload} got {body}"));
    server.run(app)
}

/// Starts a process that serves.
fn start(listener: &TcpListener, name: &str) -> Child {
    let inherited = listener.try_clone().expect("a descriptor");
    Command::new(std::env::current_exe().expect("a path"))
        .args(["a_restart_loses_no_request", "--exact", "--nocapture"])
        .env(CHILD, name)
        .stdin(Stdio::from(OwnedFd::from(inherited)))
        .stdout(Stdio::null())
        .spawn()
        .expect("a process")
}

/// Waits for the end of a process.
fn wait(mut child: Child) {
    assert!(child.wait().expect("it is our child").success());
}

/// Asks a process to drain, as a service manager does.
fn terminate(child: &Child) {
    let kill = Command::new("kill").arg(child.id().to_string()).status();
    assert!(kill.expect("there is kill(1)").success());
}

/// A request on a connection of its own; the body of the answer, which must be a whole one.
fn get(addr: SocketAddr) -> String {
    let mut stream = TcpStream::connect(addr).expect("the listener stays");
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it is sent");
    body(&mut stream)
}

fn body(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("no reset");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    body.to_owned()
}

#[test]
fn a_restart_loses_no_request() {
    if let Ok(name) = std::env::var(CHILD) {
        let server = inherited().expect("a listener");
        serve(&server, name).expect("a drain");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let old = start(&listener, "old");
    assert_eq!(get(addr), "old");

    // Clients that never pause.
    let (ends, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (ends, count) = (ends.clone(), count.clone());
            thread::spawn(move || {
                let mut last = String::new();
                while !ends.load(Ordering::Relaxed) {
                    last = get(addr);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                last
            })
        })
        .collect();
    let more = |requests| {
        let until = count.load(Ordering::Relaxed) + requests;
        while count.load(Ordering::Relaxed) < until {
            assert!(clients.iter().all(|client| !client.is_finished()));
            thread::yield_now();
        }
    };
    more(100);

    // An upload that the old process has begun to read. It is answered by that process.
    let mut upload = TcpStream::connect(addr).expect("the listener stays");
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close\r\n";
    write!(upload, "{head}content-length: 4\r\n\r\n").expect("it is sent");
    let mut interim = [0; 25];
    upload.read_exact(&mut interim).expect("the handler reads");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    upload.write_all(b"be").expect("it is sent");

    let new = start(&listener, "new");
    while get(addr) != "new" {}
    terminate(&old);
    more(100);
    upload.write_all(b"st").expect("the old process waits");
    assert_eq!(body(&mut upload), "old got best");
    wait(old);
    more(100);

    ends.store(true, Ordering::Relaxed);
    for client in clients {
        assert_eq!(client.join().expect("no request was lost"), "new");
    }
    assert_eq!(get(addr), "new");
    terminate(&new);
    wait(new);
}

#[cfg(feature = "listenfd")]
#[test]
fn connections_wait_in_an_activated_socket_while_the_service_restarts() {
    if let Ok(name) = std::env::var(CHILD) {
        let mut passed = Server::activated().expect("a listener");
        assert_eq!(passed.len(), 1);
        assert!(Server::activated().expect("none is left").is_empty());
        serve(&passed.remove(0), name).expect("a drain");
        return;
    }
    // As systemd does it: the listener is descriptor 3, and the variables name the process.
    let manage = |listener: &TcpListener, name: &str| {
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
        let inherited = listener.try_clone().expect("a descriptor");
        Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().expect("a path"))
            .arg("connections_wait_in_an_activated_socket_while_the_service_restarts")
            .args(["--exact", "--nocapture"])
            .env(CHILD, name)
            .stdin(Stdio::from(OwnedFd::from(inherited)))
            .stdout(Stdio::null())
            .spawn()
            .expect("a process")
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let first = manage(&listener, "first");
    assert_eq!(get(addr), "first");
    terminate(&first);
    wait(first);
    // No process serves now.
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(addr).expect("the listener stays");
            let request = "GET / HTTP/1.0\r\n\r\n";
            stream.write_all(request.as_bytes()).expect("it is sent");
            stream
        })
        .collect();
    let second = manage(&listener, "second");
    for mut stream in waiting {
        assert_eq!(body(&mut stream), "second");
    }
    terminate(&second);
    wait(second);
}

/// Two processes with a listener each on one port. What a drain and what a crash of one of them
/// does to the connections in its queue.
#[cfg(target_os = "linux")]
#[test]
fn a_shared_port_loses_what_is_in_the_queue_of_a_killed_process() {
    const ADDR: &str = "ETHREADS_TEST_RESTART_ADDR";
    const CLIENTS: usize = 64;
    if let Ok(name) = std::env::var(CHILD) {
        let addr = std::env::var(ADDR).expect("the parent sets both");
        serve(&Server::bind_shared(&*addr).expect("a listener"), name).expect("a drain");
        return;
    }
    // Holds the port, but takes no connection, as it does not listen.
    let port = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let port = port.expect("a socket");
    port.set_reuse_port(true).expect("Linux has the option");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    port.bind(&any.into()).expect("a port");
    let addr = port.local_addr().ok().and_then(|addr| addr.as_socket());
    let addr = addr.expect("an address");

    let start = |name: &str| {
        let child = Command::new(std::env::current_exe().expect("a path"))
            .arg("a_shared_port_loses_what_is_in_the_queue_of_a_killed_process")
            .args(["--exact", "--nocapture"])
            .env(CHILD, name)
            .env(ADDR, addr.to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        // The first process is not there yet, or the other one answers.
        while TcpStream::connect(addr).is_err() || get(addr) != name {
            thread::yield_now();
        }
        child
    };
    let signal = |child: &Child, name: &str| {
        let id = child.id().to_string();
        let kill = Command::new("kill").args([name, &id]).status();
        assert!(kill.expect("there is kill(1)").success());
    };
    // Connections with a request each, some of them in the queue of the stopped process.
    let connect_while_stopped = |child: &Child| -> Vec<TcpStream> {
        signal(child, "-STOP");
        let stat = format!("/proc/{}/stat", child.id());
        let stopped = || {
            std::fs::read_to_string(&stat)
                .expect("it runs")
                .contains(") T ")
        };
        while !stopped() {
            thread::yield_now();
        }
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let connect = |_| {
            let mut stream = TcpStream::connect(addr).expect("both listen");
            stream.write_all(request.as_bytes()).expect("it is sent");
            stream
        };
        (0..CLIENTS).map(connect).collect()
    };

    let old = start("old");
    let new = start("new");
    // A drain serves what is in the queue already.
    let clients = connect_while_stopped(&old);
    terminate(&old);
    signal(&old, "-CONT");
    let answers: Vec<_> = { clients }.iter_mut().map(body).collect();
    assert!(answers.iter().any(|name| name == "old"), "{answers:?}");
    assert!(answers.iter().any(|name| name == "new"), "{answers:?}");
    wait(old);
    assert_eq!(get(addr), "new");

    // The queue ends with the process, while the other process has a queue of its own.
    let mut killed = start("killed");
    let clients = connect_while_stopped(&killed);
    killed.kill().expect("it is our child");
    killed.wait().expect("it is our child");
    let (mut answered, mut lost) = (0, 0);
    for mut stream in clients {
        let mut answer = String::new();
        match stream.read_to_string(&mut answer) {
            Ok(_) => {
                assert!(answer.ends_with("\r\n\r\nnew"), "{answer:?}");
                answered += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                // No byte of an answer has come, so the client can ask again.
                assert_eq!(answer, "");
                assert_eq!(get(addr), "new");
                lost += 1;
            }
        }
    }
    assert!(answered > 0 && lost > 0, "{answered} answered, {lost} lost");
    terminate(&new);
    wait(new);
}
