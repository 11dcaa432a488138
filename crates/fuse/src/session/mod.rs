//! One mount of a directory: a message in, an answer out.

mod change;
mod entries;
mod open;
mod transfer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustix::fs::{FileType, Statx, fstatvfs, readlinkat};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::attributes::{attributes, put_attributes_answer, put_entry};
use crate::bytes::{Answer, Fields};
use crate::carrier::{Input, Output};
use crate::counters::Counters;
use crate::directory::{Access, Directory};
use crate::files::Files;
use crate::inodes::Inodes;
use crate::opcode::{IN_HEADER, INIT_FLAGS, MAJOR, MAX_DATA, MAX_PAGES, MINOR, OUT_HEADER, WRITE};
use crate::reply::{Done, write_answer};
use crate::request::{BadRequest, Header, Operation, Request};

/// The longest message, but for the data of a write: names and the target of a symbolic link have room.
const MAX_MESSAGE: usize = 8 << 10;
/// Bytes of a write's fields, after the header.
const WRITE_FIELDS: usize = 40;

/// How much of the host a session may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Inodes that the guest knows at the same time; a lookup of more fails with ENFILE. Each takes some 200 bytes.
    pub inodes: usize,
    /// Files and directories that the guest has open at the same time; more fail with ENFILE.
    pub files: usize,
    /// Descriptors of inodes, beside those of open files; the least recently used are closed for others.
    pub descriptors: usize,
}

impl Default for Limits {
    /// 1,048,576 inodes; an eighth of the soft RLIMIT_NOFILE for open files, 16,384 at most, and as much for inodes.
    fn default() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let share = usize::try_from(limit / 8).unwrap_or(usize::MAX);
        let share = share.clamp(16, 16 << 10);
        Self {
            inodes: 1 << 20,
            files: share,
            descriptors: share,
        }
    }
}

/// One mount of a directory. It is over when it is dropped, and begins anew with a FUSE_INIT.
#[derive(Debug)]
pub struct Session {
    directory: Arc<Directory>,
    limits: Limits,
    inodes: Inodes,
    files: Files,
    counters: Arc<Counters>,
    message: Vec<u8>,
    answer: Answer,
}

impl Session {
    /// A session of `directory`.
    pub fn new(directory: Arc<Directory>, limits: Limits) -> Self {
        Self::with_counters(directory, limits, Arc::default())
    }

    /// As [`new`](Self::new), which counts in `counters`.
    pub fn with_counters(
        directory: Arc<Directory>,
        limits: Limits,
        counters: Arc<Counters>,
    ) -> Self {
        let inodes = Inodes::new(directory.clone(), limits.inodes, limits.descriptors.max(1));
        Self {
            directory,
            limits,
            inodes,
            files: Files::new(limits.files),
            counters,
            message: Vec::with_capacity(MAX_MESSAGE),
            answer: Answer::default(),
        }
    }

    /// The counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Does what the message in `input` says; bytes of the answer in `output`, which are 0 where there is no answer
    /// or no room for one. It waits for the host's file system, and for nothing else.
    pub fn handle(&mut self, input: &mut dyn Input, output: &mut dyn Output) -> u32 {
        self.counters.count_request();
        let mut message = std::mem::take(&mut self.message);
        read_message(input, &mut message);
        self.answer.0.clear();
        let (unique, done) = match Request::parse(&message) {
            Ok(request) => {
                let done = self.perform(&request, input, output);
                (request.header.unique, done)
            }
            Err(BadRequest::Header) => (0, Ok(Done::Silent)),
            Err(BadRequest::TooLong(header)) => (header.unique, Err(Errno::NAMETOOLONG)),
            Err(BadRequest::Name(header) | BadRequest::Cut(header)) => {
                self.counters.count_malformed();
                (header.unique, Err(Errno::INVAL))
            }
        };
        self.message = message;
        if done.is_err() {
            self.counters.count_error();
        }
        let length = write_answer(output, unique, done, &self.answer);
        let (inodes, open) = (self.inodes.count(), self.inodes.open_count());
        self.counters.set_open(inodes, self.files.count(), open);
        length
    }

    fn perform(
        &mut self,
        request: &Request<'_>,
        input: &mut dyn Input,
        output: &mut dyn Output,
    ) -> Result<Done, Errno> {
        let header = &request.header;
        let node = header.node;
        match request.operation {
            Operation::Init {
                major,
                max_readahead,
                flags,
                ..
            } => self.init(major, max_readahead, flags),
            Operation::Destroy => {
                self.begin();
                Ok(Done::Collected)
            }
            Operation::Interrupt => Ok(Done::Silent),
            Operation::Lookup { name } => {
                let (id, found) = self.inodes.look_up(node, name)?;
                Ok(self.entry(id, &found))
            }
            Operation::Forget { lookups } => {
                self.inodes.forget(node, lookups);
                Ok(Done::Silent)
            }
            Operation::BatchForget { pairs } => {
                let mut fields = Fields(pairs);
                while let Some((node, lookups)) = fields.u64().zip(fields.u64()) {
                    self.inodes.forget(node, lookups);
                }
                Ok(Done::Silent)
            }
            Operation::GetAttr { handle } => self.get_attributes(node, handle),
            Operation::ReadLink => self.read_link(node),
            Operation::StatFs => self.stat_fs(node),
            Operation::Open { flags } => self.open(node, flags),
            Operation::OpenDirectory => self.open_directory(node),
            Operation::Release { handle } => {
                let file = self.files.remove(handle).ok_or(Errno::BADF)?;
                self.inodes.closed(file.node);
                Ok(Done::Collected)
            }
            Operation::Read {
                handle,
                offset,
                size,
            } => self.read(handle, offset, size, output),
            Operation::ReadDirectory {
                handle,
                offset,
                size,
                plus,
            } => self.read_directory(handle, offset, size, plus, output.room()),
            Operation::Unknown => Err(Errno::NOSYS),
            ref change if self.directory.access == Access::ReadWrite => {
                self.change(header, change, input)
            }
            _ => Err(Errno::ROFS),
        }
    }

    /// Nothing is known and nothing open.
    fn begin(&mut self) {
        let limits = self.limits;
        let most_open = limits.descriptors.max(1);
        self.inodes = Inodes::new(self.directory.clone(), limits.inodes, most_open);
        self.files = Files::new(limits.files);
    }

    fn init(&mut self, major: u32, max_readahead: u32, flags: u32) -> Result<Done, Errno> {
        if major < MAJOR {
            return Err(Errno::PROTO);
        }
        self.begin();
        self.answer.u32(MAJOR).u32(MINOR);
        if major == MAJOR {
            self.answer
                .u32(max_readahead.min(MAX_DATA))
                .u32(flags & INIT_FLAGS)
                // Requests in the background, and how many of them are many.
                .u16(64)
                .u16(48)
                .u32(MAX_DATA)
                // Times are told in nanoseconds.
                .u32(1)
                .u16(MAX_PAGES)
                .u16(0)
                .u32(0)
                .bytes(&[0; 28]);
        } else {
            // The guest asks again, with the version that it is told (fuse.h, "Protocol versioning").
            self.answer.bytes(&[0; 56]);
        }
        Ok(Done::Collected)
    }

    fn entry(&mut self, node: u64, found: &Statx) -> Done {
        put_entry(&mut self.answer, node, found);
        Done::Collected
    }

    fn get_attributes(&mut self, node: u64, handle: Option<u64>) -> Result<Done, Errno> {
        let open = handle.and_then(|handle| self.files.file(handle).ok());
        let found = match open {
            Some(file) => attributes(&*file)?,
            None => attributes(self.inodes.descriptor(node)?.fd())?,
        };
        put_attributes_answer(&mut self.answer, &found);
        Ok(Done::Collected)
    }

    fn read_link(&mut self, node: u64) -> Result<Done, Errno> {
        if self.inodes.node(node)?.kind != FileType::Symlink {
            return Err(Errno::INVAL);
        }
        let link = self.inodes.descriptor(node)?;
        let target = readlinkat(link.fd(), "", Vec::new())?;
        self.answer.bytes(target.to_bytes());
        Ok(Done::Collected)
    }

    fn stat_fs(&mut self, node: u64) -> Result<Done, Errno> {
        let found = fstatvfs(self.inodes.descriptor(node)?.fd())?;
        let word = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        self.answer
            .u64(found.f_blocks)
            .u64(found.f_bfree)
            .u64(found.f_bavail)
            .u64(found.f_files)
            .u64(found.f_ffree)
            .u32(word(found.f_bsize))
            .u32(word(found.f_namemax))
            .u32(word(found.f_frsize))
            .bytes(&[0; 28]);
        Ok(Done::Collected)
    }
}

/// Takes the header and the fields of a message out of `input`; what follows those of a write stays.
fn read_message(input: &mut dyn Input, message: &mut Vec<u8>) {
    message.resize(MAX_MESSAGE, 0);
    let mut length = input.read(message.get_mut(..IN_HEADER).unwrap_or_default());
    let opcode = Fields(message.get(4..8).unwrap_or_default()).u32();
    let end = match opcode {
        Some(WRITE) => IN_HEADER + WRITE_FIELDS,
        _ => MAX_MESSAGE,
    };
    if length == IN_HEADER {
        length += input.read(message.get_mut(IN_HEADER..end).unwrap_or_default());
    }
    message.truncate(length);
}

/// Bytes of an answer's data that there is room for.
fn room_for_data(room: u64) -> u32 {
    let room = room.saturating_sub(OUT_HEADER as u64);
    u32::try_from(room).unwrap_or(u32::MAX).min(MAX_DATA)
}

/// The owner of a new file, as the guest says.
fn owner(header: &Header) -> (u32, u32) {
    (header.uid, header.gid)
}
