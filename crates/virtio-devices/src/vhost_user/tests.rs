//! A fake driver before a fake back end, and before real ones.

mod back_end;
mod errors;
mod lost;
mod real;

use std::sync::Arc;
use std::time::Duration;

use vmmkit_device_bus::Lifecycle;
use vmmkit_guest_memory::Backing;
use vmmkit_virtio::fake::hostile::torture_in;
use vmmkit_virtio::fake::{Driver, DriverError, Options, TransportKind};
use vmmkit_virtio::spec::feature;
use vmmkit_virtio::{Device, DeviceKind};

use self::back_end::{ALL_FEATURES, Fake, Manner};
use super::{VhostUser, VhostUserDevice, VhostUserError, spec};

fn shared() -> Options {
    let mut options = Options::default();
    options.ram.backing = Backing::Memfd;
    options
}

fn fs(fake: &Fake) -> Arc<VhostUser> {
    Arc::new(VhostUser::fs(&fake.path, "srv").unwrap())
}

fn driven(manner: Manner) -> (Fake, Driver) {
    let fake = Fake::new(manner);
    let driver = Driver::start_with(fs(&fake), &shared()).unwrap();
    (fake, driver)
}

fn echo(driver: &mut Driver, text: &str) {
    for queue in 0..2 {
        let answer = driver.request(queue, &[text.as_bytes()], &[64]).unwrap();
        assert_eq!(answer, text.as_bytes(), "queue {queue}");
    }
}

fn reason(result: Result<Driver, DriverError>) -> String {
    match result.unwrap_err() {
        DriverError::NeedsReset(reason) => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn requests_pass_by_shared_memory_and_events_alone() {
    for features in [u64::MAX, 0] {
        let fake = Fake::new(Manner::default());
        let options = Options {
            features,
            ..shared()
        };
        let mut driver = Driver::start_with(fs(&fake), &options).unwrap();
        let before = fake.requests();
        for round in 0..100 {
            echo(&mut driver, &format!("round {round}"));
        }
        assert_eq!(fake.requests(), before);
    }
}

#[test]
fn messages_come_in_their_order() {
    let (fake, _driver) = driven(Manner::default());
    let ring = [8, 10, 9, 14, 13, 12, 18];
    let queues = [ring, ring].concat();
    let expected = [&[3, 1, 15, 16, 21, 17, 2, 5][..], &queues, &[1]].concat();
    assert_eq!(fake.requests(), expected);
    // What was not offered, or is not known, is not taken.
    let taken = fake.last(spec::SET_FEATURES.0);
    assert_eq!(taken, ALL_FEATURES.to_ne_bytes());
    let taken = fake.last(spec::SET_PROTOCOL_FEATURES.0);
    assert_eq!(taken, 0b10_0010_1001_u64.to_ne_bytes());
}

#[test]
fn the_driver_is_offered_what_the_back_end_can_do() {
    let features = feature::VERSION_1 | feature::EVENT_IDX | spec::F_PROTOCOL_FEATURES | 3 << 26;
    let (_fake, mut driver) = driven(Manner {
        features,
        ..Manner::default()
    });
    let offered = feature::VERSION_1 | feature::EVENT_IDX;
    assert_eq!(driver.offered_features(), offered);
    echo(&mut driver, "no indirect descriptors");
}

#[test]
fn a_back_end_of_the_first_days_has_no_protocol_features() {
    let (fake, mut driver) = driven(Manner {
        features: feature::VERSION_1,
        ..Manner::default()
    });
    echo(&mut driver, "simple");
    assert!(fake.requests().iter().all(|request| *request < 15));
}

#[test]
fn a_paused_device_is_at_rest_in_the_other_process_too() {
    let (_fake, mut driver) = driven(Manner::default());
    echo(&mut driver, "before");
    for round in 0..20 {
        driver.transport().pause();
        driver.transport().wait_paused();
        let seen = driver.interrupts();
        driver.add(1, &[b"later"], &[5]).unwrap();
        driver.kick(1);
        if round == 0 {
            let none = driver.wait_for(1, Duration::from_millis(50)).unwrap();
            assert_eq!((none, driver.interrupts()), (None, seen));
        }
        driver.transport().resume();
        assert_eq!(driver.wait(1).unwrap().1, b"later");
    }
    echo(&mut driver, "after");
}

#[test]
fn a_queue_can_be_reset_alone_where_the_back_end_says_so() {
    let (fake, mut driver) = driven(Manner::default());
    echo(&mut driver, "before");
    driver.reset_queue(1);
    assert_eq!(fake.last(spec::GET_VRING_BASE.0)[0], 1);
    echo(&mut driver, "after");
}

#[test]
fn a_device_is_driven_again_after_a_reset() {
    let (fake, mut driver) = driven(Manner::default());
    for _ in 0..3 {
        echo(&mut driver, "again");
        driver.initialise(&shared()).unwrap();
    }
    echo(&mut driver, "again");
    let owners = fake.requests();
    let owners = owners.iter().filter(|r| **r == spec::SET_OWNER.0);
    assert_eq!(owners.count(), 1);
}

#[test]
fn a_device_goes_on_with_another_back_end_from_what_was_saved() {
    let (_fake, mut driver) = driven(Manner::default());
    for _ in 0..300 {
        echo(&mut driver, "before");
    }
    let other = Fake::new(Manner::default());
    let state = driver.move_to(fs(&other)).unwrap();
    let queue = &state.contents()["transport"]["queues"][1];
    assert_eq!(queue["next_available"], 300);
    assert_eq!(queue["next_used"], 300);
    echo(&mut driver, "after");
}

#[test]
fn regions_above_the_hole_have_their_place_in_the_file() {
    let fake = Fake::new(Manner::default());
    let mut options = shared();
    options.ram.backing = Backing::Memfd;
    options.ram.size = "3073M".parse().unwrap();
    let mut driver = Driver::start_with(fs(&fake), &options).unwrap();
    // The fake back end compares the places.
    assert_eq!(fake.last(spec::SET_MEM_TABLE.0).len(), 8 + 2 * 32);
    echo(&mut driver, "large");
}

#[test]
fn a_hostile_driver_is_survived() {
    let fake = Fake::new(Manner::default());
    let device: Arc<dyn Device> = fs(&fake);
    let survival = torture_in(&device, &shared().ram, 5, 200).unwrap();
    assert!(
        survival.went_on > 0 && survival.needed_reset > 0,
        "{survival:?}"
    );
}

#[test]
fn the_tag_and_the_queues_are_in_the_configuration_of_a_file_system() {
    let fake = Fake::new(Manner::default());
    let device = VhostUser::fs_with_queues(&fake.path, "srv", 3).unwrap();
    assert_eq!(device.queue_sizes().len(), 4);
    let driver = Driver::start_with(Arc::new(device), &shared()).unwrap();
    assert_eq!(driver.config::<4>(0), *b"srv\0");
    assert_eq!(driver.config::<4>(32), [0; 4]);
    assert_eq!(driver.config::<4>(36), [3, 0, 0, 0]);
}

fn disk() -> Manner {
    let mut config: Vec<u8> = (0..60).collect();
    config[spec::blk::NUM_QUEUES..][..2].copy_from_slice(&[3, 0]);
    Manner {
        features: ALL_FEATURES | spec::blk::FEATURES | 1 << 16,
        config,
        ..Manner::default()
    }
}

#[test]
fn the_configuration_of_a_disk_is_the_back_ends() {
    let fake = Fake::new(disk());
    let device = VhostUser::blk(&fake.path).unwrap();
    assert_eq!(device.features(), spec::blk::FEATURES);
    let mut driver = Driver::start_with(Arc::new(device), &shared()).unwrap();
    assert_eq!(driver.transport().transport().queue_count(), 3);
    assert_eq!(driver.config::<4>(4), [4, 5, 6, 7]);
    assert_eq!(driver.config::<2>(34), [3, 0]);
    // The driver writes `writeback`, and nothing else.
    driver.set_config(32, &[77]);
    driver.set_config(33, &[77]);
    driver.set_config(32, &[77, 77]);
    driver.set_config(0, &[77; 8]);
    assert_eq!(driver.config::<2>(32), [77, 33]);
    assert_eq!(driver.config::<1>(0), [0]);
    echo(&mut driver, "as a file system");
}

#[test]
fn a_change_of_the_back_ends_configuration_is_told_to_the_driver() {
    let fake = Fake::new(disk());
    let device = Arc::new(VhostUser::blk(&fake.path).unwrap());
    let mut driver = Driver::start_with(device, &shared()).unwrap();
    let generation = driver.transport().transport().config_generation();
    driver.request(0, &[b"grow"], &[4]).unwrap();
    let mut seen = 0;
    while driver.transport().transport().config_generation() == generation {
        seen = driver.wait_interrupt(seen, Duration::from_secs(1));
    }
    assert_eq!(driver.config::<1>(0), [1]);
}

#[test]
fn a_device_of_any_kind_has_what_its_back_end_has_of_it() {
    const SOUND: DeviceKind = DeviceKind::new(25, "snd").with_pci_class([4, 1, 0]);
    let fake = Fake::new(disk());
    let wanted = VhostUserDevice::new(SOUND, &[64, 64])
        .with_features(u64::MAX)
        .with_config(60);
    let device = VhostUser::device(&fake.path, wanted.clone()).unwrap();
    // Nothing of the queues' or the transport's comes with the device's.
    assert_eq!(device.features() & !feature::DEVICE, 0);
    assert_eq!(device.features() & spec::blk::FEATURES, spec::blk::FEATURES);
    let pci = Options {
        transport: TransportKind::Pci,
        ..shared()
    };
    let mut driver = Driver::start_with(Arc::new(device), &pci).unwrap();
    assert_eq!(driver.transport().transport().kind(), SOUND);
    assert_eq!(driver.config::<4>(4), [4, 5, 6, 7]);
    // The whole configuration is the driver's to write, where the back end lets it.
    driver.set_config(33, &[77]);
    assert_eq!(driver.config::<1>(33), [77]);
    echo(&mut driver, "a sound");
    for beyond in [
        VhostUserDevice::new(SOUND, &[64; 65]),
        wanted.with_config(257),
    ] {
        let refused = VhostUser::device(&fake.path, beyond).unwrap_err();
        assert!(matches!(refused, VhostUserError::Limit { .. }), "{refused}");
    }
}

#[test]
fn a_network_card_has_the_address_and_no_control_queue() {
    let fake = Fake::new(Manner {
        features: ALL_FEATURES | 0xff_ffff,
        ..Manner::default()
    });
    let mac = [2, 0, 0, 1, 2, 3];
    let device = VhostUser::net(&fake.path, mac).unwrap();
    let offloads = spec::net::FEATURES | spec::net::F_MAC;
    assert_eq!(device.features(), offloads);
    let mut driver = Driver::start_with(Arc::new(device), &shared()).unwrap();
    assert_eq!(driver.config::<6>(0), mac);
    echo(&mut driver, "as a file system");
}
