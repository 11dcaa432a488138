//! Any chain to a disk: what the parser finds lies on the disk, and the device answers each chain
//! with a status as its last byte.

use std::sync::{Arc, LazyLock, Mutex};

use vmmkit_virtio::fake::Driver;
use vmmkit_virtio_devices::{
    Block, BlockConfig, BlockLimits, BlockRequest, MemoryDisk, parse_block_request,
};

const SIZE: usize = 64 << 10;

static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(|| {
    let disk = Arc::new(MemoryDisk::new(SIZE));
    let block = Block::with_disk(disk, &BlockConfig::default()).unwrap();
    Mutex::new(Driver::start(Arc::new(block)).unwrap())
});

fn check(head: &[u8], readable: u64, writable: u64, limits: &BlockLimits) {
    let Ok(request) = parse_block_request(head, readable, writable, limits) else {
        return;
    };
    let (offset, length, writes) = match request {
        BlockRequest::Read { offset, length } => (offset, length, false),
        BlockRequest::Write { offset, length }
        | BlockRequest::Discard { offset, length }
        | BlockRequest::WriteZeroes { offset, length, .. } => (offset, length, true),
        BlockRequest::Flush | BlockRequest::Identify => (0, 0, false),
        other => panic!("{other:?} is a request that this checks nothing of"),
    };
    assert!(offset % 512 == 0 && length % 512 == 0);
    assert!(offset.checked_add(length).unwrap() <= limits.capacity);
    assert!(!(writes && limits.read_only));
}

// Six bytes: sectors of data, an odd part of them, room, its odd part, where to split, flags.
/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((&[sectors, odd, room, odd_room, split, flags], head)) = data.split_first_chunk()
    else {
        return;
    };
    let head = &head[..head.len().min(32)];
    let sent = usize::from(sectors % 16) * 512 + usize::from(odd) % 8;
    let room = usize::from(room % 16) * 512 + usize::from(odd_room) % 8;
    let limits = BlockLimits {
        capacity: SIZE as u64,
        read_only: flags & 1 != 0,
        features: if flags & 2 != 0 { 0 } else { u64::MAX },
    };
    check(head, (head.len() + sent) as u64, room as u64, &limits);

    let mut readable = head.to_vec();
    readable.resize(head.len() + sent, split);
    let (first, second) = readable.split_at(usize::from(split).min(readable.len()));
    let parts = [first, second];
    let parts: Vec<&[u8]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let rooms: Vec<usize> = (room > 0).then_some(room).into_iter().collect();
    if parts.is_empty() && rooms.is_empty() {
        return;
    }
    let answer = DRIVER.lock().unwrap().request(0, &parts, &rooms).unwrap();
    assert_eq!(answer.len(), room);
    assert!(answer.last().is_none_or(|status| *status <= 2));
}
