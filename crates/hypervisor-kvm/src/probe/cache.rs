//! The answers of a software KVM's micro-guests, kept in a file from one start to the next: the host is
//! the same until it boots again, another module is loaded or another program asks.
//!
//! A cached answer is believed only if it is this user's alone and says all of this in these words:
//!
//! ```text
//! version 0.1.0                                    the program's
//! boot 4ae4d4c6-5dc4-4a5b-b4aa-b7c8a4c5d6e7        /proc/sys/kernel/random/boot_id
//! kernel 6.12.0                                    /proc/sys/kernel/osrelease
//! device 10:232                                    /dev/kvm's
//! cpu 000306f2                                     CPUID leaf 1, EAX
//! module kvm_pvm 1A2B3C4D5E6F                      each that uses kvm, and its srcversion
//! NOP 1                                            each instruction, and whether KVM knows it
//! ```
//!
//! Anything else is as good as no file: the host is probed, and the file is written anew. It never
//! fails a start.

use std::arch::x86_64::__cpuid;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the answers of a host's probe are kept, for [`Kvm::open_cached`](crate::Kvm::open_cached).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeCache {
    folder: PathBuf,
}

/// The file's name in the folder.
const NAME: &str = "software-kvm";
/// The longest file that is read, in bytes.
const MAX: u64 = 4096;
/// The modules that are looked at.
const MAX_MODULES: usize = 8;

/// The host for which the answers hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host(String);

impl ProbeCache {
    /// A cache in `folder`, which must be there and be this user's own, writable for nobody else: else
    /// nothing is read from it nor written to it.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The answers for `names`, in their order, where the file has them for `host`.
    pub(super) fn read(&self, host: &Host, names: &[&str]) -> Option<Vec<bool>> {
        let text = self.contents()?;
        let mut lines = text.strip_prefix(&host.0)?.lines();
        let answers = names
            .iter()
            .map(|name| match lines.next()?.strip_prefix(name)? {
                " 0" => Some(false),
                " 1" => Some(true),
                _ => None,
            });
        let answers: Option<Vec<bool>> = answers.collect();
        answers.filter(|_| lines.next().is_none())
    }

    /// Keeps the answers, if that can be done.
    pub(super) fn write(&self, host: &Host, answers: &[(&str, bool)]) {
        let mut text = host.0.clone();
        for (name, ok) in answers {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} {}", u8::from(*ok));
        }
        if let Err(error) = self.replace(text.as_bytes()) {
            tracing::debug!(folder = %self.folder.display(), %error, "probe not kept");
        }
    }

    fn contents(&self) -> Option<String> {
        self.is_own_folder().then_some(())?;
        // Neither what a link leads to, nor a pipe that waits for its other end.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(self.folder.join(NAME))
            .ok()?;
        let found = file.metadata().ok()?;
        let trusted = found.is_file() && is_own(&found) && found.len() <= MAX;
        trusted.then_some(())?;
        let mut text = String::new();
        file.take(MAX).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Puts a new file in the place of the old one, at once.
    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if !self.is_own_folder() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        // Ordering: only the numbers must differ.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let new = format!("{NAME}.{}.{number}", std::process::id());
        let new = self.folder.join(new);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new);
        let written = file
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&new, self.folder.join(NAME)));
        if written.is_err() {
            // It may not even be there.
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn is_own_folder(&self) -> bool {
        fs::symlink_metadata(&self.folder).is_ok_and(|found| found.is_dir() && is_own(&found))
    }
}

/// Whether it is this user's, and nobody else may write to it.
fn is_own(found: &fs::Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
}

impl Host {
    /// This host, with the KVM device at `device`; `None` where it does not say enough of itself.
    pub(super) fn this(device: &Path) -> Option<Self> {
        let word = |path: &str| {
            let text = fs::read_to_string(path).ok()?;
            let word = text.trim();
            let plain = !word.is_empty() && !word.contains(char::is_whitespace);
            plain.then(|| word.to_owned())
        };
        let device = fs::metadata(device).ok()?;
        device.file_type().is_char_device().then_some(())?;
        let device = device.rdev();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "version {}\nboot {}\nkernel {}\ndevice {}:{}\ncpu {:08x}\n",
            env!("CARGO_PKG_VERSION"),
            word("/proc/sys/kernel/random/boot_id")?,
            word("/proc/sys/kernel/osrelease")?,
            libc::major(device),
            libc::minor(device),
            __cpuid(1).eax,
        );
        // None where KVM is not a module.
        let holders = fs::read_dir("/sys/module/kvm/holders")
            .into_iter()
            .flatten();
        let names = holders.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.take(MAX_MODULES).collect();
        names.sort();
        for name in names.iter().map(String::as_str).chain(["kvm"]) {
            let version = word(&format!("/sys/module/{name}/srcversion"));
            let _ = writeln!(text, "module {name} {}", version.as_deref().unwrap_or("-"));
        }
        Some(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use vmm_sys_util::tempdir::TempDir;

    use super::*;

    const NAMES: [&str; 2] = ["NOP", "CLAC"];

    fn host() -> Host {
        Host("version 1\nboot a\n".to_owned())
    }

    /// A folder of this user's own.
    fn folder() -> TempDir {
        let folder = TempDir::new_with_prefix(std::env::temp_dir().join("probe-cache-")).unwrap();
        fs::set_permissions(folder.as_path(), fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn kept() -> (TempDir, ProbeCache) {
        let folder = folder();
        let cache = ProbeCache::in_folder(folder.as_path());
        cache.write(&host(), &[("NOP", true), ("CLAC", false)]);
        (folder, cache)
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else_is_left() {
        let (folder, cache) = kept();
        assert_eq!(cache.read(&host(), &NAMES), Some(vec![true, false]));
        let file = folder.as_path().join(NAME);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.as_path()).unwrap().count(), 1);
    }

    #[test]
    fn another_host_or_other_instructions_are_not_answered() {
        let (_folder, cache) = kept();
        let other = Host("version 1\nboot b\n".to_owned());
        assert_eq!(cache.read(&other, &NAMES), None);
        assert_eq!(cache.read(&host(), &["CLAC", "NOP"]), None);
        assert_eq!(cache.read(&host(), &["NOP"]), None);
        assert_eq!(cache.read(&host(), &["NOP", "CLAC", "STAC"]), None);
    }

    #[test]
    fn a_file_that_is_odd_is_not_believed() {
        let (folder, cache) = kept();
        let file = folder.as_path().join(NAME);
        let good = fs::read(&file).unwrap();
        for odd in [
            &b""[..],
            b"version 1\nboot a\nNOP 1\nCLAC 2\n",
            b"version 1\nboot a\nNOP 1\nCLAC 0\nCLAC 1\n",
            b"version 1\nboot a\nNOP 1\n",
            b"version 1\nboot a\nNOP 1 CLAC 0\n",
            b"\xff\xfe",
            &good[..good.len() - 2],
            &[&good[..], &[b'\n'; 5000]].concat(),
        ] {
            fs::write(&file, odd).unwrap();
            assert_eq!(cache.read(&host(), &NAMES), None, "{odd:?}");
        }
        cache.write(&host(), &[("NOP", true), ("CLAC", true)]);
        assert_eq!(cache.read(&host(), &NAMES), Some(vec![true, true]));
    }

    #[test]
    fn a_file_or_folder_that_others_can_write_and_a_link_are_not_believed() {
        let (folder, cache) = kept();
        let file = folder.as_path().join(NAME);
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&file, 0o620);
        assert_eq!(cache.read(&host(), &NAMES), None);
        mode(&file, 0o600);
        mode(folder.as_path(), 0o777);
        assert_eq!(cache.read(&host(), &NAMES), None);
        fs::remove_file(&file).unwrap();
        cache.write(&host(), &[("NOP", true), ("CLAC", true)]);
        assert!(!file.exists());
        mode(folder.as_path(), 0o700);
        let elsewhere = folder.as_path().join("elsewhere");
        fs::write(&elsewhere, "version 1\nboot a\nNOP 1\nCLAC 1\n").unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert_eq!(cache.read(&host(), &NAMES), None);
        // The link is replaced, and what it leads to stays.
        cache.write(&host(), &[("NOP", false), ("CLAC", true)]);
        assert_eq!(cache.read(&host(), &NAMES), Some(vec![false, true]));
        assert!(fs::read_to_string(&elsewhere).unwrap().contains("NOP 1"));
    }

    #[test]
    fn a_pipe_in_its_place_holds_nobody_up() {
        let folder = folder();
        let file = folder.as_path().join(NAME);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &file,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let cache = ProbeCache::in_folder(folder.as_path());
        assert_eq!(cache.read(&host(), &NAMES), None);
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_cache() {
        let cache = ProbeCache::in_folder("/nonexistent/folder");
        cache.write(&host(), &[("NOP", true)]);
        assert_eq!(cache.read(&host(), &["NOP"]), None);
    }

    #[test]
    fn this_host_names_its_boot_and_kernel() {
        let null = Host::this(Path::new("/dev/null")).unwrap();
        assert!(null.0.contains("\ndevice 1:3\n"), "{}", null.0);
        assert!(null.0.contains("\nboot "), "{}", null.0);
        assert_eq!(Host::this(Path::new("/dev/null")), Some(null));
        assert_eq!(Host::this(Path::new("/etc/passwd")), None);
    }
}
