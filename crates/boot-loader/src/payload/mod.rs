//! Compressed kernels: a reader of the decompressed bytes, at the speed of the decompressor.
//!
//! Each decoder keeps only its own window and one buffer of [`BUFFER_SIZE`]. What the format
//! needs as a window is its own (gzip 32 KiB, lz4 64 KiB, bzip2 4 MiB; xz, lzma and zstd as
//! large as the kernel was packed with, and bounded), and is given back after the load.

#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "zstd")]
mod zstd;

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

#[cfg(feature = "xz")]
use lzma_rust2::{LzmaReader, XzReader};

/// The size of each buffer between decompressor and guest RAM, in bytes.
pub const BUFFER_SIZE: usize = 64 << 10;
/// Memory that an xz or lzma decoder may allocate, in KiB: Linux packs with a window of up to 128 MiB.
#[cfg(feature = "xz")]
const LZMA_MEMORY_LIMIT: u32 = 160 << 10;

/// How a payload is compressed: each of the ways Linux offers for x86, but lzo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all: an ELF.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// xz, with the x86 branch filter as Linux uses it.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
    /// The legacy frame of lz4.
    Lz4,
    /// bzip2.
    Bzip2,
    /// The .lzma format.
    Lzma,
}

impl Compression {
    /// The compression that a payload's first bytes tell; 8 bytes are enough.
    pub fn of(start: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Compression); 7] = [
            (b"\x7fELF", Compression::None),
            (&[0x1f, 0x8b], Compression::Gzip),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
            (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
            (&[0x02, 0x21, 0x4c, 0x18], Compression::Lz4),
            (b"BZh", Compression::Bzip2),
            (&[0x5d, 0x00, 0x00], Compression::Lzma),
        ];
        MAGICS
            .iter()
            .find(|(magic, _)| start.starts_with(magic))
            .map(|(_, compression)| *compression)
    }

    /// Whether Linux appends the decompressed size, 4 bytes, to the compressed data. gzip ends
    /// with that size anyway.
    pub(crate) fn size_is_appended(self) -> bool {
        !matches!(self, Self::Gzip | Self::None)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
        })
    }
}

/// A reader of the bytes that `compressed` decompresses to. It ends where the compressed data
/// says it ends; what follows is not looked at.
///
/// # Errors
/// Where the decompressor cannot be set up. Reading fails with
/// [`InvalidData`](io::ErrorKind::InvalidData) or [`UnexpectedEof`](io::ErrorKind::UnexpectedEof)
/// on data that is damaged, and where the data wants a window larger than a kernel's;
/// [`Unsupported`](io::ErrorKind::Unsupported) where the crate is built without the feature of the compression.
pub fn decompress<'a, R: Read + 'a>(
    compression: Compression,
    compressed: R,
) -> io::Result<Box<dyn BufRead + 'a>> {
    #[cfg(feature = "lz4")]
    if compression == Compression::Lz4 {
        return Ok(Box::new(lz4::LegacyFrame::new(compressed)?));
    }
    let input = BufReader::with_capacity(BUFFER_SIZE, compressed);
    Ok(match compression {
        Compression::None => Box::new(input),
        #[cfg(feature = "gzip")]
        Compression::Gzip => buffered(flate2::bufread::GzDecoder::new(input)),
        #[cfg(feature = "bzip2")]
        Compression::Bzip2 => buffered(bzip2::bufread::BzDecoder::new(input)),
        // One stream: what follows it is not looked at.
        #[cfg(feature = "xz")]
        Compression::Xz => buffered(XzReader::new_mem_limit(input, false, LZMA_MEMORY_LIMIT)),
        #[cfg(feature = "xz")]
        Compression::Lzma => buffered(LzmaReader::new_mem_limit(input, LZMA_MEMORY_LIMIT, None)?),
        #[cfg(feature = "zstd")]
        Compression::Zstd => buffered(zstd::Frame::new(input)?),
        // With every feature this is lz4 alone, which is above.
        left_out => return Err(not_built(left_out)),
    })
}

/// The answer where the feature of `compression` is not built.
fn not_built(compression: Compression) -> io::Error {
    let text = format!("{compression} is not among the compressions this was built with");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

#[cfg(any(feature = "bzip2", feature = "gzip", feature = "xz", feature = "zstd"))]
fn buffered<'a>(decoder: impl Read + 'a) -> Box<dyn BufRead + 'a> {
    Box::new(BufReader::with_capacity(BUFFER_SIZE, decoder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{COMPRESSIONS, compress, noise};

    #[test]
    fn each_compression_gives_back_what_went_in() {
        let mut original = noise(300_000);
        original.extend(vec![0; 700_000]);
        original.extend(b"a kernel of sorts ".repeat(20_000));
        for compression in COMPRESSIONS {
            let mut packed = compress(compression, &original);
            let start: Vec<u8> = packed.iter().take(8).copied().collect();
            assert_eq!(Compression::of(&start), Some(compression));
            if compression != Compression::Lz4 {
                packed.extend([0xaa; 4]); // the appended size must not matter
            }

            let mut unpacked = Vec::new();
            let result = decompress(compression, &packed[..])
                .and_then(|mut reader| reader.read_to_end(&mut unpacked));

            assert!(result.is_ok(), "{compression}: {result:?}");
            assert!(unpacked == original, "{compression} gave other bytes");
        }
    }

    #[test]
    fn a_compression_that_is_left_out_is_named() {
        let error = not_built(Compression::Xz);
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().starts_with("xz is not"), "{error}");
    }

    #[test]
    fn data_cut_short_is_an_error() {
        for compression in COMPRESSIONS {
            let packed = compress(compression, &noise(100_000));

            let mut unpacked = Vec::new();
            let result = decompress(compression, &packed[..packed.len() / 2])
                .and_then(|mut reader| reader.read_to_end(&mut unpacked));

            assert!(result.is_err(), "{compression}");
        }
    }
}
