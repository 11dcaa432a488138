//! `wait`: until guests end, with their exit codes.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use vmmkit_control::{Event, EventLines};

use super::ask::{self, AskError, Target, together};
use super::options::Whom;
use super::{nobody, write_json};
use crate::failure::Failure;
use crate::{exit_code, generate};

/// How long nothing may come: a process that is suspended sends not even its heartbeat.
const PATIENCE: Duration = Duration::from_secs(365 * 86_400);

/// The end of a guest, as its process told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct End {
    name: String,
    /// As the events `ended` and `failed` tell it; none where the process ended without a word.
    outcome: Option<String>,
    /// The exit code of the process.
    pub(super) exit_code: u8,
}

/// Waits until machines end. The exit code is theirs: that of the first whose is not 0, in the order in which they
/// were named.
pub(super) fn wait(whom: &Whom) -> Result<ExitCode, Failure> {
    let targets = whom.targets()?;
    if targets.is_empty() {
        return nobody(whom.json);
    }
    // All of them: the end of one that is waited for later would not be heard.
    let ends = together(targets.len(), &targets, |target| {
        let end = end(target)?;
        if !whom.json {
            // Nobody may listen any more.
            let _ = generate::write(format!("{}\n", line(&end)).as_bytes());
        }
        Ok(end)
    });
    let mut known = Vec::new();
    let refused = ask::sort(&targets, ends, |end| known.push(end));
    if whom.json {
        write_json(&known)?;
    }
    let code = known
        .iter()
        .map(|end| end.exit_code)
        .find(|code| *code != 0);
    Ok(code.map_or(refused, ExitCode::from))
}

/// The end of `target`, when it comes.
fn end(target: &Target) -> Result<End, AskError> {
    Ok(end_of(target)?.come())
}

/// The events of `target` from now on, which tell of its end.
pub(super) fn end_of(target: &Target) -> Result<Coming, AskError> {
    Ok(Coming {
        name: target.name.as_ref().unwrap_or(&target.option).clone(),
        events: target.client().patient_for(PATIENCE).events()?,
    })
}

/// An end that is still to come.
pub(super) struct Coming {
    name: String,
    events: EventLines,
}

impl Coming {
    /// Waits for it.
    pub(super) fn come(self) -> End {
        let mut events = self.events.map_while(Result::ok);
        let last = events.find(|event| ["ended", "failed"].contains(&&*event.kind));
        of(self.name, last)
    }
}

/// The end that the last event of a machine tells of.
fn of(name: String, last: Option<Event>) -> End {
    let exit_code = last.as_ref().and_then(|event| event.exit_code);
    End {
        name,
        outcome: last.and_then(|event| event.detail),
        exit_code: exit_code.unwrap_or(exit_code::HOST_ERROR),
    }
}

/// As people read it.
pub(super) fn line(end: &End) -> String {
    let End {
        name, exit_code, ..
    } = end;
    match &end.outcome {
        Some(outcome) => format!("{name}: exit code {exit_code} ({outcome})"),
        None => format!("{name}: its process ended without a word"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(detail: &str, exit_code: Option<u8>) -> Option<Event> {
        Some(Event {
            kind: "ended".to_owned(),
            detail: Some(detail.to_owned()),
            exit_code,
            ..Event::default()
        })
    }

    #[test]
    fn an_end_is_told_with_its_exit_code() {
        let of = |last| of("web".to_owned(), last);
        let end = of(last("debug-exit 7", Some(7)));
        assert_eq!(line(&end), "web: exit code 7 (debug-exit 7)");
        let end = of(None);
        assert_eq!(line(&end), "web: its process ended without a word");
        assert_eq!(end.exit_code, 1);
        // A process of an older version, which does not say.
        assert_eq!(of(last("power-off", None)).exit_code, 1);
    }
}
