//! One Zstandard frame (RFC 8878), with its checksum looked at.

use std::io::{self, Read};

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// The largest window, in bytes: what `zstd --ultra -22` makes.
const WINDOW_MAX: u64 = 1 << 27;

/// A reader of one frame's content.
pub(super) struct Frame<R: Read>(StreamingDecoder<R, FrameDecoder>);

impl<R: Read> Frame<R> {
    /// The frame that `compressed` starts with.
    ///
    /// # Errors
    /// [`InvalidData`](io::ErrorKind::InvalidData) where it starts with none, or with one whose
    /// window is larger than 128 MiB.
    pub(super) fn new(compressed: R) -> io::Result<Self> {
        StreamingDecoder::new_with_max_window_size(compressed, WINDOW_MAX)
            .map(Self)
            .map_err(|error: FrameDecoderError| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The content's checksum stands behind the last block; a frame may have none.
    fn check(&self) -> io::Result<()> {
        let decoder = &self.0.decoder;
        match decoder.get_checksum_from_data() {
            Some(told) if decoder.get_calculated_checksum() != Some(told) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the content does not have the checksum that the frame tells",
            )),
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Frame<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buf).map_err(|error| match error.kind() {
            // The decoder has one kind for all that it does not like.
            io::ErrorKind::Other => io::Error::new(io::ErrorKind::InvalidData, error),
            _ => error,
        })?;
        if count == 0 && !buf.is_empty() {
            self.check()?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Compression;
    use crate::testing::{compress, noise};

    fn content(frame: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Frame::new(frame)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn a_content_that_is_not_the_checksum_s_is_an_error() {
        let original = noise(50_000);
        let mut frame = compress(Compression::Zstd, &original);
        assert_eq!(content(&frame).unwrap(), original);

        // Noise is stored as it is: one byte of it is another, and the blocks are still valid.
        let middle = frame.len() / 2;
        frame[middle] ^= 1;

        let error = content(&frame).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("checksum"), "{error}");
    }

    #[test]
    fn a_window_larger_than_a_kernel_s_is_refused_before_it_is_allocated() {
        // Magic, no single segment, window descriptor: exponent 18 (2 to the 28), an empty last block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 18 << 3, 0x01, 0x00, 0x00];
        let error = content(&frame).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);

        let allowed = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00];
        assert_eq!(content(&allowed).unwrap(), b"");
    }
}
