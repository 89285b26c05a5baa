//! Where a parked ethread is: the calls that have led there.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::OnceLock;

/// The calls that a parked ethread is in, innermost first, from the code that has called the
/// library down to the ethread's beginning.
///
/// It is taken by the ethread itself, which is woken for that and parks again. Names and lines are
/// looked up when they are asked for. A release build has the names, and the lines if it has
/// `debug = "line-tables-only"` or more.
pub struct Backtrace {
    raw: ::backtrace::Backtrace,
    frames: OnceLock<Vec<Frame>>,
}

/// One call.
#[derive(Debug)]
struct Frame {
    name: String,
    /// The file and the line.
    place: Option<String>,
}

/// What the names of functions begin with that are between a call of the user's and the park.
const BETWEEN: [&str; 6] = [
    "ethreads::",
    "corosensei::",
    "backtrace::",
    "std::",
    "core::",
    "alloc::",
];

/// Where the calls of an ethread begin.
const ROOTS: [&str; 2] = [
    "ethreads::runtime::task::",
    "ethreads::runtime::coroutine::",
];

impl Backtrace {
    /// Takes that of the caller.
    #[inline(never)]
    pub(super) fn capture() -> Self {
        Self {
            raw: ::backtrace::Backtrace::new_unresolved(),
            frames: OnceLock::new(),
        }
    }

    fn frames(&self) -> &[Frame] {
        self.frames.get_or_init(|| {
            let mut raw = self.raw.clone();
            raw.resolve();
            let symbols = raw.frames().iter().flat_map(|frame| frame.symbols());
            let frames = symbols.map(|symbol| Frame {
                name: symbol.name().map_or_else(
                    || "(unknown)".to_owned(),
                    // Without the hash.
                    |name| format!("{name:#}"),
                ),
                place: symbol.filename().map(|file| {
                    let line = symbol.lineno().unwrap_or_default();
                    format!("{}:{line}", file.display())
                }),
            });
            let frames = frames.skip_while(|frame| begins_with(&frame.name, &BETWEEN));
            frames
                .take_while(|frame| !begins_with(&frame.name, &ROOTS))
                .collect()
        })
    }

    /// Returns the innermost call outside of the library, std and the like: its function and, where
    /// that is known, file and line.
    #[must_use]
    pub fn caller(&self) -> Option<String> {
        self.frames().first().map(Frame::to_string)
    }
}

/// Whether a function is of one of these crates or modules: `std::io::read`, `<std::io::File as
/// std::io::Read>::read`.
fn begins_with(name: &str, starts: &[&str]) -> bool {
    let name = name.trim_start_matches(['<', '&']);
    starts.iter().any(|start| name.starts_with(start))
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.place {
            Some(place) => write!(f, " at {place}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Backtrace {
    /// One line for each call.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, frame) in self.frames().iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{number:4}: {frame}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.frames()).finish()
    }
}
