//! vmmkit as a job of a shell: in the foreground, in the background, stopped and continued.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
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

/// Starts the machine by `line` in the foreground: it speaks, and has the terminal.
#[track_caller]
fn runs(shell: &mut Shell, line: &str) {
    shell.ask(line, "R").unwrap();
    shell.becomes_raw().unwrap();
}

/// The guest gets what is typed.
#[track_caller]
fn echoes(shell: &mut Shell) {
    shell.terminal.types("zz");
    shell.sees("zz").unwrap();
}

/// The guest ends, and the shell has its terminal back.
#[track_caller]
fn quits(shell: &mut Shell) {
    shell.terminal.types("q");
    shell.is_back().unwrap();
}

#[test]
fn ctrl_a_z_goes_back_to_the_shell_and_fg_goes_on() {
    let Some((mut shell, _folder)) = start("ctrl-a z") else {
        return;
    };
    runs(&mut shell, "$VM");
    for _ in 0..3 {
        shell.terminal.types("\x01z");
        shell.is_back().unwrap();
        shell.is_in_state("T").unwrap();
        shell
            .ask("echo $((40 + 2)) in the shell", "42 in the shell")
            .unwrap();
        shell.ask("fg", "VM}").unwrap();
        shell.becomes_raw().unwrap();
        echoes(&mut shell);
    }
    quits(&mut shell);
}

#[test]
fn the_shell_sees_the_signals_that_it_died_by() {
    let Some((mut shell, _folder)) = start("codes") else {
        return;
    };
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        runs(&mut shell, "$VM --stop-timeout 0");
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
    echoes(&mut shell);
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
    runs(&mut shell, "$VM --stop-timeout 0");
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
    runs(&mut shell, "$VM");
    shell.signals(Signal::STOP).unwrap();
    shell.sees(PROMPT).unwrap();
    // It had no chance to restore the terminal: the user does.
    // (The Enter key is not a line feed in a raw terminal.)
    shell.terminal.types("stty sane; echo $((5 + 5)) sane\n");
    shell.sees("10 sane").unwrap();
    shell.sees(PROMPT).unwrap();
    shell.line("fg");
    shell.becomes_raw().unwrap();
    echoes(&mut shell);
    quits(&mut shell);
}

#[test]
fn sigquit_shows_the_vcpus_and_the_guest_goes_on() {
    let Some((mut shell, _folder)) = start("sigquit") else {
        return;
    };
    runs(&mut shell, "$VM --cpus 2");
    for _ in 0..3 {
        shell.signals(Signal::QUIT).unwrap();
        let dump = shell.sees("vcpu1 is ").unwrap();
        assert!(
            dump.contains("vcpu0 is ") && dump.contains("rip 0x"),
            "{dump}"
        );
        echoes(&mut shell);
    }
    // The same in the background.
    shell.terminal.types("\x01z");
    shell.is_back().unwrap();
    shell.ask("bg", PROMPT).unwrap();
    shell.signals(Signal::QUIT).unwrap();
    shell.sees("vcpu1 is ").unwrap();
    shell.line("fg");
    shell.becomes_raw().unwrap();
    quits(&mut shell);
}

#[test]
fn ctrl_a_c_shows_the_machine_and_ctrl_a_t_stamps_lines() {
    let Some((mut shell, _folder)) = start("keys") else {
        return;
    };
    runs(&mut shell, "$VM");
    shell.terminal.types("\x01c");
    // The tree of `vmmkit inspect`, whose last part here is the POST code port.
    let seen = shell.sees("\npost-code:").unwrap();
    for part in ["  state    Running", "0x0-0xffffff:", "vcpu0:", "    rip "] {
        assert!(seen.contains(part), "no {part} in {seen}");
    }
    shell.terminal.types("\x01t\nzz\n");
    shell.sees("] zz\n").unwrap();
    shell.terminal.types("\x01ty\n");
    shell.sees("y\n").unwrap();
    quits(&mut shell);
}

#[test]
fn every_thread_has_a_name() {
    let Some((mut shell, _folder)) = start("threads") else {
        return;
    };
    shell.ask("$VM --cpus 2", "R").unwrap();
    let tasks = format!("/proc/{}/task", shell.pid().unwrap().as_raw_pid());
    // Each thread gives itself its name, soon after it was started.
    let names = || {
        let tasks = fs::read_dir(Path::new(&tasks)).ok()?.flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        let names: Vec<_> = names.map(|name| name.trim().to_owned()).collect();
        let all = ["vcpu0", "vcpu1", "vmm"].map(str::to_owned);
        all.iter().all(|name| names.contains(name)).then_some(())
    };
    shell
        .eventually("the threads have their names", names)
        .unwrap();
    quits(&mut shell);
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
    quits(&mut shell);
}

#[test]
fn a_stdout_that_is_closed_or_full_does_not_end_the_guest() {
    let Some((mut shell, _folder)) = start("full") else {
        return;
    };
    shell.line("$VM >/dev/full");
    shell.sees("stdout: No space left on device").unwrap();
    shell.becomes_raw().unwrap();
    shell.terminal.types("zzq");
    let seen = shell.is_back().unwrap();
    assert!(!seen.contains("No space"), "said once: {seen}");
    shell.ask("echo code $?", "code 0").unwrap();
    shell.sees(PROMPT).unwrap();
    shell.forget();
    shell.line("$VM >&-");
    shell.becomes_raw().unwrap();
    shell.is_in_state("SR").unwrap();
    shell.terminal.types("zzq");
    shell.is_back().unwrap();
    shell.ask("echo code $((0 + $?))", "code 0").unwrap();
}

#[test]
fn a_helper_that_is_killed_does_not_take_the_terminal_with_it() {
    let Some((mut shell, folder)) = start("helper") else {
        return;
    };
    let path = folder.path().join("network");
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "a_network_of_another_process"])
        .env("VMMKIT_TEST_NETWORK", &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let is_there = || path.exists().then_some(());
    shell.eventually("the helper listens", is_there).unwrap();
    shell
        .ask(&format!("$VM --net passt={}", path.display()), "R")
        .unwrap();
    shell.becomes_raw().unwrap();
    helper.kill().unwrap();
    helper.wait().unwrap();
    echoes(&mut shell);
    assert!(shell.terminal.is_raw());
    quits(&mut shell);
}

/// The helper of the test above: it takes one client, and does nothing until it is killed.
#[test]
#[ignore = "another test starts it as a process of its own"]
fn a_network_of_another_process() {
    if let Some(path) = std::env::var_os("VMMKIT_TEST_NETWORK") {
        let _client = UnixListener::bind(path).unwrap().accept().unwrap();
        std::thread::sleep(LIMIT);
    }
}
