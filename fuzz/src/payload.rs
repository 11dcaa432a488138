//! Any bytes as a compressed payload: the first byte chooses the format. lz4 is checked against
//! lz4_flex by the crate's own tests.

use std::io::BufRead;

use vmmkit_boot_loader::payload::{Compression, decompress};

const FORMATS: [Compression; 6] = [
    Compression::Gzip,
    Compression::Xz,
    Compression::Zstd,
    Compression::Lz4,
    Compression::Bzip2,
    Compression::Lzma,
];
/// A bomb of a few bytes decompresses for ever: the loader stops at the size it was told.
const LIMIT: usize = 4 << 20;

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((format, packed)) = data.split_first() else {
        return;
    };
    let Some(format) = FORMATS.get(usize::from(*format) % FORMATS.len()) else {
        return;
    };
    let Ok(mut reader) = decompress(*format, packed) else {
        return;
    };
    let mut total = 0;
    while let Ok(chunk) = reader.fill_buf() {
        let count = chunk.len();
        if count == 0 || total > LIMIT {
            break;
        }
        total += count;
        reader.consume(count);
    }
}
