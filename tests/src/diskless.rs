//! Guests that run a script out of their initramfs, so without a disk, by the lean kernel or by
//! Debian's with its own modules.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::disk::Scratch;
use crate::guest::Guests;

/// The beginning of every script. `load NAME...` loads modules where the kernel has them as such.
const PRELUDE: &str = "busybox --install -s /bin 2>/dev/null; mkdir -p /mnt
load() { for module in \"$@\"; do [ ! -e /$module.ko ] || insmod /$module.ko; done; }
load virtio_ring virtio virtio_mmio
";
/// The script is run when the initramfs is up; the guest ends with it.
pub const CMDLINE: &str =
    "console=ttyS0 reboot=k panic=-1 quiet vmmkit.batch vmmkit.run=sh,/script";

/// A kernel that runs a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The lean one, which has no modules.
    Lean,
    /// Debian's, whose drivers are modules.
    Cloud,
}

/// A guest that runs scripts, and a folder for what it needs.
#[derive(Debug)]
pub struct Diskless {
    /// Where the guest is from.
    pub guests: Guests,
    /// The folder.
    pub scratch: Scratch,
    kernel: Kernel,
}

impl Diskless {
    /// Such a guest, where this machine can boot one. Otherwise says why the test `name` is skipped.
    ///
    /// # Errors
    /// The host's.
    pub fn find(name: &str, kernel: Kernel) -> io::Result<Option<Self>> {
        let Some(guests) = Guests::find(name) else {
            return Ok(None);
        };
        let modules = guests.modules();
        if kernel == Kernel::Cloud && !(guests.cloud().exists() && modules.exists()) {
            skip(name, &format!("{} is not there", modules.display()));
            return Ok(None);
        }
        Ok(Some(Self {
            guests,
            scratch: Scratch::new()?,
            kernel,
        }))
    }

    /// Writes an initramfs with `script`, in the folder.
    ///
    /// # Errors
    /// The host's.
    pub fn initrd(&self, script: &str) -> io::Result<PathBuf> {
        let mut initrd = fs::read(self.guests.initramfs())?;
        let script = format!("{PRELUDE}{script}");
        let mut archive = Archive::default();
        archive.add("script", script.as_bytes());
        if self.kernel == Kernel::Cloud {
            for path in files(&self.guests.modules())? {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                archive.add(&name, &fs::read(&path)?);
            }
        }
        initrd.extend(archive.end());
        let path = self.scratch.path().join("initrd");
        fs::write(&path, initrd)?;
        Ok(path)
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        match self.kernel {
            Kernel::Lean => self.guests.lean_elf(),
            Kernel::Cloud => self.guests.cloud(),
        }
    }

    /// A `vmmkit run` of the guest with `script` and `arguments`.
    ///
    /// # Errors
    /// The host's.
    pub fn command(&self, script: &str, arguments: &[&str]) -> io::Result<Command> {
        let path = self.initrd(script)?;
        let mut command = self.guests.command(&self.kernel(), &["--cmdline", CMDLINE]);
        command.arg("--initrd").arg(path).args(arguments);
        Ok(command)
    }
}

/// Says loudly that the test `name` does not run.
#[expect(clippy::print_stderr, reason = "a skip is loud")]
pub fn skip(name: &str, reason: &str) {
    eprintln!("SKIPPED: {name}: {reason}");
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

/// A cpio archive as Linux reads it after another one: Documentation/driver-api/early-userspace/
/// buffer-format.rst.
#[derive(Debug, Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(&mut self, name: &str, bytes: &[u8]) {
        /// A regular file, rwxr-xr-x.
        const MODE: usize = 0o100_755;
        // ino, mode, uid, gid, nlink, mtime, filesize, four device numbers, namesize, check.
        let mut fields = [0; 13];
        fields[1] = MODE;
        fields[4] = 1;
        fields[6] = bytes.len();
        fields[11] = name.len() + 1;
        self.0.extend_from_slice(b"070701");
        for field in fields {
            self.0.extend(format!("{field:08x}").into_bytes());
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self.pad();
        self.0.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", b"");
        self.0
    }
}
