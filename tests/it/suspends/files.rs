//! Calls on files, on a pool that is busy.

use std::fs::Permissions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use ethreads::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use ethreads::io::Eport;
use ethreads::thread;

use super::look_ups::{assert_success_in_child, busy, row};
use super::{Row, SITUATIONS, Unwinding, When, in_a_runtime, said_on_the_schedulers_side};

/// The folder of this process, which contains a folder for each call.
fn base() -> PathBuf {
    let name = format!("ethreads-suspends-{}", std::process::id());
    std::env::temp_dir().join(name)
}

/// A folder of its own, with the file `file` of four bytes, an empty folder `dir`, and a symbolic
/// link `link` to the file. A cancelled call goes on, perhaps while another call is made.
fn folder() -> PathBuf {
    static FOLDERS: AtomicUsize = AtomicUsize::new(0);
    let folder = base().join(FOLDERS.fetch_add(1, Ordering::Relaxed).to_string());
    std::fs::create_dir_all(folder.join("dir")).unwrap();
    std::fs::write(folder.join("file"), "text").unwrap();
    symlink("file", folder.join("link")).unwrap();
    folder
}

/// A call with a folder of its own.
fn with_folder(when: When, call: fn(&Path) -> io::Result<usize>) -> super::Case {
    let folder = folder();
    busy(when, move || call(&folder))
}

/// A call on an open file.
fn with_file(when: When, call: fn(&File) -> io::Result<usize>) -> super::Case {
    let path = folder().join("file");
    let file = std::fs::File::options().read(true).write(true).open(path);
    let file = File::from(file.unwrap());
    busy(when, move || call(&file))
}

/// A call that waits only for a write that is under way on the same open file.
fn behind_a_write(when: When, call: fn(File) -> io::Result<usize>) -> super::Case {
    let path = folder().join("file");
    let file = std::fs::File::options().read(true).write(true).open(path);
    let file = File::from(file.unwrap());
    let mut clone = file.try_clone().unwrap();
    let case = busy(when, move || call(file));
    if when != When::Ready {
        drop(thread::spawn(move || clone.write(b"x")));
        thread::yield_now();
    }
    case
}

/// As [`row`], for a call that goes on at once if no write is under way.
fn row_behind_a_write(name: &'static str, case: fn(When) -> super::Case) -> Row {
    Row {
        always_suspends: false,
        unwinding: Unwinding::WouldPark,
        ..row(name, case)
    }
}

/// A listing of a folder with one entry more than a batch; the entries of the batch are taken.
fn listing() -> fs::ReadDir {
    let folder = folder().join("dir");
    for n in 0..65 {
        std::fs::write(folder.join(n.to_string()), "").unwrap();
    }
    let mut entries = fs::read_dir(folder).unwrap();
    assert_eq!(entries.by_ref().take(64).filter(Result::is_ok).count(), 64);
    entries
}

fn of_files() -> Vec<Row> {
    vec![
        row("fs::File::open", |when| {
            with_folder(when, |at| File::open(at.join("file")).map(|_| 1))
        }),
        row("fs::File::create", |when| {
            with_folder(when, |at| File::create(at.join("new")).map(|_| 1))
        }),
        row("fs::File::create_new", |when| {
            with_folder(when, |at| File::create_new(at.join("new")).map(|_| 1))
        }),
        row("fs::OpenOptions::open", |when| {
            with_folder(when, |at| {
                OpenOptions::new()
                    .append(true)
                    .open(at.join("file"))
                    .map(|_| 1)
            })
        }),
        row("fs::File::sync_all", |when| {
            with_file(when, |file| file.sync_all().map(|()| 1))
        }),
        row("fs::File::sync_data", |when| {
            with_file(when, |file| file.sync_data().map(|()| 1))
        }),
        row("fs::File::set_len", |when| {
            with_file(when, |file| file.set_len(1).map(|()| 1))
        }),
        row("fs::File::metadata", |when| {
            with_file(when, |file| {
                file.metadata().map(|data| data.len() as usize / 4)
            })
        }),
        row("fs::File::set_permissions", |when| {
            with_file(when, |file| {
                let perm = Permissions::from_mode(0o600);
                file.set_permissions(perm).map(|()| 1)
            })
        }),
        row("fs::File::set_times", |when| {
            with_file(when, |file| {
                let times = FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH);
                file.set_times(times).map(|()| 1)
            })
        }),
        row("fs::File::set_modified", |when| {
            with_file(when, |file| {
                file.set_modified(SystemTime::UNIX_EPOCH).map(|()| 1)
            })
        }),
        row("fs::File::read", |when| {
            with_file(when, |mut file| file.read(&mut [0]))
        }),
        row("fs::File::write", |when| {
            with_file(when, |mut file| file.write(b"x"))
        }),
        row_behind_a_write("fs::File::flush", |when| {
            behind_a_write(when, |mut file| file.flush().map(|()| 1))
        }),
        row_behind_a_write("fs::File::into_std", |when| {
            behind_a_write(when, |file| file.into_std().map(|_| 1))
        }),
        row_behind_a_write("io::Eport::flush", |when| {
            let path = folder().join("file");
            let file = std::fs::File::options().write(true).open(path);
            let port = Rc::new(Eport::new(file.unwrap()).unwrap());
            let writer = port.clone();
            let case = busy(when, move || (&*port).flush().map(|()| 1));
            if when != When::Ready {
                drop(thread::spawn(move || (&*writer).write(b"x")));
                thread::yield_now();
            }
            case
        }),
        row("fs::File::seek", |when| {
            with_file(when, |mut file| {
                file.seek(SeekFrom::End(-3)).map(|at| at as usize)
            })
        }),
        row("fs::File::read_at", |when| {
            with_file(when, |file| file.read_at(&mut [0; 8], 3))
        }),
        row("fs::File::write_at", |when| {
            with_file(when, |file| file.write_at(b"x", 8))
        }),
    ]
}

fn of_names() -> Vec<Row> {
    vec![
        row("fs::read", |when| {
            with_folder(when, |at| {
                fs::read(at.join("file")).map(|bytes| bytes.len() / 4)
            })
        }),
        row("fs::read_to_string", |when| {
            with_folder(when, |at| {
                fs::read_to_string(at.join("file")).map(|text| text.len() / 4)
            })
        }),
        row("fs::write", |when| {
            with_folder(when, |at| fs::write(at.join("new"), "new").map(|()| 1))
        }),
        row("fs::copy", |when| {
            with_folder(when, |at| {
                fs::copy(at.join("file"), at.join("new")).map(|len| len as usize / 4)
            })
        }),
        row("fs::metadata", |when| {
            with_folder(when, |at| {
                fs::metadata(at.join("link")).map(|data| data.is_file().into())
            })
        }),
        row("fs::symlink_metadata", |when| {
            with_folder(when, |at| {
                fs::symlink_metadata(at.join("link")).map(|data| data.is_symlink().into())
            })
        }),
        row("fs::exists", |when| {
            with_folder(when, |at| fs::exists(at.join("file")).map(usize::from))
        }),
        row("fs::canonicalize", |when| {
            with_folder(when, |at| {
                fs::canonicalize(at.join("link")).map(|path| path.ends_with("file").into())
            })
        }),
        row("fs::read_link", |when| {
            with_folder(when, |at| {
                fs::read_link(at.join("link")).map(|path| (path == Path::new("file")).into())
            })
        }),
        row("fs::hard_link", |when| {
            with_folder(when, |at| {
                fs::hard_link(at.join("file"), at.join("new")).map(|()| 1)
            })
        }),
        row("fs::rename", |when| {
            with_folder(when, |at| {
                fs::rename(at.join("file"), at.join("new")).map(|()| 1)
            })
        }),
        row("fs::remove_file", |when| {
            with_folder(when, |at| fs::remove_file(at.join("file")).map(|()| 1))
        }),
        row("fs::set_permissions", |when| {
            with_folder(when, |at| {
                let perm = Permissions::from_mode(0o600);
                fs::set_permissions(at.join("file"), perm).map(|()| 1)
            })
        }),
    ]
}

fn of_directories() -> Vec<Row> {
    vec![
        row("fs::create_dir", |when| {
            with_folder(when, |at| fs::create_dir(at.join("new")).map(|()| 1))
        }),
        row("fs::create_dir_all", |when| {
            with_folder(when, |at| fs::create_dir_all(at.join("new/er")).map(|()| 1))
        }),
        row("fs::DirBuilder::create", |when| {
            with_folder(when, |at| {
                DirBuilder::new().create(at.join("new")).map(|()| 1)
            })
        }),
        row("fs::remove_dir", |when| {
            with_folder(when, |at| fs::remove_dir(at.join("dir")).map(|()| 1))
        }),
        row("fs::remove_dir_all", |when| {
            with_folder(when, |at| fs::remove_dir_all(at).map(|()| 1))
        }),
        row("fs::read_dir", |when| {
            with_folder(when, |at| Ok(fs::read_dir(at)?.count() / 3))
        }),
        row("fs::ReadDir::next", |when| {
            let mut entries = listing();
            busy(when, move || entries.next().unwrap().map(|_| 1))
        }),
        row("fs::DirEntry::metadata", |when| {
            let entry = fs::read_dir(folder()).unwrap().next().unwrap().unwrap();
            busy(when, move || entry.metadata().map(|_| 1))
        }),
    ]
}

pub(super) fn files() -> Vec<Row> {
    let mut rows = of_files();
    rows.extend(of_names());
    rows.extend(of_directories());
    rows
}

/// The report of a wait names the line of the caller, and no line of the library.
fn names_its_caller(row: Row) {
    in_a_runtime(row, |row| {
        let said = said_on_the_schedulers_side(row);
        let place = format!(" at {}:", file!());
        assert!(said.contains(&place), "{}: {said}", row.name);
    });
}

#[test]
fn in_every_situation() {
    assert_success_in_child("suspends::files::in_every_situation", || {
        for situation in SITUATIONS {
            files().into_iter().for_each(situation);
        }
        files().into_iter().for_each(names_its_caller);
        // After all calls that still go on, as the pool has one OS thread.
        ethreads::run_main(|| fs::remove_dir_all(base()).unwrap()).unwrap();
    });
}
