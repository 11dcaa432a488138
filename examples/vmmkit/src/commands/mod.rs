//! The commands that ask and tell machines that run: clients of their control API.

mod ask;
mod balloon;
mod confined;
mod connect;
mod console;
mod events;
mod limit;
mod list;
mod logs;
mod memory;
mod metrics;
mod migrate;
mod options;
mod resize;
pub(crate) mod snapshot;
mod stop;
mod table;
mod tree;
mod wait;

use std::process::ExitCode;

use serde::Serialize;
use vmmkit_control::{InstanceError, MachineInfo, document};

use crate::failure::{Failure, chain};
use crate::{exit_code, generate, messages};
use ask::{Answers, Target, each};
pub(crate) use options::Command;
use options::{InspectOptions, Whom};
use table::Table;

/// Does what a command says.
pub(crate) fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::List(options) => list::list(&options),
        Command::Stat(whom) => list::stat(&whom),
        Command::Boot(whom) => tell(&whom, "/v1/machine/boot"),
        Command::Pause(whom) => tell(&whom, "/v1/machine/pause"),
        Command::Resume(whom) => tell(&whom, "/v1/machine/resume"),
        Command::Reset(whom) => tell(&whom, "/v1/machine/reset"),
        Command::Snapshot(options) => snapshot::snapshot(&options),
        Command::Migrate(options) => migrate::migrate(&options),
        Command::PowerButton(whom) => tell(&whom, "/v1/machine/power-button"),
        Command::Stop(options) => stop::stop(&options),
        Command::Wait(whom) => wait::wait(&whom),
        Command::Balloon(options) => balloon::balloon(&options),
        Command::Memory(options) => memory::memory(&options),
        Command::Limit(options) => limit::limit(&options),
        Command::Resize(options) => resize::resize(&options),
        Command::Console(options) => console::console(&options),
        Command::Connect(options) => connect::connect(&options),
        Command::Ssh(options) => connect::ssh(&options),
        Command::Logs(options) => logs::logs(&options),
        Command::Events(one) => events::events(&one),
        Command::Inspect(one) => inspect(&one),
        Command::Metrics(whom) => metrics::metrics(&whom),
        Command::Openapi => generate::write(document().as_bytes()),
    }
}

/// The device that `command`'s `words` begin with, and those behind it; `example` is how it is written.
fn device_and_rest<'a>(
    command: &str,
    example: &str,
    words: &'a [String],
) -> Result<(&'a str, &'a [String]), Failure> {
    let Some((device, rest)) = words.split_first() else {
        return Err(Failure::usage(
            "DEVICE: it is missing",
            format!(
                "name the device, such as `vmmkit {command} {example}`; see `vmmkit {command} --help`"
            ),
        ));
    };
    if !device.is_empty() && device.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok((device, rest));
    }
    Err(Failure::usage(
        format!("{command} {device:?}: this is not the name of a device"),
        "`vmmkit stat` shows the names: blk0 is the first disk, net0 the first network interface",
    ))
}

/// POSTs to each machine, and shows what it does then.
fn tell(whom: &Whom, path: &str) -> Result<ExitCode, Failure> {
    let targets = whom.targets()?;
    let answers = each(&targets, |target| {
        target.client().post::<MachineInfo>(path, None)
    });
    show(whom.json, &targets, answers)
}

/// Shows machines, and says which of them did not answer.
fn show(
    json: bool,
    targets: &[Target],
    answers: Answers<MachineInfo>,
) -> Result<ExitCode, Failure> {
    let mut machines = Vec::new();
    let code = ask::sort(targets, answers, |machine| machines.push(machine));
    if json {
        write_json(&machines)?;
    } else if !machines.is_empty() {
        let mut table = Table::new(["NAME", "STATE"]);
        for machine in &machines {
            table.row([machine.name.clone(), machine.state.name().to_owned()]);
        }
        generate::write(table.text().as_bytes())?;
    }
    Ok(code)
}

fn inspect(options: &InspectOptions) -> Result<ExitCode, Failure> {
    // No name of a guest has a slash.
    if let Some(folder) = options.words.first().filter(|word| word.contains('/')) {
        let part = at_most_one(options.words.get(1..).unwrap_or_default())?;
        return crate::snapshot::inspect(folder, part);
    }
    let (one, words) = options.one.split(&options.words);
    let part = at_most_one(words)?;
    let target = one.target()?;
    let json = target.client().text("GET", "/v1/inspect", None);
    let json = json.map_err(|error| target.refused(error))?;
    let mut tree = tree::read(&json).map_err(|error| target.refused(error))?;
    // The process is the host kernel's to tell of, and no part of the machine.
    let machine = target.client().get::<MachineInfo>("/v1/machine").ok();
    if let Some(confined) = machine.and_then(|machine| confined::tree(machine.pid)) {
        tree = tree.tree("sandbox", confined);
    }
    if let Some(part) = part {
        tree = tree::part(&tree, part)?;
    }
    let text = match options.one.json {
        true => format!("{}\n", tree.to_json()),
        false => tree::for_people(&tree).to_string(),
    };
    generate::write(text.as_bytes())
}

/// The argument of a command beside the guest's name, if it is given.
fn at_most_one(words: &[String]) -> Result<Option<&str>, Failure> {
    match words {
        [] => Ok(None),
        [word, rest @ ..] => nothing_more(rest).map(|()| Some(word.as_str())),
    }
}

/// A command takes no more than it has got.
fn nothing_more(words: &[String]) -> Result<(), Failure> {
    match words.first() {
        None => Ok(()),
        Some(word) => Err(Failure::usage(
            format!("{word}: unexpected argument"),
            "the guest is named once, by -n NAME or without -n",
        )),
    }
}

/// Writes JSON for people to read too.
fn write_json(value: &impl Serialize) -> Result<ExitCode, Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::host("JSON", &error, "please report this"))?;
    text.push('\n');
    generate::write(text.as_bytes())
}

/// The user's machines cannot be looked at.
fn no_folder(error: &InstanceError) -> Failure {
    let mut reasons = chain(error);
    let what = format!("the folder of running guests: {}", reasons.remove(0));
    let next = "set XDG_RUNTIME_DIR to a folder of yours with mode 0700";
    Failure::because(what, reasons, next)
}

/// There is nothing to do it to.
fn nobody(json: bool) -> Result<ExitCode, Failure> {
    if json {
        return write_json(&[(); 0]);
    }
    messages::say("no guest runs");
    Ok(exit_code::SUCCESS.into())
}
