//! The meaning of a reset, a crash and a pause of the guest.

use serde::{Deserialize, Serialize};

use crate::{Fault, Given, Unknown};

/// The meaning of a reset, a crash and a pause of the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PolicySpec {
    /// A reset that the guest asks for.
    pub on_reboot: OnReboot,
    /// A panic or triple fault.
    pub on_crash: OnCrash,
    /// The guest's wall clock after a pause.
    pub clock_after_pause: ClockAfterPause,
}

words_of! {
    /// The action on a reset that the guest asks for.
    OnReboot {
        /// It ends the run.
        #[default]
        Exit = "exit",
        /// It ends the run, which has failed.
        Fail = "fail",
        /// The guest starts anew in the same process.
        Reboot = "reboot",
    }
}

words_of! {
    /// The action on a panic or triple fault of the guest.
    OnCrash {
        /// It ends the run.
        #[default]
        Exit = "exit",
        /// The guest starts anew in the same process.
        Reboot = "reboot",
        /// The guest is kept, paused, for inspection.
        Pause = "pause",
    }
}

words_of! {
    /// The guest's wall clock after a pause.
    ClockAfterPause {
        /// It continues from the pause.
        #[default]
        Keep = "keep",
        /// It is corrected at once.
        CatchUp = "catch-up",
    }
}

impl OnReboot {
    /// One of [`WORDS`](Self::WORDS).
    ///
    /// # Errors
    /// [`Unknown::Action`].
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        Ok(Self::named(given.as_text()).ok_or(Unknown::Action)?)
    }
}

impl OnCrash {
    /// One of [`WORDS`](Self::WORDS).
    ///
    /// # Errors
    /// [`Unknown::Action`].
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        Ok(Self::named(given.as_text()).ok_or(Unknown::Action)?)
    }
}

impl ClockAfterPause {
    /// One of [`WORDS`](Self::WORDS).
    ///
    /// # Errors
    /// [`Unknown::Action`].
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        Ok(Self::named(given.as_text()).ok_or(Unknown::Action)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_written_as_it_is_read() {
        for word in OnReboot::WORDS {
            let action = OnReboot::parse(&Given::text(word)).unwrap();
            assert_eq!(action.to_string(), *word);
        }
        for word in ClockAfterPause::WORDS {
            let action = ClockAfterPause::parse(&Given::text(word)).unwrap();
            assert_eq!(action.to_string(), *word);
        }
        assert!(OnReboot::parse(&Given::text("pause")).is_err());
        assert!(OnCrash::parse(&Given::text("")).is_err());
        assert!(ClockAfterPause::parse(&Given::text("catchup")).is_err());
    }
}
