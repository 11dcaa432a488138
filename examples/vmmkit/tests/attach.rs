//! `logs` and `console`: the console of a guest that runs elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use support::running::{LIMIT, Place, wait_for};
use support::{echo_guest, has_kvm};
use vmmkit_tests::shell::Shell;

/// A place with a detached guest `web` that echoes; `None`, loudly, without KVM.
fn start(test: &str) -> Option<Place> {
    if !has_kvm(test) {
        return None;
    }
    let place = Place::new(&format!("attach-{test}"), &echo_guest());
    let started = place.run(&["--detach", "--name", "web"]).output().unwrap();
    assert!(started.status.success(), "{started:?}");
    wait_for("it has printed", || place.says(&["logs", "web"]) == "R");
    Some(place)
}

fn piped(mut command: Command) -> Child {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    pipes.stderr(Stdio::piped()).spawn().unwrap()
}

/// `words` in a shell with a terminal; the variable is in the command itself.
fn shell(place: &Place, words: &[&str]) -> Option<Shell> {
    let plain = place.command(words);
    let mut command = Command::new("env");
    for (name, value) in plain.get_envs() {
        command.arg(format!("{}={}", name.display(), value.unwrap().display()));
    }
    command.arg(plain.get_program()).args(plain.get_args());
    Shell::start("attach", &command, LIMIT).unwrap()
}

#[test]
fn logs_are_kept_and_followed_to_the_end() {
    let Some(place) = start("logs") else { return };
    let mut follower = piped(place.command(&["logs", "-f", "web"]));
    let mut output = follower.stdout.take().unwrap();
    let mut first = [0];
    output.read_exact(&mut first).unwrap();
    assert_eq!(first, *b"R");
    let mut typist = piped(place.command(&["console", "web"]));
    typist.stdin.take().unwrap().write_all(b"abcq").unwrap();
    let typed = typist.wait_with_output().unwrap();
    assert_eq!(typed.status.code(), Some(0));
    assert_eq!(typed.stdout, b"Rabcq");
    let said = String::from_utf8(typed.stderr).unwrap();
    assert!(
        said.ends_with("vmmkit: web: exit code 0 (reset)\n"),
        "{said}"
    );
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "abcq");
    assert!(follower.wait().unwrap().success());
}

#[test]
fn a_paste_arrives_whole() {
    let Some(place) = start("paste") else { return };
    let paste = vec![b'p'; 60_000];
    let mut typist = piped(place.command(&["console", "web"]));
    let mut stdin = typist.stdin.take().unwrap();
    let typing = std::thread::spawn(move || {
        stdin.write_all(&paste).unwrap();
        stdin.write_all(b"q").unwrap();
    });
    let typed = typist.wait_with_output().unwrap();
    typing.join().unwrap();
    let heard = typed.stdout.iter().filter(|byte| **byte == b'p').count();
    assert_eq!((heard, typed.status.code()), (60_000, Some(0)));
}

#[test]
fn a_terminal_types_leaves_and_comes_back() {
    let Some(place) = start("terminal") else {
        return;
    };
    let Some(mut one) = shell(&place, &["console", "web"]) else {
        return;
    };
    let mut other = shell(&place, &["console", "web"]).unwrap();
    one.ask("$VM", "attached to web").unwrap();
    one.becomes_raw().unwrap();
    one.terminal.types("zz");
    one.sees("Rzz").unwrap();
    // The other one sees the same, and does not type.
    other
        .ask("$VM", "another one types on this console")
        .unwrap();
    other.sees("Rzz").unwrap();
    other.becomes_raw().unwrap();
    other.terminal.types("XX\x01d");
    other.is_back().unwrap();
    one.terminal.types("yy");
    one.sees("yy").unwrap();
    one.terminal.types("\x01h");
    one.sees("Ctrl-a d       leave").unwrap();
    // It takes over.
    other.ask("$VM --take", "attached to web").unwrap();
    other.becomes_raw().unwrap();
    one.sees("another one types on this console now").unwrap();
    other.terminal.types("ww");
    one.sees("ww").unwrap();
    // A signal restores the terminal; the guest runs on.
    other.signals(Signal::TERM).unwrap();
    other.is_back().unwrap();
    one.terminal.types("\x01d");
    one.sees("left web").unwrap();
    one.is_back().unwrap();
    // The end of the guest is told, and is the exit code.
    one.ask("$VM", "Rzzyyww").unwrap();
    one.becomes_raw().unwrap();
    one.terminal.types("q");
    one.sees("web: exit code 0 (reset)").unwrap();
    one.is_back().unwrap();
}

#[test]
fn a_guest_with_a_terminal_of_its_own_has_to_be_taken() {
    if !has_kvm("own terminal") {
        return;
    }
    let place = Place::new("attach-own", &echo_guest());
    let mut command = place.run(&["--name", "web"]);
    let mut guest = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("it has printed", || {
        place.does(&["logs", "web"]).stdout == b"R"
    });
    let mut reader = piped(place.command(&["console", "web"]));
    let mut said = String::new();
    let mut errors = reader.stderr.take().unwrap();
    let mut byte = [0];
    while !said.ends_with("types instead\n") {
        errors.read_exact(&mut byte).unwrap();
        said.push(char::from(byte[0]));
    }
    assert!(said.contains("this console has its own input"), "{said}");
    let mut typist = piped(place.command(&["console", "--take", "web"]));
    typist.stdin.take().unwrap().write_all(b"aq").unwrap();
    assert_eq!(typist.wait_with_output().unwrap().stdout, b"Raq");
    assert!(guest.wait().unwrap().success());
    assert_eq!(reader.wait_with_output().unwrap().stdout, b"Raq");
}

#[test]
fn a_guest_that_cannot_be_connected_to_says_why() {
    if !has_kvm("connect") {
        return;
    }
    let place = Place::new("attach-connect", &echo_guest());
    let _plain = place.guest("plain", &[]);
    let socket = place.folder.path().join("v,sock");
    // A comma of the path's is doubled.
    let vsock = format!(
        "cid=3,socket={}",
        place.folder.path().join("v,,sock").display()
    );
    let _reached = place.guest("reached", &["--vsock", &vsock]);
    assert!(socket.exists());
    let (code, said) = place.fails(&["connect", "plain", "22"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("plain: it has no vsock device\n  next: "),
        "{said}"
    );
    // Nobody drives the device.
    let (code, said) = place.fails(&["connect", "reached", "22"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("reached: the guest did not answer\n"),
        "{said}"
    );
    for port in ["ssh", "-1", "4294967296", "+1"] {
        let (code, said) = place.fails(&["connect", "reached", port]);
        assert_eq!(code, Some(2), "{said}");
    }
    let (code, said) = place.fails(&["ssh", "nobody"]);
    assert_eq!(code, Some(1), "{said}");
}
