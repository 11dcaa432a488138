//! How exits and start-up scale with vCPUs, by the library on this machine's KVM.
//!
//! `vcpus exits COUNT N...`: machines of N vCPUs, each of which does COUNT port writes; exits a second of
//! wall time, and of CPU time of this process: what one core does. Where the latter does not fall with
//! more vCPUs, nothing is shared between them, and exits a second are cores times that.
//!
//! `vcpus start N...`: machines of N vCPUs whose guest ends at once; CPU time of building, starting and
//! taking it down.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use vmmkit_benches::micro_guest::{Work, elf};
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_vmm::{Boot, MachineBuilder, MachineConfig};

/// Runs of each kind; the best counts, since others share this machine.
const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let kvm = Kvm::open()?;
    let folder = std::env::temp_dir().join(format!("vmmkit-vcpus-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let done = match words.as_slice() {
        ["exits", count, all @ ..] => exits(&kvm, &folder, count.parse()?, all),
        ["start", all @ ..] => start(&kvm, &folder, all),
        _ => Err("usage: vcpus exits COUNT N... | vcpus start N...".into()),
    };
    std::fs::remove_dir_all(&folder)?;
    done
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
fn exits(kvm: &Kvm, folder: &Path, count: u32, all: &[&str]) -> Result<(), Box<dyn Error>> {
    for vcpus in all {
        let vcpus: u32 = vcpus.parse()?;
        let kernel = folder.join("exits");
        let code = Work::PortWritesOnAll { vcpus, count }.code();
        std::fs::write(&kernel, elf(&code))?;
        let (mut wall, mut cpu) = (Duration::MAX, Duration::MAX);
        for _ in 0..RUNS {
            let run = run(kvm, &kernel, vcpus)?;
            wall = wall.min(run.wall);
            cpu = cpu.min(run.cpu);
        }
        let total = f64::from(vcpus) * f64::from(count);
        println!(
            "{vcpus} vCPUs: {:.0} exits a second, {:.0} a second of CPU time",
            total / wall.as_secs_f64(),
            total / cpu.as_secs_f64()
        );
    }
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
fn start(kvm: &Kvm, folder: &Path, all: &[&str]) -> Result<(), Box<dyn Error>> {
    let kernel = folder.join("start");
    std::fs::write(&kernel, elf(&Work::Nothing.code()))?;
    for vcpus in all {
        let vcpus: u32 = vcpus.parse()?;
        let mut cpu = Duration::MAX;
        for _ in 0..RUNS {
            let before = cpu_time()?;
            run(kvm, &kernel, vcpus)?;
            cpu = cpu.min(cpu_time()? - before);
        }
        println!(
            "{vcpus} vCPUs: {:.2} ms of CPU time, {:.1} us a vCPU",
            cpu.as_secs_f64() * 1e3,
            cpu.as_secs_f64() * 1e6 / f64::from(vcpus)
        );
    }
    Ok(())
}

/// From the first vCPU's start to the last one's end.
struct Run {
    wall: Duration,
    cpu: Duration,
}

fn run(kvm: &Kvm, kernel: &Path, vcpus: u32) -> Result<Run, Box<dyn Error>> {
    let config = MachineConfig {
        vcpus,
        ..MachineConfig::new(Boot::kernel(kernel))
    };
    let machine = MachineBuilder::new(config).build(kvm)?;
    let (start, cpu) = (Instant::now(), cpu_time()?);
    machine.start()?.wait()?;
    Ok(Run {
        wall: start.elapsed(),
        cpu: cpu_time()? - cpu,
    })
}

/// CPU time of this process, user and system.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live variable of the type that clock_gettime(2) fills.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    if failed != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(Duration::new(
        time.tv_sec.try_into()?,
        time.tv_nsec.try_into()?,
    ))
}
