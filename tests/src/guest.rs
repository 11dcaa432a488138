//! The guests that whole-guest tests boot, and whether this machine can boot them.
//!
//! The files come from `tools/guest`; the tests look for them in the folder that `VMMKIT_GUEST`
//! names, or in `target/guest`, and for the binary at `VMMKIT_BIN`, or in the release folder. A
//! test that cannot run says `SKIPPED` and why on stderr; `tools/check` counts these lines.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vmmkit_hypervisor_kvm::{KvmKind, kvm_kind};

use crate::process::{Finished, run_bounded};
use crate::workspace_root;

/// How long one boot may take: the lab is some forty times slower than hardware.
pub const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// The same on a software KVM, on a machine that is busy besides.
pub const SOFTWARE_BOOT_LIMIT: Duration = Duration::from_secs(400);

/// The files of `tools/guest`, and the binary that boots them.
#[derive(Clone, Debug)]
pub struct Guests {
    folder: PathBuf,
    /// The `vmmkit` binary.
    pub vmmkit: PathBuf,
}

impl Guests {
    /// The guests, where this machine has VT-x or AMD-V and everything is there. Otherwise says why
    /// the test `name` is skipped.
    pub fn find(name: &str) -> Option<Self> {
        Self::find_on(name, |kind| match kind {
            KvmKind::Software => Err("this host's KVM is software; the lab runs it".to_owned()),
            _ => Ok(()),
        })
    }

    /// The guests, where this machine has a software KVM that can boot Linux.
    pub fn find_on_software(name: &str) -> Option<Self> {
        Self::find_on(name, |kind| match kind {
            KvmKind::Software => Ok(()),
            kind => Err(format!("this host has {kind}")),
        })
    }

    #[expect(clippy::print_stderr, reason = "a skip is loud")]
    fn find_on(name: &str, wanted: impl Fn(KvmKind) -> Result<(), String>) -> Option<Self> {
        let kind = match Path::new("/dev/kvm").exists() {
            true => Ok(kvm_kind()),
            false => Err("there is no /dev/kvm".to_owned()),
        };
        match kind.and_then(wanted).and_then(|()| Self::look()) {
            Ok(guests) => Some(guests),
            Err(reason) => {
                eprintln!("SKIPPED: {name}: {reason}");
                None
            }
        }
    }

    fn look() -> Result<Self, String> {
        let root = workspace_root();
        let folder = std::env::var_os("VMMKIT_GUEST")
            .map_or_else(|| root.join("target/guest"), PathBuf::from);
        let vmmkit = std::env::var_os("VMMKIT_BIN").map_or_else(
            || root.join("target/x86_64-unknown-linux-gnu/release/vmmkit"),
            PathBuf::from,
        );
        let guests = Self { folder, vmmkit };
        for file in [&guests.vmmkit, &guests.lean_elf(), &guests.initramfs()] {
            if !file.exists() {
                return Err(format!("{} is not there", file.display()));
            }
        }
        let doctor = run_bounded(
            Command::new(&guests.vmmkit).args(["doctor", "--quiet"]),
            b"",
            Duration::from_secs(60),
        )
        .map_err(|error| format!("vmmkit doctor: {error}"))?;
        match doctor.code() {
            Some(0) => Ok(guests),
            _ => Err("vmmkit doctor says that this host's KVM cannot boot Linux".to_owned()),
        }
    }

    /// The lean kernel as an ELF executable.
    pub fn lean_elf(&self) -> PathBuf {
        self.folder.join("lean/vmlinux")
    }

    /// The lean kernel as a bzImage.
    pub fn lean_bzimage(&self) -> PathBuf {
        self.folder.join("lean/bzImage")
    }

    /// Debian's cloud kernel, unmodified.
    pub fn cloud(&self) -> PathBuf {
        self.folder.join("cloud/vmlinuz")
    }

    /// The busybox initramfs.
    pub fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs.cpio")
    }

    /// A `vmmkit run` of `kernel` with `arguments`.
    pub fn command(&self, kernel: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.vmmkit);
        command
            .arg("run")
            .arg("--kernel")
            .arg(kernel)
            .args(arguments);
        command
    }

    /// Boots `kernel` with the initramfs, the kernel parameters `cmdline` and `arguments`, with
    /// nothing on stdin.
    ///
    /// # Errors
    /// Where the binary cannot be started.
    pub fn boot(
        &self,
        kernel: &Path,
        cmdline: &str,
        arguments: &[&str],
    ) -> std::io::Result<Finished> {
        let mut command = self.command(kernel, arguments);
        command
            .arg("--initrd")
            .arg(self.initramfs())
            .args(["--cmdline", cmdline]);
        run_bounded(&mut command, b"", BOOT_LIMIT)
    }
}
