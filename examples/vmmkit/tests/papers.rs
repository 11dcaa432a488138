//! What is written about vmmkit, against vmmkit: manual, completions, configuration file and README.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and a skip is loud"
)]

mod support;

use std::fs;
use std::process::{Command, Output};

use support::running::{Place, waiting_guest};
use support::{Folder, has_kvm, vmmkit};

/// What the program says, which must end well.
fn says(words: &[&str]) -> String {
    let output = Command::new(vmmkit()).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a tool that not every host has.
fn tool(name: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(name).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("SKIPPED: {name}: {error}");
            None
        }
    }
}

#[test]
fn the_manual_is_a_page_for_each_command_that_formatters_take() {
    let folder = Folder::new("manual");
    let out = folder.path().join("man1");
    assert_eq!(says(&["man", "--out", out.to_str().unwrap()]), "");
    let pages: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|page| page.unwrap().path())
        .collect();
    let help = says(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|name| *name != "help")
        .collect();
    assert!(
        commands.contains(&"run") && commands.len() > 15,
        "{commands:?}"
    );
    assert_eq!(pages.len(), commands.len() + 1);
    for name in commands {
        let page = fs::read_to_string(out.join(format!("vmmkit-{name}.1"))).unwrap();
        assert_eq!(page, says(&["man", name]), "{name}");
    }
    for page in &pages {
        let page = page.to_str().unwrap();
        if let Some(output) = tool("groff", &["-ww", "-man", "-Tutf8", "-z", page]) {
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{page}: {output:?}"
            );
        }
        if let Some(output) = tool("mandoc", &["-Tlint", "-Wwarning", page]) {
            assert!(output.status.success(), "{page}: {output:?}");
        }
    }
}

#[test]
fn bash_completes_names_of_guests_and_values() {
    if !has_kvm("bash_completes_names_of_guests_and_values") {
        return;
    }
    let place = Place::new("completions", &waiting_guest());
    let _guests = ["web", "db"].map(|name| place.guest(name, &[]));
    let script = r#"
        vmmkit() { "$VMMKIT" "$@"; }
        source <(vmmkit completions bash)
        try() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _vmmkit_with_guests vmmkit "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[*]}"
        }
        try vmmkit stop ""
        try vmmkit stat -n w
        try vmmkit stop web --time
        try vmmkit run --virtio ""
        try vmmkit run --on-crash p
    "#;
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).env("VMMKIT", vmmkit());
    bash.env("XDG_RUNTIME_DIR", place.folder.path().join("run"));
    let output = bash.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let expected = "db web\nweb\n--timeout\nmmio pci mmio,packed pci,packed\npause\n";
    assert_eq!(
        said,
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
