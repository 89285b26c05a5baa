//! The bytes of a request as they were received.
#![forbid(unsafe_code)]

use std::mem;

/// The size of a read buffer: sixteen small pipelined requests, or one request with a large cookie.
pub(in crate::http) const READ_BUFFER: usize = 8 * 1024;

/// The head of the current request, and the bytes behind it that were not read yet.
#[derive(Debug, Default)]
pub(in crate::http) struct Received {
    /// Empty while the connection is idle.
    buffer: Box<[u8]>,
    /// Where the current head begins; the bytes before it are no longer needed.
    head_at: usize,
    head_len: usize,
    /// Where unread bytes begin: the body, or the next head.
    cursor: usize,
    /// Where the unread bytes end.
    end: usize,
}

impl Received {
    /// Makes the bytes of a head that no connection has received.
    pub(in crate::http) fn of_head(head: Vec<u8>) -> Self {
        let len = head.len();
        Self {
            buffer: head.into(),
            head_at: 0,
            head_len: len,
            cursor: len,
            end: len,
        }
    }

    /// Returns an empty buffer, to be filled from its beginning; see [`received`](Self::received).
    #[inline(always)]
    pub(in crate::http) fn begin(&mut self, buffer: Box<[u8]>) -> &mut [u8] {
        debug_assert_eq!((self.head_at, self.cursor, self.end), (0, 0, 0));
        self.buffer = buffer;
        &mut self.buffer
    }

    /// Adds `got` bytes, which were read into the free part of the buffer.
    #[inline(always)]
    pub(in crate::http) fn received(&mut self, got: usize) {
        self.end += got;
    }

    /// Takes the buffer out, and with it everything that was received.
    #[inline(always)]
    pub(in crate::http) fn take_buffer(&mut self) -> Box<[u8]> {
        (self.head_at, self.cursor, self.end, self.head_len) = (0, 0, 0, 0);
        mem::take(&mut self.buffer)
    }

    /// The head of the current request.
    #[inline]
    pub(in crate::http) fn head(&self) -> &[u8] {
        &self.buffer[self.head_at..self.head_at + self.head_len]
    }

    /// The bytes behind the head that were not read yet.
    #[inline]
    pub(in crate::http) fn unread(&self) -> &[u8] {
        &self.buffer[self.cursor..self.end]
    }

    #[inline]
    pub(in crate::http) fn has_unread(&self) -> bool {
        self.cursor < self.end
    }

    /// Begins the next head, with the unread bytes.
    #[inline]
    pub(in crate::http) fn begin_head(&mut self) {
        self.head_at = self.cursor;
        self.head_len = 0;
    }

    /// Ends the head after `len` of the unread bytes.
    #[inline]
    pub(in crate::http) fn end_head(&mut self, len: usize) {
        self.head_len = len;
        self.cursor = self.head_at + len;
    }

    /// Passes over `count` unread bytes.
    pub(in crate::http) fn consume(&mut self, count: usize) {
        self.cursor += count;
    }

    /// Moves unread bytes into `buf`; returns how many.
    pub(in crate::http) fn copy_to(&mut self, buf: &mut [u8]) -> usize {
        let unread = self.unread();
        let count = unread.len().min(buf.len());
        buf[..count].copy_from_slice(&unread[..count]);
        self.cursor += count;
        count
    }

    /// Returns the free part of the buffer, for more of a head. Bytes before the head are dropped,
    /// or the buffer grows, if there is none.
    pub(in crate::http) fn room_for_head(&mut self) -> &mut [u8] {
        if self.end == self.buffer.len() {
            if self.head_at > 0 {
                self.buffer.copy_within(self.head_at..self.end, 0);
                self.end -= self.head_at;
                (self.head_at, self.cursor) = (0, 0);
            } else {
                self.grow(READ_BUFFER);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// Returns the free part of the buffer, for bytes behind the head. Bytes that were read are
    /// dropped, or the buffer grows, if there is none.
    pub(in crate::http) fn room_behind_head(&mut self) -> &mut [u8] {
        if !self.has_unread() {
            let behind_head = self.head_at + self.head_len;
            (self.cursor, self.end) = (behind_head, behind_head);
        }
        if self.end == self.buffer.len() {
            self.grow(READ_BUFFER);
        }
        &mut self.buffer[self.end..]
    }

    /// Adds bytes behind the unread ones.
    pub(in crate::http) fn push(&mut self, bytes: &[u8]) {
        let room = self.room_behind_head().len();
        if room < bytes.len() {
            self.grow(bytes.len() - room);
        }
        self.buffer[self.end..][..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Makes the buffer larger. A head is bounded by its limit, and a body needs this at most once.
    fn grow(&mut self, by: usize) {
        let mut larger = vec![0; self.buffer.len() + by].into_boxed_slice();
        larger[..self.end].copy_from_slice(&self.buffer[..self.end]);
        self.buffer = larger;
    }
}
