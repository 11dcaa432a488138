//! Whom a command is for, and their answers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use vmmkit_control::{Client, ClientError, Instance, InstanceError, RuntimeFolder};
use vmmkit_host_io::{ThreadRole, ThreadSpec};

use super::no_folder;
use super::options::{Guest, One, Whom};
use crate::control;
use crate::exit_code;
use crate::failure::{Failure, chain};

/// A machine to ask.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// As the user called it.
    pub(super) option: String,
    /// Its name, if it was found by that.
    pub(super) name: Option<String>,
    pub(super) pid: Option<u32>,
    socket: PathBuf,
}

/// The machines' answers, in their order.
pub(super) type Answers<T> = Vec<Result<T, AskError>>;

/// Why a machine did not do what it was asked.
#[derive(Debug)]
pub(super) enum AskError {
    /// Its process is suspended, and was not asked.
    Suspended,
    /// It was to end, and has not.
    StillThere,
    Client(ClientError),
}

impl From<ClientError> for AskError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// How long an answer may take: a machine that has one gives it in milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Machines that are asked at the same time.
const AT_ONCE: usize = 32;

impl Target {
    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket).patient_for(PATIENCE)
    }

    /// Whether its process was stopped by a signal, or by Ctrl-Z: it would not answer (proc_pid_stat(5): the state
    /// follows the name, which is in parentheses). Unknown, and no, where there is no /proc.
    pub(super) fn is_suspended(&self) -> bool {
        let stat = self
            .pid
            .and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        let stat = stat.unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default();
        matches!(state.trim_start().chars().next(), Some('T' | 't'))
    }

    /// How to call its process.
    fn process(&self) -> String {
        self.pid
            .map_or_else(|| "its process".to_owned(), |pid| format!("process {pid}"))
    }

    fn at(path: &Path) -> Self {
        Self {
            option: format!("--api-socket {}", path.display()),
            name: None,
            pid: None,
            socket: path.to_owned(),
        }
    }

    fn named(folder: &RuntimeFolder, name: &str) -> Result<Self, Failure> {
        match folder.find(name) {
            Ok(instance) => Ok(instance.into()),
            Err(error @ InstanceError::NoSuch { .. }) => {
                let others = folder.instances().map_err(|error| no_folder(&error))?;
                let names: Vec<_> = others.into_iter().map(|other| other.name).collect();
                let next = match names.is_empty() {
                    true => "no guest runs now; `vmmkit run` boots one".to_owned(),
                    false => format!("these run: {}", names.join(", ")),
                };
                Err(Failure::because(
                    format!("{name}: {error}"),
                    Vec::new(),
                    next,
                ))
            }
            Err(InstanceError::BadName(_)) => Err(Failure::usage(
                format!("{name:?}: this cannot be a machine's name"),
                "`vmmkit list` shows the names",
            )),
            Err(error) => Err(no_folder(&error)),
        }
    }

    /// Why it did not do what it was asked, as its client tells it.
    pub(super) fn refused(&self, error: ClientError) -> Failure {
        self.failure(&error.into())
    }

    /// The same, where a device may be missing that `next` says how to have.
    pub(super) fn lacking(&self, error: ClientError, next: &str) -> Failure {
        let is_missing =
            matches!(&error, ClientError::Refused(problem) if problem.code == "no_such_device");
        let failure = self.refused(error);
        match is_missing {
            true => failure.with_next(next),
            false => failure,
        }
    }

    /// Why it did not do what it was asked.
    pub(super) fn failure(&self, error: &AskError) -> Failure {
        let pid = self.pid.map(|pid| pid.to_string()).unwrap_or_default();
        let error = match error {
            AskError::Client(error) => error,
            AskError::Suspended => {
                return Failure::because(
                    format!("{}: it is suspended ({})", self.option, self.process()),
                    Vec::new(),
                    format!(
                        "fg in its shell, or kill -CONT {pid}; `vmmkit stop` wakes it to end it"
                    ),
                );
            }
            AskError::StillThere => {
                return Failure::because(
                    format!("{}: it has not ended", self.option),
                    Vec::new(),
                    format!("kill its process: kill -9 {pid}"),
                );
            }
        };
        let mut reasons = chain(error);
        let what = format!("{}: {}", self.option, reasons.remove(0));
        let next = match error {
            ClientError::Connect { .. } => {
                "it may just have ended: `vmmkit list` shows which guests run".to_owned()
            }
            ClientError::Transfer(_) => format!(
                "{} does not answer within {} s: ask again; kill -9 ends it in any case",
                self.process(),
                PATIENCE.as_secs()
            ),
            ClientError::Refused(problem) if problem.code == "forbidden" => {
                "ask as the user who runs it, or as root".to_owned()
            }
            ClientError::Refused(problem) if problem.code == "busy" => "try again later".to_owned(),
            ClientError::Refused(_) => "`vmmkit stat` shows what the guest is and has".to_owned(),
            _ => "is it a machine of vmmkit, and of the same version?".to_owned(),
        };
        Failure::because(what, reasons, next)
    }
}

impl From<Instance> for Target {
    fn from(instance: Instance) -> Self {
        Self {
            option: instance.name.clone(),
            name: Some(instance.name),
            pid: instance.pid,
            socket: instance.socket,
        }
    }
}

impl Whom {
    /// Those whom a command is for: with --all there may be none.
    pub(super) fn targets(&self) -> Result<Vec<Target>, Failure> {
        if let Some(path) = &self.api_socket {
            return Ok(vec![Target::at(path)]);
        }
        let folder = control::runtime_folder().map_err(|error| no_folder(&error))?;
        if self.all {
            return all(&folder);
        }
        let mut names: Vec<&String> = Vec::new();
        for name in self.names.iter().chain(&self.name) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err(nobody_named("or --all"));
        }
        names
            .into_iter()
            .map(|name| Target::named(&folder, name))
            .collect()
    }
}

impl Guest {
    /// The one whom a command is for, whose name is the first of `words` unless an option says who it is;
    /// and the words that are left.
    pub(super) fn split<'a>(&'a self, words: &'a [String]) -> (Choice<'a>, &'a [String]) {
        match (&self.api_socket, &self.name, words) {
            (Some(path), _, _) => (Choice::At(path), words),
            (None, Some(name), _) => (Choice::Named(name), words),
            (None, None, [name, rest @ ..]) => (Choice::Named(name), rest),
            (None, None, []) => (Choice::Nobody, words),
        }
    }
}

impl One {
    /// See [`Guest::split`].
    pub(super) fn split<'a>(&'a self, words: &'a [String]) -> (Choice<'a>, &'a [String]) {
        self.guest.split(words)
    }
}

/// The one whom a command is for.
pub(super) enum Choice<'a> {
    At(&'a Path),
    Named(&'a str),
    Nobody,
}

impl Choice<'_> {
    /// It, if it can answer.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        let name = match self {
            Self::At(path) => return Ok(Target::at(path)),
            Self::Named(name) => name,
            Self::Nobody => return Err(nobody_named("or --api-socket PATH")),
        };
        let folder = control::runtime_folder().map_err(|error| no_folder(&error))?;
        let target = Target::named(&folder, name)?;
        match target.is_suspended() {
            true => Err(target.failure(&AskError::Suspended)),
            false => Ok(target),
        }
    }
}

fn nobody_named(or: &str) -> Failure {
    Failure::usage(
        "no guest was named",
        format!("give NAME {or}; `vmmkit list` shows the names"),
    )
}

/// All machines of this user.
pub(super) fn all(folder: &RuntimeFolder) -> Result<Vec<Target>, Failure> {
    let mut instances = folder.instances().map_err(|error| no_folder(&error))?;
    instances.sort_by(|one, other| natural(&one.name).cmp(&natural(&other.name)));
    Ok(instances.into_iter().map(Target::from).collect())
}

/// A name as people sort it: g2 comes before g10. Digits are a number, told by their count without leading
/// zeros and then themselves; the name decides between g2 and g02.
fn natural(name: &str) -> (Vec<(usize, String)>, &str) {
    let mut parts: Vec<(usize, String)> = Vec::new();
    let mut was_digit = None;
    for character in name.chars() {
        let is_digit = character.is_ascii_digit();
        if was_digit != Some(is_digit) {
            // A number comes before text.
            parts.push((if is_digit { 0 } else { usize::MAX }, String::new()));
            was_digit = Some(is_digit);
        }
        if let Some((length, part)) = parts.last_mut() {
            let is_leading = is_digit && part.is_empty() && character == '0';
            *length = length.saturating_add(usize::from(is_digit && !is_leading));
            if !is_leading {
                part.push(character);
            }
        }
    }
    (parts, name)
}

/// Asks all of `targets`, several at the same time, but for those that would not answer.
pub(super) fn each<T: Send>(
    targets: &[Target],
    ask: impl Fn(&Target) -> Result<T, ClientError> + Sync,
) -> Answers<T> {
    each_at_all(targets, |target| match target.is_suspended() {
        true => Err(AskError::Suspended),
        false => Ok(ask(target)?),
    })
}

/// The same for all of them, whatever they are at.
pub(super) fn each_at_all<T: Send>(
    targets: &[Target],
    ask: impl Fn(&Target) -> Result<T, AskError> + Sync,
) -> Answers<T> {
    together(AT_ONCE, targets, ask)
}

/// Asks all of `targets`, as many as `at_once` at the same time.
pub(super) fn together<T: Send>(
    at_once: usize,
    targets: &[Target],
    ask: impl Fn(&Target) -> Result<T, AskError> + Sync,
) -> Answers<T> {
    let ask = &ask;
    let mut answers = Vec::new();
    for some in targets.chunks(at_once.max(1)) {
        thread::scope(|scope| {
            let start = |target| {
                let thread = ThreadSpec::new(ThreadRole::Helper, "ask");
                let thread = thread.spawn_scoped(scope, move || ask(target));
                thread.map_err(|_| target)
            };
            let threads: Vec<_> = some.iter().map(start).collect();
            for thread in threads {
                answers.push(match thread.map(ScopedJoinHandle::join) {
                    Ok(joined) => joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    // The host has no thread left: it is asked in turn.
                    Err(target) => ask(target),
                });
            }
        });
    }
    answers
}

/// Keeps what was answered, and says who did not; the exit code.
pub(super) fn sort<T>(
    targets: &[Target],
    answers: Answers<T>,
    mut keep: impl FnMut(T),
) -> ExitCode {
    let mut code = ExitCode::from(exit_code::SUCCESS);
    for (target, answer) in targets.iter().zip(answers) {
        match answer {
            Ok(answer) => keep(answer),
            Err(error) => code = target.failure(&error).report(),
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let mut names = ["g10", "h1", "g2", "g02", "g10b", "a", "g", "g1"];
        names.sort_by(|one, other| natural(one).cmp(&natural(other)));
        let sorted = ["a", "g", "g1", "g02", "g2", "g10", "g10b", "h1"];
        assert_eq!(names, sorted);
        let mut names = ["a10", "9", "10", "a", "a9-2", "a9-10"];
        names.sort_by(|one, other| natural(one).cmp(&natural(other)));
        assert_eq!(names, ["9", "10", "a", "a9-2", "a9-10", "a10"]);
    }

    #[test]
    fn this_process_is_not_suspended() {
        let of = |pid| Target {
            pid,
            ..Target::at(Path::new("/nowhere"))
        };
        assert!(!of(Some(std::process::id())).is_suspended());
        assert!(!of(Some(u32::MAX)).is_suspended());
        assert!(!of(None).is_suspended());
    }
}
