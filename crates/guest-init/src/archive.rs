//! The initial RAM disk: a cpio archive of the new ASCII format, as Linux reads it
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use thiserror::Error;

use crate::task::{FILE, Task};

/// Why there can be no initial RAM disk.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitramfsError {
    /// The program is not an ELF of 64 bits, or needs an interpreter: nothing but itself is in the RAM disk.
    #[error("the program is not linked statically")]
    NotStatic,
    /// The task cannot be written down.
    #[error("the task cannot be written down")]
    Task(#[from] serde_json::Error),
}

/// The directories that the guest mounts on.
const DIRECTORIES: [&str; 6] = ["dev", "proc", "sys", "lower", "upper", "root"];
/// A directory, and files for everybody to run and for root to read.
const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SECRET: u32 = 0o100_600;

/// The archive with `program` as `/init`, which runs `task`. The program calls [`run`](crate::run) where
/// [`is_init`](crate::is_init) says so, and is linked statically.
///
/// # Errors
/// [`InitramfsError`].
pub fn initramfs(program: &[u8], task: &Task) -> Result<Vec<u8>, InitramfsError> {
    if !is_static(program) {
        return Err(InitramfsError::NotStatic);
    }
    let task = serde_json::to_vec(task)?;
    let mut archive = Vec::with_capacity(program.len() + task.len() + 4096);
    for name in DIRECTORIES {
        add(&mut archive, name, DIRECTORY, &[]);
    }
    add(&mut archive, FILE, SECRET, &task);
    add(&mut archive, "init", PROGRAM, program);
    add(&mut archive, "TRAILER!!!", 0, &[]);
    Ok(archive)
}

fn add(archive: &mut Vec<u8>, name: &str, mode: u32, bytes: &[u8]) {
    // ino, mode, uid, gid, nlink, mtime, filesize, four device numbers, namesize, check.
    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
    let fields = [0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// Whether `program` is an ELF of 64 bits without PT_INTERP (elf(5)).
fn is_static(program: &[u8]) -> bool {
    const INTERPRETER: u32 = 3;
    let half = |at: usize| Some(u16::from_le_bytes(*program.get(at..)?.first_chunk()?));
    let start = program
        .get(32..)
        .and_then(|rest| rest.first_chunk())
        .map(|bytes| u64::from_le_bytes(*bytes));
    let (Some(start), Some(size), Some(count)) = (start, half(54), half(56)) else {
        return false;
    };
    let header = |number: u16| {
        let at = start.checked_add(u64::from(size) * u64::from(number))?;
        let kind = program.get(usize::try_from(at).ok()?..)?.first_chunk()?;
        Some(u32::from_le_bytes(*kind))
    };
    program.starts_with(b"\x7fELF\x02")
        && count > 0
        && (0..count).all(|number| header(number).is_some_and(|kind| kind != INTERPRETER))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF with one program header of that kind.
    fn program(kind: u32) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..5].copy_from_slice(b"\x7fELF\x02");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64..68].copy_from_slice(&kind.to_le_bytes());
        elf
    }

    #[test]
    fn an_archive_has_the_program_and_the_task() {
        let mut task = Task::new("root", vec!["echo".into(), "x".into()]);
        task.writable = true;
        let program = program(1);
        let archive = initramfs(&program, &task).unwrap();
        let mut rest = archive.as_slice();
        let mut names = Vec::new();
        while !rest.is_empty() {
            assert_eq!(rest[..6], *b"070701");
            let field = |number: usize| {
                let at = 6 + 8 * number;
                let text = std::str::from_utf8(&rest[at..at + 8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (size, name_size) = (field(6), field(11));
            let name = std::str::from_utf8(&rest[110..110 + name_size - 1]).unwrap();
            let start = (110 + name_size).next_multiple_of(4);
            let bytes = &rest[start..start + size];
            match name {
                "init" => assert_eq!(bytes, program),
                FILE => assert_eq!(serde_json::from_slice::<Task>(bytes).unwrap(), task),
                _ => assert!(bytes.is_empty()),
            }
            names.push(name);
            rest = &rest[(start + size).next_multiple_of(4)..];
        }
        let expected = [
            "dev",
            "proc",
            "sys",
            "lower",
            "upper",
            "root",
            FILE,
            "init",
            "TRAILER!!!",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_program_that_needs_another_file_is_refused() {
        let task = Task::new("root", Vec::new());
        for bytes in [&program(3)[..], b"#!/bin/sh", b"", &program(1)[..64]] {
            let made = initramfs(bytes, &task);
            assert!(matches!(made, Err(InitramfsError::NotStatic)), "{bytes:?}");
        }
    }
}
