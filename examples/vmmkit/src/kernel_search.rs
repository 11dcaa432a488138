//! Where a person would look for a kernel that was not named.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use vmmkit_host_io::open_input;

use crate::failure::Failure;

/// A kernel, and the initial RAM disk that belongs to it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The kernel.
    pub(crate) kernel: PathBuf,
    /// The initial RAM disk.
    pub(crate) initrd: Option<PathBuf>,
}

/// The places in the current folder, in order, each with the RAM disk that lies beside it.
const PLACES: [(&str, Option<&str>); 4] = [
    ("vmlinux", None),
    ("bzImage", None),
    (
        "target/guest/lean/vmlinux",
        Some("target/guest/initramfs.cpio"),
    ),
    (
        "target/guest/cloud/vmlinuz",
        Some("target/guest/initramfs.cpio"),
    ),
];

/// Finds a kernel; `initrd` is the one that was named, if any.
pub(crate) fn search(initrd: Option<PathBuf>) -> Result<Found, Failure> {
    let found = search_in(Path::new(""), Path::new("/boot")).ok_or_else(|| {
        Failure::usage(
            "--kernel: none was given, and none can be read at ./vmlinux, ./bzImage, \
             target/guest or /boot/vmlinuz-*",
            "name one with --kernel PATH, or run tools/boot, which gets one",
        )
    })?;
    Ok(Found {
        initrd: initrd.or(found.initrd),
        ..found
    })
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

/// The newest kernel that a distribution installed and this user may read.
fn newest_of(boot: &Path) -> Option<Found> {
    let kernels = fs::read_dir(boot).ok()?.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix("vmlinuz-")?.to_owned();
        let time = entry.metadata().and_then(|data| data.modified());
        is_readable(&entry.path()).then(|| {
            (
                time.unwrap_or(SystemTime::UNIX_EPOCH),
                version,
                entry.path(),
            )
        })
    });
    let (_, version, kernel) = kernels.max()?;
    let initrd = ["initrd.img-", "initramfs-"].iter().find_map(|prefix| {
        let path = boot.join(format!("{prefix}{version}"));
        is_readable(&path).then_some(path)
    });
    Some(Found { kernel, initrd })
}

fn is_readable(path: &Path) -> bool {
    open_input(path)
        .and_then(|file| file.metadata())
        .is_ok_and(|data| data.is_file())
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
}
