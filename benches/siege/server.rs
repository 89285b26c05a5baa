//! The server as a child process, and the resources that it holds.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Kept;

/// How many lines of its log are shown.
const SHOWN_LINES: u64 = 20;

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    log_lines: Arc<AtomicU64>,
    log: Option<JoinHandle<()>>,
}

/// What the server holds at one moment.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) descriptors: usize,
    /// Bytes in memory.
    pub(crate) resident: usize,
    pub(crate) ethreads: usize,
}

impl Sample {
    pub(crate) fn holds_as_much_as(&self, other: &Self) -> bool {
        self.descriptors == other.descriptors && self.ethreads == other.ethreads
    }
}

impl Server {
    /// Starts the server on a port that the system chooses.
    pub(crate) fn start(program: &Path, arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(program)
            .args(["--addr", "127.0.0.1:0"])
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let log_lines = Arc::new(AtomicU64::new(0));
        let counter = log_lines.clone();
        let log = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if counter.fetch_add(1, Ordering::Relaxed) < SHOWN_LINES {
                    eprintln!("  log: {line}");
                }
            }
        });
        let mut server = Self {
            child,
            address: ([127, 0, 0, 1], 0).into(),
            log_lines,
            log: Some(log),
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://");
        server.address = address.ok_or("the server did not start")?.parse()?;
        Ok(server)
    }

    pub(crate) fn log_lines(&self) -> u64 {
        self.log_lines.load(Ordering::Relaxed)
    }

    pub(crate) fn sample(&self, kept: &Kept) -> Result<Sample, String> {
        let ethreads = kept.ethreads()?;
        let proc = format!("/proc/{}", self.child.id());
        let descriptors = fs::read_dir(format!("{proc}/fd")).map_err(|error| error.to_string())?;
        let status = fs::read_to_string(format!("{proc}/status"));
        let status = status.map_err(|error| error.to_string())?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .and_then(|kilobytes| kilobytes.parse::<usize>().ok())
            .ok_or("/proc does not tell what is in memory")?;
        Ok(Sample {
            descriptors: descriptors.count(),
            resident: resident << 10,
            ethreads,
        })
    }

    /// Ends the server with SIGTERM, as a user would.
    pub(crate) fn stop(mut self) -> Result<(), Box<dyn Error>> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        if let Some(log) = self.log.take() {
            log.join().unwrap();
        }
        if !status.success() {
            return Err(format!("the server ended with {status}").into());
        }
        Ok(())
    }
}

impl Drop for Server {
    /// Leaves no process behind, also after an error.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
