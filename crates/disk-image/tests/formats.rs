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
            (Format::Qcow2, "qcow2", "compat=0.10"),
            (Format::Qcow2, "qcow2", "cluster_size=512"),
            (Format::Qcow2, "qcow2", "cluster_size=2M"),
            (Format::Qcow2, "qcow2", "extended_l2=on"),
            (Format::Qcow2, "qcow2", "preallocation=metadata"),
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
fn compressed_clusters_are_read() {
    let folder = Folder::new("compressed");
    let (raw, made) = (folder.path("raw"), folder.path("made"));
    let disk = disk((5 << 20) + 512 * 3);
    fs::write(&raw, &disk).unwrap();
    for options in [
        "compression_type=zlib",
        "compression_type=zlib,cluster_size=4k",
        "compression_type=zstd",
        "compression_type=zstd,cluster_size=4k",
        "compression_type=zstd,cluster_size=256k",
        "compression_type=zstd,extended_l2=on",
        "compression_type=zlib,extended_l2=on,cluster_size=16k",
    ] {
        let to = ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options];
        if !qemu_img(&[&to[..], &[shown(&raw), shown(&made)]].concat()) {
            return;
        }
        assert!(fs::metadata(&made).unwrap().len() < disk.len() as u64 * 3 / 4);
        let image = DiskImage::open(File::open(&made).unwrap(), Format::Qcow2).unwrap();
        let read = whole(&image);
        let differs = read.iter().zip(&disk).position(|(read, disk)| read != disk);
        assert_eq!((read.len(), differs), (disk.len(), None), "{options}");
    }
}

#[test]
fn subclusters_that_are_written_one_by_one_are_read() {
    let folder = Folder::new("subclusters");
    let made = folder.path("made");
    let create = ["create", "-q", "-f", "qcow2", "-o", "extended_l2=on"];
    if !qemu_img(&[&create[..], &[shown(&made), "1M"]].concat()) {
        return;
    }
    // Of clusters of 64 KiB: one sector, a few subclusters, zeroes within data.
    let commands = [
        "write -P 0x11 512 512",
        "write -P 0x22 64k 10k",
        "write -P 0x33 128k 64k",
        "write -z 132k 6k",
        "discard 140k 2k",
    ];
    let mut io = Command::new("qemu-io");
    io.args(commands.iter().flat_map(|command| ["-c", command]));
    let status = io
        .arg("-d")
        .arg("unmap")
        .arg(&made)
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let back = folder.path("back");
    qemu_img(&["convert", "-O", "raw", shown(&made), shown(&back)]);
    let image = DiskImage::open(File::open(&made).unwrap(), Format::Qcow2).unwrap();
    let (read, wanted) = (whole(&image), fs::read(&back).unwrap());
    let differs = read
        .iter()
        .zip(&wanted)
        .position(|(read, wanted)| read != wanted);
    assert_eq!(differs, None);
    assert_eq!(
        (read[512], read[64 << 10], read[132 << 10]),
        (0x11, 0x22, 0)
    );
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
    let upon = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"];
    qemu_img(&[&upon[..], &[shown(&raw), shown(&made)]].concat());
    let opened = DiskImage::open(File::open(&made).unwrap(), Format::Qcow2);
    assert!(matches!(opened, Err(ImageError::Child)), "{opened:?}");
    let data = format!("data_file={},data_file_raw=on", shown(&child));
    let apart = ["create", "-q", "-f", "qcow2", "-o", &data];
    qemu_img(&[&apart[..], &[shown(&made), "1M"]].concat());
    let opened = DiskImage::open(File::open(&made).unwrap(), Format::Qcow2);
    assert!(matches!(opened, Err(ImageError::Descriptor)), "{opened:?}");
}

#[test]
fn a_damaged_image_is_an_error() {
    let folder = Folder::new("damaged");
    let (raw, made) = (folder.path("raw"), folder.path("made"));
    fs::write(&raw, disk(3 << 20)).unwrap();
    for (format, name, options) in [
        (Format::Qcow2, "qcow2", "cluster_size=4k"),
        (Format::Qcow2, "qcow2", "extended_l2=on"),
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
