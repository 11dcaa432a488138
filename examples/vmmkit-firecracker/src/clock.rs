//! The time of log lines and metrics.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since 1970, in UTC.
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// `2026-11-29T11:00:00.123456789`, of UTC.
pub fn stamp(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let nanoseconds = since_1970.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}")
}

/// The date of a day since 1970 in the Gregorian calendar. Years begin in March here, so that the day that some have
/// more is their last, and 400 of them have 146,097 days.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_the_date_and_time_of_utc() {
        let stamp = |seconds, nanoseconds| super::stamp(Duration::new(seconds, nanoseconds));
        assert_eq!(stamp(0, 0), "1970-01-01T00:00:00.000000000");
        assert_eq!(stamp(951_782_399, 1), "2000-02-28T23:59:59.000000001");
        assert_eq!(stamp(951_782_400, 0), "2000-02-29T00:00:00.000000000");
        assert_eq!(stamp(1_796_083_200, 0), "2026-12-01T00:00:00.000000000");
        assert_eq!(stamp(4_107_542_400, 0), "2100-03-01T00:00:00.000000000");
    }
}
