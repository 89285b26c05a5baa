//! The backtrace of a parked ethread.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::OnceLock;

/// The calls that a parked ethread is in, innermost first, from the code that has called the
/// library down to the ethread's beginning.
///
/// The ethread captures it itself: it is woken for that and parks again. Names and lines are looked
/// up on first use. A release build has the names. With `debug = "line-tables-only"` or more it has
/// the lines, too.
///
/// # Examples
///
/// ```
/// use ethreads::{RunError, thread};
///
/// fn wait_in_vain() {
///     thread::park();
///     unreachable!("nothing unparks it");
/// }
///
/// thread::spawn(wait_in_vain);
/// let Err(RunError::Deadlock(deadlock)) = ethreads::run() else {
///     unreachable!("it waits in vain");
/// };
/// let backtrace = deadlock.parked()[0].backtrace.as_ref().expect("it has room on its stack");
/// assert!(backtrace.caller().is_some_and(|caller| caller.contains("wait_in_vain")));
/// deadlock.cancel_all();
/// ethreads::run()?; // it unwinds
/// # Ok::<(), RunError>(())
/// ```
pub struct Backtrace {
    raw: ::backtrace::Backtrace,
    frames: OnceLock<Vec<Frame>>,
}

/// One call.
#[derive(Debug)]
struct Frame {
    name: String,
    file: Option<String>,
    line: u32,
}

/// Prefixes of the names of functions that are between user code and the park.
const NAMES_BETWEEN: [&str; 6] = [
    "ethreads::",
    "corosensei::",
    "backtrace::",
    "std::",
    "core::",
    "alloc::",
];

/// Parts of the paths of their files. They are needed for inlined functions: with no more than a
/// table of lines, such a function's name has no path.
const FILES_BETWEEN: [&str; 5] = [
    "/corosensei-",
    "/backtrace-",
    "/library/std/src/",
    "/library/core/src/",
    "/library/alloc/src/",
];

/// Where the calls of an ethread begin: functions, and their files.
const ROOTS: [&str; 2] = [
    "ethreads::runtime::task::work::",
    "ethreads::runtime::stack::coroutine::",
];
const ROOT_FILES: [&str; 2] = ["runtime/task/work.rs", "runtime/stack/coroutine.rs"];

/// This file, in the folder of the library.
const OWN_FILE: &str = "runtime/stack/backtrace.rs";

impl Backtrace {
    /// Captures the backtrace of the caller.
    #[inline(never)]
    pub(in crate::runtime) fn capture() -> Self {
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
            let all: Vec<_> = symbols.map(Frame::new).collect();
            // The innermost calls are the library's, wherever it was built.
            let own = all.iter().find_map(Frame::folder_of_library);
            let own = own.unwrap_or("(unknown)").to_owned();
            let called = all.into_iter().skip_while(|frame| frame.is_between(&own));
            let mut frames: Vec<_> = called.take_while(|frame| !frame.is_root(&own)).collect();
            // Drops the calls that lead to the ethread's closure.
            while frames.last().is_some_and(|frame| frame.is_between(&own)) {
                frames.pop();
            }
            frames
        })
    }

    /// Returns the innermost call outside of the library, std and the like: its function and, where
    /// that is known, file and line.
    #[must_use]
    pub fn caller(&self) -> Option<String> {
        self.frames().first().map(Frame::to_string)
    }
}

impl Frame {
    fn new(symbol: &::backtrace::BacktraceSymbol) -> Self {
        let name = symbol.name();
        Self {
            // Without the hash.
            name: name.map_or_else(|| "(unknown)".to_owned(), |name| format!("{name:#}")),
            file: symbol.filename().map(|file| file.display().to_string()),
            line: symbol.lineno().unwrap_or_default(),
        }
    }

    /// The folder of the library, if this is the call that has captured the backtrace.
    fn folder_of_library(&self) -> Option<&str> {
        self.file.as_deref()?.strip_suffix(OWN_FILE)
    }

    /// Whether the call is in the library, in std, or in another crate between the two.
    fn is_between(&self, own: &str) -> bool {
        let of_file = |file: &str| {
            file.starts_with(own) || FILES_BETWEEN.iter().any(|part| file.contains(part))
        };
        begins_with(&self.name, &NAMES_BETWEEN) || self.file.as_deref().is_some_and(of_file)
    }

    /// Whether an ethread begins here.
    fn is_root(&self, own: &str) -> bool {
        let of_library = self.file.as_deref().and_then(|file| file.strip_prefix(own));
        begins_with(&self.name, &ROOTS) || of_library.is_some_and(|file| ROOT_FILES.contains(&file))
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
        match &self.file {
            Some(file) => write!(f, " at {file}:{}", self.line),
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
