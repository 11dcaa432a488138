//! Linux at a terminal: what a person types, sees, and finds when it is over.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use vmmkit_tests::guest::{BOOT_LIMIT, Guests};
use vmmkit_tests::terminal::Terminal;

const CMDLINE: &str = "console=ttyS0 reboot=k panic=-1 quiet";
/// Long enough for any answer of a booted guest in the lab.
const LIMIT: Duration = Duration::from_secs(120);

/// A guest with the lean kernel at its first prompt.
fn shell(name: &str, arguments: &[&str]) -> Option<Terminal> {
    shell_of(name, Guests::lean_elf, arguments)
}

/// A guest at its first prompt.
fn shell_of(
    name: &str,
    kernel: impl Fn(&Guests) -> PathBuf,
    arguments: &[&str],
) -> Option<Terminal> {
    let guests = Guests::find(name)?;
    let mut command = guests.command(&kernel(&guests), &["--cmdline", CMDLINE]);
    command
        .arg("--initrd")
        .arg(guests.initramfs())
        .args(arguments);
    let mut terminal = Terminal::start(&command).unwrap();
    terminal.sees("/ # ", BOOT_LIMIT).unwrap();
    assert!(terminal.is_raw());
    Some(terminal)
}

/// Types a line that a person would, and waits for what the guest says to it.
#[track_caller]
fn ask(terminal: &mut Terminal, line: &str, answer: &str) -> String {
    terminal.types(format!("{line}\r"));
    terminal.sees(answer, LIMIT).unwrap()
}

/// Ctrl-a x: exit code 0, and the terminal as it was.
#[track_caller]
fn quit(terminal: &mut Terminal) {
    terminal.types("\x01x");
    let status = terminal.ends(LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!(terminal.is_as_before());
}

#[test]
fn the_shell_answers_and_every_key_reaches_it() {
    let Some(mut terminal) = shell("shell", &[]) else {
        return;
    };
    ask(
        &mut terminal,
        "echo $((6 * 7)) is the answer",
        "\n42 is the answer",
    );
    // Ctrl-C interrupts a program of the guest. The program itself says that it runs: a key before that may
    // find the interactive shell's own fork, which has SIGINT caught until it has become the program.
    let program = "sh -c 'echo $((5 + 5)) go; exec sleep 1000'";
    ask(&mut terminal, program, "\n10 go");
    terminal.types("\x03");
    terminal.sees("^C", LIMIT).unwrap();
    terminal.sees("/ # ", LIMIT).unwrap();
    // 128 + SIGINT.
    ask(&mut terminal, "echo code $?", "\ncode 130");
    // Ctrl-a twice reaches the guest once: the echo of the line, and cat's answer.
    ask(&mut terminal, "echo ready; cat -v", "\nready\r\n");
    ask(&mut terminal, "<\x01\x01>", "<^A>\r\n<^A>\r\n");
    terminal.types("\x03");
    quit(&mut terminal);
}

#[test]
fn a_pasted_text_and_a_flood_of_output_arrive_whole() {
    let Some(mut terminal) = shell("paste, flood", &[]) else {
        return;
    };
    // Three times what the guest's terminal holds, in lines, which it hands on one by one; no echo, or the
    // guest would be as busy with that. A guest of a few instructions gets far more (examples/vmmkit/tests/terminal.rs).
    let line = "the quick brown fox jumps over the lazy dog 0123456789 abcdefgh\n";
    let text = line.repeat(200);
    ask(
        &mut terminal,
        "stty -echo; echo quiet; cat >/tmp/pasted; stty echo; echo pasted; wc -c </tmp/pasted",
        "\nquiet\r\n",
    );
    terminal.types(format!("{text}\x04"));
    terminal.sees("pasted\r\n", LIMIT).unwrap();
    terminal.sees("12800", LIMIT).unwrap();
    let count = format!("grep -c '^{}$' /tmp/pasted", line.trim_end());
    ask(&mut terminal, &count, "\n200\r\n");
    ask(
        &mut terminal,
        "echo start; yes 0123456789abcde | head -c 8192; echo end",
        "\nstart\r\n",
    );
    // Each byte is some exits of the guest, and the lab shows some 1,000 of them a second.
    let flood = terminal.sees("\nend", 3 * LIMIT).unwrap();
    assert_eq!(flood.matches("0123456789abcde\r\n").count(), 512);
    quit(&mut terminal);
}

#[test]
fn poweroff_in_the_shell_ends_it_with_0() {
    let Some(mut terminal) = shell("poweroff", &[]) else {
        return;
    };
    terminal.types("poweroff -f\r");
    let status = terminal.ends(LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!(terminal.is_as_before());
}

#[test]
fn ctrl_a_b_is_sysrq() {
    // Debian's kernel knows the key.
    let Some(mut terminal) = shell_of("sysrq", Guests::cloud, &[]) else {
        return;
    };
    let loud = "echo 1 >/proc/sys/kernel/sysrq; echo 7 >/proc/sys/kernel/printk; echo ok";
    ask(&mut terminal, loud, "\nok");
    terminal.types("\x01bh");
    terminal.sees("sysrq: HELP", LIMIT).unwrap();
    quit(&mut terminal);
}

#[test]
fn sigterm_asks_the_guest_then_stops_it_and_dies_by_it() {
    let Some(mut terminal) = shell("SIGTERM", &["--stop-timeout", "1"]) else {
        return;
    };
    // Busybox does not listen to the power button.
    terminal.signals(Signal::TERM);
    let status = terminal.ends(LIMIT).unwrap();
    let signal = status.and_then(|status| status.signal());
    assert_eq!(signal, Some(Signal::TERM.as_raw()));
    assert!(terminal.is_as_before());
}

#[test]
fn sigterm_presses_the_power_button() {
    let Some(mut terminal) = shell("power button", &["--stop-timeout", "3600"]) else {
        return;
    };
    let presses = "cat /sys/firmware/acpi/interrupts/ff_pwr_btn; echo end";
    let before = ask(&mut terminal, presses, "\nend");
    assert!(!before.contains("STS"), "{before}");
    terminal.signals(Signal::TERM);
    let mut after = String::new();
    for _ in 0..20 {
        after = ask(&mut terminal, presses, "\nend");
        if after.contains("STS") {
            break;
        }
    }
    // This kernel has no driver of the button, which would turn the event on: its status is set.
    assert!(after.contains("STS"), "{after}");
    // The second one does not ask.
    terminal.signals(Signal::TERM);
    let status = terminal.ends(LIMIT).unwrap();
    let signal = status.and_then(|status| status.signal());
    assert_eq!(signal, Some(Signal::TERM.as_raw()));
    assert!(terminal.is_as_before());
}

#[test]
fn sigkill_leaves_no_process() {
    let Some(mut terminal) = shell("SIGKILL", &["--cpus", "2"]) else {
        return;
    };
    terminal.signals(Signal::KILL);
    let status = terminal.ends(LIMIT).unwrap();
    let signal = status.and_then(|status| status.signal());
    assert_eq!(signal, Some(Signal::KILL.as_raw()));
    assert_eq!(children_of_group(terminal.id()), Vec::<String>::new());
}

/// Processes of the session that the program led.
fn children_of_group(session: u32) -> Vec<String> {
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    // proc(5): after the name in parentheses: state, ppid, pgrp, session.
    stats
        .filter(|stat| {
            let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            fields.split(' ').nth(3) == Some(&session.to_string())
        })
        .collect()
}
