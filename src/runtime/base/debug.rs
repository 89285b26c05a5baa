//! `Debug` for types whose fields say nothing to a reader.
#![forbid(unsafe_code)]

/// Implements `Debug` for a type by its name and the results of the given methods, one of which may
/// have another name there: `opaque_debug!(impl<T> for Sender<T>, len);`,
/// `opaque_debug!(impl for Semaphore; permits = available_permits);`.
macro_rules! opaque_debug {
    (
        impl $(<$($T:ident $(: $Bound:path)?),+>)? for $Type:ident $(<$($arg:tt),+>)?
        $(, $method:ident)* $(; $field:ident = $getter:ident)?
    ) => {
        impl $(<$($T $(: $Bound)?),+>)? ::std::fmt::Debug for $Type $(<$($arg),+>)? {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($Type))
                    $(.field(stringify!($method), &self.$method()))*
                    $(.field(stringify!($field), &self.$getter()))?
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use opaque_debug;
