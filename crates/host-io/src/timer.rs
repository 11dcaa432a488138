//! A timer that can be waited for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::event::read_count;

/// A one-shot timer: a timerfd (timerfd_create(2)) on the monotonic clock, non-blocking and closed
/// on exec. Any thread may call any of its functions; the last arming stands.
#[derive(Debug)]
pub struct TimerFd(OwnedFd);

impl TimerFd {
    /// A timer that is not armed.
    ///
    /// # Errors
    /// The host's, when it has no descriptor or memory left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// Makes the descriptor readable once, after `delay`; a delay of nothing is one nanosecond.
    pub fn arm_once(&self, delay: Duration) {
        self.set(delay.max(Duration::from_nanos(1)));
    }

    /// Takes back an arming, whether it has fired or not.
    pub fn disarm(&self) {
        self.set(Duration::ZERO);
    }

    /// Takes back a firing; says whether there was one.
    pub fn drain(&self) -> bool {
        read_count(self.0.as_fd()) > 0
    }

    fn set(&self, delay: Duration) {
        let value = Timespec {
            tv_sec: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: delay.subsec_nanos().into(),
        };
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: value,
        };
        // timerfd_settime(2) fails for a bad descriptor, pointer or value only; none of them can
        // be here.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once);
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for TimerFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pollable::{is_readable, wait_readable};

    #[test]
    fn an_armed_timer_fires_once() {
        let timer = TimerFd::new().unwrap();
        timer.arm_once(Duration::ZERO);
        assert!(wait_readable(timer.as_fd(), Duration::from_secs(10)));
        assert!(timer.drain());
        assert!(!timer.drain());
    }

    #[test]
    fn a_disarmed_timer_is_not_readable_even_after_it_fired() {
        let timer = TimerFd::new().unwrap();
        timer.arm_once(Duration::ZERO);
        assert!(wait_readable(timer.as_fd(), Duration::from_secs(10)));
        timer.disarm();
        assert!(!is_readable(timer.as_fd()));
    }
}
