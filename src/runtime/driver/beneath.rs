//! Opens what is below a directory, and nothing outside of it.
//!
//! Linux resolves the whole path in one system call (openat2(2)), which refuses every way out:
//! `..`, absolute links, links of `/proc`. Elsewhere, and where openat2(2) is missing, each
//! component is opened by itself, and no link is followed.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// A directory below which files are opened.
#[derive(Debug)]
pub(crate) struct Beneath {
    directory: File,
    /// Whether links are followed, as long as they stay below the directory.
    follows_links: bool,
}

/// What an open may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Only names that are in memory. Others are `WouldBlock`.
    Cached,
    /// The disk may be read.
    Full,
}

/// An entry of a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) is_dir: bool,
}

/// Not for pipes without a writer, and no terminal becomes that of the process.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

impl Beneath {
    /// Opens the directory itself, whose path may contain links.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            directory: directory.into(),
            follows_links: false,
        })
    }

    /// Follows links that stay below the directory, where openat2(2) does.
    pub(crate) fn follow_links(&mut self) {
        self.follows_links = true;
    }

    pub(crate) fn follows_links(&self) -> bool {
        self.follows_links
    }

    /// Opens `path`, which is relative to the directory and has neither empty components nor `..`;
    /// the empty path is the directory itself.
    ///
    /// # Errors
    ///
    /// `NotFound` also for a path that would leave the directory, for a link that is not followed,
    /// and for a name that no file can have.
    pub(crate) fn open(&self, path: &str, effort: Effort) -> io::Result<File> {
        let path = if path.is_empty() { "." } else { path };
        let opened = match self.at_once(path, effort) {
            None if effort == Effort::Cached => Err(Errno::AGAIN),
            None => self.by_components(path),
            Some(opened) => opened,
        };
        opened.map_err(|error| match error {
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::NAMETOOLONG
            | Errno::NXIO
            | Errno::NODEV
            | Errno::MLINK => io::ErrorKind::NotFound.into(),
            error => error.into(),
        })
    }

    /// `None` if the system has no such call.
    #[cfg(target_os = "linux")]
    fn at_once(&self, path: &str, effort: Effort) -> Option<Result<File, Errno>> {
        use rustix::fs::ResolveFlags;
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if !self.follows_links {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        if effort == Effort::Cached {
            resolve |= ResolveFlags::CACHED;
        }
        // With links, a rename anywhere in the system makes the kernel give up, as it cannot tell
        // where `..` leads to.
        let attempts = if effort == Effort::Cached { 1 } else { 64 };
        let mut opened = Err(Errno::AGAIN);
        for _ in 0..attempts {
            opened = rustix::fs::openat2(&self.directory, path, FLAGS, Mode::empty(), resolve);
            match opened {
                Err(Errno::AGAIN | Errno::INTR) => {}
                _ => break,
            }
        }
        match opened {
            // Linux before 5.6; a sandbox; Linux before 5.12, which does not know `CACHED`.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => None,
            Err(Errno::INTR) => Some(Err(Errno::AGAIN)),
            opened => Some(opened.map(File::from)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn at_once(&self, _path: &str, _effort: Effort) -> Option<Result<File, Errno>> {
        None
    }

    fn by_components(&self, path: &str) -> Result<File, Errno> {
        let (folders, last) = match path.rsplit_once('/') {
            Some((folders, last)) => (Some(folders), last),
            None => (None, path),
        };
        let mut folder: Option<File> = None;
        for component in folders.into_iter().flat_map(|path| path.split('/')) {
            let at = folder.as_ref().unwrap_or(&self.directory).as_fd();
            folder = Some(open_component(at, component, OFlags::DIRECTORY)?);
        }
        let at = folder.as_ref().unwrap_or(&self.directory).as_fd();
        open_component(at, last, OFlags::empty())
    }
}

fn open_component(at: BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<File, Errno> {
    if name == ".." {
        return Err(Errno::XDEV);
    }
    let flags = FLAGS | OFlags::NOFOLLOW | flags;
    loop {
        match rustix::fs::openat(at, name, flags, Mode::empty()) {
            Err(Errno::INTR) => {}
            opened => return opened.map(File::from),
        }
    }
}

/// Lists a directory: its files and directories, and its links if `with_links`. Names that are not
/// UTF-8 are left out, and so is all that is neither file nor directory.
pub(crate) fn entries(directory: File, with_links: bool) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = match entry.file_type() {
            // Some file systems do not tell.
            FileType::Unknown => type_of(directory.as_fd(), name),
            kind => kind,
        };
        let is_dir = match kind {
            FileType::Directory => true,
            FileType::RegularFile => false,
            FileType::Symlink if with_links => false,
            _ => continue,
        };
        match name.to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => found.push(Entry {
                name: name.to_owned(),
                is_dir,
            }),
        }
    }
    Ok(found)
}

fn type_of(directory: BorrowedFd<'_>, name: &CStr) -> FileType {
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    match rustix::fs::statat(directory, name, flags) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(_) => FileType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    fn site(name: &str) -> (PathBuf, Beneath) {
        let path = std::env::temp_dir().join(format!("ethreads-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("root/sub")).unwrap();
        fs::write(path.join("secret"), "secret").unwrap();
        fs::write(path.join("root/sub/page"), "page").unwrap();
        symlink("../secret", path.join("root/out")).unwrap();
        symlink("/etc/passwd", path.join("root/absolute")).unwrap();
        symlink("sub/page", path.join("root/in")).unwrap();
        let root = Beneath::new(&path.join("root")).unwrap();
        (path, root)
    }

    type Open = fn(&Beneath, &str) -> io::Result<File>;

    const WAYS: [Open; 2] = [
        |root, path| root.open(path, Effort::Full),
        |root, path| Ok(root.by_components(path)?),
    ];

    #[test]
    fn files_below_open_and_nothing_else_does() {
        let (path, root) = site("beneath");
        for open in WAYS {
            let mut text = String::new();
            let mut file = open(&root, "sub/page").unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "page");
            assert!(open(&root, "sub").unwrap().metadata().unwrap().is_dir());
            let outside = ["out", "absolute", "in", "../secret", "sub/../../secret"];
            for name in outside
                .iter()
                .chain(&["none", "sub/page/more", "/etc/passwd"])
            {
                open(&root, name).expect_err(name);
            }
        }
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn links_are_followed_below_the_directory_only() {
        let (path, mut root) = site("beneath-links");
        root.follow_links();
        if root.at_once("in", Effort::Full).is_some() {
            root.open("in", Effort::Full).unwrap();
        }
        for name in ["out", "absolute"] {
            let error = root.open(name, Effort::Full).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{name}");
        }
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn names_in_memory_open_without_the_disk_or_not_at_all() {
        let (path, root) = site("beneath-cached");
        root.open("sub/page", Effort::Full).unwrap();
        if let Err(error) = root.open("sub/page", Effort::Cached) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn entries_are_files_and_directories() {
        let (path, root) = site("beneath-entries");
        let names = |with_links| {
            let directory = root.open("", Effort::Full).unwrap();
            let mut names = entries(directory, with_links).unwrap();
            names.sort_by(|a, b| a.name.cmp(&b.name));
            names.into_iter().map(|entry| (entry.name, entry.is_dir))
        };
        assert_eq!(names(false).collect::<Vec<_>>(), [("sub".into(), true)]);
        assert_eq!(names(true).count(), 4);
        fs::remove_dir_all(path).unwrap();
    }
}
