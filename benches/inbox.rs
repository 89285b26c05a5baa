//! What crosses between OS threads arrives exactly once, also while shards stop and start.
//!
//! Four OS threads spawn, as fast as they can, ethreads on a shard, each with a number. The shard
//! is stopped and another one started again and again. An ethread that cannot begin any more is
//! reported to its sender, which sends it to the next shard; an ethread that began has marked its
//! number. At the end each number must have been marked once.
//!
//! ```text
//! cargo bench --bench inbox                   # 10,000,000 messages
//! cargo bench --bench inbox -- --divide 10
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Instant;

use ethreads::runtime::{Shard, ShardEnded, ShardGroup};
use ethreads::thread::{Cancelled, RemoteJoinHandle};
use ethreads::{Runtime, runtime};

const SENDERS: u64 = 4;
const MESSAGES: u64 = 10_000_000;

/// The most messages that a sender has under way: a shard that ends has to cancel them.
const WINDOW: usize = 1_000;

/// How many shards are stopped.
const STOPS: u64 = 100;

struct Board {
    /// How often each message has arrived.
    marks: Vec<AtomicU8>,
    arrived: AtomicU64,
    /// The shard to send to.
    shard: RwLock<Shard>,
}

impl Board {
    fn shard(&self) -> Shard {
        self.shard.read().expect("no holder panics").clone()
    }

    /// Sends a message. If the shard has ended, sends it to the next one.
    fn send(self: &Arc<Self>, message: u64) -> RemoteJoinHandle<()> {
        loop {
            let board = self.clone();
            let spawned = self.shard().spawn(move || {
                board.marks[message as usize].fetch_add(1, Ordering::Relaxed);
                board.arrived.fetch_add(1, Ordering::Relaxed);
            });
            match spawned {
                Ok(handle) => return handle,
                Err(_ended) => thread::yield_now(),
            }
        }
    }
}

/// Sends its share; messages that did not begin are sent again. Returns how many were sent again.
fn send_all(board: &Arc<Board>, sender: u64, messages: u64) -> u64 {
    let mut again = 0;
    let mut under_way = VecDeque::new();
    let mut left = (0..messages).filter(|message| message % SENDERS == sender);
    loop {
        while under_way.len() < WINDOW
            && let Some(message) = left.next()
        {
            under_way.push_back((message, board.send(message)));
        }
        let Some((message, handle)) = under_way.pop_front() else {
            return again;
        };
        match handle.join() {
            Ok(()) => {}
            Err(payload) if payload.is::<Cancelled>() || payload.is::<ShardEnded>() => {
                again += 1;
                under_way.push_back((message, board.send(message)));
            }
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }
}

fn group() -> ShardGroup {
    let shards = Runtime::builder().stack_size(16 * 1024).shards(1);
    shards.start().expect("an OS thread can be started")
}

fn divide() -> u64 {
    let mut args = std::env::args().skip_while(|arg| arg != "--divide").skip(1);
    args.next()
        .map_or(1, |by| by.parse().expect("--divide takes a number"))
}

fn main() {
    let messages = MESSAGES / divide();
    let mut shards = group();
    let board = Arc::new(Board {
        marks: (0..messages).map(|_| AtomicU8::new(0)).collect(),
        arrived: AtomicU64::new(0),
        shard: RwLock::new(shards.shards()[0].clone()),
    });
    let began = Instant::now();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let board = board.clone();
            thread::spawn(move || send_all(&board, sender, messages))
        })
        .collect();
    let (mut stops, mut unstarted) = (0, 0);
    while !senders.iter().all(thread::JoinHandle::is_finished) {
        // The next stop comes after a further hundredth of the messages.
        let arrived = board.arrived.load(Ordering::Relaxed);
        if arrived < (stops + 1) * messages / (STOPS + 1) || stops == STOPS {
            thread::yield_now();
            continue;
        }
        // The old shard is stopped before the new one is set, so that senders meet its end.
        let report = shards.shutdown();
        assert!(report.shards[0].left.is_empty(), "{report}");
        unstarted += report.shards[0].unstarted;
        shards = group();
        *board.shard.write().expect("no holder panics") = shards.shards()[0].clone();
        stops += 1;
    }
    let again: u64 = senders
        .into_iter()
        .map(|s| s.join().expect("no panic"))
        .sum();
    let took = began.elapsed();
    assert!(shards.shutdown().is_clean());
    let wrong = board
        .marks
        .iter()
        .filter(|mark| mark.load(Ordering::Relaxed) != 1);
    assert_eq!(
        wrong.count(),
        0,
        "messages that have not arrived exactly once"
    );
    let each = took.as_nanos() / u128::from(messages);
    println!("{messages} messages of {SENDERS} OS threads arrived exactly once: {took:.1?},");
    println!("{each} ns each");
    println!("{stops} shards were stopped; {again} messages were sent again, of them {unstarted}");
    println!("had reached a shard that ended before it looked");
    assert!(runtime::stats().is_none(), "this OS thread has no shard");
}
