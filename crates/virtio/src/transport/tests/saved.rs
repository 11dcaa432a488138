//! The saved state of a transport: a new one answers as the old one does, it rests until it is resumed, and the
//! forms of earlier builds load for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use vmmkit_device_bus::{
    DeviceMmio, IrqLine, Lifecycle, MessageVector, MmioAddress, SaveState, SavedState, check_golden,
};
use vmmkit_guest_memory::{GuestRam, RamConfig, RamSize};
use vmmkit_pci::PciFunction;

use super::Echo;
use crate::fake::{Driver, Options, TransportKind};
use crate::spec::mmio;
use crate::{MmioTransport, PciTransport};

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../../goldens/", $name, ".json"))
    };
}

fn ram() -> GuestRam {
    let config = RamConfig {
        size: RamSize::mebibytes(1),
        ..RamConfig::default()
    };
    GuestRam::new(&config).unwrap()
}

fn by_mmio(ram: &GuestRam) -> MmioTransport {
    let line = Arc::new(IrqLine::unconnected());
    MmioTransport::new("rng0", Arc::new(Echo::default()), ram, line).unwrap()
}

fn by_pci(ram: &GuestRam) -> PciTransport {
    let mut vector = || Ok(Arc::new(MessageVector::new(|_| ())) as _);
    let echo = Arc::new(Echo::default());
    PciTransport::new("rng0", echo, ram, &mut vector, None).unwrap()
}

/// Through JSON, as a file would have it.
fn carry(from: &dyn SaveState, to: &dyn SaveState) {
    let json = from.save_state().unwrap().to_json();
    let saved = SavedState::from_json(json.as_bytes()).unwrap();
    to.restore_state(&saved).unwrap();
    assert_eq!(to.save_state().unwrap(), saved);
}

/// Any register but those that start the device: its threads answer when they want.
fn mmio_step(device: &MmioTransport, (what, register, value): (bool, u8, u32)) -> [u8; 4] {
    let offset = u64::from(register & !3) + if register & 1 == 0 { 0 } else { 0x80 };
    let mut bytes = value.to_le_bytes();
    let starts = offset == mmio::STATUS && value & 4 != 0;
    if what && !starts {
        device.mmio_write(MmioAddress(0), offset, &bytes);
    } else {
        device.mmio_read(MmioAddress(0), offset, &mut bytes);
    }
    bytes
}

/// The common configuration, the table of vectors and the configuration space.
fn pci_step(device: &PciTransport, (what, register, value): (bool, u8, u32)) -> [u8; 4] {
    let mut bytes = value.to_le_bytes();
    let register = u64::from(register);
    let in_space = value & 0x100 != 0;
    let in_table = value & 0x200 != 0;
    let place = if in_table {
        0x4000 + register
    } else {
        register & 0x3f
    };
    match (what, in_space) {
        (true, true) => device.write_config((register & !3) as usize, &bytes),
        (false, true) => device.read_config((register & !3) as usize, &mut bytes),
        (true, false) => device.write_bar(0, place & !3, &bytes),
        (false, false) => device.read_bar(0, place & !3, &mut bytes),
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn registers_answer_as_those_that_were_saved(
        before in vec(any::<(bool, u8, u32)>(), 0..100),
        after in vec(any::<(bool, u8, u32)>(), 0..50),
    ) {
        let ram = ram();
        let (old, new) = (by_mmio(&ram), by_mmio(&ram));
        for step in &before {
            mmio_step(&old, *step);
        }
        carry(&old, &new);
        for step in &after {
            prop_assert_eq!(mmio_step(&old, *step), mmio_step(&new, *step));
        }
        let (old, new) = (by_pci(&ram), by_pci(&ram));
        for step in &before {
            pci_step(&old, *step);
        }
        carry(&old, &new);
        for step in &after {
            prop_assert_eq!(pci_step(&old, *step), pci_step(&new, *step));
        }
    }
}

#[test]
fn a_restored_device_rests_until_it_is_resumed() {
    for transport in [TransportKind::Mmio, TransportKind::Pci] {
        let options = Options {
            transport,
            ..Options::default()
        };
        let echo = Arc::new(Echo::default());
        let mut driver = Driver::start_with(echo.clone(), &options).unwrap();
        driver.request(0, &[b"a"], &[1]).unwrap();
        let activations = || echo.activations.load(Ordering::SeqCst);
        assert_eq!(activations(), 1);
        driver.transport().pause();
        driver.transport().wait_paused();
        driver.add(0, &[b"b"], &[1]).unwrap();
        driver.kick(0);
        let saved = driver.transport().save().unwrap();
        driver.transport().restore(&saved).unwrap();
        assert_eq!(activations(), 1, "its threads are not started");
        let none = driver.wait_for(0, Duration::from_millis(20)).unwrap();
        assert_eq!(none, None);
        assert_eq!(driver.transport().save().unwrap(), saved);
        driver.transport().resume();
        assert_eq!(driver.wait(0).unwrap().1, b"b");
    }
}

#[test]
fn a_device_that_needed_a_reset_needs_one_when_it_is_restored() {
    let ram = ram();
    let (old, new) = (by_mmio(&ram), by_mmio(&ram));
    let write = |device: &MmioTransport, register, value: u32| {
        device.mmio_write(MmioAddress(0), register, &value.to_le_bytes());
    };
    let status = |device: &MmioTransport| {
        let mut bytes = [0; 4];
        device.mmio_read(MmioAddress(0), mmio::STATUS, &mut bytes);
        u32::from_le_bytes(bytes)
    };
    // A queue outside of RAM.
    write(&old, mmio::STATUS, 3);
    write(&old, mmio::DRIVER_FEATURES_SEL, 1);
    write(&old, mmio::DRIVER_FEATURES, 1);
    write(&old, mmio::STATUS, 11);
    write(&old, mmio::QUEUE_DESC_HIGH, 7);
    write(&old, mmio::QUEUE_READY, 1);
    write(&old, mmio::STATUS, 15);
    assert_eq!(status(&old), 0x4f);
    carry(&old, &new);
    assert_eq!(status(&new), 0x4f);
    new.resume();
    assert_eq!(status(&new), 0x4f);
    write(&new, mmio::STATUS, 0);
    assert_eq!(status(&new), 0);
}

#[test]
fn states_of_earlier_builds_load() {
    let ram = ram();
    check_golden(&by_mmio(&ram), golden!("virtio-mmio.v1")).unwrap();
    check_golden(&by_pci(&ram), golden!("virtio-pci.v1")).unwrap();
}
