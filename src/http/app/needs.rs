//! Checks, before an app is served, that it has the values that its handlers need.
#![forbid(unsafe_code)]

use std::any::TypeId;
use std::io;

use super::spec::{FallbackSpec, RouteSpec, ScopeSpec};
use crate::http::exchange::extract::Needs;
use crate::http::exchange::handler::Handler;

/// Finds the first value that is needed and missing, or the first handler that is not ready.
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
    let check = |what: &dyn Fn() -> String, scope, handler: &dyn Handler, needs: &Needs, place| {
        // A function that needs values can be prepared by an app only. Other handlers may be apps.
        if needs.types().is_empty() {
            return handler.prepare();
        }
        match needs.types().iter().find(|(id, _)| !has(scope, *id)) {
            None => Ok(()),
            Some((_, name)) => missing(format!(
                "{} needs `State<{name}>`, and no `App::with` gives one (routed at {place})",
                what()
            )),
        }
    };
    for route in routes {
        let RouteSpec { handler, needs, .. } = route;
        check(
            &|| route.describe(),
            route.scope,
            &**handler,
            needs,
            route.place,
        )?;
    }
    for (number, scope) in scopes.iter().enumerate() {
        if let Some(FallbackSpec {
            handler,
            needs,
            place,
        }) = &scope.fallback
        {
            check(
                &|| "the fallback".to_owned(),
                number,
                &**handler,
                needs,
                *place,
            )?;
        }
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
