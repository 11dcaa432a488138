//! `--net user`: the passt that vmmkit starts, here a script in its place.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{Folder, echo_guest, has_kvm};

/// Writes down its words, and then, at the end of its socket, that it has ended.
const PASST: &str = "#!/bin/sh
echo \"$@\" >FOLDER/words
cat >/dev/null
echo ended >FOLDER/end
";

fn vmmkit(folder: &Folder, net: &str, path: &str) -> Command {
    let mut command = Command::new(support::vmmkit());
    command
        .args([
            "run", "--quiet", "--memory", "16M", "--net", net, "--kernel",
        ])
        .arg(folder.file("kernel", echo_guest()))
        .env("PATH", path)
        .stdin(Stdio::null());
    command
}

fn with_script(folder: &Folder, net: &str) -> Command {
    let script = PASST.replace("FOLDER", &folder.path().display().to_string());
    let passt = folder.file("passt", script);
    fs::set_permissions(passt, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    vmmkit(folder, net, &path)
}

/// Waits until `path` has a whole line.
fn line(path: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ if Instant::now() > deadline => panic!("{} was never written", path.display()),
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn passt_gets_the_ports_and_ends_with_the_guest_however_that_ends() {
    if !has_kvm("a passt of the guest's own") {
        return;
    }
    let folder = Folder::new("user-network");
    let net = "user,forward=47022:22,forward=udp:47053:53";
    let mut guest = with_script(&folder, net)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let words = line(&folder.path().join("words"));
    assert_eq!(
        words,
        "--foreground --quiet --fd 0 --tcp-ports 47022:22 --udp-ports 47053:53\n"
    );
    // Nothing of the guest's process runs after this.
    guest.kill().unwrap();
    guest.wait().unwrap();
    assert_eq!(line(&folder.path().join("end")), "ended\n");
}

#[test]
fn a_passt_that_is_not_there_and_a_port_that_is_taken_are_told() {
    if !has_kvm("no passt") {
        return;
    }
    let folder = Folder::new("no-passt");
    let output = vmmkit(&folder, "user", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("error: --net user: "), "{said}");
    assert!(said.contains("No such file or directory"), "{said}");
    assert!(said.contains("next: install passt"), "{said}");
    let taken = std::net::TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let net = format!("user,forward={port}:22");
    let output = with_script(&folder, &net).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains(&format!("TCP port {port} of this host: ")),
        "{said}"
    );
    assert!(said.contains("next: give another port"), "{said}");
    assert!(!folder.path().join("words").exists());
}

#[test]
fn a_dry_run_starts_no_passt() {
    if !has_kvm("a dry run of a network") {
        return;
    }
    let folder = Folder::new("dry-passt");
    let output = with_script(&folder, "user,forward=47123:22")
        .arg("--dry-run")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!folder.path().join("words").exists());
}
