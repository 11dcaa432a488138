//! The ports of the guest's virtio consoles, by their names.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::InitError;

const CLASS: &str = "/sys/class/virtio-ports";
/// The driver hears of the ports, and of their names, while the first process runs already.
const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(5);

/// Opens the port `name`, when it is there.
pub(super) fn open(name: &'static str) -> Result<File, InitError> {
    for _ in 0..TRIES {
        let found = find(name).and_then(|path| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).open(path).ok()
        });
        match found {
            Some(port) => return Ok(port),
            None => std::thread::sleep(PAUSE),
        }
    }
    Err(InitError::NoPort { name })
}

fn find(name: &str) -> Option<PathBuf> {
    let ports = fs::read_dir(CLASS).ok()?;
    ports.filter_map(Result::ok).find_map(|port| {
        let found = fs::read_to_string(port.path().join("name")).ok()?;
        (found.trim_end() == name).then(|| Path::new("/dev").join(port.file_name()))
    })
}
