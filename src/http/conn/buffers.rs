//! Buffers that the connections of a server share. An idle connection holds no buffer.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use crate::http::exchange::received::READ_BUFFER;

/// The most free buffers that are kept. More exist only while more connections are busy at once.
const KEPT: usize = 256;

/// An output buffer that has grown beyond this is not kept.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Stacks of free buffers: the buffer that was used last is still in the cache.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    input: RefCell<Vec<Box<[u8]>>>,
    output: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    pub(crate) fn take_input(&self) -> Box<[u8]> {
        let kept = self.input.borrow_mut().pop();
        kept.unwrap_or_else(|| vec![0; READ_BUFFER].into_boxed_slice())
    }

    /// Gives a read buffer back. A buffer that has grown for a large head is freed.
    #[inline(always)]
    pub(crate) fn give_input(&self, buffer: Box<[u8]>) {
        let mut input = self.input.borrow_mut();
        if buffer.len() == READ_BUFFER && input.len() < KEPT {
            input.push(buffer);
        }
    }

    pub(crate) fn take_output(&self) -> Vec<u8> {
        self.output.borrow_mut().pop().unwrap_or_default()
    }

    #[inline(always)]
    pub(crate) fn give_output(&self, mut buffer: Vec<u8>) {
        let mut output = self.output.borrow_mut();
        if buffer.capacity() > 0 && buffer.capacity() <= KEPT_CAPACITY && output.len() < KEPT {
            buffer.clear();
            output.push(buffer);
        }
    }
}

/// Allocations that are used again, of a type that only their user knows.
#[derive(Default)]
pub(in crate::http) struct Spares(RefCell<Vec<Rc<dyn Any>>>);

impl Spares {
    pub(in crate::http) fn take(&self) -> Option<Rc<dyn Any>> {
        self.0.borrow_mut().pop()
    }

    pub(in crate::http) fn give(&self, spare: Rc<dyn Any>) {
        let mut spares = self.0.borrow_mut();
        if spares.len() < KEPT {
            spares.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_unless_they_have_grown() {
        let buffers = Buffers::default();
        let first = buffers.take_input();
        let place = first.as_ptr();
        buffers.give_input(first);
        let second = buffers.take_input();
        assert_eq!(second.as_ptr(), place);
        buffers.give_input(vec![0; 2 * READ_BUFFER].into_boxed_slice());
        assert_eq!(buffers.take_input().len(), READ_BUFFER);

        let mut output = Vec::with_capacity(100);
        output.extend_from_slice(b"leftover");
        buffers.give_output(output);
        assert!(buffers.take_output().is_empty());
        buffers.give_output(Vec::with_capacity(KEPT_CAPACITY + 1));
        assert_eq!(buffers.take_output().capacity(), 0);
    }
}
