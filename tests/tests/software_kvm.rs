//! Linux on this machine's own software KVM, where there is one: booted directly, by completed
//! instructions and bridged system calls. The boots take minutes, so they run where they are
//! asked for: `cargo test -p vmmkit-tests --test software_kvm -- --ignored --test-threads 1`.
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
fn linux_boots_on_two_vcpus_and_every_subject_of_guest_check_holds_under_stress_too() {
    let Some(guests) = Guests::find_on_software("guest-check") else {
        return;
    };
    // A round is three system calls, of 32 kinds: each kind twice. The long form is `VMMKIT_ROUNDS=35000` and
    // `VMMKIT_STRESS_SECONDS=300`.
    let rounds = setting("VMMKIT_ROUNDS", 64);
    let seconds = setting("VMMKIT_STRESS_SECONDS", 5);
    let cmdline = format!("{CMDLINE} vmmkit.batch vmmkit.run=guest-check,all,{rounds},{seconds}");
    let arguments = ["--cpus", "2", "--cmdline", &cmdline, "--initrd"];
    let mut command = guests.command(&guests.lean_elf(), &arguments);
    command.arg(guests.initramfs());
    let limit = SOFTWARE_BOOT_LIMIT + 3 * Duration::from_secs(400 + rounds / 20 + seconds);
    let run = run_bounded(&mut command, b"", limit).unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    for line in ["Linux (none)", "cpus online: 2", "MemFree"] {
        assert!(run.stdout.contains(line), "no {line:?} in {run:#?}");
    }
    let subjects = run.stdout.matches(" checks, 0 failed").count();
    assert_eq!(subjects, 10, "{run:#?}");
    assert_eq!(run.stdout.matches("worker ").count(), 4, "{run:#?}");
    assert!(!run.stdout.contains("does not hold"), "{run:#?}");
    assert!(run.stdout.contains(" passed, 0 failed"), "{run:#?}");
}

#[test]
#[ignore = "a minute on a software KVM"]
fn a_person_at_the_terminal_gets_a_shell() {
    let Some(guests) = Guests::find_on_software("shell") else {
        return;
    };
    let mut command = guests.command(&guests.lean_elf(), &["--cmdline", CMDLINE, "--initrd"]);
    command.arg(guests.initramfs());
    let mut terminal = Terminal::start(&command).unwrap();
    terminal.sees("/ # ", SOFTWARE_BOOT_LIMIT).unwrap();
    assert!(terminal.is_raw());
    terminal.types("echo $((6 * 7)) is the answer; sleep 1000\r");
    terminal.sees("\n42 is the answer", LIMIT).unwrap();
    terminal.types("\x03");
    terminal.sees("^C", LIMIT).unwrap();
    terminal.types("\x01x");
    let status = terminal.ends(LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!(terminal.is_as_before());
}

#[test]
#[ignore = "three minutes on a software KVM"]
fn linux_has_its_root_and_more_on_disks_and_random_numbers() {
    let Some(guests) = Guests::find_on_software("disks") else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let root = scratch.path().join("root");
    fs::copy(guests.root_disk(), &root).unwrap();
    let disk = scratch.ext4(32).unwrap();
    let script = "busybox --install -s /bin 2>/dev/null; mkdir -p /mnt; mount -t ext4 /dev/vdc /mnt
        cat /sys/class/misc/hw_random/rng_current
        { head -c 16384 /dev/hwrng; seq -w 0 299999; } | head -c 2097152 |
            dd of=/mnt/data bs=64k conv=fsync 2>/dev/null
        echo \"sum $(sha256sum </mnt/data)\"; umount /mnt; mount | grep ' / '\n";
    let cmdline =
        format!("{CMDLINE} root=/dev/vda rw init=/init vmmkit.batch vmmkit.run=sh,/dev/vdb");
    let script = format!("{},readonly", scratch.script(script).unwrap().display());
    let mut command = guests.command(&guests.lean_elf(), &["--cmdline", &cmdline, "--rng"]);
    command.arg("--disk").arg(&root).args(["--disk", &script]);
    let run = run_bounded(
        command.arg("--disk").arg(&disk),
        b"",
        SOFTWARE_BOOT_LIMIT + LIMIT,
    );
    let run = run.unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    assert!(run.stdout.contains("virtio_rng.0"), "{run:#?}");
    assert!(run.stdout.contains("on / type ext4"), "{run:#?}");
    assert_eq!(check(&root).unwrap().code(), Some(0), "{run:#?}");
    assert_eq!(check(&disk).unwrap().code(), Some(0), "{run:#?}");
    let data = scratch.extract(&disk).unwrap().join("data");
    assert_eq!(fs::metadata(&data).unwrap().len(), 2 << 20);
    let sum = Command::new("sha256sum").arg(&data).output().unwrap();
    let sum = String::from_utf8_lossy(sum.stdout.get(..64).unwrap()).into_owned();
    assert!(run.stdout.contains(&format!("sum {sum}")), "{run:#?}");
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
