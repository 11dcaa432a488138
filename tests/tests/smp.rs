//! Linux with several CPUs: all are online and arranged as asked, work together, and any of them ends the
//! guest.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use vmmkit_tests::diskless::{Diskless, Kernel};
use vmmkit_tests::process::{Finished, wait_until};

fn run(name: &str, script: &str, arguments: &[&str]) -> Option<Finished> {
    let guest = Diskless::find(name, Kernel::Lean).unwrap()?;
    let mut command = guest.command(script, arguments).unwrap();
    Some(guest.guests.run(&mut command, b"").unwrap())
}

/// A line for each CPU: package, core, threads of the core, processors of the package.
const ARRANGEMENT: &str = "cd /sys/devices/system/cpu; echo \"online $(cat online) of $(nproc)\"
    for cpu in cpu[0-9]*; do cd $cpu/topology
        echo $cpu $(cat physical_package_id core_id thread_siblings_list core_siblings_list)
        cd ../..
    done\n";

#[test]
fn packages_cores_and_threads_are_those_asked_for() {
    let arguments = ["--cpus", "8,sockets=2,cores=2,threads=2"];
    let Some(run) = run("8 CPUs of 2 packages", ARRANGEMENT, &arguments) else {
        return;
    };
    assert_eq!(run.code(), Some(0), "{run:#?}");
    for line in [
        "online 0-7 of 8",
        "cpu0 0 0 0-1 0-3",
        "cpu3 0 1 2-3 0-3",
        "cpu4 1 0 4-5 4-7",
        "cpu7 1 1 6-7 4-7",
    ] {
        assert!(run.stdout.contains(line), "no {line:?} in {run:#?}");
    }
}

#[test]
fn apic_ids_with_holes_are_as_good_as_others() {
    for arguments in [
        &["--cpus", "6,sockets=2,cores=3"][..],
        &["--cpus", "6,sockets=2,cores=3", "--no-acpi", "--mp-table"],
    ] {
        let Some(run) = run("6 CPUs of 2 packages", ARRANGEMENT, arguments) else {
            return;
        };
        assert_eq!(run.code(), Some(0), "{run:#?}");
        for line in ["online 0-5 of 6", "cpu2 0 2 2 0-2", "cpu3 1 0 3 3-5"] {
            assert!(run.stdout.contains(line), "no {line:?} in {run:#?}");
        }
    }
}

/// Every subject of guest-check by two processes a CPU, then forks and pipes on each CPU at once; the guest
/// ends by what is asked of the last CPU.
fn work_on(cpus: u32, end: &str) -> Option<Finished> {
    let last = cpus - 1;
    let script = format!(
        "echo \"online $(cat /sys/devices/system/cpu/online) of $(nproc)\"
        guest-check stress 2
        for cpu in $(seq 0 {last}); do
            taskset -c $cpu sh -c 'i=0; while [ $i -lt 15 ]; do echo $i | cat; i=$((i + 1)); done |
                tail -n 1 | sed s/^/$0:/' $cpu &
        done
        wait
        echo \"the end, on CPU {last}\"
        taskset -c {last} {end} -f
        sleep 1000\n"
    );
    let number = cpus.to_string();
    run(
        &format!("work on {cpus} CPUs"),
        &script,
        &["--cpus", &number],
    )
}

#[test]
fn all_cpus_work_and_any_of_them_ends_the_guest() {
    for (cpus, end) in [(1, "reboot"), (2, "poweroff"), (8, "reboot")] {
        let Some(run) = work_on(cpus, end) else {
            return;
        };
        assert_eq!(run.code(), Some(0), "{run:#?}");
        let online = match cpus {
            1 => "online 0 of 1".to_owned(),
            _ => format!("online 0-{} of {cpus}", cpus - 1),
        };
        assert!(run.stdout.contains(&online), "{run:#?}");
        assert!(run.stdout.contains("passed, 0 failed"), "{run:#?}");
        for cpu in 0..cpus {
            let line = format!("{cpu}:14");
            assert!(run.stdout.contains(&line), "no {line:?} in {run:#?}");
        }
        assert!(run.stdout.contains("the end, on CPU"), "{run:#?}");
    }
}

#[test]
fn a_kill_leaves_no_thread_of_any_cpu() {
    let Some(guest) = Diskless::find("kill", Kernel::Lean).unwrap() else {
        return;
    };
    let name = format!("killed-{}", std::process::id());
    let mut command = guest
        .command(
            "echo up and $(nproc); sleep 1000\n",
            &["--cpus", "8", "--name", &name],
        )
        .unwrap();
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A guest that never says so is killed all the same, by a thread that needs no answer.
    let limit = Instant::now() + Duration::from_secs(100);
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let seen = std::thread::spawn(move || {
        let mut lines = stdout.lines().map_while(Result::ok);
        lines.any(|line| line.contains("up and 8"))
    });
    while !seen.is_finished() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    let status = wait_until(&mut child, limit + Duration::from_secs(20)).unwrap();
    assert_eq!(status.and_then(|status| status.signal()), Some(9));
    assert!(seen.join().unwrap(), "the guest did not come up");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    for process in processes {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(
            !String::from_utf8_lossy(&line).contains(&name),
            "{process:?}"
        );
    }
}

/// Linux finds each clock's frequency by KVM's clock, and measures nothing (arch/x86/kernel/kvmclock.c).
#[test]
fn nothing_is_calibrated() {
    let Some(run) = run("calibration", "dmesg\n", &[]) else {
        return;
    };
    assert_eq!(run.code(), Some(0), "{run:#?}");
    for line in [
        "kvm-clock: Using msrs",
        "tsc: Detected",
        "Calibrating delay loop (skipped) preset value..",
    ] {
        assert!(run.stdout.contains(line), "no {line:?} in {run:#?}");
    }
    for line in [
        "TSC calibration",
        "calibrated using",
        "PIT calibration",
        "Calibrating delay loop...",
        "Using PIT calibration value",
        "APIC timer calibration",
        "calibrating APIC timer",
    ] {
        assert!(!run.stdout.contains(line), "{line:?} in {run:#?}");
    }
}
