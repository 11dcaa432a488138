//! The guests that whole-guest tests boot, and whether this machine can boot them.
//!
//! The files come from `tools/guest`; the tests look for them in the folder that `VMMKIT_GUEST`
//! names, or in `target/guest`, and for the binary at `VMMKIT_BIN`, or in the release folder. A
//! test that cannot run says `SKIPPED` and why on stderr; `tools/check` counts these lines.
//!
//! In the lab, which `VMMKIT_LAB` tells, the emulated machine may lose a guest: QEMU's emulation of
//! AMD-V (7.2) delivers an injected interrupt a second time when the virtual CPU is made to leave
//! its loop before the next exit, and the guest then waits for ever for a lock that it holds. So a
//! boot that falls silent there is tried again, twice at most, and says `RETRIED` and why; nothing
//! else is ever tried again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use vmmkit_hypervisor_kvm::{KvmKind, kvm_kind};

use crate::process::{Finished, run_bounded, run_watched};
use crate::workspace_root;

/// How long one boot may take: the lab is some forty times slower than hardware, and others may keep the
/// machine's CPUs busy besides.
pub const BOOT_LIMIT: Duration = Duration::from_secs(240);
/// The same on a software KVM, on a machine that is busy besides.
pub const SOFTWARE_BOOT_LIMIT: Duration = Duration::from_secs(900);

/// How long a guest in the lab may say nothing: a quiet boot is 5 to 15 s of CPU.
const SILENCE: Duration = Duration::from_secs(180);
/// How often a boot is tried there.
const TRIES: u32 = 3;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until `condition` holds, for at most [`BOOT_LIMIT`]; fails the test if it never does.
///
/// # Panics
/// Then.
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + BOOT_LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "it never came that {what}");
        thread::sleep(LOOK);
    }
}

/// The files of `tools/guest`, and the binary that boots them.
#[derive(Clone, Debug)]
pub struct Guests {
    name: String,
    folder: PathBuf,
    /// The `vmmkit` binary.
    pub vmmkit: PathBuf,
}

/// Whether this host's KVM can boot Linux, as the binary's own examination says; asked once.
fn boots_linux(vmmkit: &Path) -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    let examine = || {
        let mut command = Command::new(vmmkit);
        command.args(["doctor", "--quiet"]);
        let doctor = run_bounded(&mut command, b"", Duration::from_secs(60))
            .map_err(|error| format!("vmmkit doctor: {error}"))?;
        match doctor.code() {
            Some(0) => Ok(()),
            _ => Err("vmmkit doctor says that this host's KVM cannot boot Linux".to_owned()),
        }
    };
    ANSWER.get_or_init(examine).clone()
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
        match kind.and_then(wanted).and_then(|()| Self::look(name)) {
            Ok(guests) => Some(guests),
            Err(reason) => {
                eprintln!("SKIPPED: {name}: {reason}");
                None
            }
        }
    }

    fn look(name: &str) -> Result<Self, String> {
        let root = workspace_root();
        let folder = std::env::var_os("VMMKIT_GUEST")
            .map_or_else(|| root.join("target/guest"), PathBuf::from);
        let vmmkit = std::env::var_os("VMMKIT_BIN").map_or_else(
            || root.join("target/x86_64-unknown-linux-gnu/release/vmmkit"),
            PathBuf::from,
        );
        let guests = Self {
            name: name.to_owned(),
            folder,
            vmmkit,
        };
        for file in [&guests.vmmkit, &guests.lean_elf(), &guests.initramfs()] {
            if !file.exists() {
                return Err(format!("{} is not there", file.display()));
            }
        }
        boots_linux(&guests.vmmkit)?;
        Ok(guests)
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

    /// Modules of the cloud kernel, drivers of a guest's devices.
    pub fn modules(&self) -> PathBuf {
        self.folder.join("cloud/guest-modules")
    }

    /// The busybox initramfs.
    pub fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs.cpio")
    }

    /// A disk with a boot loader of its own: GRUB for a BIOS and for UEFI, the lean kernel and the initramfs.
    pub fn grub_disk(&self) -> PathBuf {
        self.folder.join("grub.iso")
    }

    /// The user space of the initramfs as an ext4 file system.
    pub fn root_disk(&self) -> PathBuf {
        self.folder.join("root.ext4")
    }

    /// Debian as it comes: root.ext4, vmlinuz and initrd.img; not everywhere.
    pub fn debian(&self) -> PathBuf {
        self.folder.join("debian")
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
        self.run(&mut command, b"")
    }

    /// Runs a command that boots a guest, with `input` on its stdin.
    ///
    /// # Errors
    /// Where the binary cannot be started.
    #[expect(clippy::print_stderr, reason = "a retry is loud")]
    pub fn run(&self, command: &mut Command, input: &[u8]) -> std::io::Result<Finished> {
        if std::env::var_os("VMMKIT_LAB").is_none() {
            return run_bounded(command, input, BOOT_LIMIT);
        }
        let mut tries = 1;
        loop {
            let run = run_watched(command, input, BOOT_LIMIT, SILENCE)?;
            if !run.fell_silent || tries == TRIES {
                return Ok(run);
            }
            tries += 1;
            let last = run.stdout.lines().last().unwrap_or_default();
            eprintln!(
                "RETRIED: {}: the guest said nothing for {} s after {last:?}",
                self.name,
                SILENCE.as_secs()
            );
        }
    }
}
