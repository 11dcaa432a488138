mod bounds;
mod escapes;
mod reading;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

use crate::opcode::{CREATE, GETATTR, INIT, LOOKUP, OPEN, OPENDIR, READ, ROOT, WRITE};
use crate::{Access, Directory, Limits, Session};

/// A directory of its own, which is removed at the end, and a session of the folder `shared` in it.
struct Guest {
    place: PathBuf,
    session: Session,
}

impl Guest {
    fn new(access: Access) -> Self {
        Self::with_limits(access, Limits::default())
    }

    fn with_limits(access: Access, limits: Limits) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fuse-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(name);
        fs::create_dir_all(place.join("shared/inner")).unwrap();
        fs::write(place.join("secret"), "of the host\n").unwrap();
        fs::write(place.join("shared/file"), "of both\n").unwrap();
        fs::write(place.join("shared/inner/deep"), "deep\n").unwrap();
        let directory = Directory::open(place.join("shared"), access).unwrap();
        let session = Session::new(directory.into(), limits);
        Self { place, session }
    }

    fn shared(&self, name: impl AsRef<Path>) -> PathBuf {
        self.place.join("shared").join(name)
    }

    /// The session's answer to a message of `opcode` about `node`, after its header.
    fn ask(&mut self, opcode: u32, node: u64, fields: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut message = Vec::new();
        message.extend((40 + fields.len() as u32).to_le_bytes());
        message.extend(opcode.to_le_bytes());
        message.extend(0x1234_5678_9abc_u64.to_le_bytes());
        message.extend(node.to_le_bytes());
        message.extend([0; 16]);
        message.extend(fields);
        let mut answer = vec![0; 16 + (1 << 20)];
        let length = self
            .session
            .handle(&mut message.as_slice(), &mut answer.as_mut_slice());
        answer.truncate(length as usize);
        if answer.is_empty() {
            return Ok(answer);
        }
        assert_eq!(answer[..4], length.to_le_bytes());
        assert_eq!(answer[8..16], 0x1234_5678_9abc_u64.to_le_bytes());
        let error = i32::from_le_bytes(answer[4..8].try_into().unwrap());
        match error {
            0 => Ok(answer.split_off(16)),
            _ => Err(Errno::from_raw_os_error(-error)),
        }
    }

    fn look_up(&mut self, parent: u64, name: &str) -> Result<u64, Errno> {
        let found = self.ask(LOOKUP, parent, &text(name))?;
        assert_eq!(found.len(), 128);
        Ok(word(&found, 0))
    }

    /// The node of a path of names.
    fn walk(&mut self, path: &str) -> Result<u64, Errno> {
        let mut names = path.split('/');
        names.try_fold(ROOT, |node, name| self.look_up(node, name))
    }

    fn open(&mut self, node: u64, flags: u32) -> Result<u64, Errno> {
        let opened = self.ask(OPEN, node, &halves(&[flags, 0]))?;
        Ok(word(&opened, 0))
    }

    fn open_directory(&mut self, node: u64) -> Result<u64, Errno> {
        let opened = self.ask(OPENDIR, node, &halves(&[0, 0]))?;
        Ok(word(&opened, 0))
    }

    fn read(&mut self, node: u64, handle: u64, offset: u64, size: u64) -> Result<Vec<u8>, Errno> {
        self.ask(READ, node, &words(&[handle, offset, size, 0, 0]))
    }

    fn write(&mut self, node: u64, handle: u64, offset: u64, bytes: &[u8]) -> Result<u32, Errno> {
        let mut fields = words(&[handle, offset, bytes.len() as u64, 0, 0]);
        fields.extend(bytes);
        let answer = self.ask(WRITE, node, &fields)?;
        Ok(u32::from_le_bytes(answer[..4].try_into().unwrap()))
    }

    fn create(&mut self, parent: u64, name: &str, flags: u32) -> Result<(u64, u64), Errno> {
        let mut fields = halves(&[flags, 0o644, 0, 0]);
        fields.extend(text(name));
        let made = self.ask(CREATE, parent, &fields)?;
        Ok((word(&made, 0), word(&made, 128)))
    }

    /// The attributes of `node`: struct fuse_attr.
    fn attributes(&mut self, node: u64) -> Result<Vec<u8>, Errno> {
        let mut found = self.ask(GETATTR, node, &words(&[0, 0]))?;
        Ok(found.split_off(16))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.place);
    }
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

fn texts(first: &str, second: &str) -> Vec<u8> {
    [text(first), text(second)].concat()
}

fn words(values: &[u64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn halves(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn a_session_begins_with_the_version_and_what_both_can_do() {
    let mut guest = Guest::new(Access::ReadOnly);
    let node = guest.walk("inner/deep").unwrap();
    let hello = |major, flags| halves(&[major, 45, 1 << 17, flags]);
    let answer = guest.ask(INIT, 0, &hello(7, 0xffff_ffff)).unwrap();
    assert_eq!(answer.len(), 64);
    assert_eq!((half(&answer, 0), half(&answer, 4)), (7, 38));
    assert_eq!((half(&answer, 8), half(&answer, 20)), (1 << 17, 1 << 20));
    // Neither what it cannot do is promised, nor what the guest cannot.
    assert_eq!(half(&answer, 12) & (1 << 16 | 1 << 26), 0);
    let answer = guest.ask(INIT, 0, &hello(7, 1 << 5)).unwrap();
    assert_eq!(half(&answer, 12), 1 << 5);
    // It is a new one: what was known is forgotten.
    assert_eq!(guest.attributes(node), Err(Errno::STALE));
    let newer = guest.ask(INIT, 0, &hello(8, 0)).unwrap();
    assert_eq!((half(&newer, 0), newer.len()), (7, 64));
    assert_eq!(guest.ask(INIT, 0, &hello(6, 0)), Err(Errno::PROTO));
}
