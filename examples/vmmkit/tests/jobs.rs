//! vmmkit as a job of a shell: in the foreground, in the background, stopped and continued.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use support::{Folder, echo_guest, has_kvm};
use vmmkit_tests::shell::{PROMPT, Shell};

const LIMIT: Duration = Duration::from_secs(60);

/// A shell with a machine that echoes; `None`, loudly, without KVM or a shell.
fn start(name: &str) -> Option<(Shell, Folder)> {
    if !has_kvm(name) {
        return None;
    }
    let folder = Folder::new(&format!("jobs-{}", name.replace(' ', "-")));
    let mut machine = Command::new(support::vmmkit());
    machine.args(["run", "--quiet", "--memory", "16M", "--kernel"]);
    machine.arg(folder.file("kernel", echo_guest()));
    let shell = Shell::start(name, &machine, LIMIT).unwrap()?;
    Some((shell, folder))
}

#[test]
fn ctrl_a_z_goes_back_to_the_shell_and_fg_goes_on() {
    let Some((mut shell, _folder)) = start("ctrl-a z") else {
        return;
    };
    shell.ask("$VM", "R").unwrap();
    shell.becomes_raw().unwrap();
    for _ in 0..3 {
        shell.terminal.types("\x01z");
        shell.is_back().unwrap();
        shell.is_in_state("T").unwrap();
        shell
            .ask("echo $((40 + 2)) in the shell", "42 in the shell")
            .unwrap();
        shell.ask("fg", "VM}").unwrap();
        shell.becomes_raw().unwrap();
        shell.terminal.types("zz");
        shell.sees("zz").unwrap();
    }
    shell.terminal.types("q");
    shell.is_back().unwrap();
}

#[test]
fn the_shell_sees_the_signals_that_it_died_by() {
    let Some((mut shell, _folder)) = start("codes") else {
        return;
    };
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        shell.ask("$VM --stop-timeout 0", "R").unwrap();
        shell.becomes_raw().unwrap();
        shell.signals(signal).unwrap();
        shell.is_back().unwrap();
        shell.ask("echo code $?", &format!("code {code}")).unwrap();
        shell.sees(PROMPT).unwrap();
        shell.forget();
    }
}

#[test]
fn a_job_started_in_the_background_leaves_the_terminal_alone() {
    let Some((mut shell, _folder)) = start("background") else {
        return;
    };
    // A shell that would stop every other job that writes.
    shell
        .ask("stty tostop; echo $((1 + 1)) set", "2 set")
        .unwrap();
    shell.sees(PROMPT).unwrap();
    shell.line("$VM &");
    // It writes, and is not stopped for it.
    shell.sees("R").unwrap();
    shell.ask("echo $((20 + 2)) typed", "22 typed").unwrap();
    shell.is_in_state("SR").unwrap();
    assert!(!shell.terminal.is_raw());
    // What the user types now is the shell's.
    shell.ask("echo $((30 + 3)) too", "33 too").unwrap();
    // Brought to the front without a signal or with one, it takes the terminal.
    shell.line("fg");
    shell.becomes_raw().unwrap();
    shell.terminal.types("zz");
    shell.sees("zz").unwrap();
    shell.terminal.types("q");
    shell.sees(PROMPT).unwrap();
    shell
        .ask("stty -tostop; echo $((3 + 4)) reset", "7 reset")
        .unwrap();
    shell.is_back().unwrap();
}

#[test]
fn a_stopped_job_goes_on_in_the_background() {
    let Some((mut shell, _folder)) = start("bg") else {
        return;
    };
    shell.ask("$VM --stop-timeout 0", "R").unwrap();
    shell.becomes_raw().unwrap();
    shell.signals(Signal::TSTP).unwrap();
    shell.is_back().unwrap();
    shell.is_in_state("T").unwrap();
    shell.ask("bg; echo $((4 + 4)) done", "8 done").unwrap();
    shell.is_in_state("SR").unwrap();
    assert!(!shell.terminal.is_raw());
    shell.signals(Signal::TERM).unwrap();
    shell.line("wait");
    shell.sees(PROMPT).unwrap();
}

#[test]
fn sigstop_is_survived_in_the_foreground() {
    let Some((mut shell, _folder)) = start("sigstop") else {
        return;
    };
    shell.ask("$VM", "R").unwrap();
    shell.becomes_raw().unwrap();
    shell.signals(Signal::STOP).unwrap();
    shell.sees(PROMPT).unwrap();
    // It had no chance to restore the terminal: the user does.
    // (The Enter key is no line feed in a raw terminal.)
    shell.terminal.types("stty sane; echo $((5 + 5)) sane\n");
    shell.sees("10 sane").unwrap();
    shell.sees(PROMPT).unwrap();
    shell.line("fg");
    shell.becomes_raw().unwrap();
    shell.terminal.types("zz");
    shell.sees("zz").unwrap();
    shell.terminal.types("q");
    shell.is_back().unwrap();
}

#[test]
fn sigquit_shows_the_vcpus_and_the_guest_goes_on() {
    let Some((mut shell, _folder)) = start("sigquit") else {
        return;
    };
    shell.ask("$VM --cpus 2", "R").unwrap();
    shell.becomes_raw().unwrap();
    for _ in 0..3 {
        shell.signals(Signal::QUIT).unwrap();
        let dump = shell.sees("vcpu1 is ").unwrap();
        assert!(
            dump.contains("vcpu0 is ") && dump.contains("rip 0x"),
            "{dump}"
        );
        shell.terminal.types("zz");
        shell.sees("zz").unwrap();
    }
    // The same in the background.
    shell.terminal.types("\x01z");
    shell.is_back().unwrap();
    shell.ask("bg", PROMPT).unwrap();
    shell.signals(Signal::QUIT).unwrap();
    shell.sees("vcpu1 is ").unwrap();
    shell.line("fg");
    shell.becomes_raw().unwrap();
    shell.terminal.types("q");
    shell.is_back().unwrap();
}

#[test]
fn ctrl_a_c_shows_the_machine_and_ctrl_a_t_stamps_lines() {
    let Some((mut shell, _folder)) = start("keys") else {
        return;
    };
    shell.ask("$VM", "R").unwrap();
    shell.becomes_raw().unwrap();
    shell.terminal.types("\x01c");
    let seen = shell.sees("vcpu0 is ").unwrap();
    for part in ["machine: Running", "RAM", "ports 0x3f8-0x3ff"] {
        assert!(seen.contains(part), "no {part} in {seen}");
    }
    shell.terminal.types("\x01t\nzz\n");
    shell.sees("] zz\n").unwrap();
    shell.terminal.types("\x01ty\n");
    shell.sees("y\n").unwrap();
    shell.terminal.types("q");
    shell.is_back().unwrap();
}

#[test]
fn every_thread_has_a_name() {
    let Some((mut shell, _folder)) = start("threads") else {
        return;
    };
    shell.ask("$VM --cpus 2", "R").unwrap();
    let tasks = format!("/proc/{}/task", shell.pid().unwrap().as_raw_pid());
    let mut names: Vec<String> = fs::read_dir(Path::new(&tasks))
        .unwrap()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    names.sort();
    for name in ["vcpu0", "vcpu1", "vmm"] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
    shell.terminal.types("q");
    shell.is_back().unwrap();
}

#[test]
fn stdout_that_nobody_reads_is_said_once_and_does_not_end_the_guest() {
    let Some((mut shell, _folder)) = start("pipe") else {
        return;
    };
    // The reader leaves at once; the machine's stdin is the terminal still.
    shell.line("$VM | true");
    shell.becomes_raw().unwrap();
    shell.sees("stdout: nobody reads it any more").unwrap();
    shell.is_in_state("SR").unwrap();
    shell.terminal.types("zzz\x01h");
    let seen = shell.sees("send Ctrl-a to the guest").unwrap();
    assert!(!seen.contains("nobody reads"), "{seen}");
    shell.terminal.types("q");
    shell.is_back().unwrap();
}
