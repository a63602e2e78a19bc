//! Frames into a capture file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Error, LinkType, MAX_FRAME};
use crate::units::Nanos;

/// A pcap file of Ethernet frames with nanosecond times, little-endian, that is being written.
///
/// It is written in place: after a failure the file holds what came before.
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    /// Begins the file at `path` and replaces what was there.
    ///
    /// # Errors
    ///
    /// If the file can't be written.
    pub fn create(path: &Path) -> Result<Writer, Error> {
        let file =
            File::create(path).map_err(|source| Error::Io { path: path.to_owned(), action: "create", source })?;
        let mut writer = Writer { path: path.to_owned(), file: BufWriter::with_capacity(64 * 1024, file) };
        let mut header = Vec::with_capacity(24);
        // Version 2.4, no time zone, no accuracy.
        for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, MAX_FRAME as u32, LinkType::ETHERNET.0] {
            header.extend_from_slice(&u32::to_le_bytes(word));
        }
        let written = writer.file.write_all(&header);
        writer.check(written)?;
        Ok(writer)
    }

    /// Appends a frame that had `wire_len` bytes on the wire, of which `data` are known. Times end in the year 2106.
    ///
    /// # Errors
    ///
    /// If the file can't be written.
    ///
    /// # Panics
    ///
    /// If `data` are more than [`MAX_FRAME`] bytes.
    pub fn write(&mut self, time: Nanos, data: &[u8], wire_len: u32) -> Result<(), Error> {
        assert!(data.len() <= MAX_FRAME, "a frame of {} bytes", data.len());
        let seconds = u32::try_from(time.0 / 1_000_000_000).unwrap_or(u32::MAX);
        let mut header = [0; 16];
        for (field, word) in
            header.chunks_exact_mut(4).zip([seconds, (time.0 % 1_000_000_000) as u32, data.len() as u32, wire_len])
        {
            field.copy_from_slice(&word.to_le_bytes());
        }
        let written = self.file.write_all(&header).and_then(|()| self.file.write_all(data));
        self.check(written)
    }

    /// Writes out what is still in memory.
    ///
    /// # Errors
    ///
    /// If the file can't be written.
    pub fn finish(mut self) -> Result<(), Error> {
        let written = self.file.flush();
        self.check(written)
    }

    fn check(&self, written: io::Result<()>) -> Result<(), Error> {
        written.map_err(|source| Error::Io { path: self.path.clone(), action: "write", source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::pcap::{Capture, Record};

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.pcap");
        let frames = [
            (Nanos(0), vec![], 0),
            (Nanos(1_700_000_000_123_456_789), vec![1; 60], 1514),
            (Nanos(4_294_967_295_999_999_999), vec![2; MAX_FRAME], MAX_FRAME as u32),
        ];
        let mut writer = Writer::create(&path).unwrap();
        for (time, data, wire_len) in &frames {
            writer.write(*time, data, *wire_len).unwrap();
        }
        writer.finish().unwrap();
        let mut capture = Capture::open(&path).unwrap();
        for (time, data, wire_len) in &frames {
            let expected = Record { time: *time, link: LinkType::ETHERNET, data, wire_len: *wire_len };
            assert_eq!(capture.next().unwrap(), Some(expected));
        }
        assert_eq!(capture.next().unwrap(), None);
        assert_eq!(capture.truncated(), None);
    }

    #[test]
    fn a_full_disk_and_a_missing_folder_are_errors() {
        let error = Writer::create("/nonexistent/out.pcap".as_ref()).err().expect("no such folder").to_string();
        assert!(error.starts_with("/nonexistent/out.pcap: can't create: "), "{error}");
        let mut writer = Writer::create("/dev/full".as_ref()).unwrap();
        writer.write(Nanos(1), &[0; 100], 100).unwrap();
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.starts_with("/dev/full: can't write: "), "{error}");
    }
}
