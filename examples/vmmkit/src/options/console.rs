//! Consoles.

use vmmkit_machine_spec::{ConsoleSpec, DeviceSpec};
use vmmkit_process::{EscapeKey, NoSuchKey};

use super::{CONSOLE, FLAG, RunOption, TEXT, changed, devices};
use crate::failure::Failure;
use crate::settings::shown;

const PLACES: &str = "give stdio, null, pty, file=PATH or socket=PATH";

pub(super) const OPTIONS: &[RunOption] = &[
    RunOption {
        name: "serial",
        value: "WHERE",
        heading: CONSOLE,
        help: "Destination of the serial console [default: stdio]",
        more: "stdio, null, pty, file=PATH or socket=PATH.",
        words: ConsoleSpec::WORDS,
        advice: PLACES,
        read: |options, given| {
            options.serial = Some(ConsoleSpec::parse(given)?);
            Ok(())
        },
        write: |settings| vec![settings.spec.serial_console().to_string()],
        ..TEXT
    },
    RunOption {
        name: "console",
        value: "WHERE",
        heading: CONSOLE,
        help: "A virtio console, hvc0 in the guest",
        more: "stdio, null, pty, file=PATH or socket=PATH; with stdio, --serial is null unless given.",
        words: ConsoleSpec::WORDS,
        advice: PLACES,
        read: |options, given| options.plug(DeviceSpec::Console(ConsoleSpec::parse(given)?), given),
        write: |settings| devices::of(settings, "console"),
        ..TEXT
    },
    RunOption {
        name: "escape",
        value: "KEY",
        heading: CONSOLE,
        help: "Key before vmmkit's own keys in a terminal [default: ctrl-a]",
        more: "ctrl-KEY or ^KEY with a letter or one of @ \\ ] ^ _, but not ctrl-h, i, j and m, which are other keys too; \
               or none: all keys are the guest's.",
        words: &["ctrl-a", "ctrl-]", "none"],
        advice: KEYS,
        read: |options, given| {
            options.escape = escape(given.as_text())?;
            Ok(())
        },
        write: |settings| changed(&settings.escape),
        ..TEXT
    },
    RunOption {
        name: "quiet",
        heading: CONSOLE,
        help: "Print only errors on stderr",
        read: |options, _| {
            options.quiet = true;
            Ok(())
        },
        ..FLAG
    },
];

const KEYS: &str = "give ctrl-KEY with a letter, such as --escape ctrl-e, or none";

/// The key that `text` names.
pub(crate) fn escape(text: &str) -> Result<EscapeKey, Failure> {
    let key = text.parse();
    key.map_err(|error: NoSuchKey| {
        Failure::usage(format!("--escape {}: {error}", shown(text)), KEYS)
    })
}
