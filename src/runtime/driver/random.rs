//! Random numbers of the system.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hasher, RandomState};
#[cfg(feature = "cookie")]
use std::io;

/// A number that a peer cannot foresee.
pub(crate) fn unforeseen() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Fills `buf` with random bytes for secrets.
///
/// # Errors
///
/// If the system has none to give. Once it has given some, it does not fail any more.
#[cfg(feature = "cookie")]
pub(crate) fn fill_secret(buf: &mut [u8]) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::rand::{GetRandomFlags, getrandom};
        let mut rest = buf;
        while !rest.is_empty() {
            match getrandom(&mut *rest, GetRandomFlags::empty()) {
                Ok(filled) => rest = &mut rest[filled..],
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
    #[cfg(not(target_os = "linux"))]
    {
        io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ() {
        assert_ne!(unforeseen(), unforeseen());
    }

    #[cfg(feature = "cookie")]
    #[test]
    fn secrets_fill_all_of_a_buffer() {
        let mut seen = [0; 600];
        for _ in 0..20 {
            let mut buf = [0; 600];
            fill_secret(&mut buf).unwrap();
            seen.iter_mut()
                .zip(buf)
                .for_each(|(seen, byte)| *seen |= byte);
        }
        // That a byte is zero 20 times has a probability of 2^-160.
        assert!(seen.iter().all(|byte| *byte != 0));
        fill_secret(&mut []).unwrap();
    }
}
