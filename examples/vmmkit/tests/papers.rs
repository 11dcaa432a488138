//! Texts about vmmkit, against vmmkit: manual, completions, configuration file and README.
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

/// The output of the program, which must end well.
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

/// Commands of the README that are not run as they are written, by how they begin, and why.
const NOT_RUN: &[(&str, &str)] = &[
    (
        "tools/boot",
        "it needs the network and minutes; tools/fresh runs it",
    ),
    ("tools/check", "it is what runs this"),
    ("vmmkit run ... --disk data.qcow2", "it needs qemu-img"),
    ("vmmkit run ... --disk overlay.qcow2", "it needs qemu-img"),
    (
        "vmmkit run ... --net",
        "it needs a tap interface, and so a privilege",
    ),
    ("vmmkit run ... --fs", "it needs a folder of that name"),
    (
        "vmmkit run --kernel vmlinux --root",
        "it takes a minute on a software KVM",
    ),
    (
        "vmmkit run ... --memory 4G,backend=hugetlb",
        "it needs pages that the host has reserved",
    ),
    ("vmmkit run ... --cpus 8", "it needs a host with four CPUs"),
    ("vmmkit run ... --priority", "it needs a privilege"),
    (
        "vmmkit run ... --on-reboot reboot",
        "a guest that resets reboots for ever",
    ),
    ("vmmkit run ... --gdb", "it waits for GDB"),
    (
        "vmmkit run --disk debian.qcow2",
        "it needs SeaBIOS and a system",
    ),
    (
        "vmmkit run ... --cpu baseline",
        "a software KVM lacks some of it",
    ),
    (
        "vmmkit snapshot web",
        "web has memory to plug, and a software KVM saves no guest",
    ),
    ("vmmkit restore /var/tmp/web", "there is no snapshot"),
    ("vmmkit fork web", "a software KVM saves no guest"),
    ("vmmkit migrate web", "there is no other host"),
    ("vmmkit doctor", "its exit code is that of the host"),
    ("vmmkit console web", "it ends with the guest"),
    ("vmmkit connect web", "it needs a server in the guest"),
    ("vmmkit ssh", "it needs a server in the guest"),
    ("vmmkit events web", "it ends with the guest"),
    ("vmmkit wait web", "it ends with the guest"),
    ("api console/output", "it ends with the guest"),
    ("api events -N", "it ends with the guest"),
    ("api ", "it needs curl of 7.82 or newer"),
];

/// A shell in which the words of the README mean a small guest: `...` is what it leaves out, and `vmmkit` the
/// program under test. `known` waits for a guest in the background.
const SHELL: &str = r#"
    vmmkit() {
        local guest="--kernel vmlinux" word words=()
        [[ " $* " == *" --name web "* ]] &&
            guest="--kernel waiting --memory 256M,max=1G --balloon --disk root.ext4"
        for word; do
            case $word in
            ...) words+=($guest) ;;
            *) words+=("$word") ;;
            esac
        done
        "$VMMKIT" "${words[@]}"
    }
    known() {
        for _ in {1..2000}; do
            "$VMMKIT" stat "$1" >/dev/null 2>&1 && return
            sleep 0.01
        done
        return 1
    }
"#;

/// The commands of a document's console blocks, a list for each block.
fn commands_of(document: &str) -> Vec<Vec<String>> {
    let blocks = document.split("```console\n").skip(1);
    let block = |text: &str| {
        let text = text.split("```").next().unwrap_or_default();
        text.lines()
            .filter_map(|line| line.strip_prefix("$ "))
            .map(str::to_owned)
            .collect()
    };
    blocks.map(block).collect()
}

#[test]
fn the_commands_of_the_readme_work_as_they_are_written() {
    if !has_kvm("the_commands_of_the_readme_work_as_they_are_written") {
        return;
    }
    let place = Place::new("readme", &waiting_guest());
    // mov al, 0xfe; out 0x64, al: a reset, by the keyboard controller.
    let resets = support::elf(&[0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfd]);
    place.folder.file("vmlinux", &resets);
    place.folder.file("bzImage", &resets);
    place.folder.file("waiting", waiting_guest());
    place.folder.file("initramfs.cpio", b"070701");
    place.folder.file("root.ext4", vec![0; 1 << 20]);
    place.folder.file("pm.img", vec![0; 4 << 20]);
    place.folder.file("web.toml", "kernel = \"vmlinux\"\n");
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let mut unused: Vec<&str> = NOT_RUN.iter().map(|(start, _)| *start).collect();
    let mut ran = 0;
    for block in commands_of(&readme) {
        let mut script = format!("{SHELL}\n");
        for line in block {
            if let Some((start, _)) = NOT_RUN.iter().find(|(start, _)| line.starts_with(start)) {
                unused.retain(|other| other != start);
                continue;
            }
            ran += 1;
            let command = line.split("  #").next().unwrap().trim_end();
            match command.strip_suffix(" &") {
                Some(command) => script.push_str(&format!("{command} </dev/null >log 2>&1 &\nknown web || exit 99\n")),
                // A guest that does not hear the power button is stopped, which is code 3.
                None if command.starts_with("vmmkit stop") => {
                    script.push_str(&format!("{}\n[ $? = 3 ] || exit 98\n", command.replace("30", "1")));
                }
                None => script.push_str(&format!(
                    "{line}\nstatus=$?; [ $status = 0 ] || {{ echo \"$status: \" {command:?} >&2; exit 1; }}\n"
                )),
            }
        }
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(place.folder.path());
        bash.env("VMMKIT", vmmkit())
            .env("XDG_RUNTIME_DIR", place.folder.path().join("run"));
        let output = bash.stdin(std::process::Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{:?}: {said}\n{script}",
            output.status
        );
    }
    assert!(ran > 15, "only {ran} commands were run");
    assert_eq!(unused, [""; 0], "not in the README any more");
}
