// Included twice by `tests/parity.rs`, with `fs` of std and of this crate in scope.

use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{
    DirBuilderExt, DirEntryExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink,
};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::outcome;

type Report = crate::Report;

/// Runs everything in a folder of its own.
pub(crate) fn all(report: &mut Report, at: &Path) {
    fs::create_dir(at).unwrap();
    let at = &fs::canonicalize(at).unwrap();
    whole_files(report, at);
    open_files(report, at);
    positions(report, at);
    texts(report, at);
    attributes(report, at);
    options(report, at);
    names(report, at);
    links(report, at);
    directories(report, at);
    listings(report, at);
    fs::remove_dir_all(at).unwrap();
    report.push(("fs remove_dir_all", outcome(fs::exists(at))));
}

fn whole_files(report: &mut Report, at: &Path) {
    let (file, copy) = (at.join("whole"), at.join("copy"));
    report.push(("fs read nothing", outcome(fs::read(&file))));
    report.push(("fs read directory", outcome(fs::read(at))));
    report.push(("fs read zero", outcome(fs::read("a\0b"))));
    report.push(("fs write", outcome(fs::write(&file, b"caf\xc3\xa9"))));
    report.push(("fs write nowhere", outcome(fs::write(file.join("x"), ""))));
    report.push(("fs read", outcome(fs::read(&file))));
    report.push(("fs read_to_string", outcome(fs::read_to_string(&file))));
    report.push(("fs copy", outcome(fs::copy(&file, &copy))));
    report.push(("fs copied", outcome(fs::read(&copy))));
    report.push(("fs copy nothing", outcome(fs::copy(at.join("no"), &copy))));
    report.push(("fs copy directory", outcome(fs::copy(at, &copy))));
    report.push(("fs write bytes", outcome(fs::write(&copy, [0xff]))));
    report.push(("fs read_to_string bytes", outcome(fs::read_to_string(copy))));
}

fn open_files(report: &mut Report, at: &Path) {
    let path = at.join("open");
    let open = |path: &Path| outcome(fs::File::open(path).map(drop));
    report.push(("file open nothing", open(&path)));
    report.push(("file open through a file", open(&at.join("whole/x"))));
    report.push(("file open directory", open(at)));
    report.push((
        "file create directory",
        outcome(fs::File::create(at).map(drop)),
    ));
    let mut file = fs::File::create_new(&path).unwrap();
    report.push((
        "file create_new again",
        outcome(fs::File::create_new(&path).map(drop)),
    ));
    report.push(("file write", outcome(file.write(b"hello"))));
    let bufs = [
        IoSlice::new(b", "),
        IoSlice::new(b""),
        IoSlice::new(b"world"),
    ];
    report.push(("file write_vectored", outcome(file.write_vectored(&bufs))));
    report.push(("file write nothing", outcome(file.write(b""))));
    report.push(("file flush", outcome(file.flush())));
    report.push(("file sync_all", outcome(file.sync_all())));
    report.push(("file sync_data", outcome(file.sync_data())));
    report.push(("file rewind", outcome(file.rewind())));
    let (mut a, mut b) = ([0; 3], [0; 4]);
    let mut bufs = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
    report.push(("file read_vectored", outcome(file.read_vectored(&mut bufs))));
    report.push(("file data", format!("{a:?} {b:?}")));
    report.push(("file read nothing", outcome(file.read(&mut []))));
    let mut clone = file.try_clone().unwrap();
    let mut text = String::new();
    report.push((
        "file read_to_string",
        outcome(clone.read_to_string(&mut text)),
    ));
    report.push(("file text", text));
    report.push(("file read at the end", outcome(file.read(&mut a))));
    let mut reader = fs::File::open(&path).unwrap();
    report.push(("file write a reader", outcome(reader.write(b"x"))));
    report.push(("file set_len of a reader", outcome(reader.set_len(0))));
    let mut writer = fs::File::create(&path).unwrap();
    report.push(("file read a writer", outcome(writer.read(&mut a))));
    report.push(("file create empties", outcome(reader.read(&mut a))));
    let mut dir = fs::File::open(at).unwrap();
    report.push(("file read a directory", outcome(dir.read(&mut a))));
    let mut all = Vec::new();
    report.push((
        "file read_to_end of one",
        outcome(dir.read_to_end(&mut all)),
    ));
    let text = format!("{file:?}");
    let names: Vec<&str> = text.split(['{', ',']).collect();
    let names: Vec<&str> = names
        .iter()
        .map(|part| part.split(':').next().unwrap())
        .collect();
    report.push(("file debug", format!("{names:?}")));
    let number = file.as_raw_fd();
    report.push((
        "file as_fd",
        format!("{}", file.as_fd().as_raw_fd() == number),
    ));
    let fd = file.as_fd().try_clone_to_owned().unwrap();
    let same: fs::File = OwnedFd::into(fd);
    report.push((
        "file from OwnedFd",
        outcome(same.metadata().map(|data| data.len())),
    ));
}

fn positions(report: &mut Report, at: &Path) {
    let file = fs::File::create_new(at.join("positions")).unwrap();
    (&file).write_all(b"0123456789").unwrap();
    report.push(("file stream_position", outcome((&file).stream_position())));
    report.push(("file seek start", outcome((&file).seek(SeekFrom::Start(3)))));
    report.push((
        "file seek current",
        outcome((&file).seek(SeekFrom::Current(2))),
    ));
    report.push(("file seek end", outcome((&file).seek(SeekFrom::End(-1)))));
    report.push((
        "file seek before",
        outcome((&file).seek(SeekFrom::End(-11))),
    ));
    let mut buf = [0; 4];
    report.push(("file read_at", outcome(file.read_at(&mut buf, 8))));
    report.push(("file read_at data", format!("{buf:?}")));
    report.push((
        "file read_exact_at",
        outcome(file.read_exact_at(&mut buf, 8)),
    ));
    report.push(("file write_at", outcome(file.write_at(b"xy", 1))));
    report.push(("file write_all_at", outcome(file.write_all_at(b"z", 12))));
    report.push(("file position stays", outcome((&file).stream_position())));
    report.push(("file set_len", outcome(file.set_len(14))));
    (&file).rewind().unwrap();
    let mut all = b"all: ".to_vec();
    report.push(("file read_to_end", outcome((&file).read_to_end(&mut all))));
    report.push(("file read_to_end data", format!("{all:?}")));
    (&file).rewind().unwrap();
    report.push(("file read_exact", outcome((&file).read_exact(&mut [0; 15]))));
}

fn texts(report: &mut Report, at: &Path) {
    let path = at.join("texts");
    fs::write(&path, b"a\xffb").unwrap();
    let mut file = fs::File::open(&path).unwrap();
    let mut text = "before".to_owned();
    report.push(("file no text", outcome(file.read_to_string(&mut text))));
    report.push(("file no text is added", text));
}

fn attributes(report: &mut Report, at: &Path) {
    let path = at.join("attributes");
    let file = fs::File::create_new(&path).unwrap();
    let mode = |data: fs::Metadata| format!("{:o}", data.mode());
    let set = file.set_permissions(fs::Permissions::from_mode(0o640));
    report.push(("file set_permissions", outcome(set)));
    report.push(("file metadata", outcome(file.metadata().map(mode))));
    let set = fs::set_permissions(&path, fs::Permissions::from_mode(0o400));
    report.push(("fs set_permissions", outcome(set)));
    report.push(("fs metadata", outcome(fs::metadata(&path).map(mode))));
    let open = fs::OpenOptions::new().write(true).open(&path);
    report.push(("file open to write is denied", outcome(open.map(drop))));
    let (then, later) = (
        SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        SystemTime::UNIX_EPOCH + Duration::from_secs(2),
    );
    report.push(("file set_modified", outcome(file.set_modified(then))));
    report.push((
        "file modified",
        outcome(file.metadata().unwrap().modified()),
    ));
    let times = fs::FileTimes::new().set_accessed(then).set_modified(later);
    report.push(("file set_times", outcome(file.set_times(times))));
    report.push((
        "file accessed",
        outcome(file.metadata().unwrap().accessed()),
    ));
    report.push((
        "file remodified",
        outcome(file.metadata().unwrap().modified()),
    ));
    let kind: fs::FileType = file.metadata().unwrap().file_type();
    report.push(("file type", format!("{}", kind.is_file())));
}

fn options(report: &mut Report, at: &Path) {
    let path = at.join("options");
    let none = fs::OpenOptions::new().open(&path);
    report.push(("options none", outcome(none.map(drop))));
    let mut wrong = fs::File::options();
    wrong.truncate(true);
    let wrong = wrong.read(true).open(&path);
    report.push(("options truncate to read", outcome(wrong.map(drop))));
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true).mode(0o604);
    let mut file = options.open(&path).unwrap();
    let mode = file.metadata().unwrap().mode() & 0o777;
    report.push(("options mode", format!("{mode:o}")));
    file.write_all(b"one").unwrap();
    options
        .clone()
        .open(&path)
        .unwrap()
        .write_all(b"two")
        .unwrap();
    report.push(("options append", outcome(fs::read(&path))));
    options.create_new(true);
    report.push(("options create_new", outcome(options.open(&path).map(drop))));
    let empty = fs::File::options().write(true).truncate(true).open(&path);
    report.push((
        "options truncate",
        outcome(empty.unwrap().metadata().map(|data| data.len())),
    ));
    let flags = libc::O_DIRECTORY;
    let file = fs::File::options()
        .read(true)
        .custom_flags(flags)
        .open(&path);
    report.push(("options custom_flags", outcome(file.map(drop))));
    let both = fs::File::options().read(true).write(true).open(&path);
    report.push(("options both", outcome(both.unwrap().write(b"x"))));
}

fn names(report: &mut Report, at: &Path) {
    let (from, to) = (at.join("from"), at.join("to"));
    fs::write(&from, "from").unwrap();
    fs::write(&to, "to").unwrap();
    report.push(("fs rename", outcome(fs::rename(&from, &to))));
    report.push(("fs renamed", outcome(fs::read(&to))));
    report.push(("fs rename nothing", outcome(fs::rename(&from, &to))));
    report.push(("fs rename to a directory", outcome(fs::rename(&to, at))));
    report.push(("fs exists", outcome(fs::exists(&to))));
    report.push(("fs exists not", outcome(fs::exists(&from))));
    report.push((
        "fs exists through a file",
        outcome(fs::exists(to.join("x"))),
    ));
    report.push(("fs remove_file", outcome(fs::remove_file(&to))));
    report.push(("fs remove_file nothing", outcome(fs::remove_file(&to))));
    report.push(("fs remove_file directory", outcome(fs::remove_file(at))));
    report.push(("fs metadata nothing", outcome(fs::metadata(&to).map(drop))));
}

fn links(report: &mut Report, at: &Path) {
    let (file, hard, soft) = (at.join("linked"), at.join("hard"), at.join("soft"));
    report.push(("fs hard_link nothing", outcome(fs::hard_link(&file, &hard))));
    fs::write(&file, "linked").unwrap();
    report.push(("fs hard_link", outcome(fs::hard_link(&file, &hard))));
    report.push(("fs hard_link again", outcome(fs::hard_link(&file, &hard))));
    report.push((
        "fs linked",
        outcome(fs::metadata(&hard).map(|data| data.nlink())),
    ));
    symlink("linked", &soft).unwrap();
    report.push(("fs read_link", outcome(fs::read_link(&soft))));
    report.push(("fs read_link no link", outcome(fs::read_link(&file))));
    let is_link = |data: fs::Metadata| data.is_symlink();
    report.push((
        "fs symlink_metadata",
        outcome(fs::symlink_metadata(&soft).map(is_link)),
    ));
    report.push((
        "fs metadata of a link",
        outcome(fs::metadata(&soft).map(is_link)),
    ));
    let real = fs::canonicalize(at.join("./soft")).map(|path| path == file);
    report.push(("fs canonicalize", outcome(real)));
    report.push((
        "fs canonicalize nothing",
        outcome(fs::canonicalize(at.join("no"))),
    ));
    symlink("circle", at.join("circle")).unwrap();
    let kind = fs::read(at.join("circle")).unwrap_err().raw_os_error();
    report.push(("fs read circle", format!("{kind:?}")));
}

fn directories(report: &mut Report, at: &Path) {
    let dir = at.join("dir");
    report.push(("fs create_dir", outcome(fs::create_dir(&dir))));
    report.push(("fs create_dir again", outcome(fs::create_dir(&dir))));
    report.push((
        "fs create_dir deep",
        outcome(fs::create_dir(dir.join("a/b"))),
    ));
    report.push((
        "fs create_dir_all",
        outcome(fs::create_dir_all(dir.join("a/b"))),
    ));
    report.push(("fs create_dir_all again", outcome(fs::create_dir_all(&dir))));
    report.push((
        "fs create_dir_all file",
        outcome(fs::create_dir_all(at.join("whole"))),
    ));
    report.push(("fs remove_dir full", outcome(fs::remove_dir(&dir))));
    report.push(("fs remove_dir", outcome(fs::remove_dir(dir.join("a/b")))));
    report.push((
        "fs remove_dir nothing",
        outcome(fs::remove_dir(dir.join("a/b"))),
    ));
    report.push((
        "fs remove_dir file",
        outcome(fs::remove_dir(at.join("whole"))),
    ));
    report.push((
        "fs remove_dir_all nothing",
        outcome(fs::remove_dir_all(at.join("no"))),
    ));
    let mut builder = fs::DirBuilder::new();
    report.push(("builder deep", outcome(builder.create(dir.join("x/y")))));
    builder.recursive(true).mode(0o700);
    report.push((
        "builder recursive",
        outcome(builder.create(dir.join("x/y"))),
    ));
    let mode = fs::metadata(dir.join("x")).unwrap().mode() & 0o777;
    report.push(("builder mode", format!("{mode:o}")));
    report.push(("builder again", outcome(builder.create(dir.join("x/y")))));
    builder.recursive(false);
    report.push((
        "builder once more",
        outcome(builder.create(dir.join("x/y"))),
    ));
}

fn listings(report: &mut Report, at: &Path) {
    let dir = at.join("listing");
    report.push(("fs read_dir nothing", outcome(fs::read_dir(&dir).map(drop))));
    report.push((
        "fs read_dir file",
        outcome(fs::read_dir(at.join("whole")).map(drop)),
    ));
    fs::create_dir_all(dir.join("sub")).unwrap();
    report.push((
        "fs read_dir",
        outcome(fs::read_dir(&dir).map(Iterator::count)),
    ));
    for n in 0..200 {
        fs::write(dir.join(n.to_string()), vec![b'x'; n]).unwrap();
    }
    symlink("sub", dir.join("link")).unwrap();
    let describe = |entry: fs::DirEntry| {
        let (kind, data) = (entry.file_type().unwrap(), entry.metadata().unwrap());
        assert_eq!((kind, entry.ino()), (data.file_type(), data.ino()));
        assert_eq!(entry.path(), dir.join(entry.file_name()));
        let len = if kind.is_file() { data.len() } else { 0 };
        // Each side has a folder of its own.
        let debug = format!("{entry:?}").replace(at.to_str().unwrap(), "");
        format!("{debug} {} {} {len}", kind.is_dir(), kind.is_symlink())
    };
    let entries: io::Result<Vec<_>> = fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.map(describe))
        .collect();
    let mut entries = entries.unwrap();
    entries.sort();
    report.push(("fs entries", format!("{entries:?}")));
    let gone = fs::read_dir(&dir).unwrap().next().unwrap().unwrap();
    fs::remove_dir_all(&dir).unwrap();
    report.push(("entry gone", outcome(gone.metadata().map(drop))));
}
