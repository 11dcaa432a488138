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
use support::{Folder, echo_guest, has_kvm, triple_fault_guest};
use vmmkit_host_io::{Pty, open_pty};

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
        if !has_kvm(name) {
            return None;
        }
        let folder = Folder::new(name);
        let kernel = folder.file("kernel", kernel);
        let pty = open_pty().unwrap();
        let settings_before = settings(&pty);
        let mut command = Command::new(support::vmmkit());
        command
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

#[test]
fn an_abort_or_a_fault_leaves_the_terminal_as_it_was() {
    for signal in [
        Signal::ABORT,
        Signal::SEGV,
        Signal::BUS,
        Signal::ILL,
        Signal::FPE,
    ] {
        let Some(mut session) = Session::start("abort", &echo_guest(), &[]) else {
            return;
        };
        session.sees(b"R");
        session.signals(signal);
        assert_eq!(session.ends().signal(), Some(signal.as_raw()));
    }
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
