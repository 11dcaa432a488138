use vmmkit_device_bus::check_golden;
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig};
use vmmkit_virtio::fake::hostile::torture;
use vmmkit_virtio::fake::{Driver, Options};

use super::*;

const REPORTING: u16 = 4;
/// The number of the first page that the driver does not use: of the 63 MiB that its five queues
/// share, 40 MiB to 50 MiB are for buffers of the queue 3.
const FREE: u32 = 40 << 8;

fn balloon() -> Arc<Balloon> {
    Arc::new(Balloon::new(&BalloonConfig::default()).unwrap())
}

fn numbers(pages: impl IntoIterator<Item = u32>) -> Vec<u8> {
    pages.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// KiB of the driver's RAM that this process has.
fn resident(ram: &GuestRam) -> u64 {
    let region = ram.regions()[0];
    let end = region.host_address + region.size;
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut inside, mut kibibytes) = (false, 0);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap();
        if let Some((start, _)) = first.split_once('-').filter(|_| !first.ends_with(':')) {
            let start = u64::from_str_radix(start, 16).unwrap();
            inside = (region.host_address..end).contains(&start);
        } else if inside && first == "Rss:" {
            kibibytes += words.next().unwrap().parse::<u64>().unwrap();
        }
    }
    kibibytes
}

fn page(ram: &GuestRam, number: u32) -> u8 {
    ram.read(GuestAddress(u64::from(number) << 12)).unwrap()
}

/// Makes the free pages full of something.
fn touch(ram: &GuestRam) {
    ram.fill(GuestAddress(40 << 20), 10 << 20, 0xaa).unwrap();
}

fn word(driver: &Driver, offset: u64) -> u32 {
    u32::from_le_bytes(driver.config(offset))
}

#[test]
fn inflated_pages_go_back_to_the_host() {
    let balloon = balloon();
    let mut driver = Driver::start(balloon.clone()).unwrap();
    let ram = driver.ram().clone();
    touch(&ram);
    let before = resident(&ram);
    // As Linux does it: 256 at a time, the last first.
    for piece in 0..8 {
        let pages = (0..256).rev().map(|page| FREE + piece * 256 + page);
        driver.request(0, &[&numbers(pages)], &[]).unwrap();
    }
    assert_eq!(page(&ram, FREE), 0);
    assert_eq!(page(&ram, FREE + 2048), 0xaa);
    let given = before - resident(&ram);
    assert!((7 << 10..=8 << 10).contains(&given), "{given} KiB");
    let counters = balloon.counters();
    assert_eq!(counters.inflated_pages, 2048);
    assert_eq!(counters.discarded_bytes, 8 << 20);
}

#[test]
fn deflated_pages_stay_as_they_are() {
    let balloon = balloon();
    let mut driver = Driver::start(balloon.clone()).unwrap();
    touch(driver.ram());
    driver
        .request(1, &[&numbers([FREE, FREE + 1])], &[])
        .unwrap();
    assert_eq!(page(driver.ram(), FREE), 0xaa);
    assert_eq!(balloon.counters().deflated_pages, 2);
}

#[test]
fn pages_that_are_none_are_counted_and_left_out() {
    let balloon = balloon();
    let mut driver = Driver::start(balloon.clone()).unwrap();
    touch(driver.ram());
    let outside = [64 << 8, u32::MAX, 0xfee00];
    let pages = numbers([FREE, FREE, FREE].into_iter().chain(outside));
    driver.request(0, &[&pages, &[1, 2, 3]], &[]).unwrap();
    assert_eq!(page(driver.ram(), FREE), 0);
    assert_eq!(page(driver.ram(), FREE + 1), 0xaa);
    driver.request(0, &[], &[8]).unwrap();
    let counters = balloon.counters();
    assert_eq!((counters.inflated_pages, counters.outside_pages), (1, 3));
    assert_eq!((counters.repeated_pages, counters.odd_messages), (2, 2));
}

#[test]
fn a_run_over_the_end_of_ram_gives_what_is_ram() {
    let balloon = balloon();
    let mut driver = Driver::start(balloon.clone()).unwrap();
    let end = 64 << 8;
    driver
        .request(0, &[&numbers(end - 2..end + 3)], &[])
        .unwrap();
    let counters = balloon.counters();
    assert_eq!((counters.inflated_pages, counters.outside_pages), (2, 3));
    assert_eq!(counters.discarded_bytes, 2 << 12);
}

#[test]
fn a_message_that_does_not_end_is_looked_at_for_so_long() {
    let balloon = balloon();
    let mut driver = Driver::start(balloon.clone()).unwrap();
    let pages = numbers(std::iter::repeat_n(FREE, 20_000));
    driver.request(0, &[&pages], &[]).unwrap();
    let counters = balloon.counters();
    // 1024 in each of 16 pieces, one of them new.
    assert_eq!(
        (counters.inflated_pages, counters.repeated_pages),
        (16, 16 * 1023)
    );
    assert_eq!(counters.odd_messages, 1);
}

#[test]
fn more_than_a_budget_of_messages_is_taken_all_the_same() {
    let balloon = balloon();
    let mut driver = Driver::start(balloon.clone()).unwrap();
    for number in 0..100 {
        driver.add(0, &[&numbers([FREE + number])], &[]).unwrap();
    }
    driver.kick(0);
    for _ in 0..100 {
        driver.wait(0).unwrap();
    }
    assert_eq!(balloon.counters().inflated_pages, 100);
}

/// Reports the buffers that the driver makes to write, by any queue that reporting may have.
fn report(queue: u16, features: u64) -> (Arc<Balloon>, Driver) {
    let balloon = balloon();
    let options = Options {
        features,
        ..Options::default()
    };
    let mut driver = Driver::start_with(balloon.clone(), &options).unwrap();
    driver.request(queue, &[], &[1 << 20, 8192]).unwrap();
    (balloon, driver)
}

#[test]
fn free_pages_that_are_reported_go_back() {
    let without_stats = !spec::F_STATS_VQ;
    for (queue, features) in [(4, u64::MAX), (3, u64::MAX), (2, without_stats)] {
        let (balloon, _driver) = report(queue, features);
        let counters = balloon.counters();
        assert_eq!(counters.reported_bytes, (1 << 20) + 8192);
        assert!(counters.discarded_bytes >= 1 << 20, "{counters:?}");
    }
}

#[test]
fn poisoned_pages_are_kept() {
    let balloon = balloon();
    let mut driver = Driver::start(balloon.clone()).unwrap();
    driver.set_config(12, &0xaaaa_aaaa_u32.to_le_bytes());
    driver.request(REPORTING, &[], &[1 << 20]).unwrap();
    assert_eq!(balloon.counters().discarded_bytes, 0);
    driver.set_config(12, &[0; 4]);
    driver.request(REPORTING, &[], &[1 << 20]).unwrap();
    assert_ne!(balloon.counters().discarded_bytes, 0);
}

#[test]
fn prefaulted_pages_cannot_go_back() {
    let balloon = balloon();
    let options = Options {
        ram: RamConfig {
            prefault: true,
            ..Options::default().ram
        },
        ..Options::default()
    };
    let mut driver = Driver::start_with(balloon.clone(), &options).unwrap();
    touch(driver.ram());
    driver.request(0, &[&numbers([FREE])], &[]).unwrap();
    assert_eq!(page(driver.ram(), FREE), 0xaa);
    let counters = balloon.counters();
    assert_eq!((counters.inflated_pages, counters.discarded_bytes), (1, 0));
}

#[test]
fn the_target_is_told_and_the_actual_size_read() {
    let balloon = Balloon::new(&BalloonConfig {
        size_mib: 2,
        ..BalloonConfig::default()
    });
    let balloon = Arc::new(balloon.unwrap());
    let driver = Driver::start(balloon.clone()).unwrap();
    assert_eq!((word(&driver, 0), word(&driver, 4)), (512, 0));
    let seen = driver.interrupts();
    balloon.set_target(16);
    assert_eq!((word(&driver, 0), balloon.target_pages()), (4096, 4096));
    assert_eq!(driver.interrupts(), seen + 1);
    driver.set_config(4, &300_u32.to_le_bytes());
    // Not the driver's to write.
    driver.set_config(0, &[0xff; 4]);
    assert_eq!((word(&driver, 0), word(&driver, 4)), (4096, 300));
    assert_eq!(balloon.actual_pages(), 300);
    balloon.set_target(u32::MAX);
    assert_eq!(balloon.target_pages(), u32::MAX);
}

#[test]
fn features_are_those_of_the_configuration() {
    let features = |deflate_on_oom, free_page_reporting| {
        let config = BalloonConfig {
            deflate_on_oom,
            free_page_reporting,
            ..BalloonConfig::default()
        };
        Balloon::new(&config).unwrap().features()
    };
    assert_eq!(features(false, false), 0b00_0010);
    assert_eq!(features(true, false), 0b00_0110);
    assert_eq!(features(false, true), 0b11_0010);
}

fn statistics(free: u64) -> Vec<u8> {
    [&4_u16.to_le_bytes()[..], &free.to_le_bytes()].concat()
}

fn free(balloon: &Balloon) -> Option<u64> {
    balloon.stats().and_then(|report| report.stats.free_memory)
}

/// Waits for the buffer of statistics to come back, and sends new ones.
fn answer(driver: &mut Driver, free: u64) {
    driver.wait(2).unwrap();
    driver.add(2, &[&statistics(free)], &[]).unwrap();
    driver.kick(2);
}

#[test]
fn statistics_come_when_they_are_asked_for() {
    let balloon = balloon();
    let mut driver = Driver::start(balloon.clone()).unwrap();
    assert_eq!(balloon.stats(), None);
    driver.add(2, &[&statistics(1)], &[]).unwrap();
    driver.kick(2);
    while free(&balloon) != Some(1) {
        std::thread::yield_now();
    }
    assert_eq!(driver.used(2), None);
    balloon.refresh_stats();
    answer(&mut driver, 2);
    while free(&balloon) != Some(2) {
        std::thread::yield_now();
    }
    assert_eq!(balloon.counters().reports, 2);
}

#[test]
fn statistics_come_by_themselves_with_an_interval() {
    let balloon = balloon();
    let mut driver = Driver::start(balloon.clone()).unwrap();
    driver.add(2, &[&statistics(0)], &[]).unwrap();
    driver.kick(2);
    balloon.set_stats_interval(Some(Duration::from_millis(1)));
    for number in 1..4 {
        answer(&mut driver, number);
    }
    balloon.set_stats_interval(None);
    while free(&balloon) != Some(3) {
        std::thread::yield_now();
    }
}

#[test]
fn a_second_buffer_of_statistics_frees_the_first() {
    let balloon = balloon();
    let mut driver = Driver::start(balloon.clone()).unwrap();
    let first = driver.add(2, &[&statistics(1)], &[]).unwrap();
    driver.add(2, &[&statistics(2)], &[]).unwrap();
    driver.kick(2);
    assert_eq!(driver.wait(2).unwrap().0, first);
    assert_eq!(driver.used(2), None);
    assert_eq!(free(&balloon), Some(2));
}

#[test]
fn a_balloon_that_moved_goes_on() {
    let old = balloon();
    let mut driver = Driver::start(old.clone()).unwrap();
    old.set_target(3);
    driver.set_config(4, &700_u32.to_le_bytes());
    let buffer = driver.add(2, &[&statistics(5)], &[]).unwrap();
    driver.kick(2);
    while free(&old) != Some(5) {
        std::thread::yield_now();
    }
    let new = balloon();
    let state = driver.move_to(new.clone()).unwrap();
    let json = state.to_json();
    assert!(json.contains("\"actual_pages\":700"), "{json}");
    assert_eq!((new.target_pages(), new.actual_pages()), (768, 700));
    // The buffer was not lost.
    new.refresh_stats();
    while free(&new) != Some(5) {
        std::thread::yield_now();
    }
    new.refresh_stats();
    assert_eq!(driver.wait(2).unwrap().0, buffer);
}

#[test]
fn states_of_earlier_builds_load() {
    let golden = include_str!("../../goldens/virtio-balloon.v1.json");
    check_golden(&*balloon(), golden).unwrap();
}

#[test]
fn a_reset_guest_has_all_its_memory() {
    let balloon = balloon();
    let mut driver = Driver::start(balloon.clone()).unwrap();
    balloon.set_target(1);
    driver.set_config(4, &256_u32.to_le_bytes());
    driver.initialise(&Options::default()).unwrap();
    assert_eq!((balloon.actual_pages(), balloon.target_pages()), (0, 256));
}

#[test]
fn a_hostile_driver_is_survived() {
    let balloon: Arc<dyn Device> = balloon();
    torture(&balloon, 1, 200).unwrap();
}
