//! The entry of a machine among those of its user, and the sockets of its API.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vmmkit_control::{Entry, InstanceError, MachineInfo};
use vmmkit_controlled::ServerSlot;
use vmmkit_host_io::{ListenError, Listener};
use vmmkit_machine_spec::path_text;

use crate::failure::{Failure, chain};
use crate::messages;

/// How long answers and events that are under way may hold up the end of the process.
const GRACE: Duration = Duration::from_millis(200);

/// Where a machine is to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The name that was asked for.
    pub(crate) name: Option<String>,
    /// One more socket of the API.
    pub(crate) socket: Option<PathBuf>,
    /// It is not to be among the user's machines.
    pub(crate) unlisted: bool,
}

impl Choice {
    /// Nobody could ever tell the machine anything.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        self.unlisted && self.socket.is_none()
    }
}

/// Where a machine is found. Its sockets are the [`Door`](super::Door)'s.
#[derive(Debug)]
pub(crate) struct Presence {
    entry: Option<Entry>,
    /// One more socket.
    socket: Option<PathBuf>,
    /// The server, once somebody has come.
    server: ServerSlot,
}

impl Presence {
    /// Makes the machine known as `choice` says. What was not asked for by name may fail: then the
    /// machine is just not listed, which is said unless `quiet`.
    pub(crate) fn claim(
        choice: &Choice,
        quiet: bool,
    ) -> Result<(Self, Vec<Arc<Listener>>), Failure> {
        let mut places = Vec::new();
        let mut entry = None;
        if !choice.unlisted {
            match enter(choice) {
                Ok((made, listener)) => {
                    entry = Some(made);
                    places.push(Arc::new(listener));
                }
                Err(refused) => match &choice.name {
                    Some(name) => return Err(refused.explain(name)),
                    None if quiet => {}
                    None => messages::say(&format!(
                        "this guest will not be in `vmmkit list`: {}",
                        refused.reasons().join(": ")
                    )),
                },
            }
        }
        if let Some(path) = &choice.socket {
            let listener = Listener::bind(path).map_err(|error| {
                let mut reasons = chain(&error);
                let what = format!("--api-socket {}: {}", path.display(), reasons.remove(0));
                Failure::because(
                    what,
                    reasons,
                    "give the path of a new file in a folder of yours",
                )
            })?;
            places.push(Arc::new(listener));
        }
        let presence = Self {
            entry,
            socket: choice.socket.clone(),
            server: ServerSlot::default(),
        };
        Ok((presence, places))
    }

    /// The machine's name, if it has one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.entry.as_ref().map(Entry::name)
    }

    /// The name by which others find the machine, or else its socket.
    pub(crate) fn found_by(&self) -> String {
        let socket = self.socket.as_deref().map(path_text::of_path);
        self.name()
            .map(str::to_owned)
            .or(socket)
            .unwrap_or_default()
    }

    /// Writes down what never changes of the machine, for who asks when it cannot answer.
    pub(crate) fn describe(&self, about: &MachineInfo) {
        if let Some(entry) = &self.entry {
            // Without it a list has less to show, and no more.
            let _ = entry.write_about(about);
        }
    }

    /// Where the server goes when it is started.
    pub(crate) fn server(&self) -> ServerSlot {
        self.server.clone()
    }

    /// The machine has ended: says so to whoever still listens, and is not there any more.
    pub(crate) fn leave(self) {
        let mut slot = self.server.lock();
        if let Some(server) = slot.take() {
            server.stop(GRACE);
        }
        drop(slot);
        drop(self.entry);
    }
}

/// Why there is no entry.
enum Refused {
    Instance(InstanceError),
    Listen(PathBuf, ListenError),
}

fn enter(choice: &Choice) -> Result<(Entry, Listener), Refused> {
    let folder = super::runtime_folder().map_err(Refused::Instance)?;
    let entry = match &choice.name {
        Some(name) => folder.enter(name),
        None => folder.enter_any(&format!("vmmkit-{}", std::process::id())),
    };
    let entry = entry.map_err(Refused::Instance)?;
    let socket = entry.socket();
    let listener = Listener::bind(&socket).map_err(|error| Refused::Listen(socket, error))?;
    Ok((entry, listener))
}

impl Refused {
    fn reasons(&self) -> Vec<String> {
        match self {
            Self::Instance(error) => chain(error),
            Self::Listen(path, error) => {
                let mut reasons = chain(error);
                if let Some(first) = reasons.first_mut() {
                    *first = format!("{}: {first}", path.display());
                }
                reasons
            }
        }
    }

    fn explain(&self, name: &str) -> Failure {
        let next = match self {
            Self::Instance(InstanceError::InUse { .. }) => {
                "give another name, or end that one: vmmkit stop NAME"
            }
            Self::Instance(InstanceError::Unsafe { .. }) => {
                "remove that folder, or set XDG_RUNTIME_DIR to a folder of yours with mode 0700"
            }
            Self::Listen(_, ListenError::TooLong(_)) => {
                "give a shorter name, or set XDG_RUNTIME_DIR to a folder with a shorter path"
            }
            _ => "set XDG_RUNTIME_DIR to a folder that you can write in, or say --no-instance",
        };
        let mut reasons = self.reasons();
        let what = format!("--name {name}: {}", reasons.remove(0));
        Failure::because(what, reasons, next)
    }
}
