//! virtiofsd, which shares a folder of the host with a guest.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::diskless::skip;
use crate::guest::BOOT_LIMIT;

/// Debian's, of QEMU.
const PROGRAM: &str = "/usr/lib/qemu/virtiofsd";

/// A running virtiofsd, which ends with its test if not with its guest.
#[derive(Debug)]
pub struct Virtiofsd {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Virtiofsd {
    /// Shares `folder`; its socket and log are in `scratch`. `None` where there is no such program,
    /// and says why the test `name` is skipped.
    ///
    /// # Errors
    /// The host's, and what the program said that has no socket.
    pub fn start(name: &str, scratch: &Path, folder: &Path) -> io::Result<Option<Self>> {
        if !Path::new(PROGRAM).exists() {
            skip(name, &format!("there is no {PROGRAM}"));
            return Ok(None);
        }
        let (socket, log) = (scratch.join("socket"), scratch.join("log"));
        let child = Command::new(PROGRAM)
            .arg(format!("--socket-path={}", socket.display()))
            .args(["-o", &format!("source={}", folder.display())])
            // A new root needs one to leave, which an initramfs is not.
            .args(["-o", "sandbox=chroot", "-o", "cache=none"])
            .stdin(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut daemon = Self { child, socket, log };
        let deadline = Instant::now() + BOOT_LIMIT;
        while !daemon.socket.exists() {
            if daemon.child.try_wait()?.is_some() || Instant::now() >= deadline {
                return Err(io::Error::other(daemon.log()));
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(Some(daemon))
    }

    /// Where a guest's device finds it.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Virtiofsd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
