//! Checks, before an app is served, that it has the values that its handlers need.
#![forbid(unsafe_code)]

use std::any::TypeId;
use std::io;

use super::spec::{RouteSpec, ScopeSpec};

/// Finds the first value that is needed and missing.
pub(super) fn check_needs(scopes: &[ScopeSpec], routes: &[RouteSpec]) -> io::Result<()> {
    let has = |mut scope: usize, id: TypeId| {
        loop {
            if scopes[scope].values.iter().any(|(have, _)| *have == id) {
                return true;
            }
            match scopes[scope].parent {
                Some(parent) => scope = parent,
                None => return false,
            }
        }
    };
    let missing = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    for route in routes {
        for (id, name) in route.needs.types() {
            if !has(route.scope, *id) {
                return missing(format!(
                    "{} needs `State<{name}>`, and no `App::with` gives one (routed at {})",
                    route.describe(),
                    route.place
                ));
            }
        }
    }
    for (number, scope) in scopes.iter().enumerate() {
        for (needs, place) in &scope.needs {
            for (id, name) in needs.types() {
                if !has(number, *id) {
                    return missing(format!(
                        "the app needs a `{name}`, and no `App::with` gives one (needed at \
                         {place})"
                    ));
                }
            }
        }
    }
    Ok(())
}
