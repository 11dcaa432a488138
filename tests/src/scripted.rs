//! A guest that runs a script: its root is a disk that it cannot write, the script another one.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::disk::Scratch;
use crate::guest::Guests;
use crate::process::Finished;

/// The root is the first disk, the script the second one.
const CMDLINE: &str = "console=ttyS0 reboot=k panic=-1 quiet root=/dev/vda ro init=/init \
     vmmkit.batch vmmkit.run=sh,/dev/vdb";
/// The beginning of every script: all of busybox's names.
const PRELUDE: &str =
    "mkdir /tmp/bin; busybox --install -s /tmp/bin; export PATH=/bin:/tmp/bin; cd /tmp\n";

/// The lean kernel with such a root, and a folder for what the test needs.
#[derive(Debug)]
pub struct Scripted {
    guests: Guests,
    scratch: Scratch,
}

impl Scripted {
    /// As [`Guests::find`].
    ///
    /// # Errors
    /// The host's, where it has no folder for it.
    pub fn find(name: &str) -> io::Result<Option<Self>> {
        let Some(guests) = Guests::find(name) else {
            return Ok(None);
        };
        let scratch = Scratch::new()?;
        Ok(Some(Self { guests, scratch }))
    }

    /// The kernel of such guests.
    pub fn kernel(&self) -> PathBuf {
        self.guests.lean_elf()
    }

    /// A folder that is gone after the test.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// A `vmmkit run` of a guest that runs `script`, with more `parameters` of its kernel.
    ///
    /// # Errors
    /// The host's.
    pub fn command(&self, script: &str, parameters: &str) -> io::Result<Command> {
        let script = self.scratch.script(&format!("{PRELUDE}{script}"))?;
        let cmdline = format!("{CMDLINE} {parameters}");
        let mut command = self
            .guests
            .command(&self.guests.lean_elf(), &["--cmdline", cmdline.trim()]);
        for disk in [self.guests.root_disk(), script] {
            command
                .arg("--disk")
                .arg(format!("{},readonly", disk.display()));
        }
        Ok(command)
    }

    /// Runs such a command to the end of the guest.
    ///
    /// # Errors
    /// Where the binary cannot be started.
    pub fn run(&self, command: &mut Command) -> io::Result<Finished> {
        self.guests.run(command, b"")
    }
}
