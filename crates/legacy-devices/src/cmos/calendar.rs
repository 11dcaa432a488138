//! Seconds to dates and back, in UTC and the proleptic Gregorian calendar.

/// A moment as a clock shows it. Fields may be out of range when a guest sets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// 0 to 9999.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 59.
    pub second: i64,
}

impl Moment {
    /// The moment `seconds` after 1970, held within years 0 to 9999.
    pub fn from_unix(seconds: i64) -> Self {
        let seconds = seconds.clamp(-62_167_219_200, 253_402_300_799);
        let days = seconds.div_euclid(86_400);
        let rest = seconds.rem_euclid(86_400);
        // Years begin in March here, so that the leap day is the last; 400 of them are an era.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// Seconds after 1970; fields out of range carry over.
    pub fn to_unix(self) -> i64 {
        let months = self.year * 12 + self.month - 1;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let year = year - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        days * 86_400 + self.hour * 3_600 + self.minute * 60 + self.second
    }

    /// 1 for Sunday to 7.
    pub(super) fn weekday(self) -> i64 {
        (self.to_unix().div_euclid(86_400) + 4).rem_euclid(7) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_convert_both_ways() {
        for (seconds, date, weekday) in [
            (0, (1970, 1, 1), 5),
            (951_782_400, (2000, 2, 29), 3),
            (4_107_542_400, (2100, 3, 1), 2),
            (-1, (1969, 12, 31), 4),
        ] {
            let moment = Moment::from_unix(seconds);
            assert_eq!((moment.year, moment.month, moment.day), date);
            assert_eq!((moment.to_unix(), moment.weekday()), (seconds, weekday));
        }
    }

    proptest::proptest! {
        #[test]
        fn every_second_of_ten_millennia_comes_back(s in -62_167_219_200_i64..=253_402_300_799) {
            proptest::prop_assert_eq!(Moment::from_unix(s).to_unix(), s);
        }
    }
}
