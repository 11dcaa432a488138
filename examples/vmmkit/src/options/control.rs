//! How the machine is controlled, and what its end means.

use std::num::IntErrorKind;
use std::time::Duration;

use vmmkit_machine_spec::{ClockAfterPause, OnCrash, OnReboot, path_text};

use super::{CONTROL, FLAG, PATH, RunOption, TEXT, Takes, Wrong, changed, flag, one};
use crate::failure::Failure;
use crate::sandbox_choice::SandboxChoice;
use crate::settings::{STOP_TIMEOUT, shown};

pub(super) const OPTIONS: &[RunOption] = &[
    RunOption {
        name: "name",
        value: "NAME",
        heading: CONTROL,
        help: "Name of the guest, for other commands [default: vmmkit-PID]",
        more: "`vmmkit list` prints it.",
        read: |options, given| {
            options.name = Some(machine_name(given.as_text())?);
            Ok(())
        },
        write: |settings| one(settings.control.name.as_ref()),
        ..TEXT
    },
    RunOption {
        name: "api-socket",
        heading: CONTROL,
        help: "Additional UNIX socket for the control API",
        more: "At a path of your choice.",
        read: |options, given| {
            options.api_socket = Some(given.path(given.as_text()));
            Ok(())
        },
        write: |settings| one(settings.control.socket.as_deref().map(path_text::of_path)),
        ..PATH
    },
    RunOption {
        name: "no-instance",
        heading: CONTROL,
        help: "Do not register the guest for other commands",
        read: |options, _| {
            options.no_instance = true;
            Ok(())
        },
        write: |settings| flag(settings.control.unlisted),
        ..FLAG
    },
    RunOption {
        name: "paused",
        heading: CONTROL,
        help: "Create the guest, but wait for `vmmkit boot`",
        read: |options, _| {
            options.paused = true;
            Ok(())
        },
        write: |settings| flag(settings.paused),
        ..FLAG
    },
    RunOption {
        name: "detach",
        heading: CONTROL,
        help: "Run the guest in the background, and print its name once it runs",
        more: "In a session of its own, which neither Ctrl-C nor the end of this one reaches; `vmmkit wait` has its \
               exit code. Its serial console is null unless --serial says more; what it would say on a terminal \
               is lost, but for --log.",
        read: |options, _| {
            options.detach = true;
            Ok(())
        },
        write: |settings| flag(settings.detach),
        ..FLAG
    },
    RunOption {
        name: "detached",
        heading: CONTROL,
        help: "This is the process that --detach has started",
        is_hidden: true,
        read: |options, _| {
            options.detach = true;
            Ok(())
        },
        ..FLAG
    },
    RunOption {
        name: "restore",
        value: "DIR",
        heading: CONTROL,
        help: "Continue where `vmmkit snapshot` saved a guest",
        more: "Options that are not given are those of the saved guest, but for its name and what it logs. Files \
               of a snapshot from somebody else are opened as it says: look at it first, with `vmmkit inspect DIR/`. A disk that is not what it was when the guest was saved is refused; \
               --disk gives another in its place.",
        read: |options, given| {
            options.restore = Some(given.path(given.as_text()));
            Ok(())
        },
        write: |settings| one(settings.restore.as_deref().map(path_text::of_path)),
        ..PATH
    },
    RunOption {
        name: "base",
        value: "DIR",
        heading: CONTROL,
        help: "Snapshots that the one of --restore builds on",
        more: "A directory with such a snapshot, or with directories of them. They are sought beside the restored one too. One \
               that is not the one it was, or that was copied without its times, is refused.",
        read: |options, given| {
            options.base = Some(given.path(given.as_text()));
            Ok(())
        },
        write: |settings| one(settings.base.as_deref().map(path_text::of_path)),
        ..PATH
    },
    RunOption {
        name: "on-reboot",
        value: "WHAT",
        heading: CONTROL,
        help: "Action on a reset by the guest [default: exit]",
        more: "exit, fail (exit with code 3), or reboot in the same process.",
        words: OnReboot::WORDS,
        advice: "give exit, fail or reboot",
        read: |options, given| {
            options.policy.on_reboot = OnReboot::parse(given)?;
            Ok(())
        },
        write: |settings| changed(&settings.spec.policy.on_reboot),
        ..TEXT
    },
    RunOption {
        name: "on-crash",
        value: "WHAT",
        heading: CONTROL,
        help: "Action on a panic or triple fault [default: exit]",
        more: "exit, reboot, or pause, which keeps the crashed guest for inspection.",
        words: OnCrash::WORDS,
        advice: "give exit, reboot or pause",
        read: |options, given| {
            options.policy.on_crash = OnCrash::parse(given)?;
            Ok(())
        },
        write: |settings| changed(&settings.spec.policy.on_crash),
        ..TEXT
    },
    RunOption {
        name: "clock-after-pause",
        value: "WHAT",
        heading: CONTROL,
        help: "Wall clock after a pause [default: keep]",
        more: "keep (it continues from the pause) or catch-up (it is corrected at once).",
        words: ClockAfterPause::WORDS,
        advice: "give keep or catch-up",
        read: |options, given| {
            options.policy.clock_after_pause = ClockAfterPause::parse(given)?;
            Ok(())
        },
        write: |settings| changed(&settings.spec.policy.clock_after_pause),
        ..TEXT
    },
    RunOption {
        name: "sandbox",
        value: "HOW",
        heading: CONTROL,
        help: "Confinement of the process while the guest runs [default: on]",
        more: "on: each thread keeps the system calls that it needs, files are closed, and capabilities are \
               dropped; another system call ends the process with code 5. There are no core files, and no debugger \
               attaches to the process. log: the same, but such calls are made, and the host's kernel logs them. off: \
               nothing is confined.",
        words: SandboxChoice::WORDS,
        advice: "give on, log or off",
        read: |options, given| {
            options.sandbox = SandboxChoice::parse(given)?;
            Ok(())
        },
        write: |settings| changed(&settings.sandbox),
        ..TEXT
    },
    RunOption {
        name: "stop-timeout",
        value: "SECONDS",
        takes: Takes::Number,
        heading: CONTROL,
        help: "Time limit for a requested power-off [default: 5]",
        more: "A guest that has not powered off by then is stopped.",
        read: |options, given| {
            options.stop_timeout = Some(seconds("--stop-timeout", given.as_text(), 0)?);
            Ok(())
        },
        write: |settings| {
            let timeout = settings.stop_timeout;
            one((timeout != STOP_TIMEOUT).then_some(timeout.as_secs()))
        },
        ..TEXT
    },
    RunOption {
        name: "timeout",
        value: "SECONDS",
        takes: Takes::Number,
        heading: CONTROL,
        help: "Time limit for the guest, which is stopped at its end",
        more: "The exit code is 124 then.",
        read: |options, given| {
            options.timeout = Some(seconds("--timeout", given.as_text(), 1)?);
            Ok(())
        },
        write: |settings| one(settings.timeout.map(|timeout| timeout.as_secs())),
        ..TEXT
    },
];

/// The name is also that of a folder.
fn machine_name(text: &str) -> Result<String, Wrong> {
    if vmmkit_control::is_name(text) {
        return Ok(text.to_owned());
    }
    Err(Failure::usage(
        format!("--name {text:?}: this cannot be a machine's name"),
        "use 1 to 64 letters, digits, -, _ and ., with no . at the start",
    )
    .into())
}

/// The value of `option`, at least `least`.
fn seconds(option: &str, text: &str, least: u64) -> Result<Duration, Wrong> {
    // A day: what is meant by more is a guest that must not be stopped.
    let most = 86_400;
    let next = format!("give a whole number from {least} to {most}, such as {option} 5");
    let reason = match text.parse::<u64>() {
        Ok(seconds) if seconds < least => "the guest would not run at all",
        Ok(seconds) if seconds <= most => return Ok(Duration::from_secs(seconds)),
        Ok(_) => "this is longer than a day",
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => "this is longer than a day",
        Err(_) => "this is not a number of seconds",
    };
    Err(Failure::usage(format!("{option} {}: {reason}", shown(text)), next).into())
}
