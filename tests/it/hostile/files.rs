//! Files: paths and contents.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use ethreads::fs::{self, DirBuilder, File, OpenOptions};

use super::kit::{Hostile, Kit};
use super::{Play, Row, row};

/// A folder of its own, with a file in it.
fn folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("ethreads-hostile-files-{}-{count}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "text").unwrap();
    folder
}

/// Calls `call` with the path of `name` in a folder.
fn with(kit: &Kit, name: &str, call: fn(Hostile, PathBuf)) -> Play {
    let folder = folder();
    let path = folder.join(name);
    let hostile = kit.path(&path);
    Play::new(
        move || call(hostile, path.with_extension("other")),
        move |_| std::fs::remove_dir_all(folder).unwrap(),
    )
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("fs::canonicalize", "AsRef", |kit| {
            with(kit, "file", |path, _| drop(fs::canonicalize(path).unwrap()))
        }),
        row("fs::copy", "AsRef", |kit| {
            with(kit, "file", |path, other| {
                assert_eq!(fs::copy(path, other).unwrap(), 4)
            })
        }),
        row("fs::create_dir", "AsRef", |kit| {
            with(kit, "new", |path, _| fs::create_dir(path).unwrap())
        }),
        row("fs::create_dir_all", "AsRef", |kit| {
            with(kit, "new", |path, _| fs::create_dir_all(path).unwrap())
        }),
        row("fs::exists", "AsRef", |kit| {
            with(kit, "file", |path, _| assert!(fs::exists(path).unwrap()))
        }),
        row("fs::hard_link", "AsRef", |kit| {
            with(kit, "file", |path, other| {
                fs::hard_link(path, other).unwrap()
            })
        }),
        row("fs::metadata", "AsRef", |kit| {
            with(kit, "file", |path, _| {
                assert!(fs::metadata(path).unwrap().is_file())
            })
        }),
        row("fs::read", "AsRef", |kit| {
            with(kit, "file", |path, _| {
                assert_eq!(fs::read(path).unwrap(), b"text")
            })
        }),
        row("fs::read_dir", "AsRef", |kit| {
            with(kit, "", |path, _| {
                assert_eq!(fs::read_dir(path).unwrap().count(), 1)
            })
        }),
        row("fs::read_link", "AsRef", |kit| {
            with(kit, "file", |path, _| {
                drop(fs::read_link(path).unwrap_err())
            })
        }),
        row("fs::read_to_string", "AsRef", |kit| {
            with(kit, "file", |path, _| {
                drop(fs::read_to_string(path).unwrap())
            })
        }),
        row("fs::remove_dir", "AsRef", |kit| {
            with(kit, "file", |path, _| {
                drop(fs::remove_dir(path).unwrap_err())
            })
        }),
        row("fs::remove_dir_all", "AsRef", |kit| {
            with(kit, "none", |path, _| {
                drop(fs::remove_dir_all(path).unwrap_err())
            })
        }),
        row("fs::remove_file", "AsRef", |kit| {
            with(kit, "file", |path, _| fs::remove_file(path).unwrap())
        }),
        row("fs::rename", "AsRef", |kit| {
            with(kit, "file", |path, other| fs::rename(path, other).unwrap())
        }),
        row("fs::set_permissions", "AsRef", |kit| {
            with(kit, "file", |path, _| {
                let permissions = std::fs::metadata("/dev/null").unwrap().permissions();
                fs::set_permissions(path, permissions).unwrap();
            })
        }),
        row("fs::symlink_metadata", "AsRef", |kit| {
            with(kit, "file", |path, _| {
                assert!(fs::symlink_metadata(path).unwrap().is_file())
            })
        }),
        row("fs::write", "AsRef", |kit| {
            with(kit, "file", |path, _| fs::write(path, "new").unwrap())
        }),
        row("fs::write", "AsRef", |kit| {
            with(kit, "file", |contents, other| {
                fs::write(&other, contents).unwrap();
                assert_eq!(std::fs::read(other).unwrap(), b"hostile");
            })
        })
        .called("contents"),
        row("fs::DirBuilder::create", "AsRef", |kit| {
            with(kit, "new", |path, _| {
                DirBuilder::new().create(path).unwrap()
            })
        }),
        row("fs::File::create", "AsRef", |kit| {
            with(kit, "file", |path, _| drop(File::create(path).unwrap()))
        }),
        row("fs::File::create_new", "AsRef", |kit| {
            with(kit, "new", |path, _| drop(File::create_new(path).unwrap()))
        }),
        row("fs::File::open", "AsRef", |kit| {
            with(kit, "file", |path, _| drop(File::open(path).unwrap()))
        }),
        row("fs::OpenOptions::open", "AsRef", |kit| {
            with(kit, "file", |path, _| {
                drop(OpenOptions::new().read(true).open(path).unwrap());
            })
        }),
    ]
}

#[test]
fn files_stay_sound() {
    super::run_all(rows());
}
