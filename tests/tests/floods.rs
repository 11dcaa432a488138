//! Nothing that a guest, a client or a back end can repeat fills a log: every event of the `tracing` facade is counted
//! by telemetry's `Occasions` and told a bounded number of times, or stands in a list with the reason why
//! nobody can repeat it at will; and every message of the binary stands in a list.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::fs;

use vmmkit_tests::{rust_files, workspace_root};

/// Events that are not counted: a part of the file's path, of the event, and why it is bounded.
const ONCE: &[(&str, &str, &str)] = &[
    (
        "run-control/src/control/log.rs",
        "info!(\"started\")",
        "a run starts once",
    ),
    ("run-control/src/log.rs", "\"started\"", "a run starts once"),
    ("run-control/src/log.rs", "\"ended\"", "a run ends once"),
    ("run-control/src/log.rs", "\"failed\"", "a run ends once"),
    (
        "run-control/src/log.rs",
        "(count, \"",
        "a line is written that `add` has counted",
    ),
    (
        "run-control/src/log.rs",
        "count, \"",
        "a line is written that `add` has counted",
    ),
    (
        "run-control/src/supervisor.rs",
        "thread",
        "the threads of vCPUs outlive resets",
    ),
    (
        "hypervisor-kvm/src/open.rs",
        "KVM opened",
        "the process opens it",
    ),
    (
        "hypervisor-kvm/src/probe/cache.rs",
        "probe not kept",
        "the process opens KVM",
    ),
    (
        "telemetry/src/milestones.rs",
        "reached",
        "each is reached once",
    ),
    ("virtio-devices/src/net/line.rs", "link is down", "for good"),
    (
        "virtio-devices/src/blk/stats.rs",
        "the host failed",
        "the first one of a disk",
    ),
];

/// How many messages each file of the binary has, and why they are bounded. Commands that do one thing and
/// end are left out.
const MESSAGES: &[(&str, usize, &str)] = &[
    ("clones.rs", 1, "a command"),
    ("receiving.rs", 1, "a command"),
    ("control/mod.rs", 1, "the API is started once"),
    ("control/presence.rs", 1, "at the start"),
    ("diagnosis.rs", 3, "after the end"),
    ("doctor.rs", 1, "a command"),
    ("ending.rs", 1, "after the end"),
    ("failure.rs", 1, "the end of the process"),
    ("gdb.rs", 2, "at the start"),
    (
        "host.rs",
        1,
        "each notice of assembly's once: at the start, the first failure of a disk or of a console's output, a link that is down for good",
    ),
    ("last_resort.rs", 1, "the end of the process"),
    ("main.rs", 1, "the end of the process"),
    ("news.rs", 2, "counted by Occasions"),
    (
        "remote.rs",
        4,
        "keys and signals of the user; once for a guest that is cut off",
    ),
    ("reports/writer.rs", 2, "the first failure, and the end"),
    ("root/command.rs", 5, "after the end"),
    ("run.rs", 3, "at the start"),
];

/// The code of a file, without its tests and comments.
fn code(path: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let tested = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..tested].lines();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    lines.filter(is_code).map(str::to_owned).collect()
}

fn has_event(line: &str) -> bool {
    ["error!(", "warn!(", "info!(", "debug!(", "trace!("]
        .iter()
        .any(|event| {
            let place = line.find(event);
            place.is_some_and(|at| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
}

#[test]
fn every_event_is_counted_or_happens_once() {
    let root = workspace_root();
    let mut unbounded = Vec::new();
    let mut seen = 0;
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        files.extend(rust_files(&entry.unwrap().path().join("src")));
    }
    files.extend(rust_files(&root.join("examples/vmmkit/src")));
    for file in files {
        let lines = code(&file);
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| has_event(line)) {
            seen += 1;
            // The condition stands right before it.
            let before = lines[number.saturating_sub(3)..number].join("\n");
            let is_counted = before.contains(".next()") && before.contains("let Some(count)");
            let event = lines[number..lines.len().min(number + 12)].join("\n");
            let event = &event[..event.find(';').unwrap_or(event.len())];
            let place = file.display().to_string();
            let happens_once = ONCE
                .iter()
                .any(|(path, text, _)| place.ends_with(path) && event.contains(text));
            if !is_counted && !happens_once {
                unbounded.push(format!("{place}: {}", line.trim()));
            }
        }
    }
    assert!(seen > 20, "only {seen} events were found");
    assert!(
        unbounded.is_empty(),
        "count them by Occasions, or say why nobody repeats them: {unbounded:#?}"
    );
}

#[test]
fn every_message_of_the_binary_is_bounded() {
    let root = workspace_root().join("examples/vmmkit/src");
    let mut found = Vec::new();
    for file in rust_files(&root) {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let says = |line: &&String| line.contains("messages::say(");
        let count = code(&file).iter().filter(says).count();
        if count > 0 && !name.starts_with("commands/") {
            found.push((name, count));
        }
    }
    found.sort();
    let mut known: Vec<_> = MESSAGES
        .iter()
        .map(|(name, count, _)| ((*name).to_owned(), *count))
        .collect();
    known.sort();
    assert_eq!(
        found, known,
        "say in MESSAGES why a new message cannot be repeated at will"
    );
}
