//! The options of `vmmkit run`, each written once: its name, value, help, key in a file, completion, how it is
//! read and how it is written again.

mod advice;
mod boot;
mod command;
mod console;
mod control;
mod cpus;
mod debug;
mod devices;
mod given;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use vmmkit_gdb::Place;
use vmmkit_machine_spec::{
    ConsoleSpec, CpusSpec, DeviceSpec, Entry, FirmwareSpec, Given, InitrdSpec, MemorySpec,
    ModuleSpec, PlatformSpec, PolicySpec, RootSpec,
};
use vmmkit_process::EscapeKey;

use crate::failure::Failure;
use crate::log::LogChoice;
use crate::reports::{MetricsChoice, TimelineChoice};
use crate::sandbox_choice::SandboxChoice;
use crate::settings::Settings;
pub(crate) use advice::{next, of_conflict, option_of, shown};
pub(crate) use command::{equivalent, words};
pub(crate) use console::escape;
pub(crate) use given::RunArguments;
pub(crate) use values::{Values, Wrong};

/// Headings of the options.
const BOOT: &str = "Boot";
const CPUS: &str = "CPU and memory";
const DEVICES: &str = "Devices";
const CONSOLE: &str = "Console";
const CONTROL: &str = "Control";
const DEBUG: &str = "Debug";

#[cfg(test)]
pub(crate) const HEADINGS: [&str; 6] = [BOOT, CPUS, DEVICES, CONSOLE, CONTROL, DEBUG];

/// Everything that options can say.
#[derive(Debug, Default)]
pub(crate) struct RunOptions {
    pub(crate) kernel: Option<PathBuf>,
    pub(crate) initrd: Option<InitrdSpec>,
    pub(crate) modules: Vec<ModuleSpec>,
    pub(crate) cmdline: Option<String>,
    pub(crate) entry: Option<Entry>,
    pub(crate) firmware: Option<FirmwareSpec>,
    pub(crate) root: Option<RootSpec>,
    pub(crate) command: Vec<String>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) cpus: CpusSpec,
    pub(crate) memory: MemorySpec,
    pub(crate) platform: PlatformSpec,
    pub(crate) serial: Option<ConsoleSpec>,
    /// Each with its value as it was given.
    pub(crate) devices: Vec<(DeviceSpec, String)>,
    pub(crate) policy: PolicySpec,
    pub(crate) quiet: bool,
    pub(crate) escape: EscapeKey,
    pub(crate) name: Option<String>,
    pub(crate) api_socket: Option<PathBuf>,
    pub(crate) no_instance: bool,
    pub(crate) paused: bool,
    pub(crate) detach: bool,
    pub(crate) restore: Option<PathBuf>,
    pub(crate) base: Option<PathBuf>,
    pub(crate) sandbox: SandboxChoice,
    pub(crate) stop_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) dry_run: bool,
    pub(crate) gdb: Option<Place>,
    pub(crate) log: Option<LogChoice>,
    pub(crate) metrics: Option<MetricsChoice>,
    pub(crate) timeline: Option<TimelineChoice>,
    pub(crate) kvm: Option<PathBuf>,
}

/// One option of `run`, which is a key of a configuration file too.
#[derive(Clone, Copy)]
pub(crate) struct RunOption {
    /// Without dashes.
    pub(crate) name: &'static str,
    /// Its value as the help shows it; empty for a flag.
    pub(crate) value: &'static str,
    /// The values it takes.
    pub(crate) takes: Takes,
    heading: &'static str,
    /// One line.
    help: &'static str,
    /// More text for `--help`.
    more: &'static str,
    /// Values that a shell offers.
    pub(crate) words: &'static [&'static str],
    /// The next step for a value that cannot be understood.
    pub(crate) advice: &'static str,
    is_hidden: bool,
    read: fn(&mut RunOptions, &Given) -> Result<(), Wrong>,
    /// The values that say what is not the default.
    write: fn(&Settings) -> Vec<String>,
}

/// The values that an option takes: how often on a command line, and as which values in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing on a command line; true or false in a file.
    Flag,
    /// A path.
    Path,
    /// Text.
    Text,
    /// Text, in a file also a list of its words.
    Line,
    /// Words: text, a number or a table.
    Words,
    /// Parts: text, a number or a list of them.
    Parts,
    /// A number.
    Number,
    /// on or off; true or false in a file.
    Switch,
    /// Nothing, or words behind an equals sign; true, false, text or a table in a file.
    Optional,
    /// Words, any number of times.
    Many,
}

const TEXT: RunOption = RunOption {
    name: "",
    value: "",
    takes: Takes::Text,
    heading: "",
    help: "",
    more: "",
    words: &[],
    advice: "",
    is_hidden: false,
    read: |_, _| Ok(()),
    write: |_| Vec::new(),
};

const PATH: RunOption = RunOption {
    value: "PATH",
    takes: Takes::Path,
    ..TEXT
};

const FLAG: RunOption = RunOption {
    takes: Takes::Flag,
    ..TEXT
};

/// All, in the order of the help, of an equivalent command, and of their effect.
pub(crate) fn all() -> impl Iterator<Item = &'static RunOption> + Clone {
    let groups = [
        boot::OPTIONS,
        cpus::OPTIONS,
        devices::OPTIONS,
        console::OPTIONS,
        control::OPTIONS,
        debug::OPTIONS,
    ];
    groups.into_iter().flatten()
}

/// The option called `name`.
pub(crate) fn named(name: &str) -> Option<&'static RunOption> {
    all().find(|option| option.name == name)
}

/// A value, where there is one.
fn one<T: ToString>(value: Option<T>) -> Vec<String> {
    value.iter().map(T::to_string).collect()
}

/// A value, where it is not the default.
fn changed<T: ToString + Default + PartialEq>(value: &T) -> Vec<String> {
    one((*value != T::default()).then_some(value).map(T::to_string))
}

/// A flag, where it is set.
fn flag(is_set: bool) -> Vec<String> {
    one(is_set.then_some(""))
}

/// Reads `values` into what they mean.
pub(crate) fn read(values: &Values) -> Result<RunOptions, Failure> {
    let mut options = RunOptions::default();
    for option in all() {
        for given in values.of(option.name) {
            let read = (option.read)(&mut options, given);
            read.map_err(|wrong| wrong.of(option, given))?;
        }
    }
    Ok(options)
}
