//! Times whole processes: `timed RUNS COMMAND [ARGUMENT...]`, from exec to exit, after one run that
//! is not counted. Prints the mean and the median, and the most memory that one process had:
//!
//! `mean 1234.5 us  median 1234.0 us  memory 2345 KiB  COMMAND ...`
//!
//! Setting up and taking down a VM waits for timer ticks of the host's kernel (RCU), so one run is a
//! multiple of a tick long. Each run therefore begins at another phase of the tick, and the mean of
//! many says more than a tick.
//!
//! stdin of the command is /dev/null, and so are its outputs, so that the figure is its own.

use std::error::Error;
use std::mem::MaybeUninit;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How much later in the tick each run begins; shares no factor with common ticks.
const PHASE: Duration = Duration::from_micros(617);

/// One run.
#[derive(Clone, Copy)]
struct Run {
    wall: f64,
    memory: i64,
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [runs, command @ ..] = arguments.as_slice() else {
        return Err("usage: timed RUNS COMMAND [ARGUMENT...]".into());
    };
    let count: usize = runs.parse()?;
    run(command)?;
    let mut runs = Vec::new();
    for number in 0..count.max(1) as u32 {
        std::thread::sleep(PHASE * (number % 16 + 1));
        runs.push(run(command)?);
    }
    let memory = runs.iter().map(|run| run.memory).max().unwrap_or_default();
    let mean = runs.iter().map(|run| run.wall).sum::<f64>() / runs.len() as f64;
    println!(
        "mean {mean:.1} us  median {:.1} us  memory {memory} KiB  {}",
        median(runs.iter().map(|run| run.wall)),
        command.join(" ")
    );
    Ok(())
}

fn run(command: &[String]) -> Result<Run, Box<dyn Error>> {
    let [program, arguments @ ..] = command else {
        return Err("there is no command".into());
    };
    let start = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to live variables of the types that wait4(2) fills, and the id is
    // that of a child nobody else waits for.
    let waited = unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, usage.as_mut_ptr()) };
    let wall = start.elapsed().as_secs_f64() * 1e6;
    if waited < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    if status != 0 {
        return Err(format!("{program} ended with status {status:#x}").into());
    }
    // SAFETY: a rusage of zeroes is valid, and wait4 has filled it.
    let usage = unsafe { usage.assume_init() };
    Ok(Run {
        wall,
        memory: usage.ru_maxrss,
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
