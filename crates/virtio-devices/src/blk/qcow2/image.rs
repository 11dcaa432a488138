//! An image at work: who may use it at once, and in which order its parts reach the file.
//!
//! imago (0.2.6) keeps L2 tables and refcounts in memory, and gets them to the file in an order that
//! is right between the two. What it does not see to is seen to here, so that a kill at any time
//! leaves an image that is older at worst, and counts all that it uses:
//!
//! - Entries of the L1 table and of the refcount table are written at once: see
//!   [`count_before_use`](super::refcounts::count_before_use).
//! - A cluster that was freed in memory, and that the file's L2 tables still use, could become an L2
//!   table in the file: what was freed is flushed before that.
//! - Several that change the mapping at once could do so between these steps: one does it at a time.

use std::io;

use imago::{FormatAccess, ShallowMapping};
use parking_lot::RwLock;
use vmmkit_host_io::{ImageFile, read_with_zeroes};

use super::chain::Layers;
use super::error::Qcow2Error;

/// An L1 entry whose table belongs to it alone: bit 63 (COPIED).
const COPIED: u64 = 1 << 63;

#[derive(Debug)]
pub(super) struct Image {
    layers: Layers,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    access: FormatAccess<ImageFile>,
    /// Whether imago may write: from the first write on. It changes the header then, where something
    /// of the image is for those who only read (autoclear features: bitmaps of backups).
    is_writable: bool,
    /// Whether clusters may have been freed in memory alone.
    has_freed: bool,
}

impl Image {
    /// Nothing is written by this.
    pub(super) fn new(layers: Layers) -> Result<Self, Qcow2Error> {
        let state = State {
            access: layers.access(false)?,
            is_writable: false,
            has_freed: false,
        };
        Ok(Self {
            layers,
            state: RwLock::new(state),
        })
    }

    /// Bytes of the guest's disk.
    pub(super) fn size(&self) -> u64 {
        self.layers.header().size
    }

    pub(super) fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state.read();
        state.access.read(bytes, offset)
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let length = bytes.len() as u64;
        {
            let state = self.state.read();
            if state.is_writable && state.mapped(offset, length)? == Mapped::Ready {
                return state.access.write(bytes, offset);
            }
        }
        self.change(offset, length, Work::Write, |access, at, length| {
            let start = usize::try_from(at - offset).unwrap_or(usize::MAX);
            let part = bytes
                .get(start..)
                .and_then(|rest| rest.get(..length as usize));
            access.write(part.unwrap_or_default(), at)
        })
    }

    /// Gives up what is there; a version that cannot say so keeps it.
    pub(super) fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.change(offset, length, Work::Zero, |access, at, length| {
            access.discard_to_any(at, length)
        })
    }

    pub(super) fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.change(offset, length, Work::Zero, |access, at, length| {
            let done = if is_within_a_cluster(access) {
                Err(io::ErrorKind::Unsupported.into())
            } else if unmap {
                access.discard_to_zero(at, length)
            } else {
                access.write_zeroes(at, length)
            };
            match done {
                // Version 2 of the format knows no zeroes.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    write_zeroes_as_data(access, at, length)
                }
                done => done,
            }
        })
    }

    /// Has the host take all that is in memory here; it need not be on the disk then.
    pub(super) fn write_back(&self) -> io::Result<()> {
        let mut state = self.state.write();
        state.write_back()
    }

    /// Makes all that was written durable.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.write_back()?;
        self.layers.file().sync_data()
    }

    /// Does `work` on each part of a range that one L2 table maps.
    fn change(
        &self,
        offset: u64,
        length: u64,
        kind: Work,
        mut work: impl FnMut(&mut FormatAccess<ImageFile>, u64, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state.write();
        let range = 1 << self.layers.header().range_bits();
        let end = offset.saturating_add(length);
        let mut at = offset;
        while at < end {
            let next = (at - at % range).saturating_add(range).min(end);
            let mapped = state.mapped(at, next - at)?;
            // What is zeroes by being nowhere stays so, without tables that say it.
            if kind == Work::Write || mapped != Mapped::Nowhere {
                state.make_writable(&self.layers)?;
                if state.has_freed && !self.has_own_table(at)? {
                    state.write_back()?;
                }
                // Also what fails may have freed.
                state.has_freed |= !matches!(mapped, Mapped::Nowhere | Mapped::Behind);
                work(&mut state.access, at, next - at)?;
            }
            at = next;
        }
        Ok(())
    }

    /// Whether what is written at this place of the disk changes an L2 table that is in the file.
    fn has_own_table(&self, offset: u64) -> io::Result<bool> {
        let header = self.layers.header();
        let index = offset >> header.range_bits();
        let mut entry = [0; 8];
        // imago writes these entries at once.
        read_with_zeroes(self.layers.file(), &mut entry, header.l1_offset + index * 8)?;
        Ok(u64::from_be_bytes(entry) & COPIED != 0)
    }
}

/// The work on a range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Write,
    /// It reads as zeroes afterwards, or may.
    Zero,
}

/// How a range of the disk is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mapped {
    /// To clusters that can be written as they are.
    Ready,
    /// To nothing: it reads as zeroes, and nothing is freed by a write.
    Nowhere,
    /// To the image behind this one, and nothing is freed by a write.
    Behind,
    /// Otherwise: zeroes, compressed, shared with a snapshot, or a part of it so and a part not.
    Otherwise,
}

impl State {
    fn make_writable(&mut self, layers: &Layers) -> io::Result<()> {
        if !self.is_writable {
            self.access = layers.access(true).map_err(|error| match error {
                Qcow2Error::Io(error) => error,
                other => io::Error::other(other),
            })?;
            self.is_writable = true;
        }
        Ok(())
    }

    fn write_back(&mut self) -> io::Result<()> {
        self.access.flush()?;
        self.has_freed = false;
        Ok(())
    }

    fn mapped(&self, offset: u64, length: u64) -> io::Result<Mapped> {
        let mut found = None;
        let end = offset.saturating_add(length);
        let mut at = offset;
        while at < end {
            let (mapping, length) = self.access.get_shallow_mapping(at, end - at)?;
            let mapped = match mapping {
                ShallowMapping::Raw { writable: true, .. } => Mapped::Ready,
                ShallowMapping::Zero {
                    explicit: false, ..
                } => Mapped::Nowhere,
                ShallowMapping::Indirect { .. } => Mapped::Behind,
                _ => return Ok(Mapped::Otherwise),
            };
            if found.is_some_and(|found| found != mapped) || length == 0 {
                return Ok(Mapped::Otherwise);
            }
            found = Some(mapped);
            at += length;
        }
        Ok(found.unwrap_or(Mapped::Otherwise))
    }
}

/// Whether the disk is smaller than a cluster: there imago (0.2.6) counts below 0 when it zeroes a part.
fn is_within_a_cluster(access: &FormatAccess<ImageFile>) -> bool {
    let cluster = access.inner().zero_granularity();
    cluster.is_some_and(|cluster| access.size() < cluster)
}

fn write_zeroes_as_data(
    access: &FormatAccess<ImageFile>,
    offset: u64,
    length: u64,
) -> io::Result<()> {
    let zeroes = [0; 4096];
    let end = offset.saturating_add(length);
    for at in (offset..end).step_by(zeroes.len()) {
        let piece = usize::try_from(end - at).unwrap_or(zeroes.len());
        access.write(zeroes.get(..piece).unwrap_or(&zeroes).as_ref(), at)?;
    }
    Ok(())
}
