//! Bus mastering: the command register (PCI 6.2.2).

use std::sync::atomic::Ordering;

use vmmkit_pci::spec::{command, header};

use super::*;

/// Makes the device a bus master, or none.
fn master(driver: &Driver, is_master: bool) {
    let master = if is_master { command::MASTER } else { 0 };
    let value = command::MEMORY | master;
    slot(driver).set_config(header::COMMAND as u16, &value.to_le_bytes());
}

/// How many chains the device has taken from queue 0. Its thread answers, after all kicks.
fn taken(driver: &Driver) -> u16 {
    let state = slot(driver).transport().save_state().unwrap();
    let taken = &state.contents()["transport"]["queues"][0]["next_available"];
    taken.as_u64().unwrap() as u16
}

#[test]
fn a_device_that_is_no_bus_master_does_no_work_until_it_is_one_6_2_2() {
    let (echo, mut driver) = driver();
    driver.request(0, &[b"a"], &[1]).unwrap();
    let interrupts = driver.interrupts();
    master(&driver, false);
    driver.add(0, &[b"b"], &[1]).unwrap();
    driver.kick(0);
    echo.change.lock().as_ref().unwrap().notify();
    assert_eq!(taken(&driver), 1);
    assert_eq!(
        (driver.interrupts(), slot(&driver).pending()),
        (interrupts, 1)
    );
    master(&driver, true);
    assert_eq!(slot(&driver).messages(0), 1, "what was pending");
    assert_eq!(driver.wait(0).unwrap().1, b"b");
}

#[test]
fn a_driver_that_is_ready_before_the_bus_master_waits_for_it() {
    let (echo, mut driver) = driver();
    master(&driver, false);
    let features = driver.features();
    for status in [0, 1, 3] {
        driver.write(mmio::STATUS, status);
    }
    for half in 0..2 {
        driver.write(mmio::DRIVER_FEATURES_SEL, half);
        driver.write(mmio::DRIVER_FEATURES, (features >> (32 * half)) as u32);
    }
    driver.write(mmio::STATUS, 11);
    driver.enable(0);
    driver.enable(1);
    driver.write(mmio::STATUS, 15);
    let activations = || echo.activations.load(Ordering::SeqCst);
    assert_eq!((driver.status(), activations()), (15, 1));
    driver.add(1, &[b"a"], &[1]).unwrap();
    driver.kick(1);
    // A queue may be reset and enabled again meanwhile.
    driver.reset_queue(0);
    slot(&driver).transport().pause();
    slot(&driver).transport().wait_paused();
    slot(&driver).transport().resume();
    assert_eq!(activations(), 1);
    master(&driver, true);
    assert_eq!(activations(), 2);
    assert_eq!(driver.wait(1).unwrap().1, b"a");
}

#[test]
fn a_pause_and_a_missing_bus_master_are_two_reasons_to_rest() {
    let (_, mut driver) = driver();
    driver.transport().pause();
    driver.transport().wait_paused();
    master(&driver, false);
    driver.transport().resume();
    driver.add(0, &[b"a"], &[1]).unwrap();
    driver.kick(0);
    assert_eq!(taken(&driver), 0);
    driver.transport().pause();
    driver.transport().wait_paused();
    master(&driver, true);
    assert_eq!(taken(&driver), 0);
    driver.transport().resume();
    assert_eq!(driver.wait(0).unwrap().1, b"a");
}

#[test]
fn a_reset_while_there_is_no_bus_master_ends_all_work() {
    let (_, mut driver) = driver();
    master(&driver, false);
    driver.add(0, &[b"a"], &[1]).unwrap();
    driver.kick(0);
    driver.write(mmio::STATUS, 0);
    master(&driver, true);
    assert_eq!(driver.status(), 0);
    assert!(driver.used(0).is_none());
}

#[test]
fn a_device_that_is_saved_without_a_bus_master_goes_on_with_one_elsewhere() {
    let (_, mut driver) = driver();
    master(&driver, false);
    driver.add(0, &[b"a"], &[1]).unwrap();
    driver.kick(0);
    driver.move_to(Arc::new(Echo::default())).unwrap();
    assert_eq!(taken(&driver), 0);
    master(&driver, true);
    assert_eq!(driver.wait(0).unwrap().1, b"a");
}
