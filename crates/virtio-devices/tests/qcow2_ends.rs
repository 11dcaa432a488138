//! Images of every form that qemu-img makes, written by one queue or two and never flushed, at every end
//! of their machine: `qemu-img check` finds nothing wrong, and what was written is there. After a kill
//! clusters may be counted that nothing uses, and what was flushed is there. Skipped where there is no
//! qemu-img.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and a skip is loud"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};
use vmmkit_device_bus::Lifecycle;
use vmmkit_virtio::Device;
use vmmkit_virtio::fake::Driver;
use vmmkit_virtio_devices::{Block, BlockConfig};

/// Bytes of the disks: more than one L2 table maps, where clusters are small.
const SIZE: usize = 2 << 20;
/// Bytes of a write.
const PIECE: usize = 3 << 10;
/// Bytes that a child writes and flushes before it is killed.
const FLUSHED: usize = 512 << 10;

const FORMS: [&str; 12] = [
    "cluster_size=512",
    "cluster_size=512,preallocation=metadata",
    "cluster_size=64k",
    "cluster_size=64k,lazy_refcounts=on",
    "cluster_size=64k,preallocation=metadata",
    "cluster_size=64k,preallocation=falloc",
    "cluster_size=64k,preallocation=full,lazy_refcounts=on",
    "cluster_size=2M",
    "cluster_size=2M,preallocation=full",
    "compat=0.10,cluster_size=512",
    "compat=0.10,cluster_size=64k,preallocation=metadata",
    "compat=0.10,cluster_size=2M",
];

/// How a machine ends, as a device sees it.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Power-off, a stop, a signal: devices come to rest and are closed.
    Close,
    /// The driver resets the device, and nothing comes after that.
    Reset,
    /// A pause, and nothing after that.
    Pause,
    /// The device goes away.
    Drop,
}

/// An image of its own, removed at the end.
struct Image(PathBuf);

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// One test at a time: a process that one starts has, for a moment, the locked files of the others.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock()
}

fn qemu_img(arguments: &[&str]) -> Option<Output> {
    match Command::new("qemu-img").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("SKIPPED: ends of qcow2 images: qemu-img: {error}");
            None
        }
    }
}

impl Image {
    fn new(form: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vmmkit-ends-{}-{number}.qcow2", std::process::id());
        let image = Self(std::env::temp_dir().join(name));
        let size = SIZE.to_string();
        let made = qemu_img(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            form,
            image.text(),
            &size,
        ])?;
        assert!(made.status.success(), "{form}: {made:?}");
        Some(image)
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn block(path: &Path, queues: u16) -> Arc<Block> {
        let config = BlockConfig {
            path: path.to_owned(),
            queues,
            ..BlockConfig::default()
        };
        Arc::new(Block::open(&config).unwrap())
    }

    /// The exit code of `qemu-img check`: 0, or 3 for clusters that are counted and not used.
    fn check(&self) -> (i32, String) {
        let check = qemu_img(&["check", "-f", "qcow2", "-U", self.text()]).unwrap();
        let said = String::from_utf8_lossy(&check.stdout).into_owned();
        (check.status.code().unwrap(), said)
    }

    /// The contents of its disk.
    fn contents(&self) -> Vec<u8> {
        let raw = Self(self.0.with_extension("raw"));
        let arguments = [
            "convert",
            "-U",
            "-f",
            "qcow2",
            "-O",
            "raw",
            self.text(),
            raw.text(),
        ];
        let converted = qemu_img(&arguments).unwrap();
        assert!(converted.status.success(), "{converted:?}");
        std::fs::read(&raw.0).unwrap()
    }
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index.wrapping_mul(31) + seed.wrapping_mul(7)) as u8 | 1)
        .collect()
}

/// Makes a write of `bytes` at `offset` available.
fn send(driver: &mut Driver, queue: u16, offset: usize, bytes: &[u8]) {
    let sector = (offset / 512) as u64;
    let head = [&1_u32.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
    driver.add(queue, &[&head, bytes], &[1]).unwrap();
    driver.kick(queue);
}

/// Writes pieces all over the disk, on all queues at once; what is there then.
fn write_all_over(driver: &mut Driver, queues: u16) -> Vec<u8> {
    let mut twin = vec![0; SIZE];
    for round in 0..40 {
        for queue in 0..queues {
            let number = round * usize::from(queues) + usize::from(queue);
            // Odd places, each once.
            let offset = number * (SIZE / 80) / 512 * 512;
            let bytes = pattern(PIECE, number);
            twin[offset..offset + PIECE].copy_from_slice(&bytes);
            send(driver, queue, offset, &bytes);
        }
        for queue in 0..queues {
            assert_eq!(driver.wait(queue).unwrap().1, [0]);
        }
    }
    twin
}

#[test]
fn what_was_written_and_not_flushed_is_there_at_every_end() {
    let _alone = alone();
    for form in FORMS {
        for queues in [1, 2] {
            for end in [End::Close, End::Reset, End::Pause, End::Drop] {
                let Some(image) = Image::new(form) else {
                    return;
                };
                let block = Image::block(&image.0, queues);
                let mut driver = Driver::start(block.clone()).unwrap();
                let twin = write_all_over(&mut driver, queues);
                let mut kept = Some((driver, block));
                if let Some((driver, block)) = &kept {
                    match end {
                        End::Close => {
                            driver.transport().pause();
                            driver.transport().wait_paused();
                            block.close();
                        }
                        // The device status (virtio 1.2 section 4.2.2).
                        End::Reset => driver.write(0x70, 0),
                        End::Pause => {
                            driver.transport().pause();
                            driver.transport().wait_paused();
                        }
                        End::Drop => kept = None,
                    }
                }
                let (code, said) = image.check();
                assert_eq!(code, 0, "{form}, {queues} queues, {end:?}: {said}");
                let is_there = image.contents() == twin;
                assert!(is_there, "{form}, {queues} queues, {end:?}");
                drop(kept);
            }
        }
    }
}

#[test]
fn a_kill_leaves_what_was_flushed_and_nothing_worse_than_unused_clusters() {
    let _alone = alone();
    for (number, form) in FORMS.into_iter().enumerate() {
        for queues in [1_u16, 2] {
            let Some(image) = Image::new(form) else {
                return;
            };
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "writes_until_it_is_killed",
                    "--ignored",
                    "--nocapture",
                ])
                .env("VMMKIT_IMAGE", &image.0)
                .env("VMMKIT_QUEUES", queues.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let told = lines.map_while(Result::ok);
            // At another time for each.
            let mut flushed = told.filter(|line| line.contains("flushed"));
            let seen = flushed.by_ref().take(1 + 3 * number).count();
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(seen, 1 + 3 * number, "{form}, {queues} queues");
            let (code, said) = image.check();
            assert!(matches!(code, 0 | 3), "{form}, {queues} queues: {said}");
            let contents = image.contents();
            for (number, piece) in contents[..FLUSHED].chunks(PIECE).enumerate() {
                let expected = &pattern(PIECE, number)[..piece.len()];
                assert!(piece == expected, "{form}, {queues} queues, {number}");
            }
            // It can be opened, checked anew, and used.
            let block = Image::block(&image.0, queues);
            let mut driver = Driver::start(block).unwrap();
            write_all_over(&mut driver, queues);
            drop(driver);
            let (code, said) = image.check();
            assert!(matches!(code, 0 | 3), "{form}, {queues} queues: {said}");
        }
    }
}

#[test]
#[ignore = "it ends by being killed; the test above runs it"]
fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os("VMMKIT_IMAGE") else {
        return;
    };
    let queues: u16 = std::env::var("VMMKIT_QUEUES").unwrap().parse().unwrap();
    let block = Image::block(Path::new(&path), queues);
    let mut driver = Driver::start(block).unwrap();
    for (number, offset) in (0..FLUSHED).step_by(PIECE).enumerate() {
        let bytes = pattern(PIECE.min(FLUSHED - offset), number);
        let queue = number as u16 % queues;
        send(&mut driver, queue, offset, &bytes);
        assert_eq!(driver.wait(queue).unwrap().1, [0]);
    }
    let flush = [&4_u32.to_le_bytes()[..], &[0; 12]].concat();
    assert_eq!(driver.request(0, &[&flush], &[1]).unwrap(), [0]);
    println!("flushed");
    // Behind that, again and again.
    for number in 0_usize.. {
        for queue in 0..queues {
            let place = number.wrapping_mul(7919) + usize::from(queue) * 97;
            let offset = FLUSHED + place % ((SIZE - FLUSHED - PIECE) / 512) * 512;
            send(&mut driver, queue, offset, &pattern(PIECE, number));
        }
        for queue in 0..queues {
            assert_eq!(driver.wait(queue).unwrap().1, [0]);
        }
        println!("flushed, and {number} more");
    }
}
