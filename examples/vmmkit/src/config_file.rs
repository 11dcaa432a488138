//! The configuration file: TOML, with the options of `vmmkit run` as keys.
//!
//! ```toml
//! kernel = "vmlinux"        # paths are relative to the file
//! initrd = "initramfs.cpio"
//! memory = "1G"
//! cpus = 2
//! ```

mod reader;
mod values;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vmmkit_host_io::read_text;

use crate::boot_files::ModuleOption;
use crate::cli::RunOptions;
use crate::cpu;
use crate::devices::{DeviceOptions, words};
use crate::failure::Failure;
use crate::platform::PlatformOptions;
use crate::{devices, gdb, log, memory};
use reader::{Wrong, read};
use values::{Balloon, Switch, Text, Texts};

/// How large a file may be: far more than any that was meant.
const MAX_BYTES: usize = 1 << 20;

/// The keys. Each has the meaning of the option of its name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    kernel: Option<PathBuf>,
    initrd: Option<PathBuf>,
    module: Texts,
    cmdline: Option<String>,
    cpus: Option<Text>,
    affinity: Option<Text>,
    priority: Option<Text>,
    memory: Option<Text>,
    serial: Option<String>,
    cpu: Option<String>,
    name: Option<String>,
    api_socket: Option<PathBuf>,
    instance: Option<bool>,
    no_instance: Option<bool>,
    paused: Option<bool>,
    gdb: Option<String>,
    entry: Option<String>,
    acpi: Option<bool>,
    no_acpi: Option<bool>,
    mp_table: Option<bool>,
    on_reboot: Option<String>,
    on_crash: Option<String>,
    clock_after_pause: Option<String>,
    stop_timeout: Option<i64>,
    metrics: Option<Text>,
    timeline: Option<PathBuf>,
    log: Option<String>,
    quiet: Option<bool>,
    dry_run: Option<bool>,
    disk: Texts,
    vsock: Option<Text>,
    fs: Texts,
    net: Texts,
    pmem: Texts,
    balloon: Option<Balloon>,
    console: Option<String>,
    virtio: Option<String>,
    rng: bool,
    firmware: Option<PathBuf>,
    debug_port: Option<String>,
    irqchip: Option<String>,
    legacy_timer: Option<Switch>,
}

/// Fills what the command line left out from the file at `path`.
pub(crate) fn complete(options: RunOptions, path: &Path) -> Result<RunOptions, Failure> {
    let name = format!("--config {}", path.display());
    let text = read_text(path, MAX_BYTES)
        .map_err(|error| Failure::host(&name, &error, "check the path and its permissions"))?;
    let file = parse(&text).map_err(|Wrong { line, fault }| {
        Failure::usage(format!("{name}: line {line}: {fault}"), fault.next())
    })?;
    Ok(merge(options, file, path.parent().unwrap_or(Path::new(""))))
}

/// The file, or its first mistake.
fn parse(text: &str) -> Result<File, Wrong> {
    read(text)
}

fn merge(options: RunOptions, file: File, folder: &Path) -> RunOptions {
    let devices = DeviceOptions {
        disk: file.disk.0,
        vsock: file.vsock.map(Text::text),
        fs: file.fs.0,
        net: file.net.0,
        pmem: file.pmem.0,
        balloon: file.balloon.and_then(Balloon::text),
        console: file.console,
        virtio: file.virtio,
        rng: file.rng,
    };
    let platform = PlatformOptions {
        firmware: file.firmware,
        debug_port: file.debug_port,
        irqchip: file.irqchip,
        legacy_timer: file.legacy_timer.map(Switch::text),
    };
    RunOptions {
        kernel: options.kernel.or(file.kernel.map(|path| folder.join(path))),
        initrd: options.initrd.or(file.initrd.map(|path| folder.join(path))),
        modules: modules(options.modules, &file.module.0, folder),
        cmdline: options.cmdline.or(file.cmdline),
        cpus: options.cpus.or(file.cpus.map(Text::text)),
        affinity: options.affinity.or(file.affinity.map(Text::text)),
        priority: options.priority.or(file.priority.map(Text::text)),
        memory: options.memory.or(file
            .memory
            .map(|text| memory::in_folder(&text.text(), folder))),
        serial: options.serial.or(file
            .serial
            .map(|text| words::console_in_folder(&text, folder))),
        cpu: options
            .cpu
            .or(file.cpu.map(|text| cpu::in_folder(&text, folder))),
        name: options.name.or(file.name),
        api_socket: options
            .api_socket
            .or(file.api_socket.map(|path| folder.join(path))),
        no_instance: options.no_instance
            || file.instance == Some(false)
            || file.no_instance == Some(true),
        paused: options.paused || file.paused == Some(true),
        gdb: options
            .gdb
            .or(file.gdb.map(|text| gdb::in_folder(&text, folder))),
        entry: options.entry.or(file.entry),
        no_acpi: options.no_acpi || file.acpi == Some(false) || file.no_acpi == Some(true),
        mp_table: options.mp_table || file.mp_table == Some(true),
        on_reboot: options.on_reboot.or(file.on_reboot),
        on_crash: options.on_crash.or(file.on_crash),
        clock_after_pause: options.clock_after_pause.or(file.clock_after_pause),
        stop_timeout: options
            .stop_timeout
            .or(file.stop_timeout.map(|number| number.to_string())),
        metrics: options.metrics.or(file
            .metrics
            .map(|text| devices::in_folder(&text.text(), folder))),
        timeline: options
            .timeline
            .or(file.timeline.map(|path| folder.join(path))),
        log: options
            .log
            .or(file.log.map(|text| log::in_folder(&text, folder))),
        quiet: options.quiet || file.quiet == Some(true),
        dry_run: options.dry_run || file.dry_run == Some(true),
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
        let text =
            "kernel = \"vmlinux\"\ninitrd = \"/abs\"\nserial = \"file=s.log\"\nconsole = \"pty\"";
        let file = parse(text).unwrap();
        let merged = merge(RunOptions::default(), file, Path::new("/vm"));
        assert_eq!(merged.serial.as_deref(), Some("file=/vm/s.log"));
        assert_eq!(merged.devices.console.as_deref(), Some("pty"));
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
        let wrong = parse("cpus = [2]").unwrap_err();
        assert_eq!(wrong.line, 1);
        let reason = wrong.fault.to_string();
        assert_eq!(reason, "text in quotes, a number or a table is needed");
    }

    #[test]
    fn a_list_may_be_one_text_or_tables() {
        let disks = |text| {
            let merged = merge(
                RunOptions::default(),
                parse(text).unwrap(),
                Path::new("/vm"),
            );
            merged.devices.disk
        };
        assert_eq!(disks("disk = \"a.img,readonly\""), ["/vm/a.img,readonly"]);
        assert_eq!(
            disks("disk = [\"a.img\", \"b.img\"]"),
            ["/vm/a.img", "/vm/b.img"]
        );
        assert_eq!(
            disks("disk = [{path = \"a,b.img\", readonly = true, queues = 2}]"),
            ["path=/vm/a,,b.img,queues=2,readonly=true"]
        );
        assert_eq!(
            disks("[[disk]]\npath = \"a.img\"\n[[disk]]\nserial = \"x\"\npath = \"/b\"\n"),
            ["path=/vm/a.img", "path=/b,serial=x"]
        );
        let file = parse("[net]\ntap = \"tap0\"\n[vsock]\ncid = 3\nsocket = \"s\"\n").unwrap();
        let merged = merge(RunOptions::default(), file, Path::new("/vm"));
        assert_eq!(merged.devices.net, ["tap=tap0"]);
        assert_eq!(merged.devices.vsock.as_deref(), Some("cid=3,socket=/vm/s"));
    }

    #[test]
    fn the_options_that_say_no_are_keys_too() {
        let text = "no-acpi = true\nno-instance = true\nquiet = true\ndry-run = true\nballoon = true\n\
                    legacy-timer = \"off\"\nmemory = {size = \"1G\", merge = true}\n";
        let merged = merge(RunOptions::default(), parse(text).unwrap(), Path::new(""));
        assert!(merged.no_acpi && merged.no_instance && merged.quiet && merged.dry_run);
        assert_eq!(merged.devices.balloon.as_deref(), Some(""));
        assert_eq!(merged.platform.legacy_timer.as_deref(), Some("off"));
        assert_eq!(merged.memory.as_deref(), Some("1G,merge=true"));
    }

    #[test]
    fn a_mistake_is_told_in_the_words_of_the_file() {
        let says = |text| {
            let fault = parse(text).unwrap_err().fault;
            (fault.to_string(), fault.next())
        };
        for (text, reason, next) in [
            (
                "kernl = \"k\"",
                "there is no key kernl",
                "did you mean kernel? The keys are ",
            ),
            (
                "mem = \"1G\"",
                "there is no key mem",
                "did you mean memory?",
            ),
            (
                "xyzzy = 1",
                "there is no key xyzzy",
                "the keys are the long options",
            ),
            (
                "kernel = 1",
                "the number 1 is given, and a path in quotes is needed",
                "write key = value",
            ),
            (
                "cmdline = true",
                "the value true is given, and text in quotes is needed",
                "write key",
            ),
            (
                "paused = \"yes\"",
                "the text \"yes\" is given, and true or false is needed",
                "write key",
            ),
            (
                "serial = [1]",
                "a list is given, and text in quotes is needed",
                "write key",
            ),
            (
                "disk = 1",
                "text in quotes, a table or a list of them is needed",
                "write key",
            ),
            (
                "name = \"a\"\nname = \"b\"",
                "name is given twice",
                "write it once",
            ),
        ] {
            let (said, then) = says(text);
            assert_eq!(said, reason, "{text}");
            assert!(then.starts_with(next), "{text}: {then}");
        }
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
        let wrong = parse("cpus = 2\nkernal = \"x\"").unwrap_err();
        assert_eq!(wrong.line, 2);
        assert_eq!(wrong.fault.to_string(), "there is no key kernal");
    }

    /// docs/config.md describes the keys that there are, and each of them; every option of `run` is one.
    #[test]
    fn the_keys_are_those_that_are_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let mut documented: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        let reader::Fault::UnknownKey { known, .. } = parse("xyzzy = 1").unwrap_err().fault else {
            panic!("xyzzy is a key");
        };
        let mut keys = known.to_vec();
        documented.sort_unstable();
        keys.sort_unstable();
        assert_eq!(documented, keys);
        let command = crate::cli::command();
        let run = command.find_subcommand("run").unwrap();
        let options = run.get_arguments().filter(|option| !option.is_hide_set());
        for option in options.filter_map(clap::Arg::get_long) {
            assert!(option == "config" || keys.contains(&option), "{option}");
        }
        let example = text
            .split("```toml\n")
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        let file = parse(example).unwrap();
        assert_eq!(
            file.disk.0,
            ["root.ext4", "path=data,, old.qcow2,readonly=true"]
        );
    }
}
