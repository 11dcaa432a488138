use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vmmkit_fuse::{Access, Directory, Limits};
use vmmkit_telemetry::Node;
use vmmkit_virtio::Device;
use vmmkit_virtio::fake::hostile::torture;
use vmmkit_virtio::fake::{Driver, Options};

use super::{Fs, FsError};

/// A directory of its own, which is removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("virtio-fs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn device(&self, access: Access) -> Arc<Fs> {
        let directory = Directory::open(&self.0, access).unwrap();
        Arc::new(Fs::new(directory, "srv", Limits::default()).unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A message of `opcode` about `node`.
fn message(opcode: u32, node: u64, fields: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((40 + fields.len() as u32).to_le_bytes());
    bytes.extend(opcode.to_le_bytes());
    bytes.extend(9_u64.to_le_bytes());
    bytes.extend(node.to_le_bytes());
    bytes.extend([0; 16]);
    bytes.extend(fields);
    bytes
}

fn words(values: &[u64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The node of `name` in the root, and a handle of it, opened with `flags`.
fn open(driver: &mut Driver, name: &str, flags: u32) -> (u64, u64) {
    let name = format!("{name}\0");
    let found = driver
        .request(1, &[&message(1, 1, name.as_bytes())], &[16, 128])
        .unwrap();
    let node = word(&found, 16);
    let flags = [flags, 0].map(u32::to_le_bytes);
    let opened = driver
        .request(1, &[&message(14, node, flags.as_flattened())], &[16, 16])
        .unwrap();
    assert_eq!(opened[4..8], [0; 4], "{opened:?}");
    (node, word(&opened, 16))
}

#[test]
fn a_tag_has_1_to_36_bytes_and_is_padded() {
    let place = Place::new();
    let new = |tag: &str| {
        let directory = Directory::open(&place.0, Access::ReadOnly).unwrap();
        Fs::new(directory, tag, Limits::default())
    };
    let tag = "x".repeat(37);
    assert_eq!(new(&tag).unwrap_err(), FsError::Tag { tag: tag.clone() });
    assert!(new("").is_err());
    let device = new(&tag[..36]).unwrap();
    let mut config = [0xff; 40];
    device.read_config(0, &mut config);
    assert_eq!(config[..36], tag.as_bytes()[..36]);
    assert_eq!(config[36..], [1, 0, 0, 0]);
    let mut config = [0xff; 4];
    new("ab").unwrap().read_config(1, &mut config);
    assert_eq!(config, *b"b\0\0\0");
}

#[test]
fn a_file_is_read_and_written_straight_from_and_into_scattered_memory() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    fs::write(place.0.join("in"), &bytes).unwrap();
    fs::write(place.0.join("out"), "").unwrap();
    let device = place.device(Access::ReadWrite);
    let mut driver = Driver::start(device.clone()).unwrap();
    let (node, handle) = open(&mut driver, "in", 0);
    let fields = words(&[handle, 100, 200_000, 0, 0]);
    let sizes = [16, 4096, 150_000, 1000, 60_000];
    let read = driver
        .request(1, &[&message(15, node, &fields)], &sizes)
        .unwrap();
    assert_eq!(read.len(), 16 + 200_000);
    assert_eq!(read[16..], bytes[100..200_100]);

    let (node, handle) = open(&mut driver, "out", 1);
    let fields = words(&[handle, 3, 5000, 0, 0]);
    let head = message(16, node, &fields);
    let parts = [&head, &bytes[..1000], &bytes[1000..5000]];
    let wrote = driver.request(1, &parts, &[16, 8]).unwrap();
    assert_eq!(wrote[16..20], 5000_u32.to_le_bytes());
    let written = fs::read(place.0.join("out")).unwrap();
    assert_eq!(written[..3], [0; 3]);
    assert_eq!(written[3..], bytes[..5000]);

    let tree = device.inspect();
    assert_eq!(
        tree.at("file_read_bytes"),
        Some(&Node::Counter(200_000)),
        "{tree:?}"
    );
    assert_eq!(tree.at("file_written_bytes"), Some(&Node::Counter(5000)));
    assert_eq!(device.counters().files(), 2);
}

#[test]
fn a_message_that_is_forgotten_or_cut_off_is_given_back_empty() {
    let place = Place::new();
    let device = place.device(Access::ReadOnly);
    let mut driver = Driver::start(device.clone()).unwrap();
    // FUSE_FORGET, on the queue that is for it.
    let forget = message(2, 7, &words(&[1]));
    assert_eq!(driver.request(0, &[&forget], &[]).unwrap(), b"");
    assert_eq!(driver.request(1, &[b"short"], &[64]).unwrap(), b"");
    let cut = driver
        .request(1, &[&message(15, 1, b"abc")], &[64])
        .unwrap();
    assert_eq!(cut[4..8], (-22_i32).to_le_bytes());
    // No room for so much as a header.
    assert_eq!(
        driver.request(1, &[&message(17, 1, b"")], &[8]).unwrap(),
        b""
    );
    assert_eq!(device.counters().malformed(), 1);
}

#[test]
fn a_reset_closes_what_the_guest_had_open() {
    let place = Place::new();
    fs::write(place.0.join("file"), "x").unwrap();
    let device = place.device(Access::ReadOnly);
    let mut driver = Driver::start(device.clone()).unwrap();
    let (node, handle) = open(&mut driver, "file", 0);
    assert_eq!(device.counters().files(), 1);
    driver.initialise(&Options::default()).unwrap();
    let read = message(15, node, &words(&[handle, 0, 1, 0, 0]));
    let answer = driver.request(1, &[&read], &[16, 8]).unwrap();
    assert_eq!(answer[4..8], (-9_i32).to_le_bytes());
    assert_eq!(device.counters().files(), 0);
    assert!(device.unsaved().is_some());
}

#[test]
fn a_hostile_driver_is_survived() {
    let place = Place::new();
    fs::write(place.0.join("file"), "kept").unwrap();
    let device: Arc<dyn Device> = place.device(Access::ReadOnly);
    torture(&device, 1, 100).unwrap();
    assert_eq!(fs::read(place.0.join("file")).unwrap(), b"kept");
}
