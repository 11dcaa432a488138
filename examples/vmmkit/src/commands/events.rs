//! `events`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use vmmkit_control::Event;

use super::nothing_more;
use super::options::OneOptions;
use crate::exit_code;
use crate::failure::Failure;

/// How long nothing may come: a heartbeat does every 15 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes events as they happen, a line each, until the machine ends.
pub(super) fn events(options: &OneOptions) -> Result<ExitCode, Failure> {
    let (one, words) = options.one.split(&options.words);
    nothing_more(words)?;
    let target = one.target()?;
    let events = target.client().patient_for(PATIENCE).events();
    let events = events.map_err(|error| target.refused(error))?;
    for event in events {
        let event = event.map_err(|error| target.refused(error))?;
        let line = match options.one.json {
            true => serde_json::to_string(&event)
                .map_err(|error| Failure::host("JSON", &error, "please report this"))?,
            false => line(&event),
        };
        let mut stdout = io::stdout();
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            Ok(()) => {}
            // `vmmkit events | head` has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(Failure::host("stdout", &error, "write to another place")),
        }
    }
    Ok(exit_code::SUCCESS.into())
}

fn line(event: &Event) -> String {
    let (seconds, rest) = (event.age_milliseconds / 1000, event.age_milliseconds % 1000);
    let detail = event.detail.as_deref().unwrap_or_default();
    let line = format!("{seconds:>6}.{rest:03}  {} {detail}", event.kind);
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event = Event {
            kind: "ended".to_owned(),
            age_milliseconds: 12_034,
            detail: Some("power-off".to_owned()),
            exit_code: None,
        };
        assert_eq!(line(&event), "    12.034  ended power-off");
    }
}
