use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32};

use vmmkit_device_bus::{SaveState, SavedState, check_golden};
use vmmkit_virtio::fake::Driver;
use vmmkit_virtio::fake::hostile::torture;

use super::*;

const START: GuestAddress = GuestAddress(8 << 30);
const FLUSH: [u8; 4] = [0; 4];

/// A file of this test alone; it is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(size: u64) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vmmkit-pmem-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        Self(path)
    }

    fn config(&self) -> PmemConfig {
        PmemConfig {
            path: self.0.clone(),
            discard_writes: false,
            guest_address: START,
            slot: 2,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_guest_finds_the_file_and_flushes_it() {
    let scratch = Scratch::new(4 << 20);
    let pmem = Arc::new(Pmem::open(&scratch.config()).unwrap());
    pmem.memory().write_bytes(START, b"kept").unwrap();
    let mut driver = Driver::start(pmem.clone()).unwrap();
    assert_eq!(driver.config::<8>(0), START.0.to_le_bytes());
    assert_eq!(driver.config::<8>(8), (4_u64 << 20).to_le_bytes());
    assert_eq!(driver.config::<4>(16), [0; 4]);
    assert_eq!(driver.request(0, &[&FLUSH], &[4]).unwrap(), [0; 4]);
    let mut bytes = [0; 4];
    let file = File::open(&scratch.0).unwrap();
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"kept");
    let counters = pmem.counters();
    assert_eq!(
        (counters.flushes, counters.syncs, counters.failed),
        (1, 1, 0)
    );
}

#[test]
fn discarded_writes_never_reach_the_file() {
    let scratch = Scratch::new(2 << 20);
    let config = PmemConfig {
        discard_writes: true,
        ..scratch.config()
    };
    let (pmem, other) = (Pmem::open(&config).unwrap(), Pmem::open(&config).unwrap());
    pmem.memory().write(START, 7_u8).unwrap();
    assert_eq!(other.memory().read::<u8>(START), Ok(0));
    let mut driver = Driver::start(Arc::new(pmem)).unwrap();
    assert_eq!(driver.request(0, &[&FLUSH], &[4]).unwrap(), [0; 4]);
    assert!(fs::read(&scratch.0).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn a_file_that_one_vm_writes_is_refused_to_a_second() {
    let scratch = Scratch::new(2 << 20);
    let first = Pmem::open(&scratch.config()).unwrap();
    let error = Pmem::open(&scratch.config()).unwrap_err();
    assert!(matches!(error, PmemError::InUse { .. }));
    assert!(error.to_string().contains("stop the other VM"));
    drop(first);
    assert!(Pmem::open(&scratch.config()).is_ok());
}

#[test]
fn files_that_cannot_be_are_named() {
    let scratch = Scratch::new(12345);
    let error = Pmem::open(&scratch.config()).unwrap_err();
    assert!(error.to_string().contains(scratch.0.to_str().unwrap()));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("truncate -s 2097152"), "{cause}");
    let missing = PmemConfig {
        path: "/nowhere/at/all".into(),
        ..scratch.config()
    };
    let error = Pmem::open(&missing).unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all"));
}

/// A device whose disk fails when it is told to.
fn failing() -> (Arc<Pmem>, Arc<AtomicBool>) {
    let scratch = Scratch::new(2 << 20);
    let memory = Pmem::open(&scratch.config()).unwrap().memory.clone();
    let fails = Arc::new(AtomicBool::new(true));
    let told = fails.clone();
    let sync: SyncFile = Arc::new(move || match told.load(Ordering::Relaxed) {
        true => Err(io::ErrorKind::StorageFull.into()),
        false => Ok(()),
    });
    (Arc::new(Pmem::of(memory, sync)), fails)
}

#[test]
fn an_error_of_the_disk_is_the_answer() {
    let (pmem, fails) = failing();
    let mut driver = Driver::start(pmem.clone()).unwrap();
    assert_eq!(driver.request(0, &[&FLUSH], &[4]).unwrap(), [1, 0, 0, 0]);
    fails.store(false, Ordering::Relaxed);
    assert_eq!(driver.request(0, &[&FLUSH], &[4]).unwrap(), [0; 4]);
    let counters = pmem.counters();
    assert_eq!((counters.flushes, counters.failed), (1, 1));
}

#[test]
fn requests_that_are_none_do_not_flush() {
    let (pmem, _) = failing();
    let mut driver = Driver::start(pmem.clone()).unwrap();
    assert_eq!(
        driver.request(0, &[&[1, 0, 0, 0]], &[4]).unwrap(),
        [1, 0, 0, 0]
    );
    assert_eq!(driver.request(0, &[&[0, 0]], &[4]).unwrap(), [1, 0, 0, 0]);
    assert_eq!(driver.request(0, &[], &[4]).unwrap(), [1, 0, 0, 0]);
    assert_eq!(pmem.counters().syncs, 0);
    assert!(driver.request(0, &[&FLUSH], &[]).unwrap().is_empty());
    assert_eq!(driver.request(0, &[&FLUSH], &[3]).unwrap().len(), 3);
    assert_eq!(pmem.counters().malformed, 5);
}

#[test]
fn flushes_that_wait_together_are_one() {
    let scratch = Scratch::new(2 << 20);
    let pmem = Arc::new(Pmem::open(&scratch.config()).unwrap());
    let mut driver = Driver::start(pmem.clone()).unwrap();
    for _ in 0..20 {
        driver.add(0, &[&FLUSH], &[4]).unwrap();
    }
    driver.kick(0);
    for _ in 0..20 {
        assert_eq!(driver.wait(0).unwrap().1, [0; 4]);
    }
    let counters = pmem.counters();
    assert_eq!((counters.flushes, counters.syncs), (20, 1));
}

#[test]
fn a_device_that_moved_goes_on() {
    let scratch = Scratch::new(2 << 20);
    let open = || {
        let config = PmemConfig {
            discard_writes: true,
            ..scratch.config()
        };
        Arc::new(Pmem::open(&config).unwrap())
    };
    let mut driver = Driver::start(open()).unwrap();
    driver.request(0, &[&FLUSH], &[4]).unwrap();
    driver.move_to(open()).unwrap();
    assert_eq!(driver.request(0, &[&FLUSH], &[4]).unwrap(), [0; 4]);
}

#[test]
fn states_of_earlier_builds_load_and_those_of_other_sizes_do_not() {
    let golden = include_str!("../../goldens/virtio-pmem.v1.json");
    let pmem = |size| Pmem::open(&Scratch::new(size).config()).unwrap();
    check_golden(&pmem(2 << 20), golden).unwrap();
    let saved = SavedState::from_json(golden.as_bytes()).unwrap();
    let error = pmem(4 << 20).restore_state(&saved).unwrap_err();
    assert_eq!(
        error.to_string(),
        "virtio-pmem: size 2097152: this machine has 4194304"
    );
}

#[test]
fn a_hostile_driver_is_survived() {
    let (pmem, _) = failing();
    let pmem: Arc<dyn Device> = pmem;
    torture(&pmem, 1, 200).unwrap();
}
