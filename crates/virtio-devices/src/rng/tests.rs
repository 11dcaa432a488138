use std::sync::Arc;

use vmmkit_virtio::Device;
use vmmkit_virtio::fake::Driver;
use vmmkit_virtio::fake::hostile::torture;

use super::Rng;

#[test]
fn requests_are_filled_with_different_bytes() {
    let mut driver = Driver::start(Arc::new(Rng::new())).unwrap();
    let first = driver.request(0, &[], &[10, 1000]).unwrap();
    let second = driver.request(0, &[], &[1010]).unwrap();
    assert_eq!((first.len(), second.len()), (1010, 1010));
    assert_ne!(first, second);
    assert!(first.iter().any(|byte| *byte != first[0]));
}

#[test]
fn one_request_gets_a_bounded_number_of_bytes() {
    let mut driver = Driver::start(Arc::new(Rng::new())).unwrap();
    assert_eq!(driver.request(0, &[], &[1 << 20]).unwrap().len(), 64 << 10);
}

#[test]
fn a_request_without_room_is_given_back_empty() {
    let mut driver = Driver::start(Arc::new(Rng::new())).unwrap();
    assert_eq!(driver.request(0, &[b"what?"], &[]).unwrap(), b"");
}

#[test]
fn a_hostile_driver_is_survived() {
    let rng: Arc<dyn Device> = Arc::new(Rng::new());
    torture(&rng, 1, 200).unwrap();
}
