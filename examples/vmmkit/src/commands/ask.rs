//! Whom a command is for, and their answers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use vmmkit_control::{Client, ClientError, Instance, InstanceError, RuntimeFolder};

use super::no_folder;
use super::options::{One, Whom};
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

/// What machines have answered, in their order.
pub(super) type Answers<T> = Vec<Result<T, ClientError>>;

/// Machines that are asked at the same time.
const AT_ONCE: usize = 32;

impl Target {
    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket)
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
        let option = format!("-n {name}");
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
                    format!("{option}: {error}"),
                    Vec::new(),
                    next,
                ))
            }
            Err(InstanceError::BadName(_)) => Err(Failure::usage(
                format!("-n {name:?}: this cannot be a machine's name"),
                "`vmmkit list` shows the names",
            )),
            Err(error) => Err(no_folder(&error)),
        }
    }

    /// Why it did not do what it was asked.
    pub(super) fn failure(&self, error: &ClientError) -> Failure {
        let mut reasons = chain(error);
        let what = format!("{}: {}", self.option, reasons.remove(0));
        let next = match error {
            ClientError::Connect { .. } => {
                "it may just have ended: `vmmkit list` shows which guests run"
            }
            ClientError::Transfer(_) => {
                "its process may be suspended: send it SIGCONT (fg in its shell)"
            }
            ClientError::Refused(problem) if problem.code == "forbidden" => {
                "ask as the user who runs it, or as root"
            }
            ClientError::Refused(problem) if problem.code == "busy" => "try again later",
            ClientError::Refused(_) => "`vmmkit stat` shows what the guest is and has",
            _ => "is it a machine of vmmkit, and of the same version?",
        };
        Failure::because(what, reasons, next)
    }
}

impl From<Instance> for Target {
    fn from(instance: Instance) -> Self {
        Self {
            option: format!("-n {}", instance.name),
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
        let folder = RuntimeFolder::of_this_user().map_err(|error| no_folder(&error))?;
        if self.all {
            return all(&folder);
        }
        if self.name.is_empty() {
            return Err(nobody_named("or --all"));
        }
        let names = self.name.iter();
        names.map(|name| Target::named(&folder, name)).collect()
    }
}

impl One {
    /// The one whom a command is for.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        if let Some(path) = &self.api_socket {
            return Ok(Target::at(path));
        }
        let folder = RuntimeFolder::of_this_user().map_err(|error| no_folder(&error))?;
        match &self.name {
            Some(name) => Target::named(&folder, name),
            None => Err(nobody_named("or --api-socket PATH")),
        }
    }
}

fn nobody_named(or: &str) -> Failure {
    Failure::usage(
        "no guest was named",
        format!("give -n NAME {or}; `vmmkit list` shows the names"),
    )
}

/// All machines of this user.
pub(super) fn all(folder: &RuntimeFolder) -> Result<Vec<Target>, Failure> {
    let instances = folder.instances().map_err(|error| no_folder(&error))?;
    Ok(instances.into_iter().map(Target::from).collect())
}

/// Asks all of `targets`, several at the same time.
pub(super) fn each<T: Send>(
    targets: &[Target],
    ask: impl Fn(&Target) -> Result<T, ClientError> + Sync,
) -> Answers<T> {
    let ask = &ask;
    let mut answers = Vec::new();
    for some in targets.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let start = |target| scope.spawn(move || ask(target));
            let threads: Vec<_> = some.iter().map(start).collect();
            for thread in threads {
                let joined = thread.join();
                answers.push(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
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
