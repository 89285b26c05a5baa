//! Settings that a fuzzer chooses besides the stream.
#![forbid(unsafe_code)]

/// Splits the input into settings and stream. The first bytes choose the limits, and two positions
/// at which the stream is cut.
pub(super) fn settings(data: &[u8]) -> Option<(u8, [usize; 2], &[u8])> {
    let ([mode, a, b], input) = data.split_first_chunk()?;
    let place = |byte: u8| usize::from(byte).min(input.len());
    let (a, b) = (place(*a), place(*b));
    Some((*mode, [a.min(b), a.max(b)], input))
}
