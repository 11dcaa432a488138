//! Debian as it comes: its own kernel and initrd, a root disk by PCI, systemd, a login on the serial
//! port, its package tools, and a clean power-off.
use std::fs;
use std::time::{Duration, Instant};

use vmmkit_tests::disk::{Scratch, check};
use vmmkit_tests::guest::Guests;
use vmmkit_tests::terminal::Terminal;

/// systemd's own words may take a while in the lab.
const LIMIT: Duration = Duration::from_secs(120);
const CMDLINE: &str = "console=ttyS0 root=/dev/vda ro net.ifnames=0 reboot=k panic=-1";

#[test]
fn debian_boots_to_a_login_and_powers_off_clean() {
    let Some(guests) = Guests::find("Debian") else {
        return;
    };
    let debian = guests.debian();
    if !debian.join("root.ext4").exists() {
        return eprintln!("SKIPPED: Debian: run tools/guest/debian, which needs Debian's mirror");
    }
    let scratch = Scratch::new().unwrap();
    let root = scratch.path().join("root");
    // By itself where it may be moved: the lab has no room for two.
    if fs::rename(debian.join("root.ext4"), &root).is_err() {
        fs::copy(debian.join("root.ext4"), &root).unwrap();
    }
    let mut command = guests.command(&debian.join("vmlinuz"), &["--cmdline", CMDLINE]);
    command.arg("--initrd").arg(debian.join("initrd.img"));
    command.args(["--virtio", "pci", "--rng", "--memory", "512M", "--disk"]);
    command.arg(&root);
    let started = Instant::now();
    let mut terminal = Terminal::start(&command).unwrap();
    terminal.sees("login: ", LIMIT).unwrap();
    eprintln!("Debian: a login after {} s", started.elapsed().as_secs());
    let mut ask = |line: &str, answer: &str| {
        terminal.types(format!("{line}\r"));
        terminal.sees(answer, LIMIT).unwrap()
    };
    ask("root", "# ");
    // Its answers then begin a line of their own.
    ask("bind 'set enable-bracketed-paste off'", "# ");
    ask("systemctl is-system-running --wait", "\nrunning");
    ask(
        "lsblk -dno NAME,TYPE; cat /sys/class/misc/hw_random/rng_current",
        "virtio_rng.0",
    );
    // Its package tools work, and say that there is no network.
    ask(
        "dpkg --audit && apt-cache policy apt | grep -c Installed",
        "\n1",
    );
    let update = ask("apt-get update; echo updated $?", "\nupdated ");
    assert!(update.contains("W: Failed to fetch"), "{update}");
    ask("poweroff", "Power down");
    let status = terminal.ends(LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    let clean = check(&root).unwrap();
    assert_eq!(clean.code(), Some(0), "{clean:#?}");
}
