//! `migrate`: a guest goes to another process.

use std::io::IsTerminal;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{self, Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use vmmkit_control::{ClientError, MigrationInfo, MigrationProgress, MigrationRequest};
use vmmkit_host_io::{ThreadRole, ThreadSpec};
use vmmkit_machine_spec::path_text;

use super::ask::Target;
use super::options::MigrateOptions;
use super::{nothing_more, write_json};
use crate::failure::Failure;
use crate::private::Private;
use crate::{exit_code, messages};

/// How long it may take: memory of 1 TiB on a slow network.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often it is said how far it has come.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a command may take to end once the guest has gone, or has not.
const LAST: Duration = Duration::from_secs(5);

/// Where a guest goes.
enum To {
    Socket(PathBuf),
    Command(String),
}

type Answer = Result<MigrationInfo, ClientError>;

/// Has a machine move its guest.
pub(super) fn migrate(options: &MigrateOptions) -> Result<ExitCode, Failure> {
    let (one, words) = options.one.split(&options.words);
    nothing_more(words)?;
    let to = parse(&options.to)?;
    let target = one.target()?;
    let is_shown = !options.one.json && std::io::stderr().is_terminal();
    let moved = match to {
        To::Socket(path) => {
            let answer = ask(&target, &path, options.downtime, || ())?;
            wait(&target, &answer, is_shown)
        }
        To::Command(command) => by_command(&target, &command, options.downtime, is_shown)?,
    };
    let moved = moved.map_err(|error| target.refused(error).with_next(NEXT))?;
    if options.one.json {
        write_json(&moved)?;
    } else {
        messages::say(&line(&moved));
    }
    Ok(match moved.acknowledged {
        true => exit_code::SUCCESS.into(),
        false => exit_code::UNACKNOWLEDGED.into(),
    })
}

/// Advice where a guest stays.
const NEXT: &str =
    "see what `vmmkit receive` says there; `vmmkit stat` shows what the guest does here";

fn parse(text: &str) -> Result<To, Failure> {
    let wrong = || {
        Failure::usage(
            format!("--to {text:?}: this is not where a guest can go"),
            "give unix:PATH, the socket of `vmmkit receive unix:PATH`, or exec:COMMAND, such as exec:'ssh host vmmkit receive -'",
        )
    };
    match text.split_once(':') {
        Some(("unix", path)) if !path.is_empty() => {
            let absolute = path::absolute(path_text::path(path)).map_err(|_| wrong())?;
            Ok(To::Socket(absolute))
        }
        Some(("exec", command)) if !command.trim().is_empty() => {
            Ok(To::Command(command.to_owned()))
        }
        _ => Err(wrong()),
    }
}

/// Asks the machine on a thread of its own, which calls `then` at its end.
fn ask(
    target: &Target,
    path: &Path,
    downtime: u32,
    then: impl FnOnce() + Send + 'static,
) -> Result<Receiver<Answer>, Failure> {
    let request = MigrationRequest {
        to: format!("unix:{}", path_text::of_path(path)),
        downtime_milliseconds: Some(downtime),
    };
    let request = serde_json::to_value(request).ok();
    let client = target.client().patient_for(PATIENCE);
    let (send, answer) = channel();
    let asking = move || {
        let answer = client.post::<MigrationInfo>("/v1/machine/migrate", request.as_ref());
        // Whoever waits for it is there until it comes.
        let _ = send.send(answer);
        then();
    };
    ThreadSpec::new(ThreadRole::Helper, "migrate")
        .spawn(asking)
        .map_err(no_thread)?;
    Ok(answer)
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::host(
        "migrate",
        &error,
        "raise the limit of processes (ulimit -u)",
    )
}

/// Waits for the answer, and shows how far it has come.
fn wait(target: &Target, answer: &Receiver<Answer>, is_shown: bool) -> Answer {
    loop {
        match answer.recv_timeout(INTERVAL) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let gone = std::io::ErrorKind::BrokenPipe;
                return Err(ClientError::Transfer(gone.into()));
            }
        }
        let client = target.client();
        let progress = client.get::<MigrationProgress>("/v1/machine/migration");
        if let Some(progress) = progress.ok().filter(|it| is_shown && it.under_way) {
            let (sent, left) = (progress.sent_bytes >> 20, progress.left_bytes >> 20);
            messages::say(&format!(
                "round {}: {sent} MiB sent, {left} MiB left",
                progress.rounds + 1
            ));
        }
    }
}

/// Moves the guest by a command whose stdin and stdout are a socket of the guest's process: a confined process starts no
/// other.
fn by_command(
    target: &Target,
    command: &str,
    downtime: u32,
    is_shown: bool,
) -> Result<Answer, Failure> {
    let folder = Private::new("migrate")?;
    let path = folder.path().join("socket");
    let failed = |error: std::io::Error| {
        Failure::host(
            &path.display().to_string(),
            &error,
            "set TMPDIR to a directory of yours with a short path",
        )
    };
    let listener = UnixListener::bind(&path).map_err(failed)?;
    let own = path.clone();
    let answer = ask(target, &path, downtime, move || {
        // Whoever waits for the guest's process need not any more.
        let _ = UnixStream::connect(own);
    })?;
    let (stream, _) = listener.accept().map_err(failed)?;
    // The machine has answered without coming here.
    if let Ok(answer) = answer.try_recv() {
        return Ok(answer);
    }
    let mut child = start(command, stream)?;
    let answer = wait(target, &answer, is_shown);
    let until = Instant::now() + LAST;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(answer)
}

fn start(command: &str, stream: UnixStream) -> Result<Child, Failure> {
    let failed = |error: std::io::Error| {
        let next = "give a command that sh(1) can run";
        Failure::host(&format!("--to exec:{command}"), &error, next)
    };
    let output = stream.try_clone().map_err(failed)?;
    let (input, output) = (
        Stdio::from(std::os::fd::OwnedFd::from(stream)),
        Stdio::from(std::os::fd::OwnedFd::from(output)),
    );
    let mut shell = Command::new("sh");
    let shell = shell
        .arg("-c")
        .arg(path_text::path(command))
        .stdin(input)
        .stdout(output);
    // The command holds the stream alone from here on: its end is that of the stream.
    shell.spawn().map_err(failed)
}

/// As people read it.
fn line(moved: &MigrationInfo) -> String {
    let name = &moved.machine.name;
    let milliseconds = moved.pause_microseconds as f64 / 1e3;
    let mebibytes = moved.sent_bytes as f64 / f64::from(1 << 20);
    match moved.acknowledged {
        true => format!(
            "{name}: migrated: paused for {milliseconds:.1} ms, {mebibytes:.1} MiB in {} rounds",
            moved.rounds
        ),
        false => format!(
            "error: {name}: handed over, and the other side has not said that it runs there\n  next: look there; it does not \
             run here any more"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_goes_to_a_socket_or_by_a_command() {
        assert!(
            matches!(parse("unix:/run/x"), Ok(To::Socket(path)) if path == Path::new("/run/x"))
        );
        assert!(matches!(parse("unix:x"), Ok(To::Socket(path)) if path.is_absolute()));
        assert!(
            matches!(parse("exec:ssh host: x"), Ok(To::Command(command)) if command == "ssh host: x")
        );
        for text in ["", "unix:", "exec: ", "tcp:host:1", "/run/x"] {
            let failure = parse(text).err().unwrap();
            assert!(failure.text().contains("--to"), "{text}");
        }
    }
}
