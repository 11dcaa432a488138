//! `snapshot`: a guest is saved to a directory.

use std::path;
use std::process::ExitCode;
use std::time::Duration;

use vmmkit_control::{ClientError, Problem, SnapshotInfo, SnapshotRequest};
use vmmkit_machine_spec::path_text;

use super::ask::{Choice, Target};
use super::options::SnapshotOptions;
use super::{at_most_one, write_json};
use crate::control::runtime_folder;
use crate::exit_code;
use crate::failure::Failure;

/// How long saving may take: RAM of 1 TiB on a slow disk.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Has the machine called `name` save itself as `how` says, unless there is one called `clone`; `room` is the advice where
/// the disk is full. Returns how long its guest was paused.
pub(crate) fn of_guest(
    name: &str,
    clone: Option<&str>,
    how: &SnapshotRequest,
    room: &str,
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
    let saved = ask(&target, how, room)?;
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
        apart: false,
    };
    let room = "give a directory with room for the guest's memory";
    let saved = ask(&one.target()?, &request, room)?;
    if options.one.json {
        return write_json(&saved);
    }
    Ok(exit_code::SUCCESS.into())
}

fn ask(target: &Target, request: &SnapshotRequest, room: &str) -> Result<SnapshotInfo, Failure> {
    let request = serde_json::to_value(request).ok();
    let client = target.client().patient_for(PATIENCE);
    let answer = client.post::<SnapshotInfo>("/v1/machine/snapshot", request.as_ref());
    answer.map_err(|error| {
        let code = match &error {
            ClientError::Refused(problem) => problem.code.clone(),
            _ => String::new(),
        };
        let failure = target.refused(error);
        match code.as_str() {
            Problem::NO_SPACE => failure.with_next(room),
            Problem::NO_PERMISSION => failure.with_next(
                "give a directory that belongs to the user who runs the guest: a confined guest of root's has no \
                 capabilities, and writes where its owner root may (--sandbox off leaves them)",
            ),
            _ => failure,
        }
    })
}
