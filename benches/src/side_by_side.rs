//! Two ways to do the same thing, measured by many short turns, so that what else the machine does hits
//! both, and some turns of each hardly at all.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use crate::driver::Failure;

/// How often and how long.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// Of each side.
    pub count: usize,
    /// How long one takes.
    pub length: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            count: 41,
            length: Duration::from_millis(40),
        }
    }
}

/// The result of a turn: an amount and its time.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// How many were done.
    pub count: u64,
    /// In what time.
    pub time: Duration,
    /// CPU time of it, where that is not all of the turn's.
    pub busy: Option<Duration>,
}

impl Amount {
    /// Calls `step`, which says how many it did, until `length` is over.
    pub fn of(
        length: Duration,
        mut step: impl FnMut() -> Result<u64, Failure>,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let mut count = 0;
        loop {
            count += step()?;
            let time = started.elapsed();
            if time >= length {
                return Ok(Self {
                    count,
                    time,
                    busy: None,
                });
            }
        }
    }

    fn rate(self) -> f64 {
        self.count as f64 / self.time.as_secs_f64()
    }
}

/// The best turns of both sides, per second, and the median of the ratios of turns that were neighbours.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Ours.
    pub ours: f64,
    /// The other.
    pub other: f64,
    /// Ours by the other's, of neighbours.
    pub neighbours: f64,
    /// Work of the device's thread per CPU second. It knows
    /// neither who else is on the machine nor what waking up takes.
    pub by_cpu: f64,
}

/// Measures both sides by turns, after one of each that does not count.
pub fn compare(
    turns: Turns,
    mut ours: impl FnMut(Duration) -> Result<Amount, Failure>,
    mut other: impl FnMut(Duration) -> Result<Amount, Failure>,
) -> Result<Outcome, Failure> {
    ours(turns.length / 4)?;
    other(turns.length / 4)?;
    let (mut best, mut best_other, mut ratios) = (0_f64, 0_f64, Vec::new());
    let (mut busy, mut busy_other) = (Rate::default(), Rate::default());
    for _ in 0..turns.count {
        let before = cpu_time(DEVICE);
        let mine = ours(turns.length)?;
        busy.add(mine, cpu_time(DEVICE).saturating_sub(before));
        let before = cpu_time(PLAIN);
        let theirs = other(turns.length)?;
        busy_other.add(theirs, cpu_time(PLAIN).saturating_sub(before));
        let (a, b) = (mine.rate(), theirs.rate());
        best = best.max(a);
        best_other = best_other.max(b);
        ratios.push(a / b);
    }
    Ok(Outcome {
        ours: best,
        other: best_other,
        neighbours: median(ratios),
        by_cpu: busy.rate() / busy_other.rate(),
    })
}

/// Threads whose time counts, by the beginning of their names. The empty name is the first thread's.
const DEVICE: &[&str] = &["virtio-", "iou-wrk"];
const PLAIN: &[&str] = &["", "iou-wrk"];

/// CPU time of this process's threads.
fn cpu_time(names: &[&str]) -> Duration {
    let mut total = Duration::ZERO;
    for task in fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let number = task.file_name().to_string_lossy().parse().unwrap_or(0);
        let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let is_one = |name: &&str| match *name {
            "" => number == std::process::id() as i32,
            name => comm.starts_with(name),
        };
        if names.iter().any(is_one) {
            total += thread_time(number);
        }
    }
    total
}

/// CPU time of thread `number` of this process; 0 is this one.
pub fn thread_time(number: i32) -> Duration {
    // The clock of a thread: MAKE_THREAD_CPUCLOCK(number, CPUCLOCK_SCHED) of Linux.
    let clock = !number << 3 | 6;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is written to, and nothing else. A thread that is gone is an error, and the time
    // stays zero.
    let _ = unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The result of all turns.
#[derive(Default)]
struct Rate {
    count: u64,
    busy: Duration,
}

impl Rate {
    fn add(&mut self, amount: Amount, busy: Duration) {
        self.count += amount.count;
        self.busy += amount.busy.unwrap_or(busy);
    }

    fn rate(&self) -> f64 {
        self.count as f64 / self.busy.as_secs_f64()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, other) = (self.ours, self.other);
        let (ratio, neighbours, by_cpu) = (ours / other, self.neighbours, self.by_cpu);
        write!(
            f,
            "{ours:9.0}/s  other {other:9.0}/s  ratio {ratio:.2} ({neighbours:.2}), by CPU {by_cpu:.2}"
        )
    }
}
