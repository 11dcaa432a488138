//! Where a distribution installs firmware that starts a disk as a PC's BIOS does.

use std::path::{Path, PathBuf};

use vmmkit_host_io::open_input;

use crate::failure::Failure;

/// SeaBIOS, in the order of preference: the build for microvms knows virtio by ACPI too, and starts soonest.
/// Debian, Ubuntu and Fedora have the first folder, Arch and openSUSE the second one.
const PLACES: [&str; 4] = [
    "/usr/share/seabios/bios-microvm.bin",
    "/usr/share/qemu/bios-microvm.bin",
    "/usr/share/seabios/bios.bin",
    "/usr/share/qemu/bios.bin",
];

/// Finds firmware for `disk`, as its user named it.
pub(crate) fn search(disk: &str) -> Result<PathBuf, Failure> {
    first_of(&PLACES).ok_or_else(|| {
        Failure::usage(
            format!(
                "--disk {disk}: it has a boot loader, and no firmware that starts one can be read in \
                 /usr/share/seabios or /usr/share/qemu"
            ),
            "install SeaBIOS (Debian: apt install seabios), or give --firmware PATH, or --kernel PATH",
        )
    })
}

fn first_of(places: &[&str]) -> Option<PathBuf> {
    let is_file = |path: &&Path| {
        let opened = open_input(path).and_then(|file| file.metadata());
        opened.is_ok_and(|data| data.is_file())
    };
    let found = places.iter().map(Path::new).find(is_file)?;
    Some(found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_that_can_be_read_is_taken() {
        let here = env!("CARGO_MANIFEST_DIR");
        let manifest = format!("{here}/Cargo.toml");
        let places = ["/nonexistent/bios.bin", here, &manifest, file!()];
        assert_eq!(first_of(&places), Some(manifest.clone().into()));
        assert_eq!(first_of(&places[..2]), None);
    }
}
