//! Opens what a request names.
//!
//! A file whose name is in memory is opened on the shard, which needs no disk. Else one call of the
//! pool does everything: it opens the file, and reads it if it is small.
#![forbid(unsafe_code)]

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::sync::Arc;

use super::path::Wanted;
use crate::bridge;
use crate::http::proto::accept_encoding::{Accepted, Coding};
use crate::runtime::driver::beneath::{self, Beneath, Effort, Entry};

/// Files up to this size are read by the call of the pool that opens them.
const SMALL: u64 = 64 * 1024;

/// What is looked for.
pub(super) struct Search {
    pub(super) root: Arc<Beneath>,
    pub(super) wanted: Wanted,
    /// The name of the file that stands for its directory.
    pub(super) index: Option<Arc<str>>,
    /// Whether directories without an index are listed.
    pub(super) lists: bool,
    pub(super) accepted: Accepted,
    /// Whether all of the file is going to be sent, as far as is known.
    pub(super) reads: bool,
}

/// What was found.
pub(super) enum Found {
    File(Box<FoundFile>),
    /// A directory, named without a slash at the end.
    Directory,
    Entries(Vec<Entry>),
    Missing,
}

/// A regular file, or a compressed sibling of one.
pub(super) struct FoundFile {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    /// The path of the plain file.
    pub(super) path: String,
    pub(super) coding: Option<Coding>,
    /// The content, if it was read.
    pub(super) bytes: Option<Vec<u8>>,
}

impl Search {
    /// Suspends the caller if the disk may have to be read.
    pub(super) fn run(self) -> io::Result<Found> {
        match self.attempt(Effort::Cached) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                bridge::blocking(move || self.attempt(Effort::Full))
            }
            found => found,
        }
    }

    fn attempt(&self, effort: Effort) -> io::Result<Found> {
        let path = &self.wanted.path;
        if self.wanted.is_dir {
            if let Some(index) = &self.index {
                let path = match path.as_str() {
                    "" => index.to_string(),
                    folder => format!("{folder}/{index}"),
                };
                if let Some((file, metadata)) = self.open(&path, effort)?
                    && metadata.is_file()
                {
                    return self.choose(file, metadata, path, effort);
                }
            }
            return if self.lists {
                self.list(effort)
            } else {
                Ok(Found::Missing)
            };
        }
        match self.open(path, effort)? {
            Some((file, metadata)) if metadata.is_file() => {
                self.choose(file, metadata, path.clone(), effort)
            }
            Some((_, metadata)) if metadata.is_dir() && (self.lists || self.index.is_some()) => {
                Ok(Found::Directory)
            }
            _ => Ok(Found::Missing),
        }
    }

    /// `None` if there is no such name.
    fn open(&self, path: &str, effort: Effort) -> io::Result<Option<(File, Metadata)>> {
        match self.root.open(path, effort) {
            Ok(file) => {
                let metadata = file.metadata()?;
                Ok(Some((file, metadata)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the best sibling that there is instead of the plain file.
    fn choose(
        &self,
        file: File,
        metadata: Metadata,
        path: String,
        effort: Effort,
    ) -> io::Result<Found> {
        let mut found = FoundFile {
            file,
            metadata,
            path,
            coding: None,
            bytes: None,
        };
        for coding in self.accepted.iter() {
            let path = format!("{}{}", found.path, coding.suffix());
            match self.open(&path, effort) {
                Ok(Some((file, metadata))) if metadata.is_file() => {
                    (found.file, found.metadata) = (file, metadata);
                    found.coding = Some(coding);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // The plain file can be read.
                _ => {}
            }
        }
        if effort == Effort::Full && self.reads && found.metadata.len() <= SMALL {
            found.read()?;
        }
        Ok(Found::File(Box::new(found)))
    }

    fn list(&self, effort: Effort) -> io::Result<Found> {
        if effort == Effort::Cached {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.open(&self.wanted.path, effort)? {
            Some((directory, metadata)) if metadata.is_dir() => {
                let entries = beneath::entries(directory, self.root.follows_links())?;
                Ok(Found::Entries(entries))
            }
            _ => Ok(Found::Missing),
        }
    }
}

impl FoundFile {
    /// Reads the content. If the file becomes shorter meanwhile, nothing is kept: sending it from
    /// the file finds the error.
    fn read(&mut self) -> io::Result<()> {
        let len = self.metadata.len();
        let mut bytes = Vec::with_capacity(len as usize);
        (&self.file).take(len).read_to_end(&mut bytes)?;
        self.bytes = Some(bytes).filter(|bytes| bytes.len() as u64 == len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Looks for a file of `len` bytes as the pool does.
    fn found_by_the_pool(len: usize, reads: bool) -> FoundFile {
        let name = format!("ethreads-find-{}-{len}-{reads}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), vec![7; len]).unwrap();
        let search = Search {
            root: Arc::new(Beneath::new(&folder).unwrap()),
            wanted: Wanted {
                path: "file".to_owned(),
                is_dir: false,
            },
            index: None,
            lists: false,
            accepted: Accepted::default(),
            reads,
        };
        let found = search.attempt(Effort::Full).unwrap();
        fs::remove_dir_all(folder).unwrap();
        match found {
            Found::File(found) => *found,
            _ => panic!("no file"),
        }
    }

    #[test]
    fn small_files_are_read_by_the_call_that_opens_them() {
        for len in [0, 1, SMALL as usize] {
            let found = found_by_the_pool(len, true);
            assert_eq!(found.bytes, Some(vec![7; len]));
        }
        assert_eq!(found_by_the_pool(SMALL as usize + 1, true).bytes, None);
        assert_eq!(found_by_the_pool(1, false).bytes, None);
    }

    #[test]
    fn a_file_that_became_shorter_is_not_kept() {
        let mut found = found_by_the_pool(10, false);
        let mut cut = found_by_the_pool(9, false);
        std::mem::swap(&mut found.file, &mut cut.file);
        found.read().unwrap();
        assert_eq!(found.bytes, None);
    }
}
