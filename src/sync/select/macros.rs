//! The `select!` macro, which writes a choice in the form of a `match`.

/// Waits for the first of several operations, and runs the branch of that operation.
///
/// Each branch has a pattern, an [`Operation`](crate::sync::select::Operation), and a body that
/// runs if this operation happens. The body is code of the surrounding function: `?`, `break`,
/// `continue` and `return` mean what they mean in that function. Operations are evaluated in their
/// order, before the wait. Each pattern must match all results of its operation.
///
/// With a last branch `default => ...` the macro does not wait: that branch runs if no operation is
/// possible at once. With `biased;` in front, the first of several possible operations happens;
/// without it, each of them has its turn. In all other respects the macro suspends, panics and can
/// be cancelled as [`Operation::perform`](crate::sync::select::Operation::perform) does.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::{select, sync::{Signal, channel, select::after}};
///
/// ethreads::run_main(|| {
///     let (sender, jobs) = channel::bounded(8);
///     let stop = Signal::<()>::new();
///     let (mut sum, mut idle) = (0, false);
///     for job in [1, 2, 3] {
///         sender.send(job).expect("the receiver is here");
///     }
///     while !idle {
///         select! {
///             job = jobs.receiving() => sum += job.expect("the sender is here"),
///             () = stop.waiting() => break,
///             () = after(Duration::from_millis(1)) => idle = true,
///         }
///     }
///     assert_eq!(sum, 6);
///     let more = select! {
///         Ok(_) | Err(_) = jobs.receiving() => true,
///         default => false,
///     };
///     assert!(!more);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[macro_export]
macro_rules! select {
    // Branches are collected one by one into a list: patterns, operations and bodies in brackets.
    (@list $how:ident [$($all:tt)+]) => {
        $crate::select!(@wait $how [$($all)+])
    };
    (@list $how:ident [$($all:tt)+] default => $body:expr $(,)?) => {
        $crate::select!(@try $how [$($all)+] $body)
    };
    (@list $how:ident [$($all:tt)*] $p:pat = $op:expr => $body:block, $($more:tt)*) => {
        $crate::select!(@list $how [$($all)* [$p, $op, $body]] $($more)*)
    };
    (@list $how:ident [$($all:tt)*] $p:pat = $op:expr => $body:block $($more:tt)*) => {
        $crate::select!(@list $how [$($all)* [$p, $op, $body]] $($more)*)
    };
    (@list $how:ident [$($all:tt)*] $p:pat = $op:expr => $body:expr, $($more:tt)*) => {
        $crate::select!(@list $how [$($all)* [$p, $op, $body]] $($more)*)
    };
    (@list $how:ident [$($all:tt)*] $p:pat = $op:expr => $body:expr) => {
        $crate::select!(@list $how [$($all)* [$p, $op, $body]])
    };

    (@wait fair [$($all:tt)+]) => {{
        let chosen = $crate::sync::select::Operation::perform($crate::select!(@or $($all)+));
        $crate::select!(@match chosen $($all)+)
    }};
    (@wait biased [$($all:tt)+]) => {{
        let chosen =
            $crate::sync::select::Operation::perform_in_order($crate::select!(@or $($all)+));
        $crate::select!(@match chosen $($all)+)
    }};
    (@try fair [$($all:tt)+] $default:expr) => {{
        let chosen = $crate::sync::select::Operation::try_perform($crate::select!(@or $($all)+));
        match chosen {
            ::std::option::Option::Some(chosen) => $crate::select!(@match chosen $($all)+),
            ::std::option::Option::None => $default,
        }
    }};
    (@try biased [$($all:tt)+] $default:expr) => {{
        let chosen =
            $crate::sync::select::Operation::try_perform_in_order($crate::select!(@or $($all)+));
        match chosen {
            ::std::option::Option::Some(chosen) => $crate::select!(@match chosen $($all)+),
            ::std::option::Option::None => $default,
        }
    }};

    (@or [$p:pat, $op:expr, $body:expr]) => { $op };
    (@or [$p:pat, $op:expr, $body:expr] $($more:tt)+) => {
        $crate::sync::select::Operation::or($op, $crate::select!(@or $($more)+))
    };
    (@match $chosen:ident [$p:pat, $op:expr, $body:expr]) => {
        match $chosen { $p => $body }
    };
    (@match $chosen:ident [$p:pat, $op:expr, $body:expr] $($more:tt)+) => {
        match $chosen {
            $crate::sync::select::Either::First($p) => $body,
            $crate::sync::select::Either::Second(chosen) => {
                $crate::select!(@match chosen $($more)+)
            }
        }
    };

    (biased; $($all:tt)+) => { $crate::select!(@list biased [] $($all)+) };
    ($($all:tt)+) => { $crate::select!(@list fair [] $($all)+) };
}
