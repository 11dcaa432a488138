//! Processor time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The processor time that this process has used, in the kernel too (clock_gettime(2)).
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_used_is_counted() {
        let before = cpu_time();
        while cpu_time() == before {
            std::hint::spin_loop();
        }
        assert!(cpu_time() > before);
    }
}
