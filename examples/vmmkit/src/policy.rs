//! What a reset and a crash of the guest do, and its clocks after a pause: `--on-reboot`, `--on-crash`,
//! `--clock-after-pause`.

use vmmkit_vmm::{ClockPolicy, MachineConfig, OnCrash, OnReboot};

use crate::cli::RunOptions;
use crate::failure::Failure;
use crate::settings::shown;

/// The options' value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) on_reboot: OnReboot,
    /// A reset that ends the run is a failure.
    pub(crate) reset_fails: bool,
    pub(crate) on_crash: OnCrash,
    /// After a pause.
    pub(crate) clock: ClockPolicy,
}

impl Policy {
    /// That of `machine`.
    pub(crate) fn with(machine: &MachineConfig, reset_fails: bool) -> Self {
        Self {
            on_reboot: machine.on_reboot,
            reset_fails,
            on_crash: machine.on_crash,
            clock: machine.clock_after_pause,
        }
    }
}

/// What `options` say.
pub(crate) fn of(options: &RunOptions) -> Result<Policy, Failure> {
    let reboot = options.on_reboot.as_deref().map(on_reboot).transpose()?;
    let crash = options.on_crash.as_deref().map(on_crash).transpose()?;
    let clock = options.clock_after_pause.as_deref();
    let clock = clock.map(clock_after_pause).transpose()?;
    let (on_reboot, reset_fails) = reboot.unwrap_or_default();
    Ok(Policy {
        on_reboot,
        reset_fails,
        on_crash: crash.unwrap_or_default(),
        clock: clock.unwrap_or_default(),
    })
}

/// `--on-reboot`, and whether a reset is a failure.
fn on_reboot(text: &str) -> Result<(OnReboot, bool), Failure> {
    match text {
        "exit" => Ok((OnReboot::Exit, false)),
        "fail" => Ok((OnReboot::Exit, true)),
        "reboot" => Ok((OnReboot::Reboot, false)),
        _ => Err(unknown("--on-reboot", text, "give exit, fail or reboot")),
    }
}

/// `--on-crash`.
fn on_crash(text: &str) -> Result<OnCrash, Failure> {
    match text {
        "exit" => Ok(OnCrash::Exit),
        "reboot" => Ok(OnCrash::Reboot),
        "pause" => Ok(OnCrash::Pause),
        _ => Err(unknown("--on-crash", text, "give exit, reboot or pause")),
    }
}

/// `--clock-after-pause`.
fn clock_after_pause(text: &str) -> Result<ClockPolicy, Failure> {
    match text {
        "keep" => Ok(ClockPolicy::Keep),
        "catch-up" => Ok(ClockPolicy::CatchUp),
        _ => {
            let next = "give keep or catch-up";
            Err(unknown("--clock-after-pause", text, next))
        }
    }
}

fn unknown(option: &str, text: &str, next: &str) -> Failure {
    let text = shown(text);
    Failure::usage(format!("{option} {text}: there is no such action"), next)
}

/// The options that say these; none for what happens anyway.
pub(crate) fn options(policy: Policy) -> Vec<&'static str> {
    let on_reboot = match policy.on_reboot {
        OnReboot::Exit if policy.reset_fails => Some("--on-reboot fail"),
        OnReboot::Exit => None,
        OnReboot::Reboot => Some("--on-reboot reboot"),
    };
    let on_crash = match policy.on_crash {
        OnCrash::Exit => None,
        OnCrash::Reboot => Some("--on-crash reboot"),
        OnCrash::Pause => Some("--on-crash pause"),
    };
    let catches_up = policy.clock == ClockPolicy::CatchUp;
    let clock = catches_up.then_some("--clock-after-pause catch-up");
    on_reboot.into_iter().chain(on_crash).chain(clock).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_written_as_it_is_read() {
        let of = |reboot: &str, crash: &str| {
            let text = |text: &str| Some(text.to_owned());
            let policy = of(&RunOptions {
                on_reboot: text(reboot),
                on_crash: text(crash),
                ..RunOptions::default()
            });
            options(policy.unwrap())
        };
        for text in ["reboot", "pause"] {
            assert_eq!(of("exit", text), [format!("--on-crash {text}")]);
        }
        for text in ["reboot", "fail"] {
            assert_eq!(of(text, "exit"), [format!("--on-reboot {text}")]);
        }
        assert!(of("exit", "exit").is_empty());
        for (text, told) in [
            ("keep", None),
            ("catch-up", Some("--clock-after-pause catch-up")),
        ] {
            let policy = Policy {
                clock: clock_after_pause(text).unwrap(),
                ..Policy::default()
            };
            assert_eq!(options(policy), Vec::from_iter(told));
        }
    }

    #[test]
    fn what_is_no_action_is_refused() {
        assert!(on_reboot("pause").is_err());
        assert!(on_crash("").is_err());
        assert!(clock_after_pause("catchup").is_err());
    }
}
