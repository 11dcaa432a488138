//! The host's wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 of the host, in UTC; negative before.
pub fn wall_clock() -> i64 {
    let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs());
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => seconds(after).unwrap_or(i64::MAX),
        Err(before) => seconds(before.duration()).map_or(i64::MIN, |seconds| -seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_later_than_this_test() {
        assert!(wall_clock() > 1_790_000_000);
    }
}
