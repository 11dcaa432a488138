//! Files that have no path.

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{MemfdFlags, memfd_create};

/// A file in memory that holds `bytes` (memfd_create(2)), for what wants a file.
///
/// # Errors
/// The host's: no descriptor or no memory left.
pub fn memory_file(bytes: &[u8]) -> io::Result<File> {
    let file = memfd_create("bytes", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    Ok(file)
}
