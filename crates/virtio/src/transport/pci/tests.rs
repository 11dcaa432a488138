mod master;

use parking_lot::Mutex as StdMutex;

use vmmkit_device_bus::{MessageVector, SaveState, SavedState};

use super::*;
use crate::fake::{Driver, Options, PciSlot, TransportKind};
use crate::spec::pci::{NO_VECTOR, common, isr};
use crate::spec::{feature, mmio};
use crate::transport::tests::Echo;

fn options() -> Options {
    Options {
        transport: TransportKind::Pci,
        ..Options::default()
    }
}

fn driver() -> (Arc<Echo>, Driver) {
    let echo = Arc::new(Echo::default());
    (echo.clone(), Driver::start_with(echo, &options()).unwrap())
}

fn slot(driver: &Driver) -> &PciSlot {
    driver.transport().pci().unwrap()
}

#[test]
fn the_configuration_space_says_what_it_must_4_1_2() {
    let (_, driver) = driver();
    let slot = slot(&driver);
    assert_eq!(slot.config(0), 0x1044_1af4);
    assert_eq!(slot.config(8), 0x00ff_0001, "revision 1 or higher");
    assert!(slot.config(0x2c) >> 16 >= 0x40, "subsystem");
    assert_eq!(slot.config(0x3c), 0, "no interrupt pin");
    assert_eq!(slot.config(0x10), 0xe800_0004);
    assert_eq!(slot.config(4), 0x0010_0006);
}

#[test]
fn the_fields_of_the_common_configuration_read_as_they_must_4_1_4_3() {
    let (_, driver) = driver();
    let slot = slot(&driver);
    assert_eq!(slot.get(common::NUM_QUEUES, 2), 2);
    assert_eq!(slot.get(common::DEVICE_STATUS, 1), 0xf);
    let ring = feature::EVENT_IDX | feature::INDIRECT_DESC | feature::RING_RESET;
    assert_eq!(
        driver.offered_features(),
        feature::VERSION_1 | ring | 1 << 3
    );
    slot.set(common::QUEUE_SELECT, 2, 1);
    assert_eq!(slot.get(common::QUEUE_SIZE, 2), 16);
    assert_eq!(slot.get(common::QUEUE_ENABLE, 2), 1);
    assert_eq!(slot.get(common::QUEUE_NOTIFY_OFF, 2), 1);
    assert_eq!(slot.get(common::QUEUE_MSIX_VECTOR, 2), 2);
    let layout = driver.layout(1);
    assert_eq!(
        u64::from(slot.get(common::QUEUE_DESC, 4)),
        layout.descriptors
    );
    assert_eq!(u64::from(slot.get(common::QUEUE_DEVICE, 4)), layout.used);
    assert_eq!(slot.get(common::QUEUE_NOTIFY_DATA, 2), 0);
    assert_eq!(slot.get(common::QUEUE_RESET, 2), 0);
    slot.set(common::QUEUE_SELECT, 2, 2);
    assert_eq!(slot.get(common::QUEUE_SIZE, 2), 0, "no queue 2");
    assert_eq!(slot.get(common::QUEUE_MSIX_VECTOR, 2), u32::from(NO_VECTOR));
}

#[test]
fn fields_are_written_as_wide_as_they_are_4_1_3_1() {
    let driver = Driver::attach(Arc::new(Echo::default()), &options()).unwrap();
    let slot = slot(&driver);
    let memory = slot.memory();
    memory.write(
        0xe800_0000 + common::QUEUE_DESC,
        &0x1_2345_6000_u64.to_le_bytes(),
    );
    assert_eq!(slot.get(common::QUEUE_DESC, 4), 0x2345_6000);
    assert_eq!(slot.get(common::QUEUE_DESC + 4, 4), 1);
    slot.set(common::QUEUE_SIZE, 1, 4);
    assert_eq!(slot.get(common::QUEUE_SIZE, 2), 64, "1 of 2 bytes");
    slot.set(common::QUEUE_SIZE, 2, 4);
    assert_eq!(slot.get(common::QUEUE_SIZE, 2), 4);
    slot.set(common::QUEUE_DESC + 2, 4, u32::MAX);
    slot.set(common::NUM_QUEUES, 2, 9);
    assert_eq!(slot.get(common::QUEUE_DESC, 4), 0x2345_6000);
    assert_eq!(slot.get(common::NUM_QUEUES, 2), 2);
}

#[test]
fn each_queue_interrupts_by_its_vector_4_1_5_1_2() {
    let (echo, mut driver) = driver();
    driver.request(1, &[b"a"], &[1]).unwrap();
    assert_eq!(
        [0, 1, 2].map(|vector| slot(&driver).messages(vector)),
        [0, 0, 1]
    );
    driver.request(0, &[b"a"], &[1]).unwrap();
    echo.change.lock().as_ref().unwrap().notify();
    assert_eq!(
        [0, 1, 2].map(|vector| slot(&driver).messages(vector)),
        [1, 1, 1]
    );
    assert_eq!(driver.read(mmio::INTERRUPT_STATUS), u32::from(isr::CONFIG));
    assert_eq!(driver.read(mmio::INTERRUPT_STATUS), 0, "reading clears");
}

#[test]
fn a_vector_that_is_not_there_is_none() {
    let (_, mut driver) = driver();
    let place = slot(&driver);
    place.set(common::CONFIG_MSIX_VECTOR, 2, 3);
    assert_eq!(
        place.get(common::CONFIG_MSIX_VECTOR, 2),
        u32::from(NO_VECTOR)
    );
    place.set(common::QUEUE_SELECT, 2, 0);
    place.set(common::QUEUE_MSIX_VECTOR, 2, 2);
    assert_eq!(place.get(common::QUEUE_MSIX_VECTOR, 2), 2);
    driver.request(0, &[b"a"], &[1]).unwrap();
    assert_eq!(slot(&driver).messages(2), 1, "two queues may share one");
    driver.write(mmio::STATUS, 0);
    let place = slot(&driver);
    assert_eq!(
        place.get(common::QUEUE_MSIX_VECTOR, 2),
        u32::from(NO_VECTOR)
    );
}

#[test]
fn an_interrupt_of_a_masked_vector_is_pending() {
    let (_, mut driver) = driver();
    slot(&driver).program(1, true);
    driver.add(0, &[b"a"], &[1]).unwrap();
    driver.kick(0);
    while slot(&driver).pending() == 0 {
        std::thread::yield_now();
    }
    assert_eq!((slot(&driver).pending(), driver.interrupts()), (2, 0));
    slot(&driver).program(1, false);
    assert_eq!((slot(&driver).pending(), driver.interrupts()), (0, 1));
    assert_eq!(driver.wait(0).unwrap().1, b"a");
}

#[test]
fn without_msix_the_isr_status_says_why_4_1_4_5_1() {
    let (_, mut driver) = driver();
    let (msix, _) = slot(&driver).capabilities();
    slot(&driver).set_config(msix + 2, &[0, 0]);
    driver.add(0, &[b"a"], &[1]).unwrap();
    driver.kick(0);
    let has_status = |driver: &Driver| slot(driver).config(4) >> 16 & 8 != 0;
    while !has_status(&driver) {
        std::thread::yield_now();
    }
    assert_eq!(driver.interrupts(), 0);
    assert_eq!(driver.read(mmio::INTERRUPT_STATUS), u32::from(isr::QUEUE));
    assert!(!has_status(&driver));
}

#[test]
fn the_base_address_is_reached_by_the_configuration_space_4_1_4_9() {
    let (_, driver) = driver();
    let slot = slot(&driver);
    let (_, window) = slot.capabilities();
    let set = |offset: u64, length: u32| {
        slot.set_config(window + 4, &[0]);
        slot.set_config(window + 8, &(offset as u32).to_le_bytes());
        slot.set_config(window + 12, &length.to_le_bytes());
    };
    set(common::DEVICE_STATUS, 1);
    assert_eq!(slot.config(window + 16) & 0xff, 0xf);
    slot.set_config(window + 16, &[0]);
    assert_eq!(driver.status(), 0, "reset");
    set(common::NUM_QUEUES, 2);
    assert_eq!(slot.config(window + 16) & 0xffff, 2);
    // What breaks the rules is not an access: it reads as before.
    for (offset, length) in [(common::NUM_QUEUES, 4), (0x1_0000, 4), (0, 3), (0, 0)] {
        set(offset, length);
        assert_eq!(slot.config(window + 16) & 0xffff, 2);
    }
    slot.set_config(window + 4, &[1]);
    assert_eq!(slot.config(window + 16) & 0xffff, 2, "no base address 1");
}

#[test]
fn a_queue_is_reset_only_with_the_feature_2_6_1() {
    let taken = Options {
        features: !feature::RING_RESET,
        ..options()
    };
    let driver = Driver::start_with(Arc::new(Echo::default()), &taken).unwrap();
    let slot = slot(&driver);
    slot.set(common::QUEUE_SELECT, 2, 0);
    slot.set(common::QUEUE_RESET, 2, 1);
    slot.set(common::QUEUE_ENABLE, 2, 0);
    assert_eq!(slot.get(common::QUEUE_ENABLE, 2), 1);
}

/// The attachments: address and whether it was attached.
#[derive(Default)]
struct Record(StdMutex<Vec<(u64, bool)>>);

impl Doorbells for Record {
    fn attach(&self, _kick: &vmmkit_host_io::EventFd, address: u64) {
        self.0.lock().push((address, true));
    }
    fn detach(&self, _kick: &vmmkit_host_io::EventFd, address: u64) {
        self.0.lock().push((address, false));
    }
}

#[test]
fn doorbells_follow_the_base_address_while_a_driver_is_ready() {
    let record = Arc::new(Record::default());
    let take = || std::mem::take(&mut *record.0.lock());
    let ram = GuestRam::new(&options().ram).unwrap();
    let mut vector = || Ok(Arc::new(MessageVector::new(|_| ())) as _);
    let echo = Arc::new(Echo::default());
    let transport =
        PciTransport::new("echo0", echo, &ram, &mut vector, Some(record.clone())).unwrap();
    transport.moved(0, Some(0xe800_0000));
    assert_eq!(take(), []);
    assert_eq!(transport.notify_address(1), Some(0xe800_3004));
    assert_eq!(transport.notify_address(2), None);
    transport.write_bar(0, common::DRIVER_FEATURE_SELECT, &[1, 0, 0, 0]);
    transport.write_bar(0, common::DRIVER_FEATURE, &[1, 0, 0, 0]);
    for status in [1, 3, 11, 15] {
        transport.write_bar(0, common::DEVICE_STATUS, &[status]);
    }
    assert_eq!(transport.transport().status(), 15);
    assert_eq!(take(), [(0xe800_3000, true), (0xe800_3004, true)]);
    transport.moved(0, None);
    assert_eq!(take(), [(0xe800_3000, false), (0xe800_3004, false)]);
    transport.moved(0, Some(0x1_0000_0000));
    assert_eq!(take(), [(0x1_0000_3000, true), (0x1_0000_3004, true)]);
    transport.write_bar(0, common::DEVICE_STATUS, &[0]);
    assert_eq!(take(), [(0x1_0000_3000, false), (0x1_0000_3004, false)]);
}

#[test]
fn a_device_that_moves_elsewhere_keeps_its_place_and_its_vectors() {
    let (_, mut driver) = driver();
    slot(&driver).set_config(0x10, &0xe900_0000_u32.to_le_bytes());
    slot(&driver).set_config(0x10, &0xe800_0000_u32.to_le_bytes());
    slot(&driver).program(2, true);
    driver.add(1, &[b"a"], &[1]).unwrap();
    driver.kick(1);
    while slot(&driver).pending() == 0 {
        std::thread::yield_now();
    }
    driver.move_to(Arc::new(Echo::default())).unwrap();
    let place = slot(&driver);
    assert_eq!((place.pending(), place.messages(2)), (4, 0));
    place.program(2, false);
    assert_eq!((place.pending(), place.messages(2)), (0, 1));
    assert_eq!(driver.wait(1).unwrap().1, b"a");
    assert_eq!(driver.request(0, &[b"b"], &[1]).unwrap(), b"b");
    // The answer's, and one that a restore raises for each queue.
    assert_eq!(slot(&driver).messages(1), 2);

    let state = slot(&driver).transport().save_state().unwrap().to_json();
    let other = Driver::attach(Arc::new(Echo::default()), &options()).unwrap();
    for (good, bad, reason) in [
        (
            r#""kind":"virtio-pci""#,
            r#""kind":"other""#,
            "kind other: ",
        ),
        (
            r#""version":1,"state":{"config""#,
            r#""version":2,"state":{"config""#,
            "version 2: ",
        ),
        (r#""config":["#, r#""config":[0,"#, "config.length 257: "),
        (
            r#""config":[244,"#,
            r#""config":[245,"#,
            "config.[0x00] 0xf5: ",
        ),
        (
            r#""queue_vectors":["#,
            r#""queue_vectors":[1,"#,
            "queue_vectors.length 3: ",
        ),
        (
            r#""config_vector":0"#,
            r#""config_vector":3"#,
            "queue_vectors 3: ",
        ),
        (r#""isr":"#, r#""isr":1"#, "isr "),
        (
            r#""vectors":[{"#,
            r#""vectors":[{"address":0,"data":0,"control":0,"is_pending":true},{"#,
            "msix.vectors.length 4: ",
        ),
    ] {
        assert!(state.contains(good), "{good}: {state}");
        let bad = SavedState::from_json(state.replace(good, bad).as_bytes()).unwrap();
        let error = slot(&other).transport().restore_state(&bad).unwrap_err();
        let error = error.to_string();
        let rest = error.strip_prefix("rng0: ").unwrap_or_default();
        assert!(rest.starts_with(reason), "{error}");
    }
}

#[test]
fn a_reset_of_the_machine_leaves_the_bus_as_firmware_does() {
    let (_, driver) = driver();
    driver.transport().pause();
    driver.transport().wait_paused();
    driver.transport().reset();
    let slot = slot(&driver);
    assert_eq!(slot.config(4) as u16, 0);
    assert_eq!(slot.config(0x10), 0xe800_0004);
    let (msix, _) = slot.capabilities();
    assert_eq!(slot.config(msix) >> 16, 2, "off, 3 vectors");
    assert_eq!(slot.transport().transport().status(), 0);
    assert_eq!(slot.memory().regions().len(), 1, "the configuration spaces");
}
