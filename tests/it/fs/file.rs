//! Operations on a file whose ethread does not wait for them any more. They belong to the file:
//! neither the data that they have read nor their errors are lost.

use std::fs as std_fs;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread as os;
use std::time::Duration;

use ethreads::fs::{self, File};
use ethreads::io::Eport;
use ethreads::thread::{self, Cancelled};
use ethreads::{Runtime, bridge, run_main, spawn, time};

use crate::fs::paths::{Folder, pipe};
use crate::net::support::{assert_success, in_child, is_child};
use crate::support;

const DIGITS: &[u8] = b"0123456789";

/// Runs `test` as the root ethread of a runtime in a process whose pool has one OS thread.
fn with_one_thread(name: &'static str, test: fn(&Folder)) {
    if !is_child(name) {
        return assert_success(&in_child(name).output().unwrap());
    }
    bridge::set_blocking_limit(1);
    let folder = Folder::new("one");
    Runtime::builder().run(move || test(&folder)).unwrap();
}

/// Keeps the only OS thread of the pool busy until dropped.
struct Busy(Option<(mpsc::Sender<()>, thread::JoinHandle<bool>)>);

fn busy() -> Busy {
    let (open, gate) = mpsc::channel::<()>();
    let holder = spawn(move || bridge::blocking(move || gate.recv().is_ok()));
    thread::yield_now();
    Busy(Some((open, holder)))
}

impl Drop for Busy {
    fn drop(&mut self) {
        let (open, holder) = self.0.take().unwrap();
        drop(open);
        // A failed test unwinds, so the join cannot wait.
        let _ = holder.join();
    }
}

/// A file of ten digits, to read and to write.
fn digits(folder: &Folder) -> File {
    let path = folder.join("digits");
    std_fs::write(&path, DIGITS).unwrap();
    let options = std_fs::File::options().read(true).write(true).open(path);
    File::from(options.unwrap())
}

fn read(mut file: &File, len: usize) -> io::Result<String> {
    let mut buf = vec![0; len];
    let len = file.read(&mut buf)?;
    Ok(String::from_utf8(buf[..len].to_vec()).unwrap())
}

/// Makes a call in an ethread that is cancelled while the call is under way.
fn cancelled<T: 'static>(call: impl FnOnce() -> T + 'static) {
    // This call ends after the call that was cancelled before, so that `call` does not wait for
    // that one.
    bridge::blocking(|| ());
    let busy = busy();
    let caller = spawn(call);
    thread::yield_now();
    caller.cancel();
    let payload = caller.join().err().expect("it waits for the pool");
    assert!(payload.is::<Cancelled>());
    drop(busy);
}

/// A cancelled read of four bytes.
fn cancelled_read(file: &Rc<File>) {
    let theirs = file.clone();
    cancelled(move || read(&theirs, 4));
}

fn cancelled_write(file: &Rc<File>, bytes: &'static [u8]) {
    let theirs = file.clone();
    cancelled(move || (&*theirs).write(bytes));
}

#[test]
fn what_a_cancelled_read_has_read_is_the_next_ones() {
    with_one_thread(
        "fs::file::what_a_cancelled_read_has_read_is_the_next_ones",
        |folder| {
            let file = Rc::new(digits(folder));
            cancelled_read(&file);
            assert_eq!(read(&file, 4).unwrap(), "0123");
            cancelled_read(&file);
            assert_eq!(read(&file, 3).unwrap(), "456");
            assert_eq!(read(&file, 0).unwrap(), "");
            assert_eq!(read(&file, 4).unwrap(), "7", "what is left of it");
            cancelled_read(&file);
            let mut rest = String::new();
            (&*file).read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "89");
        },
    );
}

#[test]
fn a_read_that_waits_for_its_turn_can_be_cancelled_without_harm() {
    with_one_thread(
        "fs::file::a_read_that_waits_for_its_turn_can_be_cancelled_without_harm",
        |folder| {
            let file = Rc::new(digits(folder));
            let busy = busy();
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    let file = file.clone();
                    spawn(move || read(&file, 2).unwrap())
                })
                .collect();
            thread::yield_now();
            // The first read is under way, the other reads are in the wait queue.
            readers[0].cancel();
            readers[2].cancel();
            let late = time::timeout_io(Duration::from_millis(2), || read(&file, 2));
            assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
            drop(busy);
            let got: Vec<_> = readers.into_iter().map(|r| r.join().ok()).collect();
            let expected = [None, Some("01"), None, Some("23")];
            assert_eq!(got, expected.map(|got| got.map(str::to_owned)));
            assert_eq!(read(&file, 9).unwrap(), "456789");
        },
    );
}

#[test]
fn reads_that_are_timed_out_lose_nothing() {
    let data: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
    let folder = Folder::new("timeouts");
    let path = folder.join("file");
    std_fs::write(&path, &data).unwrap();
    let (got, timeouts) = run_main(move || {
        let mut file = File::open(path).unwrap();
        let (mut got, mut timeouts) = (Vec::new(), 0);
        for round in 0_u64.. {
            let mut buf = [0; 37];
            // About as long as a round trip to the pool takes.
            let within = Duration::from_micros(round % 40);
            match time::timeout_io(within, || file.read(&mut buf)) {
                Ok(0) => break,
                Ok(len) => got.extend_from_slice(&buf[..len]),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                    timeouts += 1;
                }
            }
        }
        (got, timeouts)
    })
    .unwrap();
    assert!(timeouts > 0);
    assert!(got == data);
}

#[test]
fn reads_of_a_pipe_that_are_timed_out_lose_nothing() {
    Runtime::builder()
        .run(|| {
            let (mut file, mut writer) = pipe();
            for round in 0..50_u8 {
                let none = time::timeout_io(Duration::from_micros(100), || file.read(&mut [0; 4]));
                assert_eq!(none.unwrap_err().kind(), ErrorKind::TimedOut);
                writer.write_all(&[round, round]).unwrap();
                let mut buf = [0; 2];
                file.read_exact(&mut buf).unwrap();
                assert_eq!(buf, [round, round]);
            }
            drop(writer);
            assert_eq!(file.read(&mut [0]).unwrap(), 0);
        })
        .unwrap();
}

#[test]
fn seeks_count_from_what_calls_have_got() {
    with_one_thread("fs::file::seeks_count_from_what_calls_have_got", |folder| {
        let file = Rc::new(digits(folder));
        let seek = |pos| (&*file).seek(pos);
        cancelled_read(&file);
        assert_eq!((&*file).stream_position().unwrap(), 0);
        assert_eq!(read(&file, 1).unwrap(), "0");
        cancelled_read(&file);
        assert_eq!(seek(SeekFrom::Current(2)).unwrap(), 3);
        assert_eq!(read(&file, 1).unwrap(), "3");
        cancelled_read(&file);
        let error = seek(SeekFrom::Current(-5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = seek(SeekFrom::Current(i64::MIN)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(read(&file, 4).unwrap(), "4567", "nothing was moved");
        cancelled_read(&file);
        assert_eq!(seek(SeekFrom::End(-1)).unwrap(), 9);
        assert_eq!(read(&file, 4).unwrap(), "9");
        seek(SeekFrom::Start(0)).unwrap();
        cancelled_read(&file);
        assert_eq!(seek(SeekFrom::Start(1)).unwrap(), 1);
        // A cancelled seek moves the position, too.
        let theirs = file.clone();
        cancelled(move || (&*theirs).seek(SeekFrom::Start(6)));
        assert_eq!(read(&file, 1).unwrap(), "6");
    });
}

#[test]
fn a_write_goes_where_calls_have_got() {
    with_one_thread("fs::file::a_write_goes_where_calls_have_got", |folder| {
        let file = Rc::new(digits(folder));
        cancelled_read(&file);
        (&*file).write_all(b"ab").unwrap();
        assert_eq!((&*file).stream_position().unwrap(), 2);
        cancelled_read(&file);
        cancelled_write(&file, b"cd");
        assert_eq!(read(&file, 2).unwrap(), "45");
        let whole = std_fs::read(folder.join("digits")).unwrap();
        assert_eq!(whole, b"abcd456789");
        // Data that was read before a write at another position is out of date.
        (&*file).rewind().unwrap();
        cancelled_read(&file);
        file.write_at(b"X", 1).unwrap();
        assert_eq!(read(&file, 2).unwrap(), "aX");
        cancelled_read(&file);
        file.set_len(3).unwrap();
        assert_eq!(read(&file, 4).unwrap(), "c");
        assert_eq!(read(&file, 4).unwrap(), "");
        // So is an end of the file that was read before the file grows.
        let theirs = file.clone();
        cancelled(move || read(&theirs, 4));
        file.write_at(b"d456789", 3).unwrap();
        assert_eq!(read(&file, 1).unwrap(), "d");
        file.write_at(b"b", 1).unwrap();
        // A length is set after the write that is under way.
        (&*file).seek(SeekFrom::End(0)).unwrap();
        cancelled_write(&file, b"more");
        file.set_len(12).unwrap();
        let whole = std_fs::read(folder.join("digits")).unwrap();
        assert_eq!(whole, b"abcd456789mo");
    });
}

#[test]
fn a_cancelled_write_is_whole_after_a_flush_and_after_a_drop() {
    with_one_thread(
        "fs::file::a_cancelled_write_is_whole_after_a_flush_and_after_a_drop",
        |folder| {
            let path = folder.join("file");
            let file = Rc::new(File::create(&path).unwrap());
            let theirs = file.clone();
            let held = busy();
            let writer = spawn(move || (&*theirs).write(b"hello"));
            thread::yield_now();
            writer.cancel();
            assert!(writer.join().is_err());
            let theirs = file.clone();
            let flushes = spawn(move || (&*theirs).flush());
            thread::yield_now();
            assert!(!flushes.is_finished());
            drop(held);
            flushes.join().unwrap().unwrap();
            assert_eq!(std_fs::read(&path).unwrap(), b"hello");
            cancelled_write(&file, b", world");
            file.sync_all().unwrap();
            assert_eq!(std_fs::read(&path).unwrap(), b"hello, world");
            let held = busy();
            let writer = spawn(move || (&*file).write(b"!"));
            thread::yield_now();
            writer.cancel();
            assert!(writer.join().is_err());
            drop(held);
            // The read comes after the write, on the only OS thread.
            let whole = fs::read(path).unwrap();
            assert_eq!(whole, b"hello, world!");
        },
    );
}

#[test]
fn the_error_of_a_cancelled_write_comes_with_the_next_call() {
    with_one_thread(
        "fs::file::the_error_of_a_cancelled_write_comes_with_the_next_call",
        |folder| {
            let full = Rc::new(File::options().write(true).open("/dev/full").unwrap());
            let failed = |result: io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
            };
            cancelled_write(&full, b"x");
            failed((&*full).flush());
            (&*full).flush().unwrap();
            cancelled_write(&full, b"x");
            failed(full.sync_data());
            cancelled_write(&full, b"x");
            failed((&*full).write(b"x").map(drop));
            (&*full).flush().unwrap();
            // A write that is waited for returns its own error, once.
            failed((&*full).write(b"x").map(drop));
            (&*full).flush().unwrap();
            // The error of a cancelled call with a position or a length comes with the next call,
            // too.
            let path = folder.join("file");
            std_fs::write(&path, "text").unwrap();
            let reader = Rc::new(File::open(path).unwrap());
            let theirs = reader.clone();
            cancelled(move || theirs.write_at(b"x", 0));
            // `write_at` takes no turn: this call comes after it on the only OS thread.
            bridge::blocking(|| ());
            assert!((&*reader).flush().is_err());
            let theirs = reader.clone();
            cancelled(move || theirs.set_len(0));
            assert!((&*reader).flush().is_err());
            assert!(reader.set_len(0).is_err());
            (&*reader).flush().unwrap();
            assert_eq!(read(&reader, 9).unwrap(), "text");
        },
    );
}

#[test]
fn clones_share_what_is_under_way() {
    with_one_thread("fs::file::clones_share_what_is_under_way", |folder| {
        let file = Rc::new(digits(folder));
        let clone = file.try_clone().unwrap();
        cancelled_read(&file);
        assert_eq!(read(&clone, 2).unwrap(), "01");
        assert_eq!(read(&file, 1).unwrap(), "2");
        (&clone).write_all(b"x").unwrap();
        assert_eq!(std_fs::read(folder.join("digits")).unwrap(), b"012x456789");
        cancelled_read(&file);
        drop(file);
        assert_eq!(read(&clone, 4).unwrap(), "4567");
    });
}

#[test]
fn stds_file_has_the_position_that_calls_have_got() {
    with_one_thread(
        "fs::file::stds_file_has_the_position_that_calls_have_got",
        |folder| {
            let file = Rc::new(digits(folder));
            let clone = file.try_clone().unwrap();
            cancelled_read(&file);
            let held = busy();
            let caller = spawn(move || clone.into_std());
            thread::yield_now();
            drop(held);
            let mut clone = caller.join().unwrap().unwrap();
            assert_eq!(clone.stream_position().unwrap(), 0);
            let mut back = [0; 3];
            clone.read_exact(&mut back).unwrap();
            assert_eq!(read(&file, 1).unwrap(), "3");
            // A pipe cannot take back what was read.
            let (pipe, mut writer) = pipe();
            let pipe = Rc::new(pipe);
            writer.write_all(b"x").unwrap();
            cancelled_read(&pipe);
            let pipe = Rc::into_inner(pipe).unwrap();
            assert_eq!(pipe.into_std().unwrap_err().kind(), ErrorKind::NotSeekable);
        },
    );
}

#[test]
fn shards_and_os_threads_wait_in_one_line() {
    with_one_thread(
        "fs::file::shards_and_os_threads_wait_in_one_line",
        |folder| {
            let file = Arc::new(digits(folder));
            let held = busy();
            let theirs = file.clone();
            let caller = spawn(move || read(&theirs, 4));
            thread::yield_now();
            caller.cancel();
            assert!(caller.join().is_err());
            let theirs = file.clone();
            let outside = os::spawn(move || read(&theirs, 2).unwrap());
            let theirs = file.clone();
            let elsewhere = os::spawn(move || run_main(move || read(&theirs, 2).unwrap()).unwrap());
            drop(held);
            let (outside, elsewhere) = (outside.join().unwrap(), elsewhere.join().unwrap());
            let mut got = [outside, elsewhere];
            got.sort();
            assert_eq!(got, ["01", "23"]);
            assert_eq!(read(&file, 9).unwrap(), "456789");
        },
    );
}

#[test]
fn a_port_of_a_file_loses_nothing_either() {
    with_one_thread(
        "fs::file::a_port_of_a_file_loses_nothing_either",
        |folder| {
            let path = folder.join("digits");
            std_fs::write(&path, DIGITS).unwrap();
            let file = std_fs::File::options().read(true).write(true).open(&path);
            let port = Rc::new(Eport::new(file.unwrap()).unwrap());
            let cancelled_read = |port: &Rc<Eport<std_fs::File>>| {
                let theirs = port.clone();
                cancelled(move || (&*theirs).read(&mut [0; 4]));
            };
            cancelled_read(&port);
            let mut buf = [0; 4];
            (&*port).read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"0123");
            let theirs = port.clone();
            cancelled(move || (&*theirs).write(b"x"));
            (&*port).flush().unwrap();
            assert_eq!(std_fs::read(path).unwrap(), b"0123x56789");
            cancelled_read(&port);
            bridge::blocking(|| ());
            let mut file = Rc::into_inner(port).unwrap().into_inner();
            assert_eq!(file.stream_position().unwrap(), 5);
        },
    );
}

#[test]
fn a_stream_is_written_to_while_a_read_waits() {
    let folder = Folder::new("duplex");
    let path = folder.join("fifo");
    let made = support::output(Command::new("mkfifo").arg(&path)).unwrap();
    assert!(made.status.success(), "{made:?}");
    Runtime::builder()
        .run(move || {
            let file = File::options().read(true).write(true).open(path).unwrap();
            let file = Rc::new(file);
            let theirs = file.clone();
            let reader = spawn(move || read(&theirs, 4).unwrap());
            thread::yield_now();
            (&*file).write_all(b"x").unwrap();
            (&*file).flush().unwrap();
            assert_eq!(reader.join().unwrap(), "x");
        })
        .unwrap();
}

#[test]
fn in_a_destructor_a_call_does_not_wait_for_its_turn() {
    with_one_thread(
        "fs::file::in_a_destructor_a_call_does_not_wait_for_its_turn",
        |folder| {
            let file = Rc::new(digits(folder));
            let (report, reported) = mpsc::channel();
            let unwinds = |file: Rc<File>| {
                let report = report.clone();
                let _ = spawn(move || {
                    let _guard = support::OnDrop(move || {
                        let got = read(&file, 2).map_err(|error| error.to_string());
                        report.send(got).unwrap();
                    });
                    std::panic::resume_unwind(Box::new(()));
                })
                .join();
            };
            unwinds(file.clone());
            assert_eq!(reported.recv().unwrap().unwrap(), "01");
            let held = busy();
            let theirs = file.clone();
            let reader = spawn(move || read(&theirs, 2).unwrap());
            thread::yield_now();
            unwinds(file.clone());
            let refused = reported.recv().unwrap().unwrap_err();
            assert!(refused.contains("while its ethread unwinds"), "{refused}");
            drop(held);
            assert_eq!(reader.join().unwrap(), "23");
        },
    );
}

/// A possible state of a file: its contents, and its position.
#[derive(Clone, Debug, PartialEq)]
struct Like {
    data: Vec<u8>,
    at: usize,
}

#[derive(Clone, Debug)]
enum Op {
    Read(usize),
    Write(Vec<u8>),
    Seek(SeekFrom),
    SetLen(u64),
    Flush,
}

impl Like {
    /// Applies the operation to this state. Returns whether `got`, if known, is a result that the
    /// operation may have in this state.
    fn apply(&mut self, op: &Op, append: bool, got: Option<&[u8]>) -> bool {
        match op {
            Op::Read(asked) => {
                let left = self.data.get(self.at..).unwrap_or_default();
                let Some(got) = got else { return true };
                let fits = left.starts_with(got) && got.len() <= *asked;
                let is_end = left.is_empty() || *asked == 0;
                self.at += got.len();
                return fits && got.is_empty() == is_end;
            }
            Op::Write(bytes) if !bytes.is_empty() => {
                let at = if append { self.data.len() } else { self.at };
                self.data.resize(self.data.len().max(at + bytes.len()), 0);
                self.data[at..][..bytes.len()].copy_from_slice(bytes);
                self.at = at + bytes.len();
            }
            Op::Seek(pos) => {
                self.at = match pos {
                    SeekFrom::Start(at) => *at as usize,
                    SeekFrom::Current(by) => self.at.saturating_add_signed(*by as isize),
                    SeekFrom::End(by) => self.data.len().saturating_add_signed(*by as isize),
                }
            }
            Op::SetLen(len) => self.data.resize(*len as usize, 0),
            Op::Write(_) | Op::Flush => {}
        }
        true
    }
}

/// A small random generator, so that a seed repeats its run as far as the OS does.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn op(&mut self) -> Op {
        match self.below(8) {
            0..=2 => Op::Read(self.below(6) as usize),
            3 | 4 => {
                let byte = b'a' + self.below(26) as u8;
                Op::Write(vec![byte; self.below(5) as usize])
            }
            // Seeks are forward only, as a failed seek would not tell the position.
            5 => match self.below(3) {
                0 => Op::Seek(SeekFrom::Start(self.below(20))),
                1 => Op::Seek(SeekFrom::Current(self.below(3) as i64)),
                _ => Op::Seek(SeekFrom::End(self.below(2) as i64)),
            },
            6 => Op::SetLen(self.below(30)),
            _ => Op::Flush,
        }
    }
}

fn perform(mut file: &File, op: Op) -> io::Result<Vec<u8>> {
    match op {
        Op::Read(len) => read(file, len).map(String::into_bytes),
        Op::Write(bytes) => {
            assert_eq!(file.write(&bytes)?, bytes.len());
            Ok(Vec::new())
        }
        Op::Seek(pos) => file.seek(pos).map(|_| Vec::new()),
        Op::SetLen(len) => file.set_len(len).map(|()| Vec::new()),
        Op::Flush => file.flush().map(|()| Vec::new()),
    }
}

/// Runs operations, of which some are cancelled or timed out, and compares each with all states
/// that the file may have then.
fn against_the_model(path: &std::path::Path, seed: u64) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (seed << 32));
    let append = seed.is_multiple_of(4);
    let mut options = std_fs::File::options();
    options
        .read(true)
        .write(!append)
        .append(append)
        .create(true);
    let file = options.open(path).unwrap();
    file.set_len(0).unwrap();
    let file = Rc::new(File::from(file));
    let clone = Rc::new(file.try_clone().unwrap());
    let mut likes = vec![Like {
        data: Vec::new(),
        at: 0,
    }];
    let mut log = Vec::new();
    for _ in 0..60 {
        let op = random.op();
        let file = [&file, &clone][random.below(2) as usize].clone();
        let theirs = op.clone();
        let got = match random.below(4) {
            0 => {
                let caller = spawn(move || perform(&file, theirs).unwrap());
                (0..random.below(4)).for_each(|_| thread::yield_now());
                caller.cancel();
                caller.join().ok()
            }
            1 => {
                let soon = Duration::from_micros(random.below(60));
                time::timeout_io(soon, || perform(&file, theirs)).ok()
            }
            _ => Some(perform(&file, theirs).unwrap()),
        };
        log.push((op.clone(), got.clone()));
        let mut after = Vec::new();
        for like in &likes {
            let mut done = like.clone();
            if done.apply(&op, append, got.as_deref()) && !after.contains(&done) {
                after.push(done);
            }
            // The operation may not have begun.
            if got.is_none() && !after.contains(like) {
                after.push(like.clone());
            }
        }
        assert!(!after.is_empty(), "seed {seed}: {likes:?} {log:?}");
        likes = after;
    }
    (&*file).flush().unwrap();
    let at = (&*file).stream_position().unwrap() as usize;
    let data = std_fs::read(path).unwrap();
    assert!(likes.contains(&Like { data, at }), "seed {seed}: {log:?}");
}

#[test]
fn random_operations_with_random_ends_are_whole_or_have_not_begun() {
    let folder = Folder::new("model");
    run_main(move || {
        for seed in 0..200 {
            against_the_model(&folder.join("file"), seed);
        }
    })
    .unwrap();
}
