//! The layers of ARCHITECTURE.md, held against every manifest: an edge that is not in the table
//! fails, and so does a second version of a crate whose types cross crate boundaries.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vmmkit_tests::{crate_folders, rust_files, workspace_root};

#[path = "layering/circles.rs"]
mod circles;

/// Which vmmkit crates each crate may use outside its tests.
const ALLOWED: &[(&str, &[&str])] = &[
    // Below all: what a part says of itself.
    ("telemetry", &[]),
    ("guest-memory", &[]),
    ("snapshot", &[]),
    ("device-bus", &["telemetry"]),
    ("host-io", &[]),
    ("sandbox", &[]),
    ("fuse", &[]),
    ("disk-image", &[]),
    ("control", &["host-io", "telemetry"]),
    ("hypervisor", &["guest-memory", "device-bus", "telemetry"]),
    (
        "hypervisor-kvm",
        // The emulator is the one sibling: it completes for this back end what a software KVM
        // cannot, and is a crate of its own so that it is pure and tested alone.
        &[
            "hypervisor",
            "guest-memory",
            "device-bus",
            "host-io",
            "telemetry",
            "x86-emulator",
        ],
    ),
    ("x86-cpu", &["hypervisor"]),
    ("x86-emulator", &["hypervisor", "guest-memory"]),
    ("fw-cfg", &["device-bus", "guest-memory", "telemetry"]),
    ("legacy-devices", &["device-bus", "telemetry"]),
    (
        "run-control",
        &["hypervisor", "device-bus", "host-io", "telemetry"],
    ),
    ("gdb", &["hypervisor", "guest-memory", "host-io"]),
    ("pci", &["device-bus"]),
    ("process", &["host-io", "telemetry"]),
    ("guest-init", &["host-io"]),
    (
        "virtio",
        &["guest-memory", "device-bus", "host-io", "pci", "telemetry"],
    ),
    (
        "virtio-devices",
        &[
            "virtio",
            "disk-image",
            "fuse",
            "guest-memory",
            "device-bus",
            "host-io",
            "telemetry",
        ],
    ),
    ("boot-loader", &["hypervisor", "guest-memory", "telemetry"]),
    (
        "pc-platform",
        // The parts below it are what it is made of: their tables, registers and transports.
        &[
            "boot-loader",
            "fw-cfg",
            "legacy-devices",
            "virtio",
            "pci",
            "hypervisor",
            "guest-memory",
            "device-bus",
            "host-io",
            "snapshot",
            "telemetry",
        ],
    ),
    // What a person may choose; of the crates below it, only their types.
    ("machine-spec", &["guest-memory", "host-io", "x86-cpu"]),
    (
        "assembly",
        &[
            "machine-spec",
            "vmm",
            "boot-loader",
            "x86-cpu",
            "virtio-devices",
            "virtio",
            "fuse",
            "legacy-devices",
            "hypervisor",
            "guest-memory",
            "device-bus",
            "host-io",
            "sandbox",
            "telemetry",
        ],
    ),
    (
        "controlled",
        // The two that know no machine, and the machine that they are for.
        &[
            "vmm",
            "control",
            "gdb",
            "virtio-devices",
            "virtio",
            "hypervisor",
            "guest-memory",
            "host-io",
            "snapshot",
            "telemetry",
        ],
    ),
    (
        "vmm",
        &[
            "pc-platform",
            "boot-loader",
            "x86-cpu",
            "legacy-devices",
            "run-control",
            "virtio",
            "pci",
            "hypervisor",
            "guest-memory",
            "device-bus",
            "host-io",
            "snapshot",
            "telemetry",
        ],
    ),
    // All of them under one name, and no code of its own.
    (
        FACADE,
        &[
            "assembly",
            "boot-loader",
            "control",
            "controlled",
            "device-bus",
            "disk-image",
            "fuse",
            "fw-cfg",
            "gdb",
            "guest-init",
            "guest-memory",
            "host-io",
            "hypervisor",
            "hypervisor-kvm",
            "legacy-devices",
            "machine-spec",
            "pc-platform",
            "pci",
            "process",
            "run-control",
            "sandbox",
            "snapshot",
            "telemetry",
            "virtio",
            "virtio-devices",
            "vmm",
            "x86-cpu",
            "x86-emulator",
        ],
    ),
];

/// The crate that re-exports all others.
const FACADE: &str = "vmmkit";

/// The files of programs beside the crates, which run in guests alone, that may hold `unsafe`.
const UNSAFE_IN_GUESTS: &[&str] = &["syscall.rs"];

/// The only crates that may hold `unsafe`.
const UNSAFE: &[&str] = &["guest-memory", "host-io", "hypervisor-kvm"];

fn manifests() -> BTreeMap<String, toml::Table> {
    let folders = crate_folders().unwrap();
    folders
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(path.join("Cargo.toml")).unwrap();
            (name, text.parse().unwrap())
        })
        .collect()
}

fn uses(manifest: &toml::Table) -> Vec<&str> {
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    dependencies
        .into_iter()
        .flat_map(toml::Table::keys)
        .filter_map(|name| name.strip_prefix("vmmkit-"))
        .collect()
}

#[test]
fn every_crate_uses_only_what_its_layer_allows() {
    for (name, manifest) in &manifests() {
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(allowed, _)| allowed == name)
            .unwrap_or_else(|| panic!("crates/{name} is not in the table of layers"));
        for used in uses(manifest) {
            assert!(allowed.contains(&used), "{name} must not use {used}");
        }
    }
}

/// The layer of each crate: one above the highest that it uses. Telemetry is below all.
fn layers() -> BTreeMap<usize, Vec<&'static str>> {
    let mut layer_of: BTreeMap<&str, usize> = BTreeMap::from([("telemetry", 0)]);
    while layer_of.len() < ALLOWED.len() {
        let before = layer_of.len();
        for (name, uses) in ALLOWED {
            let uses = uses.iter().filter(|used| **used != "telemetry");
            let above: Option<Vec<usize>> = uses.map(|used| layer_of.get(used).copied()).collect();
            if let Some(above) = above {
                layer_of.insert(name, above.into_iter().max().map_or(0, |layer| layer + 1));
            }
        }
        assert!(layer_of.len() > before, "the table of layers has a circle");
    }
    let mut layers: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (name, layer) in layer_of
        .into_iter()
        .filter(|(name, _)| !["telemetry", FACADE].contains(name))
    {
        layers.entry(layer).or_default().push(name);
    }
    layers
}

/// The layers as README.md and ARCHITECTURE.md show them.
fn picture() -> String {
    let layers = layers();
    let mut lines = vec![format!(
        "L{}  vmmkit (all as one library)   examples/vmmkit, vmmkit-firecracker (the binaries)   tests   benches",
        layers.len()
    )];
    for (layer, names) in layers.iter().rev() {
        lines.push(format!("L{layer}  {}", names.join("   ")));
    }
    lines.push("    telemetry, which any of them may use".to_owned());
    format!("```text\n{}\n```\n", lines.join("\n"))
}

/// Set, the pictures are written rather than compared.
const WRITE_LAYERS: &str = "VMMKIT_WRITE_LAYERS";

#[test]
fn the_picture_of_the_layers_is_the_table() {
    const MARKS: [&str; 2] = [
        "<!-- layers: made from the table in tests/tests/layering.rs -->\n",
        "<!-- end of layers -->\n",
    ];
    for file in ["README.md", "ARCHITECTURE.md"] {
        let path = workspace_root().join(file);
        let text = fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(MARKS[0]).expect(file);
        let (shown, after) = rest.split_once(MARKS[1]).expect(file);
        let made = picture();
        if std::env::var_os(WRITE_LAYERS).is_some() {
            let text = [before, MARKS[0], &made, MARKS[1], after].concat();
            fs::write(&path, text).unwrap();
            continue;
        }
        assert_eq!(
            shown, made,
            "{file} shows other layers than the table: {WRITE_LAYERS}=1 cargo test -p vmmkit-tests --test layering"
        );
    }
}

#[test]
fn every_crate_takes_lints_and_versions_from_the_workspace() {
    for (name, manifest) in &manifests() {
        let package = manifest["package"]["name"].as_str().unwrap();
        let folder = package.strip_prefix("vmmkit-").unwrap_or(package);
        assert_eq!(folder, name);
        assert_eq!(
            manifest["lints"]["workspace"].as_bool(),
            Some(true),
            "{name}: lints"
        );
        for (dependency, value) in manifest["dependencies"].as_table().unwrap() {
            let inherited = value.get("workspace").and_then(toml::Value::as_bool);
            assert_eq!(
                inherited,
                Some(true),
                "{name}: {dependency} has a version of its own"
            );
        }
    }
}

#[test]
fn every_dependency_of_a_crate_is_used() {
    for (name, manifest) in &manifests() {
        let folder = workspace_root().join("crates").join(name).join("src");
        let sources: Vec<String> = rust_files(&folder)
            .iter()
            .map(|file| fs::read_to_string(file).unwrap())
            .collect();
        for dependency in manifest["dependencies"].as_table().unwrap().keys() {
            let module = dependency.replace('-', "_");
            let is_used = sources.iter().any(|text| text.contains(&module));
            assert!(is_used, "crates/{name} does not use {dependency}");
        }
    }
}

#[test]
fn the_facade_has_all_crates_and_no_code() {
    let folder = workspace_root().join("crates").join(FACADE);
    let sources = rust_files(&folder.join("src"));
    let text: String = sources
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    for (name, manifest) in &manifests() {
        if name != FACADE {
            let package = manifest["package"]["name"].as_str().unwrap();
            let module = format!("pub use {} as ", package.replace('-', "_"));
            assert!(text.contains(&module), "no module of the facade is {name}");
        }
    }
    for line in text.lines() {
        let is_code = [
            "fn",
            "struct",
            "enum",
            "trait",
            "impl",
            "macro_rules",
            "static",
            "const",
            "type",
        ]
        .iter()
        .any(|word| line.split([' ', '<', '!']).any(|found| found == *word));
        assert!(
            line.starts_with("//") || !is_code,
            "the facade has code: {line}"
        );
    }
}

#[test]
fn only_three_crates_may_hold_unsafe() {
    for name in manifests()
        .keys()
        .filter(|name| !UNSAFE.contains(&name.as_str()))
    {
        let source = workspace_root()
            .join("crates")
            .join(name)
            .join("src/lib.rs");
        let text = fs::read_to_string(&source).unwrap();
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "{name} does not forbid unsafe code"
        );
    }
    let init = workspace_root().join("crates/guest-init/init");
    let files = rust_files(&init);
    let holds = |file: &&PathBuf| fs::read_to_string(file).unwrap().contains("unsafe {");
    let holding = files.iter().filter(holds);
    let names: Vec<&str> = holding
        .map(|file| file.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, UNSAFE_IN_GUESTS);
    let main = fs::read_to_string(init.join("main.rs")).unwrap();
    assert!(main.contains("#![deny(unsafe_code)]"));
}

#[test]
fn no_crate_of_the_library_names_kvm_types_above_its_back_end() {
    for (name, manifest) in &manifests() {
        let dependencies = manifest["dependencies"].as_table().unwrap();
        let kvm = dependencies.keys().find(|key| key.starts_with("kvm-"));
        assert!(
            kvm.is_none() || name == "hypervisor-kvm",
            "{name} uses {kvm:?}"
        );
    }
}

/// Library files that may end the process, each with its reason.
const MAY_EXIT: &[(&str, &str)] = &[(
    "crates/host-io/src/signals.rs",
    "dying by a signal is what its caller asks of it",
)];

#[test]
fn library_crates_neither_print_nor_exit() {
    for name in manifests().keys() {
        let folder = workspace_root().join("crates").join(name).join("src");
        for file in rust_files(&folder) {
            let text = fs::read_to_string(&file).unwrap();
            let production = text.split("#[cfg(test)]").next().unwrap();
            let exits = production
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| line.contains("process::exit("));
            let excused = MAY_EXIT.iter().any(|(path, _)| file.ends_with(path));
            assert!(!exits || excused, "{} exits the process", file.display());
        }
    }
}

/// The sources of the crates and of the binary, without files that are all tests: `conformance` is a suite of them.
fn production_files() -> Vec<PathBuf> {
    let folders = crate_folders().unwrap();
    let folders = folders.into_iter().map(|folder| folder.join("src"));
    let example = workspace_root().join("examples/vmmkit/src");
    let files = folders
        .chain([example])
        .flat_map(|folder| rust_files(&folder));
    let is_test = |file: &PathBuf| {
        let parts = file
            .components()
            .filter_map(|part| part.as_os_str().to_str());
        let mut parts = parts.map(|part| part == "tests" || part == "conformance");
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        parts.any(|is_test| is_test) || name.ends_with("tests.rs")
    };
    files.filter(|file| !is_test(file)).collect()
}

/// Production files that may start a thread by themselves, each with its reason.
const MAY_SPAWN: &[(&str, &str)] = &[
    ("crates/host-io/src/thread.rs", "it is the one place"),
    (
        "crates/guest-memory/src/prefault.rs",
        "below host-io; its threads end within the call that starts them",
    ),
];

#[test]
fn threads_begin_in_one_place() {
    const SPAWNS: &[&str] = &["thread::spawn(", "thread::Builder", "scope.spawn("];
    for file in production_files() {
        let text = fs::read_to_string(&file).unwrap();
        let production = text.split("#[cfg(test)]").next().unwrap();
        let imports_it = |line: &str| {
            line.starts_with("use std::thread::")
                && (line.contains("Builder") || line.contains("spawn"))
        };
        let spawns = production
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .any(|line| SPAWNS.iter().any(|spawn| line.contains(spawn)) || imports_it(line));
        let excused = MAY_SPAWN.iter().any(|(path, _)| file.ends_with(path));
        assert!(
            !spawns || excused,
            "{} starts a thread without vmmkit_host_io::ThreadSpec",
            file.display()
        );
    }
}

/// Production code that may use the standard library's locks, with its reason.
const MAY_POISON: &[(&str, &str)] = &[(
    "crates/run-control/src/",
    "loom models its locks, and loom's have the interface of the standard library's",
)];

#[test]
fn locks_are_parking_lots() {
    const LOCKS: &[&str] = &["Mutex", "MutexGuard", "RwLock", "Condvar", "PoisonError"];
    let excused = |file: &Path| {
        let mut places = MAY_POISON.iter();
        places.any(|(place, _)| file.starts_with(workspace_root().join(place)))
    };
    for file in production_files() {
        let text = fs::read_to_string(&file).unwrap();
        let production = text.split("#[cfg(test)]").next().unwrap();
        let code = production
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let mut imports = code.filter(|line| line.contains("std::sync::"));
        let poisons = imports.any(|line| LOCKS.iter().any(|lock| has_word(line, lock)));
        assert!(
            !poisons || excused(&file),
            "{} takes a lock of std::sync, which a panic poisons: use parking_lot's",
            file.display()
        );
    }
}

/// How far above an atomic operation the reason for its ordering may be, in lines. One for all that are Relaxed
/// may be anywhere above in the file, at the type that they are of.
const REASON_ABOVE: usize = 12;

#[test]
fn orderings_weaker_than_seqcst_have_a_reason() {
    let mut bare = Vec::new();
    for file in production_files() {
        let text = fs::read_to_string(&file).unwrap();
        let production = text.split("#[cfg(test)]").next().unwrap();
        let (mut reason, mut has_reason) = (0, false);
        for (number, line) in (1..).zip(production.lines()) {
            let code = line.trim_start();
            if code.starts_with("//") {
                if code.contains("Ordering: ") {
                    (reason, has_reason) = (number, true);
                }
                continue;
            }
            let is_relaxed = line.contains("Ordering::Relaxed");
            let is_stronger = ["Acquire", "Release", "AcqRel"]
                .iter()
                .any(|order| line.contains(&format!("Ordering::{order}")));
            let is_near = has_reason && number - reason <= REASON_ABOVE;
            if is_stronger && !is_near || is_relaxed && !has_reason {
                bare.push(format!("{}:{number}", file.display()));
            }
        }
    }
    assert!(bare.is_empty(), "without `// Ordering: reason`: {bare:#?}");
}

/// Source files of tests, which have no `#[cfg(test)]` of their own.
const TEST_FILES: &[&str] = &["tests.rs", "testing.rs", "made.rs"];

/// The lines of a library that are neither comments nor tests.
fn library_lines() -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for name in manifests().keys() {
        let folder = workspace_root().join("crates").join(name).join("src");
        for file in rust_files(&folder) {
            let is_test = file.components().any(|part| part.as_os_str() == "tests")
                || TEST_FILES.iter().any(|name| file.ends_with(name));
            if is_test {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let production = text.split("#[cfg(test)]\nmod ").next().unwrap();
            for (number, line) in (1..).zip(production.lines()) {
                if !line.trim_start().starts_with("//") {
                    lines.push((format!("{}:{number}", file.display()), line.to_owned()));
                }
            }
        }
    }
    lines
}

/// Whether `line` has `word` as a word of its own; `_` and letters beside it make it another word.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

/// Whether `line` has an option of a command line: two hyphens and a letter.
fn has_option(line: &str) -> bool {
    line.match_indices("--")
        .any(|(at, _)| line[at + 2..].starts_with(|c: char| c.is_ascii_lowercase()))
}

#[test]
fn libraries_know_no_command_line_and_their_errors_are_types() {
    let mut wrong = Vec::new();
    for (place, line) in library_lines() {
        if has_option(&line) {
            wrong.push(format!("{place}: an option in a library: {}", line.trim()));
        }
        if has_word(&line, "vmmkit") {
            wrong.push(format!(
                "{place}: a library names a program: {}",
                line.trim()
            ));
        }
        let is_text = line.contains(", String>") && line.contains("Result<")
            || line.contains("Other(String)");
        if is_text {
            wrong.push(format!("{place}: an error that is text: {}", line.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(has_option("give `--memory` more") && !has_option("a -- b --- C"));
    assert!(has_word("\"vmmkit-x\"", "vmmkit") && !has_word("vmmkit_pci", "vmmkit"));
}

#[test]
fn one_version_of_each_crate_whose_types_cross_borders() {
    let lock = fs::read_to_string(workspace_root().join("Cargo.lock")).unwrap();
    for package in [
        "vm-memory",
        "vmm-sys-util",
        "kvm-bindings",
        "kvm-ioctls",
        "vm-superio",
    ] {
        let versions = lock
            .lines()
            .filter(|line| *line == format!("name = \"{package}\""))
            .count();
        assert_eq!(versions, 1, "{package} is in the tree {versions} times");
    }
}

#[test]
fn no_kernel_or_other_binary_is_in_the_repository() {
    let listing = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(workspace_root())
        .output()
        .unwrap();
    if !listing.status.success() {
        eprintln!("SKIPPED: this is not a git checkout");
        return;
    }
    for file in String::from_utf8(listing.stdout)
        .unwrap()
        .split_terminator('\0')
    {
        let Ok(metadata) = fs::metadata(workspace_root().join(file)) else {
            continue;
        };
        let most = if file.starts_with("fuzz/corpus/") {
            128 << 10
        } else {
            512 << 10
        };
        assert!(metadata.len() <= most, "{file} is {} bytes", metadata.len());
    }
}
