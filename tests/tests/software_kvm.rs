//! Linux on this machine's own software KVM, where there is one: booted directly, by completed
//! instructions and bridged system calls. A boot takes more than a minute there, so one guest does
//! everything, and only where it is asked for: `cargo test -p vmmkit-tests --test software_kvm -- --ignored`.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::process::Command;
use std::time::Duration;

use vmmkit_tests::disk::{Scratch, check};
use vmmkit_tests::guest::{Guests, SOFTWARE_BOOT_LIMIT};
use vmmkit_tests::process::run_bounded;
use vmmkit_tests::terminal::Terminal;

const CMDLINE: &str = "console=ttyS0 reboot=k panic=-1 quiet";
/// Long enough for any answer of a booted guest.
const LIMIT: Duration = Duration::from_secs(120);

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
#[ignore = "minutes on a software KVM"]
fn linux_with_disks_and_two_vcpus_does_everything_right_at_a_terminal() {
    let Some(guests) = Guests::find_on_software("shell") else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let root = scratch.path().join("root");
    fs::copy(guests.root_disk(), &root).unwrap();
    let disk = scratch.ext4(32).unwrap();
    let cmdline = format!("{CMDLINE} root=/dev/vda rw init=/init");
    let options = ["--cpus", "2", "--cmdline", &cmdline, "--rng", "--disk"];
    let mut command = guests.command(&guests.lean_elf(), &options);
    command.arg(&root).arg("--disk").arg(&disk);
    let mut terminal = Terminal::start(&command).unwrap();
    terminal.sees("/ # ", SOFTWARE_BOOT_LIMIT).unwrap();
    assert!(terminal.is_raw());

    a_person_is_answered(&mut terminal);
    let sum = what_is_written_is_synced(&mut terminal);
    every_subject_of_guest_check_holds(&mut terminal);
    nothing_is_lost_or_wrong_under_stress(&mut terminal);

    terminal.types("poweroff -f\r");
    let status = terminal.ends(LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!(terminal.is_as_before());
    assert_eq!(check(&disk).unwrap().code(), Some(0));
    let data = scratch.extract(&disk).unwrap().join("data");
    assert_eq!(fs::metadata(&data).unwrap().len(), 1 << 20);
    let found = Command::new("sha256sum").arg(&data).output().unwrap();
    let found = String::from_utf8_lossy(found.stdout.get(..64).unwrap()).into_owned();
    assert!(sum.contains(&found), "{found} is not {sum}");
}

fn a_person_is_answered(terminal: &mut Terminal) {
    terminal.types("echo $((6 * 7)) is the answer; sleep 1000\r");
    terminal.sees("\n42 is the answer", LIMIT).unwrap();
    terminal.types("\x03");
    terminal.sees("^C", LIMIT).unwrap();
    terminal.types("mount | grep ' / '; echo cpus: $(grep -c ^processor /proc/cpuinfo)\r");
    terminal.sees("on / type ext4", LIMIT).unwrap();
    terminal.sees("\ncpus: 2", LIMIT).unwrap();
}

/// Writes random and other data to the second disk; what sha256sum says of them.
fn what_is_written_is_synced(terminal: &mut Terminal) -> String {
    terminal.types(
        "mkdir -p /mnt; mount -t ext4 /dev/vdb /mnt; cat /sys/class/misc/hw_random/rng_current
        { head -c 16384 /dev/hwrng; seq -w 0 149999; } | head -c 1048576 | \
            dd of=/mnt/data bs=64k conv=fsync 2>/dev/null
        echo \"sum: $(sha256sum </mnt/data)\"; umount /mnt; echo written: $?\r",
    );
    terminal.sees("\nvirtio_rng.0", LIMIT).unwrap();
    terminal.sees("\nsum: ", 2 * LIMIT).unwrap();
    terminal.sees("\nwritten: 0", LIMIT).unwrap()
}

fn every_subject_of_guest_check_holds(terminal: &mut Terminal) {
    // A round is three system calls, of 32 kinds; `VMMKIT_ROUNDS=35000` is the long form.
    let rounds = setting("VMMKIT_ROUNDS", 300);
    terminal.types(format!("guest-check all {rounds}; echo checked: $?\r"));
    let limit = 3 * Duration::from_secs(200 + rounds / 20);
    let seen = terminal.sees("\nchecked: ", limit).unwrap();
    assert_eq!(seen.matches(" checks, 0 failed").count(), 10, "{seen}");
    assert!(!seen.contains("does not hold"), "{seen}");
    assert!(seen.contains("passed, 0 failed"), "{seen}");
}

fn nothing_is_lost_or_wrong_under_stress(terminal: &mut Terminal) {
    // `VMMKIT_STRESS_SECONDS=300` is the long form.
    let seconds = setting("VMMKIT_STRESS_SECONDS", 5);
    terminal.types(format!("guest-check stress {seconds}; echo stressed: $?\r"));
    let limit = 3 * Duration::from_secs(200 + seconds);
    let seen = terminal.sees("\nstressed: ", limit).unwrap();
    assert_eq!(seen.matches("worker ").count(), 4, "{seen}");
    assert!(seen.contains("guest-check: 4 passed, 0 failed"), "{seen}");
    assert!(!seen.contains("does not hold"), "{seen}");
}

#[test]
fn page_table_isolation_is_refused_clearly() {
    let Some(guests) = Guests::find_on_software("pti=on") else {
        return;
    };
    let cmdline = format!("{CMDLINE} pti=on");
    let mut command = guests.command(&guests.lean_elf(), &["--dry-run", "--cmdline", &cmdline]);
    let run = run_bounded(&mut command, b"", LIMIT).unwrap();
    assert_eq!(run.code(), Some(2), "{run:#?}");
    assert!(run.stderr.contains("--cmdline pti=on"), "{run:#?}");
    assert!(run.stderr.contains("next: "), "{run:#?}");
}
