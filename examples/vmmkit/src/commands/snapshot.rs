//! `snapshot`: a guest is saved to a directory.

use std::path;
use std::process::ExitCode;
use std::time::Duration;

use vmmkit_control::{SnapshotInfo, SnapshotRequest};
use vmmkit_machine_spec::path_text;

use super::ask::{Choice, Target};
use super::options::SnapshotOptions;
use super::{at_most_one, write_json};
use crate::control::runtime_folder;
use crate::exit_code;
use crate::failure::Failure;

/// How long saving may take: RAM of 1 TiB on a slow disk.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Has the machine called `name` save itself to `folder`, as `how` says, unless there is one called `clone`. Returns how
/// long its guest was paused.
pub(crate) fn of_guest(
    name: &str,
    clone: Option<&str>,
    how: &SnapshotRequest,
) -> Result<Duration, Failure> {
    if let Some(clone) = clone
        && runtime_folder().is_ok_and(|folder| folder.find(clone).is_ok())
    {
        return Err(Failure::usage(
            format!("--name {clone}: a guest of that name runs"),
            "give the clone another name",
        ));
    }
    let target = Choice::Named(name).target()?;
    let saved = ask(&target, how)?;
    Ok(Duration::from_micros(saved.pause_microseconds))
}

/// Has a machine save itself.
pub(super) fn snapshot(options: &SnapshotOptions) -> Result<ExitCode, Failure> {
    let (one, words) = options.one.split(&options.words);
    let missing = || {
        Failure::usage(
            "DIR: it is missing",
            "give the directory to save to, such as `vmmkit snapshot web /var/tmp/web`",
        )
    };
    let folder = at_most_one(words)?.ok_or_else(missing)?;
    let absolute = path::absolute(path_text::path(folder));
    let absolute = absolute.map_err(|_| missing())?;
    let request = SnapshotRequest {
        folder: path_text::of_path(&absolute),
        diff: options.diff,
        live: options.live,
        stop: options.stop,
    };
    let saved = ask(&one.target()?, &request)?;
    if options.one.json {
        return write_json(&saved);
    }
    Ok(exit_code::SUCCESS.into())
}

fn ask(target: &Target, request: &SnapshotRequest) -> Result<SnapshotInfo, Failure> {
    let request = serde_json::to_value(request).ok();
    let client = target.client().patient_for(PATIENCE);
    let answer = client.post::<SnapshotInfo>("/v1/machine/snapshot", request.as_ref());
    answer.map_err(|error| {
        let failure = target.refused(error);
        // As the host words EACCES.
        match failure.text().contains("Permission denied") {
            true => failure.with_next(
                "give a directory that belongs to the user who runs the guest: a confined guest of root's has no \
                 capabilities, and writes where its owner root may (--sandbox off leaves them)",
            ),
            false => failure,
        }
    })
}
