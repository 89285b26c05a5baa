//! How files are opened and directories made.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::file::File;
use super::offload;

/// Options to open a file with, as [`std::fs::OpenOptions`].
///
/// [`OpenOptionsExt`] is there too: `mode` and `custom_flags`.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use ethreads::fs::{self, OpenOptions};
///
/// ethreads::run_main(|| {
///     let path = std::env::temp_dir().join(format!("ethreads-log-{}", std::process::id()));
///     for line in ["one\n", "two\n"] {
///         let mut log = OpenOptions::new().append(true).create(true).open(&path)?;
///         log.write_all(line.as_bytes())?;
///     }
///     assert_eq!(fs::read_to_string(&path)?, "one\ntwo\n");
///     fs::remove_file(&path)
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions(fs::OpenOptions);

// As std's; a `Default` with the same meaning is not among what std has.
#[allow(clippy::new_without_default)]
impl OpenOptions {
    /// Returns options of which none is set.
    #[must_use]
    pub fn new() -> Self {
        Self(fs::OpenOptions::new())
    }

    /// Sets whether the file can be read.
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.0.read(read);
        self
    }

    /// Sets whether the file can be written. What is there stays, unless it is written over.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.0.write(write);
        self
    }

    /// Sets whether what is written goes to the end of the file, wherever that is by then.
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.0.append(append);
        self
    }

    /// Sets whether the file is emptied first.
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.0.truncate(truncate);
        self
    }

    /// Sets whether the file is made if there is none.
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.0.create(create);
        self
    }

    /// Sets whether the file has to be made, and may not have been there.
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.0.create_new(create_new);
        self
    }

    /// Opens a file, as [`std::fs::OpenOptions::open`]; suspends the ethread meanwhile.
    ///
    /// # Errors
    ///
    /// Those of std: `InvalidInput` for options that contradict each other, `NotFound`,
    /// `AlreadyExists`, `PermissionDenied` and so on.
    ///
    /// # Cancellation
    ///
    /// The call goes on in the pool, where the file is closed at once; but it may have been made,
    /// or emptied.
    #[track_caller]
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let (options, path) = (self.0.clone(), path.as_ref().to_owned());
        offload(move || options.open(path).map(File::from))
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.0.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.0.custom_flags(flags);
        self
    }
}

/// Makes directories, as [`std::fs::DirBuilder`].
///
/// [`DirBuilderExt`] is there too: `mode`.
///
/// # Examples
///
/// ```
/// use std::os::unix::fs::DirBuilderExt;
/// use ethreads::fs::{self, DirBuilder};
///
/// ethreads::run_main(|| {
///     let dir = std::env::temp_dir().join(format!("ethreads-dirs-{}", std::process::id()));
///     DirBuilder::new().recursive(true).mode(0o700).create(dir.join("a/b"))?;
///     assert!(fs::metadata(dir.join("a/b"))?.is_dir());
///     fs::remove_dir_all(&dir)
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DirBuilder {
    recursive: bool,
    mode: Option<u32>,
}

// As std's.
#[allow(clippy::new_without_default)]
impl DirBuilder {
    /// Returns a builder of single directories that everybody may use, as far as the process's
    /// umask lets them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            recursive: false,
            mode: None,
        }
    }

    /// Sets whether the directories above are made too, and one that is there is no error.
    pub fn recursive(&mut self, recursive: bool) -> &mut Self {
        self.recursive = recursive;
        self
    }

    /// Makes a directory, as [`std::fs::DirBuilder::create`]; suspends the ethread meanwhile.
    ///
    /// # Errors
    ///
    /// Those of std, such as `AlreadyExists`.
    #[track_caller]
    pub fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        // std's cannot be cloned.
        let mut builder = fs::DirBuilder::new();
        builder.recursive(self.recursive);
        if let Some(mode) = self.mode {
            builder.mode(mode);
        }
        let path = path.as_ref().to_owned();
        offload(move || builder.create(path))
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = Some(mode);
        self
    }
}
