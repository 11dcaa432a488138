//! Images that qemu-img makes, changed by a guest and judged by qemu-img. Skipped where it is not.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and a skip is loud"
)]

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};
use vmmkit_virtio::fake::Driver;
use vmmkit_virtio_devices::{Block, BlockConfig};

/// Bytes of the disks of these tests.
const SIZE: u64 = 1 << 20;
/// Requests (virtio 1.2 section 5.2.6).
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const WRITE_ZEROES: u32 = 13;

/// One test at a time: a process that one starts has, for a moment, the locked files of the others.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock()
}

/// A path that nobody else has; what is there is removed at the end.
struct TempPath(PathBuf);

impl Drop for TempPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl TempPath {
    fn new(extension: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "vmmkit-qemu-img-{}-{number}.{extension}",
            std::process::id()
        );
        Self(std::env::temp_dir().join(name))
    }

    fn config(&self) -> BlockConfig {
        BlockConfig {
            path: self.0.clone(),
            backing: true,
            ..BlockConfig::default()
        }
    }
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

/// The data read and the status.
fn read(driver: &mut Driver, sector: u64, length: usize) -> (Vec<u8>, u8) {
    let request = driver.request(0, &[&header(IN, sector)], &[length, 1]);
    let mut bytes = request.unwrap();
    let status = bytes.pop().unwrap();
    (bytes, status)
}

/// A request whose only answer is the status.
fn ask(driver: &mut Driver, readable: &[&[u8]]) -> u8 {
    let answer = driver.request(0, readable, &[1]).unwrap();
    assert_eq!(answer.len(), 1);
    answer[0]
}

fn write(driver: &mut Driver, sector: u64, bytes: &[u8]) -> u8 {
    ask(driver, &[&header(OUT, sector), bytes])
}

fn flush(driver: &mut Driver) -> u8 {
    ask(driver, &[&header(FLUSH, 0)])
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed) | 1)
        .collect()
}

/// Runs qemu-img; `None`, and said, where there is none.
fn qemu_img(arguments: &[&str]) -> Option<Output> {
    match Command::new("qemu-img").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("SKIPPED: qemu-img: {error}");
            None
        }
    }
}

/// Runs it, to success.
fn must(arguments: &[&str]) -> Option<()> {
    let output = qemu_img(arguments)?;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    Some(())
}

fn text(path: &TempPath) -> &str {
    path.0.to_str().unwrap()
}

/// An image of `size` bytes, or of what another file has.
fn create(more: &[&str], size: Option<u64>) -> Option<TempPath> {
    let path = TempPath::new("qcow2");
    let size = size.map(|size| size.to_string());
    let mut arguments = vec!["create", "-q", "-f", "qcow2"];
    arguments.extend(more);
    arguments.push(text(&path));
    arguments.extend(size.as_deref());
    must(&arguments)?;
    Some(path)
}

/// A raw file with `bytes`.
fn file(bytes: &[u8]) -> TempPath {
    let path = TempPath::new("raw");
    std::fs::write(&path.0, bytes).unwrap();
    path
}

/// Changes `twin` and the disk at `path` alike, here and there, then lets qemu-img compare them.
fn change_and_compare(path: &TempPath, mut twin: Vec<u8>) {
    let block = Arc::new(Block::open(&path.config()).unwrap());
    assert_eq!(block.stats().host_errors, 0);
    let mut driver = Driver::start(block.clone()).unwrap();
    for (sector, found) in (0..).step_by(128).zip(twin.chunks(128 * 512)) {
        assert!(read(&mut driver, sector, found.len()) == (found.to_vec(), 0));
    }
    let last = SIZE / 512 - 3;
    for (seed, sector, sectors) in [
        (1, 0, 1),
        (2, 127, 2),
        (3, 300, 700),
        (4, 1000, 9),
        (5, last, 3),
    ] {
        let bytes = pattern(sectors * 512, seed);
        assert_eq!(write(&mut driver, sector, &bytes), 0);
        let start = sector as usize * 512;
        twin[start..start + bytes.len()].copy_from_slice(&bytes);
    }
    // Zeroes over a part of what was written, over a whole cluster and over what nobody wrote.
    for (sector, count, unmap) in [(310_u64, 5, 0), (512, 256, 1), (1500, 300, 1)] {
        let zeroes = [
            &sector.to_le_bytes()[..],
            &u32::to_le_bytes(count),
            &u32::to_le_bytes(unmap),
        ];
        let zeroes = zeroes.concat();
        assert_eq!(ask(&mut driver, &[&header(WRITE_ZEROES, 0), &zeroes]), 0);
        let start = sector as usize * 512;
        twin[start..start + count as usize * 512].fill(0);
    }
    assert_eq!(flush(&mut driver), 0);
    assert_eq!(block.stats().host_errors, 0);
    drop((driver, block));

    let check = qemu_img(&["check", "-f", "qcow2", text(path)]).unwrap();
    assert!(check.status.success(), "{check:?}");
    let twin = file(&twin);
    must(&[
        "compare",
        "-f",
        "qcow2",
        "-F",
        "raw",
        text(path),
        text(&twin),
    ]);
}

#[test]
fn empty_images_of_every_form_stay_sound() {
    let _alone = alone();
    for options in [
        "cluster_size=512",
        "cluster_size=4k,refcount_bits=1",
        "cluster_size=64k,lazy_refcounts=off",
        "cluster_size=2M,refcount_bits=64",
        "compat=0.10",
        "preallocation=metadata",
        "preallocation=full",
    ] {
        let Some(path) = create(&["-o", options], Some(SIZE)) else {
            return;
        };
        change_and_compare(&path, vec![0; SIZE as usize]);
    }
}

#[test]
fn compressed_clusters_are_read_and_written_over() {
    let _alone = alone();
    let twin: Vec<u8> = (0..SIZE).map(|at| (at >> 9) as u8).collect();
    let (raw, path) = (file(&twin), TempPath::new("qcow2"));
    let arguments = [
        "convert",
        "-c",
        "-f",
        "raw",
        "-O",
        "qcow2",
        text(&raw),
        text(&path),
    ];
    if must(&arguments).is_some() {
        change_and_compare(&path, twin);
    }
}

#[test]
fn what_no_one_wrote_is_the_backing_files() {
    let _alone = alone();
    let twin: Vec<u8> = (0..SIZE).map(|at| (at >> 10) as u8).collect();
    // A shorter one, that ends within a cluster: zeroes are behind it.
    for length in [SIZE as usize, 700 * 1024 + 512] {
        let base = file(&twin[..length]);
        let mut twin = twin.clone();
        twin[length..].fill(0);
        let backing = ["-b", text(&base), "-F", "raw"];
        let Some(path) = create(&backing, Some(SIZE)) else {
            return;
        };
        change_and_compare(&path, twin.clone());
        assert!(
            std::fs::read(&base.0).unwrap() == twin[..length],
            "the base is not written"
        );
    }
}

/// Images that are only read here: their format and how qemu-img makes them.
const READ: [(&str, &[&str]); 7] = [
    ("qcow2", &["-c", "-o", "compression_type=zstd"]),
    ("qcow2", &["-o", "extended_l2=on"]),
    (
        "qcow2",
        &["-c", "-o", "extended_l2=on,compression_type=zstd"],
    ),
    ("vdi", &[]),
    ("vpc", &["-o", "subformat=dynamic,force_size=on"]),
    ("vmdk", &["-o", "subformat=monolithicSparse"]),
    ("vmdk", &["-o", "subformat=streamOptimized"]),
];

#[test]
fn an_image_that_is_only_read_stays_as_it_is_under_what_is_written() {
    let _alone = alone();
    let twin: Vec<u8> = (0..SIZE).map(|at| (at >> 9) as u8).collect();
    let raw = file(&twin);
    for (format, how) in READ {
        let path = TempPath::new(if format == "vpc" { "vhd" } else { format });
        let convert = [&["convert", "-f", "raw", "-O", format][..], how].concat();
        if must(&[&convert[..], &[text(&raw), text(&path)]].concat()).is_none() {
            return;
        }
        let before = std::fs::read(&path.0).unwrap();
        assert!(Block::open(&path.config()).is_err(), "{format} {how:?}");
        let over = create(&["-b", text(&path), "-F", format], Some(SIZE)).unwrap();
        change_and_compare(&over, twin.clone());
        // Without another image: a guest that reads, and one whose writes last no longer than itself.
        for (read_only, overlay) in [(true, None), (false, Some(std::env::temp_dir()))] {
            let config = BlockConfig {
                read_only,
                overlay,
                ..path.config()
            };
            let block = Arc::new(Block::open(&config).unwrap());
            let mut driver = Driver::start(block).unwrap();
            assert!(read(&mut driver, 100, 60_416) == (twin[51_200..][..60_416].to_vec(), 0));
            let status = write(&mut driver, 101, &pattern(512, 1));
            assert_eq!(status == 0, !read_only, "{format} {how:?}");
        }
        assert!(std::fs::read(&path.0).unwrap() == before);
    }
}

#[test]
fn a_chain_of_images_is_one_disk() {
    let _alone = alone();
    let Some(first) = create(&[], Some(SIZE)) else {
        return;
    };
    let mut twin = vec![0; SIZE as usize];
    let mut last = first;
    let mut kept = Vec::new();
    for seed in 10..14_u8 {
        let block = Arc::new(Block::open(&last.config()).unwrap());
        let mut driver = Driver::start(block).unwrap();
        let sector = u64::from(seed) * 100;
        let bytes = pattern(200 * 512, seed);
        assert_eq!(write(&mut driver, sector, &bytes), 0);
        assert_eq!(flush(&mut driver), 0);
        let start = sector as usize * 512;
        twin[start..start + bytes.len()].copy_from_slice(&bytes);
        drop(driver);
        let backing = ["-b", text(&last), "-F", "qcow2"];
        let next = create(&backing, None).unwrap();
        kept.push(std::mem::replace(&mut last, next));
    }
    change_and_compare(&last, twin);
}

#[test]
fn an_encrypted_image_is_refused_by_name() {
    let _alone = alone();
    let path = TempPath::new("qcow2");
    let make = [
        "create",
        "-q",
        "--object=secret,id=s,data=abc",
        "-f",
        "qcow2",
        "-o",
        // LUKS would measure the machine first.
        "encrypt.format=aes,encrypt.key-secret=s",
        text(&path),
        "1M",
    ];
    if must(&make).is_none() {
        return;
    }
    let over = create(&[], Some(SIZE)).unwrap();
    let backing = [
        "rebase",
        "-u",
        "-f",
        "qcow2",
        "-b",
        text(&path),
        "-F",
        "qcow2",
    ];
    must(&[&backing[..], &[text(&over)]].concat());
    let mut configs = [path.config(), path.config(), over.config()];
    configs[1].read_only = true;
    for config in configs {
        let error = Block::open(&config).unwrap_err();
        let name = config.path.to_str().unwrap();
        assert!(error.to_string().contains(name), "{error}");
        assert!(reasons(&error).contains("encrypted (AES)"), "{error}");
    }
}

/// All that an error says, with its causes.
fn reasons(error: &dyn Error) -> String {
    let cause = error.source().map(reasons).unwrap_or_default();
    format!("{error}: {cause}")
}

/// Asserts qemu-img's verdict on a copy of the image, which is as a kill would leave it.
fn assert_sound_or_leaking(path: &TempPath, when: &str) {
    let copy = TempPath::new("qcow2");
    std::fs::copy(&path.0, &copy.0).unwrap();
    let check = qemu_img(&["check", "-f", "qcow2", text(&copy)]).unwrap();
    assert!(
        matches!(check.status.code(), Some(0 | 3)),
        "{when}: {check:?}"
    );
    Block::open(&copy.config()).unwrap();
}

/// Writes without a flush, by two queues, and ends as a guest does that is powered off.
fn write_without_flush(path: &TempPath, mut twin: Vec<u8>, when: &str) {
    let config = BlockConfig {
        queues: 2,
        ..path.config()
    };
    let block = Arc::new(Block::open(&config).unwrap());
    let mut driver = Driver::start(block.clone()).unwrap();
    let sectors = twin.len() / 512;
    for step in 0..20 {
        let sector = (step * 1_103_515) % (sectors - 40);
        let bytes = pattern((1 + step * 2) * 512, step as u8);
        let queue = (step % 2) as u16;
        let request = [&header(OUT, sector as u64)[..], &bytes];
        assert_eq!(driver.request(queue, &request, &[1]).unwrap(), [0]);
        let start = sector * 512;
        twin[start..start + bytes.len()].copy_from_slice(&bytes);
        if step % 5 == 0 {
            assert_sound_or_leaking(path, when);
        }
    }
    drop(driver);
    // The device is still there, as in a process that ends without dropping it.
    let check = qemu_img(&["check", "-U", "-f", "qcow2", text(path)]).unwrap();
    assert!(check.status.success(), "{when}: {check:?}");
    let twin = file(&twin);
    let compare = ["compare", "-U", "-f", "qcow2", "-F", "raw"];
    must(&[&compare[..], &[text(path), text(&twin)]].concat());
    drop(block);
}

#[test]
fn what_a_guest_wrote_is_there_after_an_end_without_a_flush() {
    let _alone = alone();
    let old: Vec<u8> = (0..SIZE).map(|at| (at >> 9) as u8).collect();
    let raw = file(&old);
    for options in [
        "cluster_size=512,refcount_bits=1",
        "cluster_size=64k,lazy_refcounts=on",
        "cluster_size=2M,refcount_bits=64",
        "compat=0.10",
        "preallocation=metadata",
    ] {
        let Some(path) = create(&["-o", options], Some(SIZE)) else {
            return;
        };
        write_without_flush(&path, vec![0; SIZE as usize], options);
    }
    let over = create(&["-b", text(&raw), "-F", "raw"], Some(SIZE)).unwrap();
    write_without_flush(&over, old.clone(), "backing");
    for compress in [true, false] {
        let path = TempPath::new("qcow2");
        let convert = ["convert", "-f", "raw", "-O", "qcow2"];
        let how = if compress { &["-c"][..] } else { &[] };
        must(&[&convert[..], how, &[text(&raw), text(&path)]].concat()).unwrap();
        if !compress {
            must(&["snapshot", "-c", "s", text(&path)]).unwrap();
        }
        write_without_flush(&path, old.clone(), "compressed, or with a snapshot");
    }
}

#[test]
fn a_file_that_an_image_names_for_its_data_is_never_opened() {
    let _alone = alone();
    let victim = file(&[7; SIZE as usize]);
    let option = format!("data_file={},data_file_raw=on", text(&victim));
    let Some(path) = create(&["-o", &option], Some(SIZE)) else {
        return;
    };
    let before = std::fs::read(&victim.0).unwrap();
    for read_only in [true, false] {
        let config = BlockConfig {
            read_only,
            ..path.config()
        };
        let error = Block::open(&config).unwrap_err();
        assert!(reasons(&error).contains("external data file"), "{error}");
    }
    assert!(std::fs::read(&victim.0).unwrap() == before);
}

#[test]
fn no_other_format_of_qemu_img_is_taken_for_a_raw_disk() {
    let _alone = alone();
    for format in ["qcow", "vmdk", "vdi", "vhdx", "vpc", "qed", "parallels"] {
        for option in [&[][..], &["-o", "subformat=fixed"]] {
            if !option.is_empty() && format != "vpc" {
                continue;
            }
            let path = TempPath::new("img");
            let create = ["create", "-q", "-f", format];
            if must(&[&create[..], option, &[text(&path), "1M"]].concat()).is_none() {
                return;
            }
            let error = Block::open(&path.config()).unwrap_err();
            let words = format!("not a raw disk by its contents, but {format}");
            assert!(error.to_string().contains(&words), "{error}");
        }
    }
}
