use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::*;
use crate::{Backing, ByteCount, PAGE_SIZE, RamSize, ThpAdvice};

fn config(mebibytes: u32, backing: Backing) -> RamConfig {
    RamConfig {
        size: RamSize::mebibytes(mebibytes),
        backing,
        ..RamConfig::default()
    }
}

fn error(config: &RamConfig) -> RamError {
    GuestRam::new(config).unwrap_err()
}

/// A path of this test alone; what is there is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vmmkit-ram-{}-{count}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A field of the mapping that begins with this region, from the kernel's own account.
fn mapping_field(region: &RamRegion, field: &str) -> String {
    let start = format!("{:x}-", region.host_address);
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.starts_with(&start));
    let line = lines.find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

/// Resident memory of the region, which may be several mappings: advice can split one.
pub(crate) fn resident_kibibytes(region: &RamRegion) -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    let mut kibibytes = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap();
        if let Some((start, _)) = first.split_once('-').filter(|_| !first.ends_with(':')) {
            let start = u64::from_str_radix(start, 16).unwrap();
            inside = start >= region.host_address && start < region.host_address + region.size;
        } else if inside && first == "Rss:" {
            kibibytes += words.next().unwrap().parse::<u64>().unwrap();
        }
    }
    kibibytes
}

#[test]
fn ram_begins_as_zeroes_that_cost_nothing() {
    let ram = GuestRam::new(&config(256, Backing::Anonymous)).unwrap();
    assert_eq!(ram.size(), 256 << 20);
    assert_eq!(ram.regions().len(), 1);
    assert_eq!(resident_kibibytes(&ram.regions()[0]), 0);
    assert_eq!(ram.read::<u64>(GuestAddress(0x1_0000)), Ok(0));
}

#[test]
fn ram_beyond_3_gib_is_two_slots() {
    let ram = GuestRam::new(&config(4096, Backing::Anonymous)).unwrap();
    let slots: Vec<_> = ram
        .regions()
        .iter()
        .map(|it| (it.slot, it.guest_address.0, it.size))
        .collect();
    assert_eq!(slots, [(0, 0, 3 << 30), (1, 4 << 30, 1 << 30)]);
    assert!(ram.contains(GuestAddress(5 << 30), 0));
    assert!(!ram.contains(GuestAddress(5 << 30), 1));
    assert!(!ram.contains(GuestAddress((3 << 30) - 1), 2));
    assert!(!ram.contains(GuestAddress(u64::MAX), 2));
    assert!(ram.memory().num_regions() == 2);
}

#[test]
fn a_huge_page_of_the_host_can_back_one_of_the_guest() {
    for backing in [Backing::Anonymous, Backing::Memfd] {
        let ram = GuestRam::new(&config(3074, backing)).unwrap();
        for region in ram.regions() {
            assert_eq!(region.host_address % (2 << 20), 0, "{region:?}");
        }
    }
}

#[test]
fn clones_share_their_memory() {
    let ram = GuestRam::new(&config(1, Backing::Anonymous)).unwrap();
    let clone = ram.clone();
    ram.write(GuestAddress(0), 7_u8).unwrap();
    drop(ram);
    assert_eq!(clone.read::<u8>(GuestAddress(0)), Ok(7));
}

#[test]
fn core_dumps_leave_ram_out_and_advice_reaches_the_kernel() {
    let flags = |thp| {
        let ram = GuestRam::new(&RamConfig {
            thp,
            ..config(4, Backing::Anonymous)
        })
        .unwrap();
        mapping_field(&ram.regions()[0], "VmFlags")
    };
    let has = |flags: &str, flag| flags.split(' ').any(|it| it == flag);
    assert!(has(&flags(ThpAdvice::Host), "dd"));
    if fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap() {
        assert!(has(&flags(ThpAdvice::Always), "hg"));
        assert!(has(&flags(ThpAdvice::Never), "nh"));
    }
}

#[test]
fn core_dumps_hold_ram_where_that_is_asked_for() {
    let dumped = GuestRam::new(&RamConfig {
        dump: true,
        ..config(4, Backing::Anonymous)
    })
    .unwrap();
    let flags = mapping_field(&dumped.regions()[0], "VmFlags");
    assert!(!flags.split(' ').any(|it| it == "dd"), "{flags}");
}

#[test]
fn equal_pages_are_merged_in_anonymous_memory_only() {
    let merged = |backing| {
        GuestRam::new(&RamConfig {
            merge: true,
            ..config(4, backing)
        })
    };
    match merged(Backing::Anonymous) {
        Ok(ram) => {
            let flags = mapping_field(&ram.regions()[0], "VmFlags");
            assert!(flags.split(' ').any(|it| it == "mg"), "{flags}");
        }
        Err(error) => assert!(matches!(error, RamError::Merge(_)), "{error}"),
    }
    assert!(matches!(merged(Backing::Memfd), Err(RamError::MergeShared)));
}

/// The kernel's words on the mappings that hold the bytes before and after a region.
fn neighbours(region: &RamRegion) -> [String; 2] {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let access = |address: u64| {
        let holds = |line: &&str| {
            let (start, rest) = line.split_once('-').unwrap();
            let (end, _) = rest.split_once(' ').unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            (number(start)..number(end)).contains(&address)
        };
        let line = maps.lines().find(holds).unwrap_or("- none");
        line.split(' ').nth(1).unwrap().to_owned()
    };
    let end = region.host_address + region.size;
    [access(region.host_address - 1), access(end)]
}

#[test]
fn a_copy_that_runs_out_of_a_region_meets_a_page_without_access() {
    // A file each: one that is RAM is locked.
    let files: Vec<_> = (0..3).map(|_| Scratch::new()).collect();
    let backings: [fn(&Scratch) -> Backing; 3] = [
        |_| Backing::Anonymous,
        |_| Backing::Memfd,
        |file| Backing::File(file.0.clone()),
    ];
    for backing in backings {
        let rams: Vec<_> = files
            .iter()
            .map(|file| GuestRam::new(&config(3074, backing(file))).unwrap())
            .collect();
        for region in rams.iter().flat_map(GuestRam::regions) {
            assert_eq!(neighbours(region), ["---p", "---p"], "{region:?}");
        }
    }
}

#[test]
fn prefault_makes_every_page_resident() {
    for backing in [Backing::Anonymous, Backing::Memfd] {
        let config = RamConfig {
            prefault: true,
            ..config(8, backing)
        };
        let ram = GuestRam::new(&config).unwrap();
        assert_eq!(resident_kibibytes(&ram.regions()[0]), 8 << 10);
        ram.fill(GuestAddress(0), 8 << 20, 0).unwrap();
        assert_eq!(
            resident_kibibytes(&ram.regions()[0]),
            8 << 10,
            "zeroing keeps them"
        );
    }
}

#[test]
fn zeroing_gives_pages_back() {
    let ram = GuestRam::new(&config(4, Backing::Anonymous)).unwrap();
    ram.fill(GuestAddress(0), 4 << 20, 1).unwrap();
    assert_eq!(resident_kibibytes(&ram.regions()[0]), 4 << 10);
    ram.fill(GuestAddress(0), 4 << 20, 0).unwrap();
    assert_eq!(resident_kibibytes(&ram.regions()[0]), 0);
}

#[test]
fn a_memfd_shows_what_was_written_and_keeps_its_size() {
    let ram = GuestRam::new(&config(2, Backing::Memfd)).unwrap();
    ram.write(GuestAddress(0x5000), 0x42_u8).unwrap();
    let region = ram.memory().iter().next().unwrap();
    let file = region.file_offset().unwrap().file();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0x5000).unwrap();
    assert_eq!(byte, [0x42]);
    assert_eq!(
        file.set_len(0).unwrap_err().kind(),
        io::ErrorKind::PermissionDenied
    );
    assert_eq!(
        file.set_len(1 << 30).unwrap_err().kind(),
        io::ErrorKind::PermissionDenied
    );
}

#[test]
fn a_missing_file_is_created_for_its_owner() {
    let path = Scratch::new();
    let ram = GuestRam::new(&config(2, Backing::File(path.0.clone()))).unwrap();
    ram.write(GuestAddress(PAGE_SIZE), 0x42_u8).unwrap();
    drop(ram);
    let metadata = fs::metadata(&path.0).unwrap();
    assert_eq!(
        (metadata.len(), metadata.permissions().mode() & 0o777),
        (2 << 20, 0o600)
    );
    assert_eq!(fs::read(&path.0).unwrap()[PAGE_SIZE as usize], 0x42);
}

#[test]
fn a_file_is_ram_if_it_is_empty_or_was_ram_of_that_size() {
    let path = Scratch::new();
    let config = config(2, Backing::File(path.0.clone()));
    config.check_file().unwrap();
    assert!(!path.0.exists(), "a check makes nothing");
    fs::write(&path.0, "").unwrap();
    config.check_file().unwrap();
    assert_eq!(fs::metadata(&path.0).unwrap().len(), 0);
    drop(GuestRam::new(&config).unwrap());
    fs::write(&path.0, vec![7; 2 << 20]).unwrap();
    config.check_file().unwrap();
    let ram = GuestRam::new(&config).unwrap();
    assert_eq!(ram.read::<u8>(GuestAddress(4)), Ok(7));
    drop(ram);
    for length in [5, 1 << 20, 3 << 20] {
        fs::write(&path.0, vec![7; length]).unwrap();
        for refused in [error(&config), config.check_file().unwrap_err()] {
            assert!(matches!(refused, RamError::FileSize { .. }), "{refused}");
        }
        assert_eq!(fs::read(&path.0).unwrap(), vec![7; length]);
    }
}

#[test]
fn a_file_is_the_ram_of_one_guest() {
    let path = Scratch::new();
    let config = config(2, Backing::File(path.0.clone()));
    let first = GuestRam::new(&config).unwrap();
    for refused in [error(&config), config.check_file().unwrap_err()] {
        assert!(matches!(refused, RamError::FileInUse { .. }), "{refused}");
    }
    drop(first);
    GuestRam::new(&config).unwrap();
}

#[test]
fn ram_above_the_hole_follows_in_the_file() {
    let path = Scratch::new();
    let ram = GuestRam::new(&config(3073, Backing::File(path.0.clone()))).unwrap();
    ram.write(GuestAddress(4 << 30), 0x42_u8).unwrap();
    let mut byte = [0];
    File::open(&path.0)
        .unwrap()
        .read_exact_at(&mut byte, 3 << 30)
        .unwrap();
    assert_eq!(byte, [0x42]);
}

#[test]
fn what_is_not_a_file_is_refused() {
    let error = error(&config(1, Backing::File("/dev/null".into())));
    assert_eq!(
        error.to_string(),
        "/dev/null cannot back guest RAM: it is not a regular file"
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    for path in ["/nonexistent/ram", "/"] {
        let error = error(&config(1, Backing::File(path.into())));
        let expected = format!("cannot open the RAM file {path} of 1 MiB");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn more_than_the_host_has_is_refused_with_both_numbers() {
    let config = RamConfig {
        size: "64T".parse().unwrap(),
        ..RamConfig::default()
    };
    let error = error(&config);
    let RamError::MoreThanHost { size, limit, .. } = error else {
        panic!("{error}")
    };
    assert!(size == 64 << 40 && limit > 0 && limit < size);
    let text = error.to_string();
    for number in [size, limit] {
        assert!(text.contains(&ByteCount(number).to_string()), "{text}");
    }
}

#[test]
fn more_than_is_available_cannot_be_prefaulted() {
    let total = rustix::system::sysinfo().totalram;
    let size = RamSize::new(total & !(PAGE_SIZE - 1)).unwrap();
    let config = RamConfig {
        size,
        prefault: true,
        ..RamConfig::default()
    };
    if rustix::system::sysinfo().totalswap == 0 {
        assert!(matches!(error(&config), RamError::MoreThanHost { .. }));
    }
}

#[test]
fn more_than_an_address_space_is_an_error_of_the_host() {
    let path = Scratch::new();
    let config = RamConfig {
        size: RamSize::new(1 << 60).unwrap(),
        backing: Backing::File(path.0.clone()),
        ..RamConfig::default()
    };
    assert!(matches!(
        error(&config),
        RamError::File { .. } | RamError::Map { .. }
    ));
}

#[test]
fn huge_pages_have_two_sizes_and_no_fractions() {
    assert_eq!(
        error(&config(2, Backing::HugeTlb(4096))).to_string(),
        "4096 bytes is not a huge page size: x86-64 has 2097152 (2 MiB) and 1073741824 (1 GiB)"
    );
    assert_eq!(
        error(&config(3, Backing::HugeTlb(2 << 20))).to_string(),
        "guest RAM of 3145728 bytes is not a whole number of 2097152-byte huge pages"
    );
}

#[test]
fn a_reserve_that_is_too_small_is_named() {
    // 1 TiB of them: no machine that runs tests has set that aside.
    let error = error(&config(1 << 20, Backing::HugeTlb(2 << 20)));
    let RamError::HugePages {
        needed, reserve, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*needed, 1 << 19);
    assert_eq!(
        reserve,
        "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    );
    assert!(
        error
            .to_string()
            .contains("needs 524288 free huge pages, the host has ")
    );
}

#[test]
fn regions_that_another_process_can_map_have_a_file_and_a_place_there() {
    let scratch = Scratch::new();
    let mut config = config(3072 + 2, Backing::File(scratch.0.clone()));
    let ram = GuestRam::new(&config).unwrap();
    let high = GuestAddress(MMIO_HOLE_END.0 + 4096);
    ram.write(high, 0x1234_5678_u32).unwrap();
    let places: Vec<u64> = ram
        .regions()
        .iter()
        .map(|region| ram.region_file(region.slot).unwrap().1)
        .collect();
    assert_eq!(places, [0, 3 << 30]);
    let (file, offset) = ram.region_file(1).unwrap();
    let file = File::from(file.try_clone_to_owned().unwrap());
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, offset + 4096).unwrap();
    assert_eq!(u32::from_le_bytes(bytes), 0x1234_5678);
    assert!(ram.region_file(2).is_none());

    config.size = RamSize::mebibytes(2);
    for (backing, has_file) in [(Backing::Memfd, true), (Backing::Anonymous, false)] {
        config.backing = backing;
        let ram = GuestRam::new(&config).unwrap();
        assert_eq!(ram.region_file(0).is_some(), has_file);
    }
}
