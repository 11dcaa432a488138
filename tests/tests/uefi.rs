//! UEFI firmware as Debian's package ovmf has it: it starts a boot loader from a disk, that a distribution's kernel, and
//! its variables last.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, its helpers too, and a skip is loud"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use vmmkit_tests::disk::Scratch;
use vmmkit_tests::guest::Guests;
use vmmkit_tests::process::{Finished, run_bounded};

const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// How long one boot may take in the lab, on a machine that is busy besides.
const LIMIT: Duration = Duration::from_secs(420);

/// The files that both tests need; `None`, and said, where one is not there.
fn guests(name: &str) -> Option<Guests> {
    let guests = Guests::find(name)?;
    for file in [Path::new(CODE), Path::new(VARS), &guests.grub_disk()] {
        if !file.exists() {
            eprintln!("SKIPPED: {name}: {} is not there", file.display());
            return None;
        }
    }
    slow_periodic_timers();
    Some(guests)
}

/// The lab's QEMU 7.2 aborts when a guest's guest lowers its task priority (CR8) while an interrupt is pending, which EDK
/// II's handler of the periodic timer does when the next tick is there already (`tcg_handle_interrupt`, without a
/// lock). So that it never is, KVM has periodic timers tick no more than 5 times a second there; firmware counts ticks,
/// and its seconds are long, but it waits for none here.
fn slow_periodic_timers() {
    if std::env::var_os("VMMKIT_LAB").is_some() {
        fs::write("/sys/module/kvm/parameters/min_timer_period_us", "200000").unwrap();
    }
}

fn boot(guests: &Guests, firmware: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new(&guests.vmmkit);
    command.args(["run", "--firmware", firmware, "--disk"]);
    command.arg(guests.grub_disk()).args(arguments);
    let run = run_bounded(&mut command, b"", LIMIT).unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    for expected in [
        "BdsDxe: starting Boot0001",
        "Welcome to GRUB",
        "efi: EFI v2",
        "Linux (none)",
        "ACPI: PM: Preparing to enter system sleep state S5",
    ] {
        assert!(run.stdout.contains(expected), "{expected}: {run:#?}");
    }
    run
}

/// How often `name` is in the store: a variable that is written anew is there twice.
fn records(store: &Path, name: &str) -> usize {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bytes = fs::read(store).unwrap();
    bytes.windows(name.len()).filter(|it| *it == name).count()
}

#[test]
fn firmware_of_a_distribution_boots_its_kernel_and_keeps_its_variables() {
    let Some(guests) = guests("UEFI with variables") else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let vars = scratch.path().join("vars");
    fs::copy(VARS, &vars).unwrap();
    assert_eq!(records(&vars, "Boot0001"), 0);
    let firmware = format!("{CODE},vars={}", vars.display());

    boot(&guests, &firmware, &["--cpus", "2"]);
    assert_eq!(records(&vars, "Boot0001"), 1);

    // It finds them, and has no reason to write them again.
    boot(&guests, &firmware, &["--cpus", "2"]);
    assert_eq!(records(&vars, "Boot0001"), 1);
}

/// Without a file for its variables it has them in RAM. And RAM ends below the bus at 2 GiB, whatever there is.
#[test]
fn firmware_without_variables_has_ram_on_both_sides_of_the_bus() {
    let Some(guests) = guests("UEFI without variables") else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    // A sparse file, as the lab has less.
    let file = scratch.path().join("ram");
    let memory = format!("4G,backend=file={}", file.display());
    let run = boot(&guests, CODE, &["--memory", &memory]);
    let high = "[mem 0x0000000100000000-0x000000017fffffff] usable";
    assert!(run.stdout.contains(high), "{run:#?}");
}
