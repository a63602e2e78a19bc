//! A part of a file in memory, that moves on: what is wanted next is together in one slice.

use std::io::{self, ErrorKind, Read};

/// A sliding view of `SIZE` bytes into a source of any length.
pub(super) struct Window {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The position of `start` in the source.
    offset: u64,
}

impl Window {
    /// The most bytes that can be seen at once.
    pub(super) const SIZE: usize = 1024 * 1024;

    pub(super) fn new(source: Box<dyn Read + Send>) -> Window {
        Window { source, buffer: vec![0; Window::SIZE], start: 0, end: 0, offset: 0 }
    }

    /// Reads until at least `want` bytes can be seen; false if the source ends before.
    pub(super) fn fill(&mut self, want: usize) -> io::Result<bool> {
        assert!(want <= Window::SIZE);
        if self.start + want > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < want {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => self.end += read,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// The bytes that can be seen.
    pub(super) fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The bytes that can be seen, to mend.
    pub(super) fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// Moves on by `bytes` that can be seen, and returns them; they stay in memory until the next `fill`.
    pub(super) fn consume(&mut self, bytes: usize) -> &[u8] {
        let from = self.start;
        self.start += bytes;
        assert!(self.start <= self.end);
        self.offset += bytes as u64;
        &self.buffer[from..self.start]
    }

    /// Moves on by `bytes`, seen or not; false if the source ends before.
    pub(super) fn skip(&mut self, mut bytes: usize) -> io::Result<bool> {
        while bytes > 0 {
            if !self.fill(1)? {
                return Ok(false);
            }
            let step = bytes.min(self.data().len());
            self.consume(step);
            bytes -= step;
        }
        Ok(true)
    }

    /// Where in the source the view begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }
}
