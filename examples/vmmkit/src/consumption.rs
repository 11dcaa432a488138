//! Resources of the host that a process has used: processor time and memory (proc(5)).

use std::collections::BTreeMap;
use std::fs;

/// Ticks of a second in /proc: USER_HZ of x86.
const TICKS: f64 = 100.0;
/// A page of x86.
const PAGE: u64 = 4096;

/// Resources that a process has used so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Consumption {
    /// Seconds of processor time, of all its threads and for it in the kernel.
    pub(crate) cpu_seconds: f64,
    /// Seconds since it was started.
    pub(crate) age_seconds: f64,
    /// Bytes of memory that are resident, with what of the guest's RAM was touched.
    pub(crate) resident_bytes: u64,
}

impl Consumption {
    /// That of the process `pid`, or of this one. `None` where it is gone or there is no /proc.
    pub(crate) fn of(pid: Option<u32>) -> Option<Self> {
        let stat = fs::read_to_string(format!("{}/stat", folder(pid))).ok()?;
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        Self::parse(&stat, &uptime)
    }

    /// Fields 14, 15, 22 and 24 of /proc/PID/stat; the name, in parentheses, is the second and may contain
    /// anything.
    fn parse(stat: &str, uptime: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            cpu_seconds: (field(14)?.saturating_add(field(15)?)) as f64 / TICKS,
            age_seconds: (uptime - field(22)? as f64 / TICKS).max(0.0),
            resident_bytes: field(24)?.saturating_mul(PAGE),
        })
    }

    /// Processor time for each second of its life, in percent of one CPU.
    pub(crate) fn cpu_percent(&self) -> f64 {
        match self.age_seconds > 0.0 {
            true => 100.0 * self.cpu_seconds / self.age_seconds,
            false => 0.0,
        }
    }
}

/// The processor time of each vCPU of the process `pid`, or of this one, in seconds by number: that of its
/// threads `vcpu0` and so on.
pub(crate) fn vcpus(pid: Option<u32>) -> BTreeMap<u32, f64> {
    let tasks = fs::read_dir(format!("{}/task", folder(pid)))
        .into_iter()
        .flatten();
    let one = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let number = name.trim_end().strip_prefix("vcpu")?.parse().ok()?;
        Some((number, cpu_time(&task.path())?))
    };
    tasks.flatten().filter_map(one).collect()
}

/// That of a thread: to the nanosecond where the kernel counts so (CONFIG_SCHED_INFO).
fn cpu_time(task: &std::path::Path) -> Option<f64> {
    if let Ok(text) = fs::read_to_string(task.join("schedstat"))
        && let Some(Ok(nanoseconds)) = text.split_whitespace().next().map(str::parse::<u64>)
    {
        return Some(nanoseconds as f64 / 1e9);
    }
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    Consumption::parse(&stat, "0").map(|used| used.cpu_seconds)
}

fn folder(pid: Option<u32>) -> String {
    pid.map_or("/proc/self".to_owned(), |pid| format!("/proc/{pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_counted_behind_the_name() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 4 0 1000 99 12 1 1";
        let used = Consumption::parse(stat, "30.00 1.0").unwrap();
        assert_eq!(used.cpu_seconds, 2.0);
        assert_eq!(used.age_seconds, 20.0);
        assert_eq!(used.resident_bytes, 12 * 4096);
        assert_eq!(used.cpu_percent(), 10.0);
        for bad in ["", "7 (a) S 1", "7 a S"] {
            assert_eq!(Consumption::parse(bad, "1"), None);
        }
    }

    #[test]
    fn this_process_uses_something() {
        let used = Consumption::of(None).unwrap();
        assert!(used.resident_bytes > 0);
        assert_eq!(Consumption::of(Some(u32::MAX)), None);
    }
}
