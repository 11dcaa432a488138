//! Threads of devices are named and scheduled as their machine says, whatever another machine of the process says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::sync::Arc;

use vmmkit_host_io::{ThreadPolicy, ThreadPriority};
use vmmkit_virtio::fake::{Driver, Options};
use vmmkit_virtio::{Device, DeviceThreads};
use vmmkit_virtio_devices::{Block, BlockConfig, MemoryDisk, Rng};

/// The nice values of all threads whose names begin with `prefix` (proc(5), field 19 of stat).
fn nice_values(prefix: &str) -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread may just have ended.
    let stats = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let stats = stats.filter(|stat| stat.contains(&format!("({prefix}")));
    let nice = |stat: String| {
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.split(' ').nth(19 - 3).unwrap().to_owned()
    };
    stats.map(nice).collect()
}

fn start(device: Arc<dyn Device>, threads: &DeviceThreads) -> Driver {
    let mut driver = Driver::attach(device, &Options::default()).unwrap();
    driver.transport().transport().use_threads(threads);
    driver.initialise(&Options::default()).unwrap();
    driver
}

#[test]
fn threads_of_devices_are_as_their_machine_says() {
    let machines = [("a", Some(7)), ("b", Some(9)), ("c", None)];
    let own = nice_values("").first().unwrap().clone();
    let drivers = machines.map(|(name, nice)| {
        let mut policy = ThreadPolicy::default();
        name.clone_into(&mut policy.name_prefix);
        // Everybody may be nicer.
        policy.device_priority = nice.map(ThreadPriority::Nice);
        let threads = DeviceThreads::new(policy);
        let disk = Block::with_disk(Arc::new(MemoryDisk::new(4096)), &BlockConfig::default());
        let disk = start(Arc::new(disk.unwrap()), &threads);
        let mut rng = start(Arc::new(Rng::new()), &threads);
        // A thread that answers has begun; that of the disk may just begin.
        rng.request(0, &[], &[10]).unwrap();
        (disk, rng)
    });
    for (name, nice) in machines {
        let nice = nice.map_or(own.clone(), |nice| nice.to_string());
        let expected = [nice.clone(), nice];
        let mut seen = Vec::new();
        for _ in 0..10_000 {
            seen = nice_values(&format!("{name}:virtio"));
            if seen == expected {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(seen, expected, "{name}");
    }
    drop(drivers);
}
