//! No room on a disk, and files that may not grow.

use std::ffi::CString;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use ethreads::io::Eport;
use ethreads::{fs, thread};
use rustix::process::{Resource, setrlimit};

use crate::limits::{goes_on, is_root, isolated, set_limit, skipped, without_spinning};
use crate::support::fresh;

#[test]
fn a_device_that_is_full_is_an_error() {
    let run = fresh(|| {
        ethreads::run_main(|| {
            let open = || {
                fs::OpenOptions::new()
                    .write(true)
                    .open("/dev/full")
                    .unwrap()
            };
            let write = || {
                let mut file = open();
                file.write_all(b"bytes").and_then(|()| file.flush())
            };
            assert_eq!(write().unwrap_err().kind(), ErrorKind::StorageFull);
            let whole = fs::write("/dev/full", "bytes").unwrap_err();
            assert_eq!(whole.kind(), ErrorKind::StorageFull);
            let std_open = std::fs::OpenOptions::new().write(true).open("/dev/full");
            let mut port = Eport::new(std_open.unwrap()).unwrap();
            without_spinning(|| {
                for _ in 0..10 {
                    let error = port.write(b"bytes").unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::StorageFull);
                    thread::sleep(Duration::from_millis(10));
                }
            });
            goes_on();
        })
    });
    run.unwrap();
}

/// Mounts a file system of `bytes` bytes, for this OS thread and the OS threads that it starts.
fn small_disk(path: &Path, bytes: usize) -> bool {
    if !is_root() {
        skipped("only root can mount a small file system");
        return false;
    }
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let size = CString::new(format!("size={bytes}")).unwrap();
    let (none, tmpfs) = (std::ptr::null(), c"tmpfs".as_ptr());
    // SAFETY: plain calls, in a process of its own; the strings outlive the calls.
    let failed = unsafe {
        libc::unshare(libc::CLONE_NEWNS) != 0
            || libc::mount(
                none,
                c"/".as_ptr(),
                none,
                libc::MS_PRIVATE | libc::MS_REC,
                none.cast(),
            ) != 0
            || libc::mount(tmpfs, path.as_ptr(), tmpfs, 0, size.as_ptr().cast()) != 0
    };
    if failed {
        let error = std::io::Error::last_os_error();
        skipped(&format!(
            "no small file system can be mounted here: {error}"
        ));
    }
    !failed
}

#[test]
fn a_disk_that_is_full_is_an_error_until_there_is_room() {
    const NAME: &str = "disk::a_disk_that_is_full_is_an_error_until_there_is_room";
    isolated(NAME, || {
        let name = format!("ethreads-disk-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        const SIZE: usize = 64 << 10;
        if !small_disk(&folder, SIZE) {
            return std::fs::remove_dir(&folder).unwrap();
        }
        let files = folder.clone();
        let run = ethreads::run_main(move || {
            let bytes = vec![b'x'; SIZE];
            let (first, second) = (files.join("first"), files.join("second"));
            fs::write(&first, &bytes).unwrap();
            let error = fs::write(&second, &bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StorageFull);
            let mut file = fs::File::create(&second).unwrap();
            let written = without_spinning(|| {
                thread::sleep(Duration::from_millis(50));
                file.write_all(&bytes).and_then(|()| file.flush())
            });
            assert_eq!(written.unwrap_err().kind(), ErrorKind::StorageFull);
            goes_on();
            assert_eq!(fs::read(&first).unwrap(), bytes);
            fs::remove_file(&first).unwrap();
            file.write_all(b"room").unwrap();
            file.sync_all().unwrap();
            drop(file);
            assert_eq!(fs::read(&second).unwrap(), b"room");
        });
        run.unwrap();
    });
}

/// As in std, the signal that comes with the error ends the process by default.
#[test]
fn a_file_that_may_not_grow_is_an_error_until_it_may() {
    isolated(
        "disk::a_file_that_may_not_grow_is_an_error_until_it_may",
        || {
            // SAFETY: a plain call, in a process of its own.
            unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
            let path = std::env::temp_dir().join(format!("ethreads-grow-{}", std::process::id()));
            let own = path.clone();
            let run = ethreads::run_main(move || {
                let before = set_limit(Resource::Fsize, 4);
                let mut file = fs::File::create(&own).unwrap();
                let written = file.write_all(b"012345").and_then(|()| file.flush());
                assert_eq!(written.unwrap_err().kind(), ErrorKind::FileTooLarge);
                goes_on();
                setrlimit(Resource::Fsize, before).unwrap();
                fs::write(&own, "012345").unwrap();
                assert_eq!(fs::read(&own).unwrap(), b"012345");
            });
            run.unwrap();
            std::fs::remove_file(&path).unwrap();
        },
    );
}
