//! Consoles.

use vmmkit_machine_spec::{ConsoleSpec, DeviceSpec};

use super::{CONSOLE, FLAG, RunOption, TEXT, devices};

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
