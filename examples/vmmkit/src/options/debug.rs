//! Options that show a guest's work.

use std::path::Path;

use vmmkit_machine_spec::DebugPortSpec;

use super::{DEBUG, FLAG, PATH, RunOption, TEXT, Takes, changed, one};
use crate::gdb;
use crate::log::LogChoice;
use crate::reports::{MetricsChoice, TimelineChoice};

pub(super) const OPTIONS: &[RunOption] = &[
    RunOption {
        name: "dry-run",
        heading: DEBUG,
        help: "Build the machine, print the full command, and exit",
        read: |options, _| {
            options.dry_run = true;
            Ok(())
        },
        ..FLAG
    },
    RunOption {
        name: "dump-config",
        heading: DEBUG,
        help: "Print these options as a file for --config, and exit",
        more: "Paths in it are absolute. `vmmkit run --dump-config ... > ~/.config/vmmkit/web.toml`, then `vmmkit run web`.",
        ..FLAG
    },
    RunOption {
        name: "gdb",
        value: "tcp:PORT|unix:PATH",
        heading: DEBUG,
        help: "Start a GDB server, and wait for GDB",
        more: "tcp:PORT on 127.0.0.1, which every local user can reach, or unix:PATH, which only you can.",
        read: |options, given| {
            options.gdb = Some(gdb::place(given)?);
            Ok(())
        },
        write: |settings| one(settings.gdb.as_ref()),
        ..TEXT
    },
    RunOption {
        name: "metrics",
        value: "PATH[,KEY=VALUE...]",
        takes: Takes::Words,
        heading: DEBUG,
        help: "Write metrics to a file every second and at the end",
        more: "Prometheus text, or JSON lines if its name ends in .json or .jsonl. Keys: format=prometheus|json, \
               every=SECONDS.",
        advice: "give PATH, and every=SECONDS or format=prometheus|json",
        read: |options, given| {
            options.metrics = Some(MetricsChoice::new(given)?);
            Ok(())
        },
        write: |settings| one(settings.metrics.as_ref()),
        ..TEXT
    },
    RunOption {
        name: "timeline",
        value: "PATH.svg|PATH.json",
        heading: DEBUG,
        help: "Write a timeline of the boot when the guest has ended",
        more: "A picture (SVG), or the same data as JSON.",
        read: |options, given| {
            let path: &Path = &given.path(given.as_text());
            options.timeline = Some(TimelineChoice::new(path)?);
            Ok(())
        },
        write: |settings| one(settings.timeline.as_ref()),
        ..PATH
    },
    RunOption {
        name: "log",
        value: "LEVEL[,FILE]",
        heading: DEBUG,
        help: "Log the machine's events, one per line",
        more: "error, warn, info or debug; to stderr, or appended to a file [default: $VMMKIT_LOG, or none].",
        words: &["error", "warn", "info", "debug"],
        read: |options, given| {
            options.log = Some(LogChoice::parse("--log ", given)?);
            Ok(())
        },
        write: |settings| one(settings.log.as_ref()),
        ..TEXT
    },
    RunOption {
        name: "debug-port",
        value: "WHERE",
        heading: DEBUG,
        help: "Destination of debug port 0x402 [default: null]",
        more: "null, stderr or file=PATH.",
        words: DebugPortSpec::WORDS,
        advice: "give null, stderr or file=PATH",
        read: |options, given| {
            options.platform.debug_port = DebugPortSpec::parse(given)?;
            Ok(())
        },
        write: |settings| changed(&settings.spec.platform.debug_port),
        ..TEXT
    },
    RunOption {
        name: "kvm",
        heading: DEBUG,
        help: "The KVM device",
        is_hidden: true,
        read: |options, given| {
            options.kvm = Some(given.path(given.as_text()));
            Ok(())
        },
        ..PATH
    },
];
