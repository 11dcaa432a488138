//! Images as qemu-img makes them, read as it reads them; and what no image may do.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, its helpers too, and a skip is loud"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vmmkit_disk_image::{DiskImage, Format, ImageError};

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("disk-image-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn qemu_img(arguments: &[&str]) -> bool {
    let status = Command::new("qemu-img")
        .args(arguments)
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) => {
            assert!(status.success(), "qemu-img {arguments:?}");
            true
        }
        Err(_) => {
            eprintln!("SKIPPED: there is no qemu-img");
            false
        }
    }
}

/// A disk of `size` bytes with some data, some zeroes and some text at its ends.
fn disk(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for (number, piece) in bytes.chunks_mut(48 << 10).enumerate() {
        if number % 3 == 1 {
            continue;
        }
        for byte in piece.iter_mut() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Bytes that compress by half.
            *byte = (state >> 60) as u8;
        }
    }
    bytes[..5].copy_from_slice(b"first");
    bytes[size - 4..].copy_from_slice(b"last");
    bytes
}

fn whole(image: &DiskImage<File>) -> Vec<u8> {
    let mut bytes = vec![0; image.size() as usize];
    // Pieces that begin and end anywhere.
    for (index, piece) in bytes.chunks_mut(70_001).enumerate() {
        image.read(piece, index as u64 * 70_001).unwrap();
    }
    bytes
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn images_of_qemu_img_have_the_bytes_that_it_reads() {
    let folder = Folder::new("qemu");
    for size in [7 << 20, (3 << 20) + 512 * 9] {
        let (raw, made, back) = (folder.path("raw"), folder.path("made"), folder.path("back"));
        fs::write(&raw, disk(size)).unwrap();
        for (format, name, options) in [
            (Format::Vdi, "vdi", "static=off"),
            (Format::Vdi, "vdi", "static=on"),
            (Format::Vhd, "vpc", "subformat=dynamic"),
            (Format::Vhd, "vpc", "subformat=dynamic,force_size=on"),
            (Format::Vhd, "vpc", "subformat=fixed,force_size=on"),
            (Format::Vmdk, "vmdk", "subformat=monolithicSparse"),
            (Format::Vmdk, "vmdk", "subformat=streamOptimized"),
        ] {
            let to = ["convert", "-f", "raw", "-O", name, "-o", options];
            if !qemu_img(&[&to[..], &[shown(&raw), shown(&made)]].concat()) {
                return;
            }
            let from = ["convert", "-f", name, "-O", "raw"];
            qemu_img(&[&from[..], &[shown(&made), shown(&back)]].concat());
            let image = DiskImage::open(File::open(&made).unwrap(), format).unwrap();
            assert!(
                whole(&image) == fs::read(&back).unwrap(),
                "{name} {options} of {size} bytes"
            );
        }
    }
}

#[test]
fn an_image_that_needs_another_file_is_refused() {
    let folder = Folder::new("children");
    let (raw, made, child) = (
        folder.path("raw"),
        folder.path("made"),
        folder.path("child"),
    );
    fs::write(&raw, disk(1 << 20)).unwrap();
    let to = ["convert", "-O", "vmdk", shown(&raw), shown(&made)];
    if !qemu_img(&to) {
        return;
    }
    let upon = [
        "create",
        "-q",
        "-f",
        "vmdk",
        "-F",
        "vmdk",
        "-b",
        shown(&made),
        shown(&child),
    ];
    qemu_img(&upon);
    let opened = DiskImage::open(File::open(&child).unwrap(), Format::Vmdk);
    assert!(matches!(opened, Err(ImageError::Child)), "{opened:?}");
    let flat = ["convert", "-O", "vmdk", "-o", "subformat=monolithicFlat"];
    qemu_img(&[&flat[..], &[shown(&raw), shown(&made)]].concat());
    let opened = DiskImage::open(File::open(&made).unwrap(), Format::Vmdk);
    assert!(matches!(opened, Err(ImageError::Descriptor)), "{opened:?}");
}

#[test]
fn a_damaged_image_is_an_error() {
    let folder = Folder::new("damaged");
    let (raw, made) = (folder.path("raw"), folder.path("made"));
    fs::write(&raw, disk(3 << 20)).unwrap();
    for (format, name, options) in [
        (Format::Vdi, "vdi", "static=off"),
        (Format::Vhd, "vpc", "subformat=dynamic"),
        (Format::Vmdk, "vmdk", "subformat=monolithicSparse"),
        (Format::Vmdk, "vmdk", "subformat=streamOptimized"),
    ] {
        let to = ["convert", "-f", "raw", "-O", name, "-o", options];
        if !qemu_img(&[&to[..], &[shown(&raw), shown(&made)]].concat()) {
            return;
        }
        let bytes = fs::read(&made).unwrap();
        let mut read = 0;
        // Cut anywhere, or with other bytes in its structures: an answer comes, and no panic.
        for at in (0..4096)
            .step_by(7)
            .chain([bytes.len() - 512, bytes.len() - 1024])
        {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                read += u32::from(try_all(damaged, format));
            }
            try_all(bytes[..at.min(bytes.len())].to_vec(), format);
        }
        assert!(read > 0, "{name} {options}");
        assert!(!try_all(vec![0; 4096], format));
        assert!(!try_all(Vec::new(), format));
    }
}

/// Whether the image is opened; it is read where it says that it has something.
fn try_all(bytes: Vec<u8>, format: Format) -> bool {
    let Ok(image) = DiskImage::open(bytes, format) else {
        return false;
    };
    let mut piece = vec![0; 100_000];
    let last = image.size().saturating_sub(piece.len() as u64);
    for offset in [0, last / 2, last] {
        let _ = image.read(&mut piece, offset);
    }
    let beyond = image.read(&mut piece, image.size());
    assert!(beyond.is_err());
    true
}
