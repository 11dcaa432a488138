//! The names in directories.

use std::mem::MaybeUninit;

use rustix::fs::{RawDir, SeekFrom, seek};
use rustix::io::Errno;

use super::{Session, room_for_data};
use crate::attributes::put_entry;
use crate::bytes::Answer;
use crate::reply::Done;

/// Bytes of names that are asked of the host at a time.
const BUFFER: usize = 16 << 10;
/// Bytes of an entry before its name, and of the attributes before an entry.
const ENTRY: usize = 24;
const ATTRIBUTES: usize = 128;

/// A name of a directory.
#[derive(Debug)]
struct Entry {
    inode: u64,
    /// Where the next one is found.
    next: u64,
    kind: u32,
    name: Vec<u8>,
}

impl Session {
    /// As many entries from `offset` on as there is room for, with what a lookup of each gives if `plus`.
    pub(super) fn read_directory(
        &mut self,
        handle: u64,
        offset: u64,
        size: u32,
        plus: bool,
        room: u64,
    ) -> Result<Done, Errno> {
        let open = self.files.directory(handle)?;
        let Some(directory) = open.file else {
            return Ok(Done::Collected);
        };
        let room = size.min(room_for_data(room)) as usize;
        seek(&*directory, SeekFrom::Start(offset))?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(&*directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => Entry {
                    inode: entry.ino(),
                    next: entry.next_entry_cookie(),
                    kind: entry.file_type().as_raw_mode() >> 12,
                    name: entry.file_name().to_bytes().to_vec(),
                },
                Err(_) if !self.answer.0.is_empty() => break,
                Err(errno) => return Err(errno),
            };
            let length = (ENTRY + entry.name.len()).next_multiple_of(8);
            let length = length + if plus { ATTRIBUTES } else { 0 };
            if self.answer.0.len() + length > room {
                break;
            }
            if plus {
                self.look_up_entry(open.node, &entry.name);
            }
            put_name(&mut self.answer, &entry);
        }
        Ok(Done::Collected)
    }

    /// Puts what a lookup of the name gives, or zeroes: the guest looks it up itself then.
    fn look_up_entry(&mut self, directory: u64, name: &[u8]) {
        let found = match name {
            b"." | b".." => Err(Errno::NOENT),
            _ => self.inodes.look_up(directory, name),
        };
        match found {
            Ok((node, found)) => put_entry(&mut self.answer, node, &found),
            Err(_) => {
                self.answer.bytes(&[0; ATTRIBUTES]);
            }
        }
    }
}

/// struct fuse_dirent.
fn put_name(answer: &mut Answer, entry: &Entry) {
    // 255 at most.
    let length = entry.name.len() as u32;
    answer
        .u64(entry.inode)
        .u64(entry.next)
        .u32(length)
        .u32(entry.kind)
        .bytes(&entry.name)
        .pad();
}
