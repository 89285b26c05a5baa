//! What routing has found for a request, and the values of apps and requests.
#![forbid(unsafe_code)]

use std::any::{Any, TypeId};
use std::rc::Rc;

/// The route of a request: its pattern, where its parameters are, and the app it belongs to.
pub(in crate::http) struct Route {
    /// `None` if no route matches.
    pub(in crate::http) pattern: Option<Box<str>>,
    pub(in crate::http) params: Vec<Param>,
    pub(in crate::http) scope: Rc<Scope>,
}

/// A parameter of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Param {
    pub(in crate::http) name: Box<str>,
    /// The segments of the path before that of the parameter.
    pub(in crate::http) segment: usize,
    /// Whether the parameter is the whole rest of the path.
    pub(in crate::http) is_rest: bool,
}

impl Route {
    /// The parameters with their names, as parts of `path`, still percent-encoded.
    pub(in crate::http) fn params<'a>(
        &'a self,
        path: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        params_of(&self.params, path)
    }
}

/// See [`Route::params`].
#[inline]
pub(in crate::http) fn params_of<'a>(
    params: &'a [Param],
    path: &'a str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut rest = path.strip_prefix('/').unwrap_or(path);
    // The number of the segment that `rest` begins with.
    let mut at = 0;
    params.iter().map(move |param| {
        loop {
            if param.is_rest && at == param.segment {
                return (&*param.name, rest);
            }
            let (segment, behind) = split_segment(rest);
            rest = behind.unwrap_or_default();
            at += 1;
            if at > param.segment {
                return (&*param.name, segment);
            }
        }
    })
}

/// Splits a path at its first slash. By bytes: segments are short, and `split_once` costs more.
#[inline]
pub(in crate::http) fn split_segment(path: &str) -> (&str, Option<&str>) {
    match path.bytes().position(|byte| byte == b'/') {
        Some(at) => (&path[..at], Some(&path[at + 1..])),
        None => (path, None),
    }
}

/// What an app gives to the requests of its routes; the apps that enclose it are its parents.
#[derive(Default)]
pub(in crate::http) struct Scope {
    pub(in crate::http) parent: Option<Rc<Self>>,
    pub(in crate::http) values: Vec<(TypeId, Rc<dyn Any>)>,
    /// The maximum length of a body that is collected into memory, in bytes.
    pub(in crate::http) body_limit: Option<u64>,
}

impl Scope {
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |scope| scope.parent.as_deref())
    }

    /// The value of a type in the nearest app that has one.
    pub(in crate::http) fn value(&self, id: TypeId) -> Option<&Rc<dyn Any>> {
        self.chain().find_map(|scope| {
            let found = scope.values.iter().find(|(have, _)| *have == id);
            found.map(|(_, value)| value)
        })
    }

    pub(in crate::http) fn body_limit(&self) -> Option<u64> {
        self.chain().find_map(|scope| scope.body_limit)
    }
}

/// Values that are kept with a request, one of each type.
#[derive(Default)]
pub(in crate::http) struct Values(Vec<(TypeId, Box<dyn Any>)>);

impl Values {
    pub(in crate::http) fn insert<T: Any>(&mut self, value: T) -> Option<T> {
        let replaced = self.remove();
        self.0.push((TypeId::of::<T>(), Box::new(value)));
        replaced
    }

    fn position<T: Any>(&self) -> Option<usize> {
        let id = TypeId::of::<T>();
        self.0.iter().position(|(have, _)| *have == id)
    }

    pub(in crate::http) fn get<T: Any>(&self) -> Option<&T> {
        self.0[self.position::<T>()?].1.downcast_ref()
    }

    pub(in crate::http) fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        let at = self.position::<T>()?;
        self.0[at].1.downcast_mut()
    }

    pub(in crate::http) fn remove<T: Any>(&mut self) -> Option<T> {
        let at = self.position::<T>()?;
        let value = self.0.swap_remove(at).1.downcast().ok()?;
        Some(*value)
    }
}
