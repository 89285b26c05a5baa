//! What a fuzzer chooses besides the stream.
#![forbid(unsafe_code)]

/// Takes the first bytes of the input for what is not of the stream: which limits hold, and two
/// places to cut at.
pub(super) fn settings(data: &[u8]) -> Option<(u8, [usize; 2], &[u8])> {
    let ([mode, a, b], input) = data.split_first_chunk()?;
    let place = |byte: u8| usize::from(byte).min(input.len());
    let (a, b) = (place(*a), place(*b));
    Some((*mode, [a.min(b), a.max(b)], input))
}
