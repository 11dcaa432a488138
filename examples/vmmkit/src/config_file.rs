//! The configuration file: TOML, with the options of `vmmkit run` as keys.
//!
//! ```toml
//! kernel = "vmlinux"        # paths are relative to the file
//! initrd = "initramfs.cpio"
//! memory = "1G"
//! cpus = 2
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vmmkit_host_io::read_text;

use crate::boot_files::ModuleOption;
use crate::cli::RunOptions;
use crate::cpu;
use crate::devices::DeviceOptions;
use crate::failure::Failure;
use crate::platform::PlatformOptions;
use crate::{devices, gdb, log, memory};

/// How large a file may be: far more than any that was meant.
const MAX_BYTES: usize = 1 << 20;

/// The keys. Each has the meaning of the option of its name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    kernel: Option<PathBuf>,
    initrd: Option<PathBuf>,
    module: Vec<String>,
    cmdline: Option<String>,
    cpus: Option<Cpus>,
    affinity: Option<String>,
    priority: Option<String>,
    memory: Option<String>,
    serial: Option<String>,
    cpu: Option<String>,
    name: Option<String>,
    api_socket: Option<PathBuf>,
    instance: Option<bool>,
    paused: Option<bool>,
    gdb: Option<String>,
    entry: Option<String>,
    acpi: Option<bool>,
    mp_table: Option<bool>,
    on_reboot: Option<String>,
    on_crash: Option<String>,
    clock_after_pause: Option<String>,
    stop_timeout: Option<i64>,
    metrics: Option<String>,
    timeline: Option<PathBuf>,
    log: Option<String>,
    disk: Vec<String>,
    vsock: Option<String>,
    fs: Vec<String>,
    net: Vec<String>,
    pmem: Vec<String>,
    balloon: Option<String>,
    console: Option<String>,
    virtio: Option<String>,
    rng: bool,
    firmware: Option<PathBuf>,
    debug_port: Option<String>,
    irqchip: Option<String>,
    legacy_timer: Option<bool>,
}

/// `cpus = 2`, or `cpus = "2,threads=2"`.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number of vCPUs, or text such as \"2,threads=2\""
)]
enum Cpus {
    Number(i64),
    Text(String),
}

impl Cpus {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// Fills what the command line left out from the file at `path`.
pub(crate) fn complete(options: RunOptions, path: &Path) -> Result<RunOptions, Failure> {
    let name = format!("--config {}", path.display());
    let text = read_text(path, MAX_BYTES)
        .map_err(|error| Failure::host(&name, &error, "check the path and its permissions"))?;
    let file = parse(&text).map_err(|(line, reason)| {
        let next = match reason.starts_with("unknown field") {
            true => "the keys are the long options of `vmmkit run --help`, without the dashes",
            false => "write key = value, with text in quotes and numbers without",
        };
        Failure::usage(format!("{name}: line {line}: {reason}"), next)
    })?;
    Ok(merge(options, file, path.parent().unwrap_or(Path::new(""))))
}

/// The file, or the line (from 1) of the first error and the reason.
fn parse(text: &str) -> Result<File, (usize, String)> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        (
            before.matches('\n').count() + 1,
            // serde's names of types are no words of a configuration file.
            error
                .message()
                .replace('\n', " ")
                .replace("expected i64", "expected a whole number")
                .replace("expected a string", "expected text"),
        )
    })
}

fn merge(options: RunOptions, file: File, folder: &Path) -> RunOptions {
    let devices = DeviceOptions {
        disk: file.disk,
        vsock: file.vsock,
        fs: file.fs,
        net: file.net,
        pmem: file.pmem,
        balloon: file.balloon,
        console: file.console,
        virtio: file.virtio,
        rng: file.rng,
    };
    let platform = PlatformOptions {
        firmware: file.firmware,
        debug_port: file.debug_port,
        irqchip: file.irqchip,
        legacy_timer: file.legacy_timer.map(|is_on| {
            let word = if is_on { "on" } else { "off" };
            word.to_owned()
        }),
    };
    RunOptions {
        kernel: options.kernel.or(file.kernel.map(|path| folder.join(path))),
        initrd: options.initrd.or(file.initrd.map(|path| folder.join(path))),
        modules: modules(options.modules, &file.module, folder),
        cmdline: options.cmdline.or(file.cmdline),
        cpus: options.cpus.or(file.cpus.map(|cpus| cpus.text())),
        affinity: options.affinity.or(file.affinity),
        priority: options.priority.or(file.priority),
        memory: options
            .memory
            .or(file.memory.map(|text| memory::in_folder(&text, folder))),
        serial: options.serial.or(file.serial),
        cpu: options
            .cpu
            .or(file.cpu.map(|text| cpu::in_folder(&text, folder))),
        name: options.name.or(file.name),
        api_socket: options
            .api_socket
            .or(file.api_socket.map(|path| folder.join(path))),
        no_instance: options.no_instance || file.instance == Some(false),
        paused: options.paused || file.paused == Some(true),
        gdb: options
            .gdb
            .or(file.gdb.map(|text| gdb::in_folder(&text, folder))),
        entry: options.entry.or(file.entry),
        no_acpi: options.no_acpi || file.acpi == Some(false),
        mp_table: options.mp_table || file.mp_table == Some(true),
        on_reboot: options.on_reboot.or(file.on_reboot),
        on_crash: options.on_crash.or(file.on_crash),
        clock_after_pause: options.clock_after_pause.or(file.clock_after_pause),
        stop_timeout: options
            .stop_timeout
            .or(file.stop_timeout.map(|number| number.to_string())),
        metrics: options
            .metrics
            .or(file.metrics.map(|text| devices::in_folder(&text, folder))),
        timeline: options
            .timeline
            .or(file.timeline.map(|path| folder.join(path))),
        log: options
            .log
            .or(file.log.map(|text| log::in_folder(&text, folder))),
        devices: options.devices.or(devices, folder),
        platform: options.platform.or(platform, folder),
        ..options
    }
}

/// The modules that were given, or else those of the file.
fn modules(given: Vec<ModuleOption>, file: &[String], folder: &Path) -> Vec<ModuleOption> {
    if !given.is_empty() {
        return given;
    }
    let of_folder = |text: &String| {
        // One without a path names the folder, which cannot be loaded.
        let module: ModuleOption = text.parse().unwrap_or_default();
        ModuleOption {
            path: folder.join(module.path),
            ..module
        }
    };
    file.iter().map(of_folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_has_precedence_over_the_file() {
        let file = parse("memory = \"1G\"\ncpus = 2").unwrap();
        let options = RunOptions {
            memory: Some("64M".to_owned()),
            ..RunOptions::default()
        };
        let merged = merge(options, file, Path::new("/vm"));
        assert_eq!(merged.memory.as_deref(), Some("64M"));
        assert_eq!(merged.cpus.as_deref(), Some("2"));
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let file = parse("kernel = \"vmlinux\"\ninitrd = \"/abs\"").unwrap();
        let merged = merge(RunOptions::default(), file, Path::new("/vm"));
        assert_eq!(merged.kernel, Some("/vm/vmlinux".into()));
        assert_eq!(merged.initrd, Some("/abs".into()));
    }

    #[test]
    fn a_file_says_how_the_machine_is_controlled() {
        let text =
            "name = \"web\"\napi-socket = \"s\"\ninstance = false\npaused = true\ngdb = \"unix:g\"";
        let merged = merge(
            RunOptions::default(),
            parse(text).unwrap(),
            Path::new("/vm"),
        );
        assert_eq!(merged.gdb.as_deref(), Some("unix:/vm/g"));
        assert_eq!(merged.name.as_deref(), Some("web"));
        assert_eq!(merged.api_socket, Some("/vm/s".into()));
        assert!(merged.no_instance && merged.paused);
    }

    #[test]
    fn cpus_are_a_number_or_an_arrangement() {
        let cpus = |text| {
            let merged = merge(RunOptions::default(), parse(text).unwrap(), Path::new(""));
            merged.cpus.unwrap()
        };
        assert_eq!(cpus("cpus = 2"), "2");
        assert_eq!(cpus("cpus = \"4,threads=2\""), "4,threads=2");
        let (line, reason) = parse("cpus = [2]").unwrap_err();
        assert_eq!(line, 1);
        assert!(reason.starts_with("expected a number of vCPUs"), "{reason}");
    }

    #[test]
    fn a_log_is_beside_the_file() {
        let log = |text| {
            let merged = merge(
                RunOptions::default(),
                parse(text).unwrap(),
                Path::new("/vm"),
            );
            merged.log.unwrap()
        };
        assert_eq!(log("log = \"debug,a.log\""), "debug,/vm/a.log");
        assert_eq!(log("log = \"info\""), "info");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let (line, reason) = parse("cpus = 2\nkernal = \"x\"").unwrap_err();
        assert_eq!(line, 2);
        assert!(reason.contains("unknown field `kernal`"), "{reason}");
    }
}
