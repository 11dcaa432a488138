//! `vmmkit receive`: a guest that another process has, and that goes on here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::set_parent_process_death_signal;
use vmmkit_host_io::{Listener, inherited};
use vmmkit_machine_spec::{Given, path_text};
use vmmkit_snapshot::Reader;
use vmmkit_snapshot::stream::Offer;

use crate::detach::Launched;
use crate::failure::Failure;
use crate::hand_over::broken;
use crate::options::Values;
use crate::snapshot;
use crate::source::{NAME, foreign};
use crate::startup::Startup;
use crate::wire::Wire;
use crate::{control, detach, inherited as descriptors, messages, run};

/// Options that say nothing of a guest that arrives.
const NOT_OF_IT: [&str; 5] = ["restore", "base", "dry-run", "dump-config", "config"];

/// Where a guest comes from.
enum Place {
    /// stdin and stdout.
    Stdio,
    /// A socket that is made for it.
    Socket(PathBuf),
    /// Descriptors that the process has inherited, from one whose stdin and stdout they were.
    Descriptors(RawFd, RawFd),
}

impl Place {
    fn parse(text: &str) -> Result<Self, Failure> {
        let numbers = |text: &str| {
            let (input, output) = text.split_once(',')?;
            Some(Self::Descriptors(input.parse().ok()?, output.parse().ok()?))
        };
        let place = match text.split_once(':') {
            None if text == "-" => Some(Self::Stdio),
            Some(("unix", path)) if !path.is_empty() => Some(Self::Socket(path_text::path(path))),
            Some(("fd", text)) => numbers(text),
            _ => None,
        };
        place.ok_or_else(|| {
            Failure::usage(
                format!("receive {text:?}: this is not where a guest can come from"),
                "give unix:PATH, or - for stdin and stdout",
            )
        })
    }

    /// Waits until the source is there. A signal ends the process at once for as long as what is returned with the stream
    /// is there.
    fn open(self) -> Result<(Wire, Option<Startup>), Failure> {
        let failed =
            |error: io::Error| Failure::host(NAME, &error, "free descriptors of this process");
        match self {
            Self::Socket(path) => accept(&path),
            Self::Stdio => Self::Descriptors(0, 1).open(),
            Self::Descriptors(input, output) => {
                let wire = inherited(input).and_then(|it| Ok(Wire::new(it, inherited(output)?)));
                // It is to end with the one that has its stdin and stdout, until the guest runs.
                let signal = Some(rustix::process::Signal::TERM);
                set_parent_process_death_signal(signal).map_err(|error| failed(error.into()))?;
                // No signal is blocked yet.
                Ok((wire.map_err(failed)?, None))
            }
        }
    }
}

/// Waits for the source at a new socket, which is gone then.
fn accept(path: &Path) -> Result<(Wire, Option<Startup>), Failure> {
    let what = format!("receive unix:{}", path.display());
    let failed =
        |error: io::Error| Failure::host(&what, &error, "free descriptors of this process");
    let place: Arc<Mutex<Option<Arc<Listener>>>> = Arc::default();
    let undone = place.clone();
    let undo = move || {
        if let Some(listener) = &*undone.lock() {
            listener.remove_file();
        }
    };
    let watch = Startup::watch(undo).map_err(failed)?;
    let listener = {
        // A signal waits until it is known what there is to be removed.
        let mut place = place.lock();
        let listener = Listener::bind(path).map_err(|error| {
            let next = "give the path of a new file in a folder of yours";
            Failure::host(&what, &error, next)
        })?;
        place.insert(Arc::new(listener)).clone()
    };
    let stream = loop {
        let mut ready = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        poll(&mut ready, None).map_err(|error| failed(error.into()))?;
        if let Some(stream) = listener.accept() {
            break stream;
        }
    };
    listener.remove_file();
    let output = stream.try_clone().map_err(failed)?;
    Ok((Wire::new(stream.into(), output.into()), Some(watch)))
}

/// Continues the guest that comes from `from`, with the options `values` in the place of its own.
pub(crate) fn receive(from: Option<&str>, values: Values) -> Result<ExitCode, Failure> {
    if let Some(name) = NOT_OF_IT.into_iter().find(|name| values.has(name)) {
        return Err(Failure::usage(
            format!("--{name} cannot be used with receive"),
            format!("leave --{name} out"),
        ));
    }
    let place = Place::parse(from.unwrap_or("-"))?;
    let is_detached = values.has("detached");
    match place {
        Place::Stdio if !is_detached => return in_background(&values),
        Place::Socket(_) if values.has("detach") && !is_detached => return detach::launch(),
        _ => {}
    }
    if is_detached {
        detach::enter();
    }
    let (wire, watch) = place.open()?;
    descriptors::close_unnamed(&values);
    let offer = Offer::read(wire).map_err(|error| broken(&error))?;
    match options_of(&offer, values) {
        Ok(values) => run::receive(&values, offer, watch),
        Err(failure) => {
            offer.refuse(&failure.text());
            Err(failure)
        }
    }
}

/// The same by a process in the background, which has this one's stdin and stdout: whatever carries them ends when the
/// guest runs.
fn in_background(values: &Values) -> Result<ExitCode, Failure> {
    let failed = |error: io::Error| Failure::host(NAME, &error, "free descriptors of this process");
    // Without close-on-exec.
    let copy = |stream: &dyn AsFd| -> io::Result<OwnedFd> { Ok(rustix::io::dup(stream.as_fd())?) };
    let input = copy(&io::stdin()).map_err(failed)?;
    let output = copy(&io::stdout()).map_err(failed)?;
    let from = format!("fd:{},{}", input.as_raw_fd(), output.as_raw_fd());
    let words = ["receive".to_owned(), from].into_iter();
    let words = words.chain(values.clone().without("detach").words());
    match detach::launched(words.map(|word| path_text::path(&word).into_os_string()))? {
        Launched::Ended(code) => Ok(code),
        Launched::Runs(name) => {
            if !values.has("quiet") {
                messages::say(&format!("{} runs here", name.trim_end()));
            }
            Ok(crate::exit_code::SUCCESS.into())
        }
    }
}

/// `values`, and those of the guest that `offer` describes for options that are not among them.
fn options_of(offer: &Offer<Wire>, values: Values) -> Result<Values, Failure> {
    let reader = Reader::new(offer.manifest()).map_err(|error| foreign(&error))?;
    let name = reader
        .sections()
        .iter()
        .find(|it| it.id == snapshot::NAME_SECTION);
    let name = name.and_then(|it| std::str::from_utf8(it.contents).ok());
    let name = name.map(str::to_owned);
    let mut values = snapshot::over(values, snapshot::options_in(reader, NAME)?);
    // The same name, where no guest here has it.
    let is_free = |name: &String| {
        control::runtime_folder().is_ok_and(|folder| {
            matches!(
                folder.find(name),
                Err(vmmkit_control::InstanceError::NoSuch { .. })
            )
        })
    };
    if !values.has("name")
        && !values.has("no-instance")
        && let Some(name) = name.filter(is_free)
    {
        values.add("name", Given::text(&name));
    }
    Ok(values)
}
