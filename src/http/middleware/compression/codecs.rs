//! The encoders of a shard, which responses use one after the other.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::codec::Codec;
use crate::http::proto::accept_encoding::Coding;

/// How many unused encoders of each coding are kept.
const IDLE: usize = 4;

/// The largest output buffer that is kept.
const KEPT_OUTPUT: usize = 128 * 1024;

/// The levels of the encoders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Levels {
    #[cfg(feature = "gzip")]
    pub(super) gzip: u32,
    #[cfg(feature = "brotli")]
    pub(super) brotli: u32,
    #[cfg(feature = "zstd")]
    pub(super) zstd: i32,
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            #[cfg(feature = "gzip")]
            gzip: 1,
            #[cfg(feature = "brotli")]
            brotli: 5,
            #[cfg(feature = "zstd")]
            zstd: 1,
        }
    }
}

/// The codings that are built in, the cheapest one first.
pub(super) fn built() -> impl Iterator<Item = Coding> {
    let all = [
        (Coding::Zstd, cfg!(feature = "zstd")),
        (Coding::Gzip, cfg!(feature = "gzip")),
        (Coding::Brotli, cfg!(feature = "brotli")),
    ];
    let built = all.into_iter().filter(|(_, is_built)| *is_built);
    built.map(|(coding, _)| coding)
}

/// The encoders of an app.
pub(super) struct Codecs {
    levels: Levels,
    /// Unused encoders, by coding.
    idle: [RefCell<Vec<Work>>; 3],
}

/// An encoder, and a buffer for its output.
pub(super) struct Work {
    pub(super) codec: Box<dyn Codec>,
    pub(super) out: Vec<u8>,
}

impl Codecs {
    pub(super) fn new(levels: Levels) -> Self {
        Self {
            levels,
            idle: Default::default(),
        }
    }

    /// Takes an encoder, which is given back when it is dropped.
    pub(super) fn take(self: &Rc<Self>, coding: Coding) -> io::Result<Taken> {
        loop {
            let idle = self.idle[coding as usize].borrow_mut().pop();
            let work = match idle {
                Some(mut work) => {
                    work.out.clear();
                    if !work.codec.restart() {
                        continue;
                    }
                    work
                }
                None => Work {
                    codec: self.make(coding)?,
                    out: Vec::new(),
                },
            };
            return Ok(Taken {
                work: Some(work),
                coding,
                codecs: self.clone(),
            });
        }
    }

    /// The number of unused encoders of a coding.
    #[cfg(test)]
    pub(super) fn idle_of(&self, coding: Coding) -> usize {
        self.idle[coding as usize].borrow().len()
    }

    fn make(&self, coding: Coding) -> io::Result<Box<dyn Codec>> {
        match coding {
            #[cfg(feature = "gzip")]
            Coding::Gzip => Ok(Box::new(super::gzip::Gzip::new(self.levels.gzip))),
            #[cfg(feature = "brotli")]
            Coding::Brotli => Ok(Box::new(super::brotli::Brotli::new(self.levels.brotli))),
            #[cfg(feature = "zstd")]
            Coding::Zstd => Ok(Box::new(super::zstd::Zstd::new(self.levels.zstd)?)),
            #[allow(unreachable_patterns)]
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Compresses a whole body; `None` if it does not become shorter.
    pub(super) fn whole(
        self: &Rc<Self>,
        coding: Coding,
        plain: &[u8],
    ) -> io::Result<Option<Vec<u8>>> {
        let mut taken = self.take(coding)?;
        let Work { codec, out } = &mut *taken;
        // Enough for nearly every body, so that the encoder is called once.
        out.reserve(plain.len() / 2 + 64);
        codec.finish(plain, out)?;
        // The buffer stays with the encoder.
        Ok((out.len() < plain.len()).then(|| out.to_vec()))
    }
}

/// An encoder that is in use.
pub(super) struct Taken {
    /// Always there but in the destructor.
    work: Option<Work>,
    coding: Coding,
    codecs: Rc<Codecs>,
}

impl Deref for Taken {
    type Target = Work;

    fn deref(&self) -> &Work {
        self.work.as_ref().expect("only the destructor takes it")
    }
}

impl DerefMut for Taken {
    fn deref_mut(&mut self) -> &mut Work {
        self.work.as_mut().expect("only the destructor takes it")
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut idle = self.codecs.idle[self.coding as usize].borrow_mut();
        if let Some(mut work) = self.work.take()
            && idle.len() < IDLE
        {
            work.out.clear();
            work.out.shrink_to(KEPT_OUTPUT);
            idle.push(work);
        }
    }
}
