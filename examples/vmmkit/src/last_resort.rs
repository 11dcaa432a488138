//! The end of the process, also where the machine does not come to its own.

use parking_lot::Mutex;

use vmmkit_host_io::{Signal, die_by, restore_all};

use crate::control::Presence;
use crate::messages;

/// The traces of the process on the host, which must not outlive it: removed once, by the first who asks.
#[derive(Default)]
pub(crate) struct LastResort(Mutex<Option<Presence>>);

impl LastResort {
    /// To remove `presence`.
    pub(crate) fn new(presence: Presence) -> Self {
        Self(Mutex::new(Some(presence)))
    }

    /// The machine has ended.
    pub(crate) fn leave(&self) {
        let presence = self.0.lock().take();
        if let Some(presence) = presence {
            presence.leave();
        }
    }

    /// Ends the process by `signal` although the machine has not ended: `hanging` devices do not come to
    /// rest. What they have under way is lost, as in a power cut.
    pub(crate) fn end(&self, signal: Signal, hanging: &[String]) -> ! {
        let what = match hanging {
            [] => "the machine".to_owned(),
            names => names.join(", "),
        };
        messages::say(&format!(
            "warning: {what} did not come to rest: the process ends without it"
        ));
        self.leave();
        restore_all();
        die_by(signal)
    }
}

impl std::fmt::Debug for LastResort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LastResort").finish_non_exhaustive()
    }
}
