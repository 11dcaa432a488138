//! Threads of devices are scheduled as the process says: a process of its own, as it is said once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::sync::Arc;

use vmmkit_host_io::{ThreadPriority, set_io_priority};
use vmmkit_virtio::fake::Driver;
use vmmkit_virtio_devices::{Block, BlockConfig, MemoryDisk, Rng};

/// The nice values of all threads that are called `virtio...` (proc(5), field 19 of stat).
fn nice_values() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread may just have ended.
    let stats = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let stats = stats.filter(|stat| stat.contains("(virtio"));
    let nice = |stat: String| {
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.split(' ').nth(19 - 3).unwrap().to_owned()
    };
    stats.map(nice).collect()
}

#[test]
fn threads_of_devices_take_on_the_priority_of_io() {
    // Everybody may be nicer.
    set_io_priority(ThreadPriority::Nice(7));
    let disk = Block::with_disk(Arc::new(MemoryDisk::new(4096)), &BlockConfig::default());
    let _disk = Driver::start(Arc::new(disk.unwrap())).unwrap();
    let mut rng = Driver::start(Arc::new(Rng::new())).unwrap();
    // A thread that answers has begun; that of the disk may just begin.
    rng.request(0, &[], &[10]).unwrap();
    let mut seen = nice_values();
    for _ in 0..10_000 {
        if seen == ["7", "7"] {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
        seen = nice_values();
    }
    assert_eq!(seen, ["7", "7"]);
}
