use std::num::NonZeroU64;
use std::time::Duration;

use proptest::prelude::*;
use vmmkit_host_io::{Interest, Poller};

use super::bucket::Tokens;
use super::{Bucket, RateLimit, RateLimiter, Throttle};

const SECOND: u64 = 1_000_000_000;

fn bucket(size: u64, burst: u64, refill: Duration) -> Bucket {
    let size = NonZeroU64::new(size).unwrap();
    Bucket {
        size,
        burst,
        refill,
    }
}

fn a_second(size: u64, burst: u64) -> Tokens {
    Tokens::new(bucket(size, burst, Duration::from_secs(1)), 0)
}

#[test]
fn a_bucket_gives_its_size_and_its_burst_at_once_and_then_its_rate() {
    let mut tokens = a_second(1000, 500);
    tokens.take(1499);
    assert_eq!(tokens.delay(0), 0);
    tokens.take(1);
    assert_eq!(tokens.delay(0), SECOND / 1000);
    tokens.take(99);
    // 99 are owed, and one must be there.
    assert_eq!(tokens.delay(0), SECOND / 10);
    assert_eq!(tokens.delay(SECOND / 10 - 1), SECOND / 1000);
    assert_eq!(tokens.delay(SECOND / 10), 0);
}

#[test]
fn a_burst_does_not_come_back_and_an_idle_bucket_does_not_overflow() {
    let mut tokens = a_second(1000, 500);
    tokens.take(500);
    assert_eq!(tokens.delay(100 * SECOND), 0);
    tokens.take(1000);
    assert!(tokens.delay(100 * SECOND) > 0);
}

#[test]
fn a_request_larger_than_the_bucket_passes_and_is_paid_for() {
    let mut tokens = a_second(1000, 0);
    tokens.take(10_000);
    assert_eq!(tokens.delay(0), 9 * SECOND + SECOND / 1000);
}

#[test]
fn extremes_neither_overflow_nor_divide_by_zero() {
    let mut tokens = Tokens::new(bucket(u64::MAX, u64::MAX, Duration::MAX), 0);
    for _ in 0..10 {
        tokens.take(u64::MAX);
        tokens.delay(u64::MAX);
    }
    let mut tokens = Tokens::new(bucket(u64::MAX, 0, Duration::ZERO), 0);
    tokens.take(u64::MAX);
    assert_eq!(tokens.delay(0), 1);
    assert_eq!(tokens.delay(u64::MAX), 0);
}

#[test]
fn without_a_limit_a_throttle_is_open() {
    let throttle = Throttle::new(&RateLimiter::default()).unwrap();
    throttle.charge(u64::MAX, u64::MAX);
    assert!(throttle.is_open());
}

#[test]
fn a_changed_limit_wakes_what_waits() {
    let slow = bucket(1, 0, Duration::from_secs(3600));
    let limiter = RateLimiter::new(RateLimit {
        operations: Some(slow),
        ..RateLimit::default()
    });
    let throttle = Throttle::new(&limiter).unwrap();
    assert!(throttle.is_open());
    throttle.charge(1, 0);
    assert!(!throttle.is_open());
    assert_eq!(limiter.throttled(), 1);
    // A bucket that stays what it was is not filled.
    limiter.set(RateLimit {
        bandwidth: Some(slow),
        ..limiter.limit()
    });
    assert!(!throttle.is_open());
    limiter.set(RateLimit::default());
    let poller = Poller::new().unwrap();
    poller.add(&throttle, 1, Interest::Readable).unwrap();
    poller.wait(&mut Vec::new()).unwrap();
    throttle.drain();
    assert!(throttle.is_open());
}

proptest! {
    /// Whatever is asked and whenever: over any time no more passes than the bucket, the burst and
    /// the rate give, and one request that is paid for afterwards; and whoever waits as long as he
    /// is told gets through.
    #[test]
    fn no_more_passes_than_the_limit_and_a_wait_is_enough(
        size in 1_u64..1_000_000,
        burst in 0_u64..10_000,
        refill in 1_u64..5 * SECOND,
        requests in proptest::collection::vec((0_u64..100_000, 0_u64..SECOND), 1..100),
    ) {
        let mut tokens = Tokens::new(bucket(size, burst, Duration::from_nanos(refill)), 0);
        let (mut now, mut passed) = (0_u64, 0_u128);
        for (amount, pause) in requests {
            now += pause;
            let delay = tokens.delay(now);
            now += delay;
            prop_assert_eq!(tokens.delay(now), 0);
            let come = u128::from(now) * u128::from(size) / u128::from(refill);
            prop_assert!(passed < u128::from(size) + u128::from(burst) + come + 1);
            tokens.take(amount);
            passed += u128::from(amount);
        }
    }
}
