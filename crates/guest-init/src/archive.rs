//! The initial RAM disk: a cpio archive of the new ASCII format, as Linux reads it
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use crate::error::InitramfsError;
use crate::task::Task;
use crate::wire::FILE;

/// The guest's first process; empty where there is none.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// The directories that the guest mounts on.
const DIRECTORIES: [&str; 6] = ["dev", "proc", "sys", "lower", "upper", "root"];
/// A directory, and files for everybody to run and for root to read.
const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const SECRET: u32 = 0o100_600;

/// The archive, some 30 KiB and the task, whose `/init` runs `task` and tells how it ended. The guest's kernel needs
/// virtio-fs and virtio consoles built in, and overlayfs and tmpfs where the root is not writable.
///
/// # Errors
/// [`InitramfsError`].
pub fn initramfs(task: &Task) -> Result<Vec<u8>, InitramfsError> {
    if PROGRAM.is_empty() {
        return Err(InitramfsError::NoProgram);
    }
    let task = task.bytes()?;
    let mut archive = Vec::with_capacity(PROGRAM.len() + task.len() + 4096);
    for name in DIRECTORIES {
        add(&mut archive, name, DIRECTORY, &[]);
    }
    add(&mut archive, FILE, SECRET, &task);
    add(&mut archive, "init", EXECUTABLE, PROGRAM);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The most bytes of the program.
    const MAX: usize = 500 << 10;

    #[test]
    fn an_archive_has_the_program_and_the_task() {
        let mut task = Task::new("root", vec!["echo".into(), "x".into()]);
        task.writable = true;
        let archive = initramfs(&task).unwrap();
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
                "init" => assert_eq!(bytes, PROGRAM),
                FILE => assert_eq!(bytes, task.bytes().unwrap()),
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

    /// A program of 64 bits at fixed addresses without PT_INTERP or PT_DYNAMIC (elf(5)).
    #[test]
    fn the_program_is_small_and_needs_nothing() {
        let (interpreter, dynamic, stack) = (3, 2, 0x6474_e551);
        assert!(PROGRAM.starts_with(b"\x7fELF\x02\x01") && PROGRAM[16..20] == [2, 0, 62, 0]);
        assert!(PROGRAM.len() <= MAX, "{} bytes", PROGRAM.len());
        let count = usize::from(PROGRAM[56]);
        let headers = PROGRAM[64..].chunks(56).take(count);
        let kinds: Vec<_> = headers
            .map(|header| u32::from_le_bytes(*header.first_chunk().unwrap()))
            .collect();
        assert!(kinds.contains(&stack), "{kinds:x?}");
        assert!(
            !kinds.contains(&interpreter) && !kinds.contains(&dynamic),
            "{kinds:x?}"
        );
    }
}
