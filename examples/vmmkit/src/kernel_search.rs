//! Where a person would look for a kernel that was not named.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use vmmkit_host_io::open_input;

use crate::failure::Failure;

/// A kernel, and the initial RAM disk that belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The kernel.
    pub(crate) kernel: PathBuf,
    /// The initial RAM disk.
    pub(crate) initrd: Option<PathBuf>,
}

/// The places in the current folder, in order, each with the RAM disk that lies beside it.
const PLACES: [(&str, Option<&str>); 5] = [
    ("vmlinux", None),
    ("bzImage", None),
    ("arch/x86/boot/bzImage", None),
    (
        "target/guest/lean/vmlinux",
        Some("target/guest/initramfs.cpio"),
    ),
    (
        "target/guest/cloud/vmlinuz",
        Some("target/guest/initramfs.cpio"),
    ),
];

/// How distributions name the RAM disk of `vmlinuz-VERSION`: Debian and Ubuntu; others; Fedora and
/// Arch; openSUSE.
const RAM_DISKS: [(&str, &str); 4] = [
    ("initrd.img-", ""),
    ("initramfs-", ""),
    ("initramfs-", ".img"),
    ("initrd-", ""),
];

/// Finds a kernel.
pub(crate) fn search() -> Result<Found, Failure> {
    let boot = Path::new("/boot");
    search_in(Path::new(""), boot).ok_or_else(|| not_found(unreadable_in(boot, &open)))
}

/// No kernel is found, but perhaps one that this user may not read.
fn not_found(unreadable: Option<PathBuf>) -> Failure {
    match unreadable {
        Some(path) => Failure::usage(
            format!(
                "--kernel: none was given, and this user may not read {}",
                path.display()
            ),
            format!(
                "name one with --kernel PATH, or run: sudo chmod +r {}",
                path.display()
            ),
        ),
        None => Failure::usage(
            "--kernel: none was given, and none can be read at ./vmlinux, ./bzImage, \
             ./arch/x86/boot/bzImage, target/guest or /boot/vmlinuz-*",
            "name one with --kernel PATH, or run tools/boot, which gets one",
        ),
    }
}

fn search_in(here: &Path, boot: &Path) -> Option<Found> {
    let near = PLACES.iter().find_map(|(kernel, initrd)| {
        let kernel = here.join(kernel);
        let initrd = initrd
            .map(|path| here.join(path))
            .filter(|path| is_readable(path));
        is_readable(&kernel).then_some(Found { kernel, initrd })
    });
    near.or_else(|| newest_of(boot))
}

/// A kernel that a distribution installed. In their order: a rescue kernel comes first, then the older.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Installed {
    is_normal: bool,
    time: SystemTime,
    version: String,
    path: PathBuf,
}

fn installed(boot: &Path) -> Vec<Installed> {
    let entries = fs::read_dir(boot).into_iter().flatten().flatten();
    let kernels = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix("vmlinuz-")?.to_owned();
        let time = entry.metadata().and_then(|data| data.modified());
        Some(Installed {
            is_normal: !version.contains("rescue"),
            time: time.unwrap_or(SystemTime::UNIX_EPOCH),
            version,
            path: entry.path(),
        })
    });
    kernels.collect()
}

/// The newest kernel that a distribution installed and this user may read.
fn newest_of(boot: &Path) -> Option<Found> {
    let readable = |kernel: &Installed| is_readable(&kernel.path);
    let newest = installed(boot).into_iter().filter(readable).max()?;
    let initrd = RAM_DISKS.iter().find_map(|(prefix, suffix)| {
        let path = boot.join(format!("{prefix}{}{suffix}", newest.version));
        is_readable(&path).then_some(path)
    });
    Some(Found {
        kernel: newest.path,
        initrd,
    })
}

/// The newest kernel that is there and that `open` says may not be read.
fn unreadable_in(boot: &Path, open: &dyn Fn(&Path) -> io::Result<bool>) -> Option<PathBuf> {
    let denied = |kernel: &Installed| {
        open(&kernel.path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let newest = installed(boot).into_iter().filter(denied).max()?;
    Some(newest.path)
}

/// Whether `path` is a regular file, which can be opened.
fn open(path: &Path) -> io::Result<bool> {
    Ok(open_input(path)?.metadata()?.is_file())
}

fn is_readable(path: &Path) -> bool {
    open(path).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own that is gone after the test.
    struct Folder(PathBuf);

    impl Folder {
        fn with(name: &str, files: &[&str]) -> Self {
            let folder =
                std::env::temp_dir().join(format!("vmmkit-search-{name}-{}", std::process::id()));
            for file in files {
                let path = folder.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_kernel_here_comes_before_one_in_boot() {
        let folder = Folder::with("here", &["bzImage", "boot/vmlinuz-6.1"]);
        let found = search_in(&folder.0, &folder.0.join("boot")).unwrap();
        assert_eq!(
            found,
            Found {
                kernel: folder.0.join("bzImage"),
                initrd: None
            }
        );
    }

    #[test]
    fn a_kernel_in_boot_comes_with_its_ram_disk() {
        let folder = Folder::with("boot", &["boot/vmlinuz-6.1", "boot/initrd.img-6.1"]);
        let boot = folder.0.join("boot");
        let found = search_in(&folder.0, &boot).unwrap();
        assert_eq!(found.kernel, boot.join("vmlinuz-6.1"));
        assert_eq!(found.initrd, Some(boot.join("initrd.img-6.1")));
    }

    #[test]
    fn nothing_is_found_where_there_is_nothing() {
        let folder = Folder::with("none", &["other"]);
        assert_eq!(search_in(&folder.0, &folder.0.join("boot")), None);
    }

    #[test]
    fn ram_disks_are_found_by_the_names_of_each_distribution() {
        for (name, initrd) in [
            ("vmlinuz-6.1.0-13-amd64", "initrd.img-6.1.0-13-amd64"),
            (
                "vmlinuz-6.8.5-301.fc40.x86_64",
                "initramfs-6.8.5-301.fc40.x86_64.img",
            ),
            ("vmlinuz-linux", "initramfs-linux.img"),
            ("vmlinuz-6.4.0-default", "initrd-6.4.0-default"),
            ("vmlinuz-6.6-gentoo", "initramfs-6.6-gentoo"),
        ] {
            let folder = Folder::with(&format!("names-{name}"), &[name, initrd]);
            let found = newest_of(&folder.0).unwrap();
            assert_eq!(found.initrd, Some(folder.0.join(initrd)));
        }
    }

    #[test]
    fn a_rescue_kernel_comes_last_and_a_kernel_trees_own_image_is_found() {
        let rescue = "boot/vmlinuz-0-rescue-abc";
        let folder = Folder::with("rescue", &["boot/vmlinuz-6.8", rescue]);
        let boot = folder.0.join("boot");
        let found = newest_of(&boot).unwrap();
        assert_eq!(found.kernel, boot.join("vmlinuz-6.8"));

        let folder = Folder::with("only-rescue", &[rescue]);
        let found = newest_of(&folder.0.join("boot")).unwrap();
        assert_eq!(found.kernel, folder.0.join(rescue));

        let folder = Folder::with("tree", &["arch/x86/boot/bzImage"]);
        let found = search_in(&folder.0, &folder.0.join("boot")).unwrap();
        assert_eq!(found.kernel, folder.0.join("arch/x86/boot/bzImage"));
    }

    #[test]
    fn a_kernel_that_may_not_be_read_is_named() {
        let folder = Folder::with("denied", &["vmlinuz-6.8"]);
        let denied = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        let path = unreadable_in(&folder.0, &denied);
        assert_eq!(path, Some(folder.0.join("vmlinuz-6.8")));
        assert_eq!(unreadable_in(&folder.0, &open), None);
        let text = not_found(path).text();
        assert!(text.contains("sudo chmod +r "), "{text}");
    }
}
