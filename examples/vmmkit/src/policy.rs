//! What a reset and a crash of the guest do: `--on-reboot` and `--on-crash`.

use vmmkit_vmm::{OnCrash, OnReboot};

use crate::cli::RunOptions;
use crate::failure::Failure;
use crate::settings::shown;

/// What `options` say.
pub(crate) fn of(options: &RunOptions) -> Result<(OnReboot, OnCrash), Failure> {
    let reboot = options.on_reboot.as_deref().map(on_reboot).transpose()?;
    let crash = options.on_crash.as_deref().map(on_crash).transpose()?;
    Ok((reboot.unwrap_or_default(), crash.unwrap_or_default()))
}

/// `--on-reboot`.
fn on_reboot(text: &str) -> Result<OnReboot, Failure> {
    match text {
        "exit" => Ok(OnReboot::Exit),
        "reboot" => Ok(OnReboot::Reboot),
        _ => Err(unknown("--on-reboot", text, "give exit or reboot")),
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

fn unknown(option: &str, text: &str, next: &str) -> Failure {
    let text = shown(text);
    Failure::usage(format!("{option} {text}: there is no such action"), next)
}

/// The options that say these; none for what happens anyway.
pub(crate) fn options(on_reboot: OnReboot, on_crash: OnCrash) -> Vec<&'static str> {
    let on_reboot = match on_reboot {
        OnReboot::Exit => None,
        OnReboot::Reboot => Some("--on-reboot reboot"),
    };
    let on_crash = match on_crash {
        OnCrash::Exit => None,
        OnCrash::Reboot => Some("--on-crash reboot"),
        OnCrash::Pause => Some("--on-crash pause"),
    };
    on_reboot.into_iter().chain(on_crash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_written_as_it_is_read() {
        for text in ["reboot", "pause"] {
            let crash = on_crash(text).unwrap();
            let told = options(OnReboot::Exit, crash);
            assert_eq!(told, [format!("--on-crash {text}")]);
        }
        assert_eq!(
            options(on_reboot("reboot").unwrap(), OnCrash::Exit),
            ["--on-reboot reboot"]
        );
        assert!(options(on_reboot("exit").unwrap(), on_crash("exit").unwrap()).is_empty());
    }

    #[test]
    fn what_is_no_action_is_refused() {
        assert!(on_reboot("pause").is_err());
        assert!(on_crash("").is_err());
    }
}
