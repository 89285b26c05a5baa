//! Files and directories. `tests/parity` checks that they do what std's do, `suspends/files.rs` how
//! they wait.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, PipeWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread as os;
use std::time::Duration;

use ethreads::fs::{self, File};
use ethreads::thread::{self, Cancelled};
use ethreads::time::{self, Elapsed};
use ethreads::{Runtime, bridge, runtime, spawn};

use crate::net::support::{assert_success, in_child, is_child};
use crate::support::{self, fresh};

/// The most bytes that one call moves.
const MOST: usize = 256 * 1024;

/// A folder that is removed on drop.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("ethreads-fs-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Makes that many empty files, and returns their names.
    fn fill(&self, files: usize) -> BTreeSet<String> {
        let names: BTreeSet<_> = (0..files).map(|n| n.to_string()).collect();
        for name in &names {
            std::fs::write(self.join(name), "").unwrap();
        }
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The error is ignored: a failing test reports its own error.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `test` as the root ethread of a runtime of its own, with a folder.
fn run(name: &'static str, test: impl FnOnce(&Folder) + 'static) {
    let folder = Folder::new(name);
    Runtime::builder().run(move || test(&folder)).unwrap();
}

/// Bytes whose values depend on their positions.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

/// The reading end of a pipe, in blocking mode, as a file; and the writing end.
pub(crate) fn pipe() -> (File, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), writer)
}

/// Waits until the reading end of a pipe is closed.
fn until_closed(mut writer: PipeWriter) {
    let error = loop {
        if let Err(error) = writer.write(b"x") {
            break error;
        }
        os::yield_now();
    };
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

fn name_of(entry: io::Result<fs::DirEntry>) -> String {
    entry.unwrap().file_name().into_string().unwrap()
}

#[test]
fn what_is_larger_than_the_buffer_goes_in_pieces() {
    run("pieces", |folder| {
        let data = bytes(3 * MOST + 5);
        let mut file = File::create_new(folder.join("file")).unwrap();
        assert_eq!(file.write(&data).unwrap(), MOST);
        file.write_all(&data[MOST..]).unwrap();
        file.rewind().unwrap();
        let mut back = vec![0; data.len()];
        assert_eq!(file.read(&mut back).unwrap(), MOST);
        file.read_exact(&mut back[MOST..]).unwrap();
        assert!(back == data);
        file.seek(SeekFrom::Start(1)).unwrap();
        let mut back = vec![data[0]];
        assert_eq!(file.read_to_end(&mut back).unwrap(), data.len() - 1);
        assert!(back == data);
    });
}

#[test]
fn vectored_calls_break_off_within_a_slice() {
    run("vectored", |folder| {
        let data = bytes(2 * MOST);
        let mut file = File::create_new(folder.join("file")).unwrap();
        let (a, b) = data.split_at(MOST - 3);
        let written = file.write_vectored(&[IoSlice::new(a), IoSlice::new(b)]);
        assert_eq!(written.unwrap(), MOST);
        file.write_all(&data[MOST..]).unwrap();
        file.rewind().unwrap();
        let mut back = vec![0; data.len()];
        let (a, b) = back.split_at_mut(MOST - 7);
        let read = file.read_vectored(&mut [IoSliceMut::new(a), IoSliceMut::new(b)]);
        assert_eq!(read.unwrap(), MOST);
        assert!(back[..MOST] == data[..MOST]);
        assert!(
            back[MOST..].iter().all(|&byte| byte == 0),
            "that was not read"
        );
    });
}

#[test]
fn positions_are_named_beyond_the_buffer_too() {
    run("positions", |folder| {
        let data = bytes(2 * MOST + 1);
        let file = File::create_new(folder.join("file")).unwrap();
        assert_eq!(file.write_at(&data, 10).unwrap(), MOST);
        file.write_all_at(&data[MOST..], 10 + MOST as u64).unwrap();
        let mut back = vec![0; data.len()];
        assert_eq!(file.read_at(&mut back, 10).unwrap(), MOST);
        file.read_exact_at(&mut back, 10).unwrap();
        assert!(back == data);
        assert_eq!((&file).stream_position().unwrap(), 0);
    });
}

#[test]
fn a_short_read_after_a_long_one_gives_no_old_bytes() {
    run("short", |folder| {
        let file = File::create_new(folder.join("file")).unwrap();
        file.write_all_at(&[b'x'; 1000], 0).unwrap();
        file.set_len(3).unwrap();
        let mut back = [b'-'; 10];
        assert_eq!(file.read_at(&mut back, 1).unwrap(), 2);
        assert_eq!(&back, b"xx--------");
    });
}

#[test]
fn ethreads_that_share_a_file_do_not_share_a_buffer() {
    run("shared", |folder| {
        let data = Rc::new(bytes(64 * 1000));
        let file = Rc::new(File::create_new(folder.join("file")).unwrap());
        file.write_all_at(&data, 0).unwrap();
        let readers: Vec<_> = (0..64)
            .map(|n| {
                let (file, data) = (file.clone(), data.clone());
                spawn(move || {
                    for n in (n..64).chain(0..n) {
                        let mut back = vec![0; 1000];
                        file.read_exact_at(&mut back, n * 1000).unwrap();
                        assert!(back == data[n as usize * 1000..][..1000]);
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn the_others_go_on_while_files_block() {
    run("others", |_| {
        let (pipes, mut writers): (Vec<_>, Vec<_>) = (0..2).map(|_| pipe()).unzip();
        let readers: Vec<_> = pipes
            .into_iter()
            .map(|mut file| {
                spawn(move || {
                    let mut text = String::new();
                    file.read_to_string(&mut text).unwrap();
                    text
                })
            })
            .collect();
        let others = spawn(move || {
            (0..10).for_each(|_| thread::yield_now());
            // Without this the reads would never end.
            for writer in &mut writers {
                writer.write_all(b"at last").unwrap();
            }
        });
        others.join().unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), "at last");
        }
    });
}

#[test]
fn a_cancelled_read_goes_on_and_closes_its_file() {
    run("cancelled", |_| {
        let (mut file, mut writer) = pipe();
        let reader = spawn(move || file.read(&mut [0; 8]).map(drop));
        thread::yield_now();
        reader.cancel();
        assert!(reader.join().unwrap_err().is::<Cancelled>());
        // The ethread has dropped the file. The read that is under way keeps it open.
        writer.write_all(b"x").unwrap();
        until_closed(writer);
    });
}

#[test]
fn a_cancelled_open_closes_what_it_opens() {
    run("fifo", |folder| {
        let path = folder.join("fifo");
        let made = support::output(Command::new("mkfifo").arg(&path)).unwrap();
        assert!(made.status.success(), "{made:?}");
        let theirs = path.clone();
        // The open waits for a writer.
        let opener = spawn(move || File::open(theirs).map(drop));
        thread::yield_now();
        opener.cancel();
        assert!(opener.join().unwrap_err().is::<Cancelled>());
        // This open waits for a reader.
        let writer = std::fs::File::options().write(true).open(path).unwrap();
        until_closed(PipeWriter::from(OwnedFd::from(writer)));
    });
}

#[test]
fn a_read_beyond_a_deadline_fails_and_its_file_goes_on() {
    run("deadline", |_| {
        let (file, mut writer) = pipe();
        let soon = Duration::from_millis(2);
        let mut buf = [b'-'; 1];
        for _ in 0..3 {
            let error = time::timeout_io(soon, || (&file).read(&mut buf)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(error.get_ref().unwrap().is::<Elapsed>());
        }
        assert_eq!(&buf, b"-", "the buffer is only lent to a copy");
        writer.write_all(b"a").unwrap();
        assert_eq!((&file).read(&mut buf).unwrap(), 1);
        assert_eq!(&buf, b"a");
        drop(file);
        until_closed(writer);
    });
}

#[test]
fn into_std_gives_the_descriptor_itself() {
    run("into", |folder| {
        let file = File::create_new(folder.join("file")).unwrap();
        let number = file.as_raw_fd();
        (&file).write_all(b"hello").unwrap();
        let mut file = file.into_std().unwrap();
        assert_eq!(file.as_raw_fd(), number);
        assert_eq!(file.stream_position().unwrap(), 5);
        let file = File::from(file);
        assert_eq!(file.as_raw_fd(), number);
    });
}

#[test]
fn what_comes_too_late_does_not_begin() {
    run("late", |folder| {
        let path = folder.join("file");
        fs::write(&path, "still here").unwrap();
        let late = time::timeout_io(Duration::ZERO, || fs::remove_file(&path));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        let theirs = path.clone();
        let remover = spawn(move || {
            thread::uncancellable(thread::yield_now);
            fs::remove_file(theirs)
        });
        thread::yield_now();
        remover.cancel();
        assert!(remover.join().unwrap_err().is::<Cancelled>());
        // A removal under way would have ended by then.
        for _ in 0..100 {
            bridge::blocking(|| ());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "still here");
        // While the cancel is held back, the call still begins.
        let theirs = path.clone();
        let remover = spawn(move || {
            thread::uncancellable(|| {
                thread::yield_now();
                fs::remove_file(theirs)
            })
        });
        thread::yield_now();
        remover.cancel();
        remover.join().unwrap().unwrap();
        assert!(!fs::exists(&path).unwrap());
    });
}

#[test]
fn listings_of_any_length_are_whole() {
    for files in [0, 1, 63, 64, 65, 128, 300] {
        run("listing", move |folder| {
            let names = folder.fill(files);
            let mut listing = fs::read_dir(&folder.0).unwrap();
            let listed: Vec<_> = listing.by_ref().map(name_of).collect();
            assert_eq!(listed.len(), files);
            assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), names);
            assert!(listing.next().is_none(), "it has ended for good");
        });
    }
}

#[test]
fn a_listing_beyond_a_deadline_goes_on_where_it_was() {
    // The process has one pool, and one limit of its OS threads, so the test runs in a child
    // process.
    let name = "fs::paths::a_listing_beyond_a_deadline_goes_on_where_it_was";
    if !is_child(name) {
        return assert_success(&in_child(name).output().unwrap());
    }
    bridge::set_blocking_limit(1);
    run("interrupted", |folder| {
        let names = folder.fill(300);
        let mut listing = fs::read_dir(&folder.0).unwrap();
        let mut listed: Vec<_> = listing.by_ref().take(64).map(name_of).collect();
        // The next batch has to wait for the only OS thread.
        let (open, gate) = mpsc::channel::<()>();
        let holder = spawn(|| bridge::blocking(move || gate.recv().is_ok()));
        thread::yield_now();
        for wait in [2, 2, 0] {
            let next = time::timeout(Duration::from_millis(wait), || listing.next());
            let error = next.unwrap().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
        drop(open);
        assert!(!holder.join().unwrap());
        listed.extend(listing.map(name_of));
        assert_eq!(listed.len(), names.len());
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), names);
    });
}

#[test]
fn without_a_shard_they_are_stds() {
    let folder = Folder::new("outside");
    fresh(|| {
        let path = folder.join("file");
        fs::write(&path, "hello").unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b", world").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello, world");
        let names: Vec<_> = fs::read_dir(&folder.0).unwrap().map(name_of).collect();
        assert_eq!(names, ["file"]);
        assert!(runtime::stats().is_none(), "nothing has begun one");
    });
}

#[test]
fn one_that_was_opened_here_can_be_read_on_any_thread() {
    run("elsewhere", |folder| {
        let mut file = File::create_new(folder.join("file")).unwrap();
        file.write_all(b"hello").unwrap();
        file.rewind().unwrap();
        let elsewhere = os::spawn(move || {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        });
        let text = bridge::blocking(|| elsewhere.join().unwrap());
        assert_eq!(text, "hello");
    });
}
