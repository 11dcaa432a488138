//! Linux in a machine that is a job of a shell: stopped, continued, looked at, and never the wiser.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vmmkit_tests::disk::Scratch;
use vmmkit_tests::guest::{BOOT_LIMIT, Guests};
use vmmkit_tests::shell::{PROMPT, Shell};

const CMDLINE: &str = "console=ttyS0 reboot=k panic=-1 quiet";

/// A shell in which `$VM` boots Linux.
fn start(name: &str, kernel: impl Fn(&Guests) -> PathBuf, more: &[&str]) -> Option<Shell> {
    let guests = Guests::find(name)?;
    let mut machine = guests.command(&kernel(&guests), &["--cmdline", CMDLINE, "--quiet"]);
    machine.arg("--initrd").arg(guests.initramfs()).args(more);
    Shell::start(name, &machine, BOOT_LIMIT).unwrap()
}

/// Seconds since the guest's boot, as two of its clocks have it: the monotonic one and that of the
/// processor's ticks.
#[track_caller]
fn uptime(shell: &mut Shell) -> f64 {
    shell
        .ask("echo up $(cat /proc/uptime) $((1 + 1))", "\nup ")
        .unwrap();
    let line = shell.sees(" 2\r\n").unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

/// A kernel's complaints when its clocks or its watchdogs are upset. Not that its clock source's watchdog has
/// left out a look ("Long readout interval, skipping watchdog check"): it does so on a busy host.
#[track_caller]
fn is_calm(shell: &mut Shell) {
    let complaints = "lockup|stall|unstable|clocksource.*(jump|skew|watchdog)|hung|blocked for";
    let dmesg = "dmesg | grep -v 'skipping watchdog check'";
    let count = format!("echo complaints $({dmesg} | grep -Eic '{complaints}') $((2 + 1))");
    shell.ask(&count, "\ncomplaints ").unwrap();
    let line = shell.sees(" 3\r\n").unwrap();
    if line.trim_start().starts_with("0 ") {
        return;
    }
    shell
        .ask(
            &format!("{dmesg} | grep -Ei '{complaints}'; echo $((3 + 1)) shown"),
            "4 shown",
        )
        .map(|log| panic!("{log}"))
        .unwrap();
}

/// Stops the machine by Ctrl-a z for `length`, and continues it.
#[track_caller]
fn stop_for(shell: &mut Shell, length: Duration) {
    shell.terminal.types("\x01z");
    shell.is_back().unwrap();
    shell.is_in_state("T").unwrap();
    std::thread::sleep(length);
    shell.line("fg");
    shell.becomes_raw().unwrap();
    shell.terminal.types("\r");
    shell.sees("/ # ").unwrap();
}

/// How long the guest of the next test is stopped: `VMMKIT_TEST_PAUSE` may ask for more.
fn pause() -> Duration {
    let asked = std::env::var("VMMKIT_TEST_PAUSE").ok();
    Duration::from_secs(asked.and_then(|text| text.parse().ok()).unwrap_or(10))
}

#[test]
fn a_guest_that_was_stopped_by_its_user_sees_no_gap() {
    // Debian's kernel has the watchdogs.
    let Some(mut shell) = start("Ctrl-a z", Guests::cloud, &[]) else {
        return;
    };
    shell.ask("$VM", "/ # ").unwrap();
    // A soft lockup is told after twice this many seconds.
    let threshold = "echo 1 >/proc/sys/kernel/watchdog_thresh; echo $((6 * 7)) set";
    shell.ask(threshold, "42 set").unwrap();
    let (whole, before) = (Instant::now(), uptime(&mut shell));
    let mut stopped = Duration::ZERO;
    for _ in 0..2 {
        let length = pause() / 2;
        stop_for(&mut shell, length);
        stopped += length;
    }
    let passed = uptime(&mut shell) - before;
    let most = whole.elapsed().saturating_sub(stopped).as_secs_f64() + 1.0;
    assert!(
        passed <= most,
        "{passed} s, of which {most} s were not stopped"
    );
    // Time for a watchdog that waited to tell.
    shell
        .ask("sleep 3; echo $((7 * 8)) slept", "56 slept")
        .unwrap();
    is_calm(&mut shell);
    shell.terminal.types("\x01x");
    shell.is_back().unwrap();
}

#[test]
fn a_guest_survives_sigstop() {
    let Some(mut shell) = start("SIGSTOP", Guests::cloud, &[]) else {
        return;
    };
    shell.ask("$VM", "/ # ").unwrap();
    let threshold = "echo 1 >/proc/sys/kernel/watchdog_thresh; echo $((6 * 7)) set";
    shell.ask(threshold, "42 set").unwrap();
    // The guest waits: a stop that finds its CPU at work outside of it, as for the prompt, is not told to it.
    shell.sees("/ # ").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    shell.signals(Signal::STOP).unwrap();
    shell.sees(PROMPT).unwrap();
    std::thread::sleep(pause() / 2);
    shell.terminal.types("stty sane; fg\n");
    shell.becomes_raw().unwrap();
    shell
        .ask("sleep 3; echo $((7 * 8)) slept", "56 slept")
        .unwrap();
    is_calm(&mut shell);
    shell.terminal.types("\x01x");
    shell.is_back().unwrap();
}

#[test]
fn sigquit_and_ctrl_a_c_show_a_booted_guest() {
    let Some(mut shell) = start("SIGQUIT", Guests::lean_elf, &[]) else {
        return;
    };
    shell.ask("$VM", "/ # ").unwrap();
    shell.signals(Signal::QUIT).unwrap();
    shell.sees("vcpu0 is ").unwrap();
    shell.sees("cr0 0x").unwrap();
    shell.ask("echo $((6 * 7)) on", "42 on").unwrap();
    shell.terminal.types("\x01c");
    // The tree of `vmmkit inspect`.
    shell.sees("the machine now:").unwrap();
    shell.sees("cr0 ").unwrap();
    shell.sees("0x3f8-0x3ff").unwrap();
    shell.ask("echo $((5 * 7)) on", "35 on").unwrap();
    shell.terminal.types("\x01x");
    shell.is_back().unwrap();
}

#[test]
fn linux_boots_in_the_background_and_comes_to_the_front() {
    let Some(mut shell) = start("background", Guests::lean_elf, &[]) else {
        return;
    };
    shell.line("$VM &");
    shell.sees("/ # ").unwrap();
    assert!(!shell.terminal.is_raw());
    shell.ask("echo $((6 * 7)) typed", "42 typed").unwrap();
    shell.line("fg");
    shell.becomes_raw().unwrap();
    // What the shell on the host cannot say.
    shell
        .ask("uname -n; echo $((6 * 8)) in the guest", "48 in")
        .unwrap();
    shell.terminal.types("\x01z");
    shell.is_back().unwrap();
    shell
        .ask("kill %1; wait; echo over $((1 + 1))", "over 2")
        .unwrap();
}

#[test]
fn a_guest_is_at_a_socket_for_one_client_after_the_other() {
    let name = "--serial socket";
    let Some(guests) = Guests::find(name) else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let path = scratch.path().join("serial");
    let serial = format!("socket={}", path.display());
    let mut machine = guests.command(&guests.lean_elf(), &["--cmdline", CMDLINE, "--quiet"]);
    machine.arg("--initrd").arg(guests.initramfs());
    machine.args(["--serial", &serial, "--stop-timeout", "0"]);
    let Some(mut shell) = Shell::start(name, &machine, BOOT_LIMIT).unwrap() else {
        return;
    };
    shell.line("$VM");
    let connect = || UnixStream::connect(&path).ok();
    let first = shell.eventually("the socket", connect).unwrap();
    answer(&first, "", "/ # ");
    answer(&first, "echo $((6 * 7)) one\r", "42 one\r\n");
    drop(first);
    let second = shell.eventually("the socket", connect).unwrap();
    // It sees what the first one saw.
    answer(&second, "", "42 one\r\n");
    answer(&second, "echo $((6 * 8)) two\r", "48 two\r\n");
    // Its terminal was never touched.
    assert!(shell.terminal.is_as_before());
    answer(
        &second,
        "echo $((6 * 9)) three; poweroff -f\r",
        "54 three\r\n",
    );
    shell.is_back().unwrap();
    assert!(!path.exists());
}

/// Types, and reads until the answer.
#[track_caller]
fn answer(mut client: &UnixStream, line: &str, answer: &str) {
    client.set_read_timeout(Some(BOOT_LIMIT)).unwrap();
    client.write_all(line.as_bytes()).unwrap();
    let (mut seen, mut bytes) = (String::new(), [0; 4096]);
    while !seen.contains(answer) {
        let length = client.read(&mut bytes).unwrap();
        assert_ne!(length, 0, "the end after {seen}");
        let news = bytes.get(..length).unwrap();
        seen.push_str(&String::from_utf8_lossy(news));
    }
}
