use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use vmmkit_telemetry::{Metrics, Node};
use vmmkit_virtio::Device;
use vmmkit_virtio::fake::hostile::torture;
use vmmkit_virtio::fake::{Driver, Options};

use super::Rng;
use crate::{Bucket, RateLimit};

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
fn a_limit_holds_requests_until_it_is_changed() {
    let rng = Arc::new(Rng::new());
    let limit = |operations| RateLimit {
        bandwidth: None,
        operations: Some(Bucket {
            size: NonZeroU64::MIN,
            burst: operations,
            refill: Duration::from_secs(3600),
        }),
    };
    rng.rate_limiter().set(limit(1));
    let mut driver = Driver::start(rng.clone()).unwrap();
    for _ in 0..2 {
        assert_eq!(driver.request(0, &[], &[8]).unwrap().len(), 8);
    }
    // Not to be looked at before: the queue may have asked for a request that is not there yet.
    let is_changed = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while rng.rate_limiter().throttled() == 0 {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(20));
            is_changed.store(true, Ordering::SeqCst);
            rng.rate_limiter().set(RateLimit::default());
        });
        assert_eq!(driver.request(0, &[], &[8]).unwrap().len(), 8);
        assert!(is_changed.load(Ordering::SeqCst));
    });
}

#[test]
fn a_request_without_room_is_given_back_empty() {
    let mut driver = Driver::start(Arc::new(Rng::new())).unwrap();
    assert_eq!(driver.request(0, &[b"what?"], &[]).unwrap(), b"");
}

#[test]
fn what_went_through_the_queue_is_counted_over_a_reset() {
    let mut driver = Driver::start(Arc::new(Rng::new())).unwrap();
    driver.request(0, &[], &[10]).unwrap();
    driver.request(0, &[], &[20]).unwrap();
    let mut metrics = Metrics::new();
    driver.transport().transport().measure(&mut metrics);
    let count = |name: &str| {
        let name = format!("queue_{name}");
        metrics.value(&name, &[("device", "rng0"), ("queue", "0")])
    };
    assert_eq!(count("requests_total"), Some(2.0), "{metrics:?}");
    assert_eq!(count("written_bytes_total"), Some(30.0));
    assert_eq!(count("depth"), Some(0.0));
    assert!(count("kicks_total") >= Some(1.0) && count("interrupts_total") >= Some(1.0));

    let tree = driver.transport().transport().inspect();
    let driven = "ACKNOWLEDGE DRIVER FEATURES_OK DRIVER_OK";
    assert_eq!(tree.at("status"), Some(&Node::Text(driven.into())));
    assert_eq!(tree.at("queue0.used_index"), Some(&Node::Number(2)));
    driver.initialise(&Options::default()).unwrap();
    let tree = driver.transport().transport().inspect();
    assert_eq!(tree.at("queue0.requests"), Some(&Node::Counter(2)));
    assert_eq!(tree.at("queue0.used_index"), Some(&Node::Number(0)));
}

#[test]
fn a_hostile_driver_is_survived() {
    let rng: Arc<dyn Device> = Arc::new(Rng::new());
    torture(&rng, 1, 200).unwrap();
}
