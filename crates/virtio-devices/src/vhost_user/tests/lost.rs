//! A back end that is lost, and one that takes its place.

use std::time::Instant;

use parking_lot::Mutex;
use vmmkit_virtio::TransportEvent;

use super::back_end::Oddity;
use super::*;

/// The events of a driver's transport.
type Told = Arc<Mutex<Vec<TransportEvent>>>;

fn told_by(driver: &Driver) -> Told {
    let told = Told::default();
    let keeper = told.clone();
    let transport = driver.transport().transport();
    transport.watch(Box::new(move |event| keeper.lock().push(event)));
    told
}

/// Waits until something was told that is so.
fn wait_for(told: &Told, is_so: impl Fn(&TransportEvent) -> bool) -> TransportEvent {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = told.lock().iter().find(|event| is_so(event)) {
            return found.clone();
        }
        assert!(Instant::now() < deadline, "{told:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn lost(told: &Told) -> String {
    match wait_for(told, |event| matches!(event, TransportEvent::Lost(_))) {
        TransportEvent::Lost(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn wait_until_back(told: &Told) {
    wait_for(told, |event| *event == TransportEvent::Back);
    assert!(
        !told
            .lock()
            .iter()
            .any(|event| matches!(event, TransportEvent::NeedsReset(_)))
    );
}

/// A driver whose back end has just ended at a request, which waits.
fn driven_and_lost(manner: Manner) -> (Fake, Driver, Told) {
    let (fake, mut driver) = driven(manner);
    let told = told_by(&driver);
    echo(&mut driver, "before");
    driver.add(1, &[b"end"], &[8]).unwrap();
    driver.kick(1);
    let reason = lost(&told);
    assert!(reason.contains("hung up"), "{reason}");
    assert!(reason.contains(fake.path.to_str().unwrap()), "{reason}");
    (fake, driver, told)
}

#[test]
fn what_a_lost_back_end_had_under_way_is_done_by_the_next_one() {
    let (fake, mut driver, told) = driven_and_lost(Manner::default());
    // What comes meanwhile waits, too, and the driver sees no fault.
    driver.add(1, &[b"meanwhile"], &[9]).unwrap();
    driver.kick(1);
    let none = driver.wait_for(1, Duration::from_millis(50)).unwrap();
    assert_eq!(none, None);
    let other = Fake::at(fake.path.clone(), Manner::default());
    // It ends of what made the first one end; the third finds that it was used meanwhile.
    let first = driver.wait_for(1, Duration::from_secs(1)).unwrap();
    assert_eq!(first, None);
    drop(other);
    told.lock().clear();
    let _third = Fake::at(
        fake.path.clone(),
        Manner {
            is_immortal: true,
            ..Manner::default()
        },
    );
    assert_eq!(driver.wait(1).unwrap().1, b"end");
    assert_eq!(driver.wait(1).unwrap().1, b"meanwhile");
    wait_until_back(&told);
    echo(&mut driver, "after");
}

#[test]
fn a_driver_that_comes_while_there_is_no_back_end_waits_for_one() {
    let (fake, mut driver, _told) = driven_and_lost(Manner::default());
    for _ in 0..2 {
        driver.initialise(&shared()).unwrap();
    }
    driver.add(0, &[b"patient"], &[7]).unwrap();
    driver.kick(0);
    let _other = Fake::at(fake.path.clone(), Manner::default());
    assert_eq!(driver.wait(0).unwrap().1, b"patient");
    echo(&mut driver, "after");
}

#[test]
fn a_pause_and_the_reset_of_a_queue_without_a_back_end_wait_for_nobody() {
    let (fake, mut driver, _told) = driven_and_lost(Manner::default());
    driver.transport().pause();
    driver.transport().wait_paused();
    driver.reset_queue(0);
    let _other = Fake::at(
        fake.path.clone(),
        Manner {
            is_immortal: true,
            ..Manner::default()
        },
    );
    driver.transport().resume();
    assert_eq!(driver.wait(1).unwrap().1, b"end");
    echo(&mut driver, "after");
}

#[test]
fn one_that_does_not_offer_the_same_is_refused_and_said() {
    let (fake, mut driver, told) = driven_and_lost(Manner::default());
    told.lock().clear();
    let poor = Manner {
        features: ALL_FEATURES & !feature::INDIRECT_DESC,
        ..Manner::default()
    };
    let other = Fake::at(fake.path.clone(), poor);
    let reason = lost(&told);
    assert!(reason.contains("is another now: features"), "{reason}");
    drop(other);
    let _third = Fake::at(
        fake.path.clone(),
        Manner {
            is_immortal: true,
            ..Manner::default()
        },
    );
    assert_eq!(driver.wait(1).unwrap().1, b"end");
    wait_until_back(&told);
}

#[test]
fn a_disk_of_another_size_is_refused_and_said() {
    let fake = Fake::new(disk());
    let device = Arc::new(VhostUser::blk(&fake.path).unwrap());
    let mut driver = Driver::start_with(device, &shared()).unwrap();
    driver.set_config(32, &[77]);
    let told = told_by(&driver);
    driver.add(0, &[b"end"], &[8]).unwrap();
    driver.kick(0);
    lost(&told);
    told.lock().clear();
    let mut other = disk();
    other.config[0] += 1;
    let other = Fake::at(fake.path.clone(), other);
    let reason = lost(&told);
    assert!(
        reason.contains("byte 0 of its configuration differs"),
        "{reason}"
    );
    drop(other);
    let third = Fake::at(
        fake.path.clone(),
        Manner {
            is_immortal: true,
            ..disk()
        },
    );
    assert_eq!(driver.wait(0).unwrap().1, b"end");
    // It is told what the driver wrote.
    assert_eq!(third.last(spec::SET_CONFIG.0)[12..], [77]);
}

#[test]
fn one_that_does_not_keep_the_protocol_is_lost_and_the_next_one_goes_on() {
    for oddity in [Oddity::Long, Oddity::Other, Oddity::End] {
        let (fake, mut driver) = driven(Manner {
            oddity: Some((spec::GET_VRING_BASE.0, oddity)),
            ..Manner::default()
        });
        let told = told_by(&driver);
        echo(&mut driver, "before");
        driver.transport().pause();
        driver.transport().wait_paused();
        let reason = lost(&told);
        assert!(reason.contains("GET_VRING_BASE"), "{reason}");
        let _other = Fake::at(fake.path.clone(), Manner::default());
        driver.transport().resume();
        echo(&mut driver, "after");
        wait_until_back(&told);
    }
}

#[test]
fn the_end_of_the_machine_does_not_wait_for_one_that_is_silent_or_drips() {
    for oddity in [Oddity::Silent, Oddity::Drip] {
        let fake = Fake::new(Manner {
            oddity: Some((spec::GET_VRING_BASE.0, oddity)),
            ..Manner::default()
        });
        let device = fs(&fake);
        let mut driver = Driver::start_with(device.clone(), &shared()).unwrap();
        echo(&mut driver, "before");
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                driver.transport().pause();
                driver.transport().wait_paused();
            });
            while !fake.requests().contains(&spec::GET_VRING_BASE.0) {
                std::thread::yield_now();
            }
            device.abandon();
        });
        // Not the 10 seconds that it may take otherwise.
        assert!(began.elapsed() < Duration::from_secs(8));
    }
}

#[test]
fn one_that_answers_late_refuses_the_pause_and_goes_on() {
    let manner = Manner {
        oddity: Some((spec::GET_VRING_BASE.0, Oddity::Late)),
        ..Manner::default()
    };
    let gate = manner.gate.clone();
    let (fake, mut driver) = driven(manner);
    echo(&mut driver, "before");
    let soon = || Instant::now() + Duration::from_millis(20);
    let shut = gate.lock();
    driver.transport().pause();
    assert!(!driver.transport().wait_paused_until(soon()));
    // Neither waits for it.
    driver.transport().resume();
    driver.transport().pause();
    assert!(!driver.transport().wait_paused_until(soon()));
    driver.transport().resume();
    drop(shut);
    echo(&mut driver, "after");
    driver.transport().pause();
    driver.transport().wait_paused();
    let stops = |all: &[u32]| {
        all.iter()
            .filter(|one| **one == spec::GET_VRING_BASE.0)
            .count()
    };
    let queues = 2;
    assert!(stops(&fake.requests()) >= 2 * queues);
    driver.transport().resume();
    echo(&mut driver, "in the end");
}

#[test]
fn one_that_does_not_answer_a_resume_is_lost_in_time() {
    let manner = Manner {
        oddity: Some((spec::SET_VRING_NUM.0, Oddity::Late)),
        ..Manner::default()
    };
    let gate = manner.gate.clone();
    let (_fake, mut driver) = driven(manner);
    let told = told_by(&driver);
    echo(&mut driver, "before");
    driver.transport().pause();
    driver.transport().wait_paused();
    let shut = gate.lock();
    let began = Instant::now();
    driver.transport().resume();
    // Not the 10 seconds that it may take otherwise.
    assert!(began.elapsed() < Duration::from_secs(8));
    drop(shut);
    let reason = lost(&told);
    assert!(reason.contains("SET_VRING_NUM"), "{reason}");
}
