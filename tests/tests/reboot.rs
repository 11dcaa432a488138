//! Linux that reboots, panics and faults: in the same process, or to the exit code that says so.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::process::Command;

use vmmkit_tests::diskless::{Diskless, Kernel};
use vmmkit_tests::process::Finished;
use vmmkit_tests::scripted::Scripted;

/// Boots again until the third disk holds `2`; each boot says what it found there, and whether it had
/// all its CPUs.
const COUNTING: &str = "n=$(head -c 1 /dev/vdc)
echo \"boot $n on $(nproc)\"
[ \"$n\" != 2 ] || exit
{ echo $((n + 1)); head -c 510 /dev/zero; } | dd of=/dev/vdc bs=512 count=1 conv=fsync 2>/dev/null
reboot -f
";

/// Three boots of a guest with `arguments`, whose kernel resets as `parameter` says.
fn counted(name: &str, parameter: &str, arguments: &[&str]) -> Option<Finished> {
    let guest = Scripted::find(name).unwrap()?;
    let disk = guest.folder().join("count");
    let mut sector = b"0".to_vec();
    sector.resize(512, 0);
    fs::write(&disk, sector).unwrap();
    let mut command: Command = guest.command(COUNTING, parameter).unwrap();
    command.args(arguments).arg("--disk").arg(&disk);
    let run = guest.run(&mut command).unwrap();
    assert!(fs::read(&disk).unwrap().starts_with(b"2"), "{run:#?}");
    Some(run)
}

#[track_caller]
fn assert_three_boots(run: &Finished, cpus: u32) {
    assert_eq!(run.code(), Some(0), "{run:#?}");
    for boot in 0..3 {
        let line = format!("boot {boot} on {cpus}");
        assert_eq!(run.stdout.matches(&line).count(), 1, "{line}: {run:#?}");
    }
}

#[test]
fn linux_reboots_twice_by_the_keyboard_controller_and_powers_off() {
    let run = counted("reboot", "reboot=k", &["--on-reboot", "reboot"]);
    run.iter().for_each(|run| assert_three_boots(run, 1));
}

#[test]
fn two_cpus_and_pci_devices_start_anew_by_the_acpi_reset_register() {
    let arguments = ["--on-reboot", "reboot", "--cpus", "2", "--virtio", "pci"];
    let run = counted("reboot with 2 CPUs", "reboot=a", &arguments);
    run.iter().for_each(|run| assert_three_boots(run, 2));
}

#[test]
fn a_triple_fault_is_a_crash_that_a_guest_may_reboot_after() {
    let run = counted("triple fault", "reboot=t", &["--on-crash", "reboot"]);
    let Some(run) = run else { return };
    assert_three_boots(&run, 1);
    let told = "vcpu0: the guest ended in a triple fault; it starts anew";
    assert!(run.stderr.contains(told), "{run:#?}");
}

#[test]
fn a_triple_fault_ends_in_exit_code_3() {
    let Some(guest) = Scripted::find("exit code 3").unwrap() else {
        return;
    };
    let mut command = guest.command("reboot -f\n", "reboot=t").unwrap();
    let run = guest.run(&mut command).unwrap();
    assert_eq!(run.code(), Some(3), "{run:#?}");
}

/// Debian's kernel, whose pvpanic driver is a module, panics.
const PANIC: &str = "load pvpanic pvpanic-mmio; echo \"boot of $(nproc)\"
echo c >/proc/sysrq-trigger\n";

#[test]
fn a_panic_that_pvpanic_tells_of_ends_in_exit_code_4() {
    let Some(guest) = Diskless::find("exit code 4", Kernel::Cloud).unwrap() else {
        return;
    };
    let mut command = guest.command(PANIC, &["--memory", "512M"]).unwrap();
    let run = guest.guests.run(&mut command, b"").unwrap();
    assert_eq!(run.code(), Some(4), "{run:#?}");
    assert!(run.stdout.contains("Kernel panic"), "{run:#?}");
    assert!(
        run.stderr.contains("the guest's kernel panicked"),
        "{run:#?}"
    );
}
