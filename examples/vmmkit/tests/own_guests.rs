//! Guests that are described in the user's own folder, and lists that are shown again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use support::running::{Place, waiting_guest};
use support::{Folder, has_kvm, vmmkit};

/// `vmmkit run` with `words`, with `folder` as the user's.
fn run(folder: &Folder, words: &[&str]) -> Output {
    let mut command = Command::new(vmmkit());
    command.arg("run").args(words).current_dir(folder.path());
    command.env("XDG_CONFIG_HOME", folder.path().join("config"));
    command.output().unwrap()
}

fn dumped(folder: &Folder, words: &[&str]) -> String {
    let output = run(folder, &[words, &["--dump-config"]].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_name_stands_for_a_file_of_options() {
    let folder = Folder::new("own-guests");
    let own = folder.path().join("config/vmmkit");
    fs::create_dir_all(&own).unwrap();
    folder.file("vmlinux", waiting_guest());
    // What was tried on a command line, for good.
    let words = ["--kernel", "vmlinux", "--memory", "32M", "--cpus", "2"];
    let text = dumped(&folder, &[&words[..], &["--serial", "null"]].concat());
    fs::write(own.join("web.toml"), &text).unwrap();
    let kernel = folder.path().join("vmlinux");
    let kernel = fs::canonicalize(kernel).unwrap();
    let by_name = dumped(&folder, &["web"]);
    assert!(by_name.contains(kernel.to_str().unwrap()), "{by_name}");
    assert_eq!(by_name.replace("name = \"web\"\n", ""), text);
    assert_ne!(by_name, text);
    // Options of the command line go before, wherever the name stands.
    for words in [
        ["--memory", "64M", "--name", "web", "web"],
        ["web", "--memory", "64M", "--name", "web"],
    ] {
        let other = dumped(&folder, &words);
        assert!(other.contains("memory = \"64M\"\n"), "{other}");
        assert!(other.contains("name = \"web\"\n"), "{other}");
    }
    let named = dumped(&folder, &["web", "--name", "other"]);
    assert!(named.contains("name = \"other\"\n"), "{named}");
}

#[test]
fn a_name_without_a_file_is_told_its_place() {
    let folder = Folder::new("no-guest");
    for (name, is_told) in [("web", true), ("a/b", false)] {
        let output = run(&folder, &[name]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(
            error.contains(&format!("{name}: unexpected argument")),
            "{error}"
        );
        assert_eq!(error.contains("config/vmmkit/web.toml"), is_told, "{error}");
    }
    let own = folder.path().join("config/vmmkit");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("web.toml"), "memory = 7.5\n").unwrap();
    let output = run(&folder, &["web"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("web.toml: line 1: "), "{error}");
}

#[test]
fn a_list_is_shown_again_until_nobody_looks() {
    if !has_kvm("a_list_is_shown_again_until_nobody_looks") {
        return;
    }
    let place = Place::new("watched", &waiting_guest());
    let _guests = ["web-10", "web-9"].map(|name| place.guest(name, &[]));
    let mut watching = place
        .command(&["list", "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let table: Vec<String> = (0..4).map(|_| lines.next().unwrap().unwrap()).collect();
        for (line, start) in table.iter().zip(["NAME", "web-9 ", "web-10 "]) {
            assert!(line.starts_with(start), "{table:?}");
        }
        assert_eq!(table.last().unwrap(), "");
    }
    drop(lines);
    assert_eq!(watching.wait().unwrap().code(), Some(0));
    place.does(&["stop", "--all", "--timeout", "0"]);
}
