//! `Debug` for types whose fields say nothing to a reader.
#![forbid(unsafe_code)]

/// Implements `Debug` for a type by its name and the results of the given methods:
/// `opaque_debug!(impl<T> for Sender<T>, len);`.
macro_rules! opaque_debug {
    (impl $(<$($T:ident),+>)? for $Type:ident $(<$($arg:tt),+>)? $(, $method:ident)*) => {
        impl $(<$($T),+>)? ::std::fmt::Debug for $Type $(<$($arg),+>)? {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($Type))
                    $(.field(stringify!($method), &self.$method()))*
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use opaque_debug;
