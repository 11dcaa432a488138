//! vmmkit at a terminal: raw while the guest has it, and as it was on every way out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use support::running::{wait_for, waiting_guest};
use support::{Folder, echo_guest, has_kvm, triple_fault_guest};
use vmmkit_host_io::{Pty, open_pty};

/// Keys after another one than Ctrl-a.
#[test]
fn another_key_quits_where_it_is_chosen() {
    let escape = ["--escape", "ctrl-e"];
    let Some(mut session) = Session::start("another key", &echo_guest(), &escape) else {
        return;
    };
    session.becomes_raw();
    session.types(b"\x01z");
    session.sees(b"\x01z");
    session.types(b"\x05h");
    session.sees(b"Ctrl-e x       quit");
    session.types(b"\x05x");
    assert_eq!(session.ends().code(), Some(0));
}

const LIMIT: Duration = Duration::from_secs(30);

/// vmmkit with a guest, on a pseudo-terminal of its own.
struct Session {
    child: Child,
    keyboard: File,
    screen: Receiver<u8>,
    pty: Pty,
    settings_before: String,
    _folder: Folder,
}

impl Session {
    /// Starts `kernel`; `None`, loudly, without KVM.
    fn start(name: &str, kernel: &[u8], arguments: &[&str]) -> Option<Self> {
        Self::start_in(name, kernel, arguments, &[])
    }

    /// The same with environment variables.
    fn start_in(
        name: &str,
        kernel: &[u8],
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Option<Self> {
        Self::start_by(name, kernel, arguments, environment, &[])
    }

    /// The same by way of a program that takes the command line.
    fn start_by(
        name: &str,
        kernel: &[u8],
        arguments: &[&str],
        environment: &[(&str, &str)],
        way: &[&str],
    ) -> Option<Self> {
        if !has_kvm(name) {
            return None;
        }
        let folder = Folder::new(name);
        let kernel = folder.file("kernel", kernel);
        let pty = open_pty().unwrap();
        let settings_before = settings(&pty);
        let mut words = way.iter().map(Into::into).chain([support::vmmkit()]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .args(["run", "--quiet", "--memory", "16M", "--kernel"])
            .arg(kernel)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(pty.slave.try_clone().unwrap())
            .stdout(pty.slave.try_clone().unwrap())
            .stderr(pty.slave.try_clone().unwrap())
            .process_group(0);
        let child = command.spawn().unwrap();
        let keyboard = File::from(pty.master.try_clone().unwrap());
        let screen = read_all(File::from(pty.master.try_clone().unwrap()));
        Some(Self {
            child,
            keyboard,
            screen,
            pty,
            settings_before,
            _folder: folder,
        })
    }

    fn types(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Waits until `text` is on the screen; all that came with it.
    fn sees(&self, text: &[u8]) -> Vec<u8> {
        let mut seen = Vec::new();
        while !seen.ends_with(text) {
            match self.screen.recv_timeout(LIMIT) {
                Ok(byte) => seen.push(byte),
                Err(_) => panic!("no {text:?} in {:?}", String::from_utf8_lossy(&seen)),
            }
        }
        seen
    }

    fn signals(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends a signal by its number.
    fn is_sent(&self, number: i32) {
        let kill = format!("kill -{number} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    }

    fn becomes_raw(&self) {
        let deadline = std::time::Instant::now() + LIMIT;
        while !self.is_raw() {
            assert!(
                std::time::Instant::now() < deadline,
                "the terminal is not raw"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end, and checks that the terminal is as before.
    fn ends(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        assert_eq!(
            settings(&self.pty),
            self.settings_before,
            "the terminal is as it was"
        );
        status
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.pty.slave).unwrap().local_modes;
        !modes.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(pty: &Pty) -> String {
    format!("{:?}", tcgetattr(&pty.slave).unwrap())
}

fn read_all(mut master: File) -> Receiver<u8> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(length) = master.read(&mut bytes) {
            if bytes[..length]
                .iter()
                .any(|&byte| sender.send(byte).is_err())
            {
                return;
            }
        }
    });
    receiver
}

#[test]
fn the_terminal_is_raw_while_the_guest_runs_and_then_as_before() {
    let Some(mut session) = Session::start("raw", &echo_guest(), &[]) else {
        return;
    };
    session.sees(b"R");
    assert!(session.is_raw());
    session.types(b"q");
    session.sees(b"q");
    assert_eq!(session.ends().code(), Some(0));
}

#[test]
fn ctrl_c_reaches_the_guest() {
    let Some(mut session) = Session::start("ctrl-c", &echo_guest(), &[]) else {
        return;
    };
    session.sees(b"R");
    session.types(b"\x03\x1a\x1cz");
    session.sees(b"\x03\x1a\x1cz");
    session.types(b"q");
    assert_eq!(session.ends().code(), Some(0));
}

#[test]
fn ctrl_a_x_quits() {
    let Some(mut session) = Session::start("quit", &echo_guest(), &[]) else {
        return;
    };
    session.sees(b"R");
    session.types(b"\x01x");
    assert_eq!(session.ends().code(), Some(0));
}

#[test]
fn ctrl_a_h_helps_and_ctrl_a_twice_sends_one() {
    let Some(mut session) = Session::start("help", &echo_guest(), &[]) else {
        return;
    };
    session.sees(b"R");
    session.types(b"\x01h");
    session.sees(b"send Ctrl-a to the guest\r\n");
    session.types(b"\x01\x01z");
    session.sees(b"\x01z");
}

#[test]
fn after_a_second_sigterm_it_dies_by_it() {
    let patient = ["--stop-timeout", "3600"];
    let Some(mut session) = Session::start("term", &echo_guest(), &patient) else {
        return;
    };
    session.sees(b"R");
    session.signals(Signal::TERM);
    // Two that are pending at once are one: sent until it takes the second.
    while session.child.try_wait().unwrap().is_none() {
        session.signals(Signal::TERM);
        thread::yield_now();
    }
    assert_eq!(session.ends().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn a_guest_that_ignores_the_power_button_is_stopped_in_the_end() {
    let impatient = ["--stop-timeout", "1"];
    let Some(mut session) = Session::start("hup", &echo_guest(), &impatient) else {
        return;
    };
    session.sees(b"R");
    session.signals(Signal::HUP);
    assert_eq!(session.ends().signal(), Some(Signal::HUP.as_raw()));
}

#[test]
fn a_bug_in_vmmkit_leaves_the_terminal_as_it_was() {
    let panic = [("VMMKIT_TEST_PANIC", "1")];
    let Some(mut session) = Session::start_in("panic", &echo_guest(), &[], &panic) else {
        return;
    };
    session.sees(b"internal error in thread main");
    assert_eq!(session.ends().code(), Some(1));
}

/// All whose default action ends a process (signal(7)), but for SIGKILL, those that ask the guest to power off, and
/// what this process may not send or what has a meaning here: SIGPIPE and SIGXFSZ (ignored), SIGQUIT, SIGRTMIN.
#[test]
fn every_signal_that_ends_it_leaves_the_terminal_as_it_was() {
    let named = [
        libc_number::ILL,
        libc_number::TRAP,
        libc_number::ABRT,
        libc_number::BUS,
        libc_number::FPE,
        libc_number::USR1,
        libc_number::SEGV,
        libc_number::USR2,
        libc_number::ALRM,
        libc_number::STKFLT,
        libc_number::XCPU,
        libc_number::VTALRM,
        libc_number::PROF,
        libc_number::IO,
        libc_number::PWR,
        libc_number::SYS,
    ];
    for number in named.into_iter().chain([35, 50, 64]) {
        let Some(mut session) = Session::start("signals", &echo_guest(), &["--no-instance"]) else {
            return;
        };
        session.sees(b"R");
        assert!(session.is_raw());
        session.is_sent(number);
        assert_eq!(session.ends().signal(), Some(number));
    }
}

/// Numbers of signals on Linux, x86-64 (signal(7)).
mod libc_number {
    pub(super) const ILL: i32 = 4;
    pub(super) const TRAP: i32 = 5;
    pub(super) const ABRT: i32 = 6;
    pub(super) const BUS: i32 = 7;
    pub(super) const FPE: i32 = 8;
    pub(super) const USR1: i32 = 10;
    pub(super) const SEGV: i32 = 11;
    pub(super) const USR2: i32 = 12;
    pub(super) const ALRM: i32 = 14;
    pub(super) const STKFLT: i32 = 16;
    pub(super) const XCPU: i32 = 24;
    pub(super) const XFSZ: i32 = 25;
    pub(super) const VTALRM: i32 = 26;
    pub(super) const PROF: i32 = 27;
    pub(super) const IO: i32 = 29;
    pub(super) const PWR: i32 = 30;
    pub(super) const SYS: i32 = 31;
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    for (name, number) in [("HUP", 1), ("INT", 2), ("TERM", 15), ("USR1", 10)] {
        let ignoring = ["sh", "-c", &format!("trap '' {name}; exec \"$@\""), "sh"];
        let quick = ["--no-instance", "--stop-timeout", "0"];
        let session = Session::start_by("ignored", &echo_guest(), &quick, &[], &ignoring);
        let Some(mut session) = session else { return };
        session.sees(b"R");
        session.is_sent(number);
        session.is_sent(libc_number::XFSZ);
        session.types(b"zz");
        session.sees(b"zz");
        session.types(b"q");
        assert_eq!(session.ends().code(), Some(0), "SIG{name}");
    }
}

/// A guest that takes nothing: the keys of the VMM are read all the same.
#[test]
fn the_vmms_keys_work_though_the_guest_does_not_listen() {
    for state in [&[][..], &["--paused"]] {
        let Some(mut session) = Session::start("deaf", &waiting_guest(), state) else {
            return;
        };
        session.becomes_raw();
        session.types(b"typed for the guest\r\x01h");
        session.sees(b"send Ctrl-a to the guest\r\n");
        session.types(b"\x01t\x01b\x01c");
        session.sees(b"the machine now:");
        session.types(b"\x01x");
        assert_eq!(session.ends().code(), Some(0), "{state:?}");
    }
}

#[test]
fn a_crash_that_is_kept_is_quit_by_its_key() {
    let kept = ["--on-crash", "pause"];
    let Some(mut session) = Session::start("kept", &triple_fault_guest(), &kept) else {
        return;
    };
    session.becomes_raw();
    // Before the crash the key quits a guest that runs, whose code is another.
    let id = session.child.id();
    wait_for("the crash is known", || {
        let list = Command::new(support::vmmkit())
            .args(["list", "--json"])
            .output();
        let list = String::from_utf8(list.unwrap().stdout).unwrap();
        let mut guests = list.split('{');
        guests.any(|guest| guest.contains(&id.to_string()) && guest.contains("\"crashed\""))
    });
    session.types(b"abcdefghijklmnopqrstuvwxyz\x01x");
    assert_eq!(session.ends().code(), Some(3));
}

/// More than the queue holds is typed at a guest that takes nothing: the key comes through after a while.
#[test]
fn a_paste_at_a_deaf_guest_does_not_lock_the_keys_out() {
    let Some(mut session) = Session::start("paste", &waiting_guest(), &[]) else {
        return;
    };
    session.becomes_raw();
    let mut paste = vec![b'x'; 100 << 10];
    paste.extend(b"\x01x");
    session.types(&paste);
    assert_eq!(session.ends().code(), Some(0));
}

#[test]
fn a_long_paste_reaches_a_guest_that_reads_whole() {
    let Some(mut session) = Session::start("long-paste", &echo_guest(), &[]) else {
        return;
    };
    session.sees(b"R");
    let paste: Vec<u8> = (0..1_000)
        .flat_map(|n| format!("{n:05};").into_bytes())
        .collect();
    let mut keyboard = session.keyboard.try_clone().unwrap();
    let typed = paste.clone();
    let hands = thread::spawn(move || {
        keyboard.write_all(&typed).unwrap();
        keyboard.write_all(b"q").unwrap();
    });
    let seen = session.sees(b"q");
    assert!(
        seen.strip_suffix(b"q").unwrap() == paste,
        "{} of {} bytes",
        seen.len(),
        paste.len()
    );
    hands.join().unwrap();
    assert_eq!(session.ends().code(), Some(0));
}

/// Nothing is left to run in a process that is killed: here its shell is what restores.
#[test]
fn after_kill_9_the_shell_that_waits_for_it_restores_the_terminal() {
    let name = "after_kill_9_the_shell_that_waits_for_it_restores_the_terminal";
    if !has_kvm(name) {
        return;
    }
    if !std::path::Path::new("/usr/bin/bash").exists() {
        eprintln!("SKIPPED: {name}: it needs bash");
        return;
    }
    let folder = Folder::new("kill-9");
    let kernel = folder.file("kernel", echo_guest());
    let pty = open_pty().unwrap();
    let mut bash = Command::new("setsid");
    bash.args(["-c", "/usr/bin/bash", "--norc", "--noediting", "-i"])
        .env("PS1", "$ ")
        .env("VMMKIT", support::vmmkit())
        .env("KERNEL", kernel)
        .stdin(pty.slave.try_clone().unwrap())
        .stdout(pty.slave.try_clone().unwrap())
        .stderr(pty.slave.try_clone().unwrap());
    let Ok(child) = bash.spawn() else {
        eprintln!("SKIPPED: {name}: it needs setsid");
        return;
    };
    let mut session = Session {
        child,
        keyboard: File::from(pty.master.try_clone().unwrap()),
        screen: read_all(File::from(pty.master.try_clone().unwrap())),
        settings_before: String::new(),
        pty,
        _folder: folder,
    };
    session.sees(b"$ ");
    session.settings_before = settings(&session.pty);
    session.types(b"$VMMKIT run --quiet --no-instance --memory 16M --kernel $KERNEL\n");
    session.sees(b"KERNEL\r\n");
    session.sees(b"R");
    assert!(session.is_raw());
    let group = rustix::termios::tcgetpgrp(&session.pty.master).unwrap();
    kill_process(group, Signal::KILL).unwrap();
    session.sees(b"$ ");
    assert_eq!(settings(&session.pty), session.settings_before);
}

#[test]
fn doctor_says_what_to_do_about_a_terminal_that_was_left_raw() {
    if !has_kvm("doctor_says_what_to_do_about_a_terminal_that_was_left_raw") {
        return;
    }
    let pty = open_pty().unwrap();
    let says = || {
        let mut doctor = Command::new(support::vmmkit());
        let tty = pty.slave.try_clone().unwrap();
        let output = doctor.arg("doctor").stdin(tty).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(says(), "");
    let mut raw = tcgetattr(&pty.slave).unwrap();
    raw.make_raw();
    rustix::termios::tcsetattr(&pty.slave, rustix::termios::OptionalActions::Now, &raw).unwrap();
    assert!(says().contains("next: type stty sane"), "{}", says());
}

#[test]
fn a_stopped_vmmkit_gives_the_terminal_back_until_it_is_continued() {
    let Some(mut session) = Session::start("stop", &echo_guest(), &[]) else {
        return;
    };
    session.sees(b"R");
    session.signals(Signal::TSTP);
    let options = rustix::process::WaitOptions::UNTRACED;
    let pid = Pid::from_child(&session.child);
    let (_, status) = rustix::process::waitpid(Some(pid), options)
        .unwrap()
        .unwrap();
    assert!(status.stopped());
    assert_eq!(settings(&session.pty), session.settings_before);
    session.signals(Signal::CONT);
    // Before it is raw again the terminal itself would echo.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !session.is_raw() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(session.is_raw());
    session.types(b"z");
    session.sees(b"z");
    session.types(b"q");
    assert_eq!(session.ends().code(), Some(0));
}

#[test]
fn a_triple_fault_has_its_own_exit_code() {
    let Some(mut session) = Session::start("triple", &triple_fault_guest(), &[]) else {
        return;
    };
    session.sees(b"triple fault");
    assert_eq!(session.ends().code(), Some(3));
}
