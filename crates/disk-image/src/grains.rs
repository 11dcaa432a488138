//! Grains of a VMDK, by tables of the file.

use std::io::{self, Read};

use flate2::read::ZlibDecoder;

use crate::ReadAt;
use crate::fields::le32;
use crate::place::{Place, SECTOR};

/// Before a compressed grain: its number and the size of what follows.
const MARKER: u64 = 12;

/// How grains are found.
pub(crate) struct Grains {
    /// Sectors at which grain tables are; 0 where there is none.
    pub(crate) directory: Vec<u32>,
    /// Grains of a table.
    pub(crate) grains: u64,
    pub(crate) has_zero_grains: bool,
    pub(crate) is_compressed: bool,
}

impl Grains {
    /// The place of grain `number`.
    pub(crate) fn place(&self, file: &impl ReadAt, number: u64) -> io::Result<Place> {
        let (table, entry) = (number / self.grains, number % self.grains);
        let table = usize::try_from(table).unwrap_or(usize::MAX);
        let table = match self.directory.get(table) {
            None | Some(0) => return Ok(Place::Nowhere),
            Some(sector) => u64::from(*sector) * SECTOR,
        };
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, table + entry * 4)?;
        Ok(match u32::from_le_bytes(bytes) {
            0 => Place::Nowhere,
            1 if self.has_zero_grains => Place::Nowhere,
            sector if self.is_compressed => Place::CompressedGrain(u64::from(sector) * SECTOR),
            sector => Place::At(u64::from(sector) * SECTOR),
        })
    }

    /// The grain at `at`, of `size` bytes; the last one of a disk may be shorter, and ends in zeroes.
    pub(crate) fn decompress(file: &impl ReadAt, at: u64, size: u64) -> io::Result<Vec<u8>> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let mut marker = [0; MARKER as usize];
        file.read_exact_at(&mut marker, at)?;
        // Deflate makes nothing much longer; what is said to be is not read.
        let length = u64::from(le32(&marker, 8));
        if length > size + (size >> 4) + 1024 {
            return Err(invalid());
        }
        let mut compressed = vec![0; usize::try_from(length).map_err(|_| invalid())?];
        file.read_exact_at(&mut compressed, at + MARKER)?;
        let mut grain = Vec::new();
        let mut decoder = ZlibDecoder::new(compressed.as_slice()).take(size);
        decoder.read_to_end(&mut grain).map_err(|_| invalid())?;
        grain.resize(usize::try_from(size).map_err(|_| invalid())?, 0);
        Ok(grain)
    }
}
