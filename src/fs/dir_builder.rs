//! Creation of directories.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::offload::offload;

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
    /// Returns a builder of single directories. Their mode is 0o777, less the process's umask.
    #[must_use]
    pub fn new() -> Self {
        Self {
            recursive: false,
            mode: None,
        }
    }

    /// Sets whether missing parent directories are made too. A directory that exists is then no
    /// error.
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
        // std's builder cannot be cloned.
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
