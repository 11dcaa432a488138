//! Snapshots of the command line: what is in a folder beside the machine, and how a guest goes on from it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vmmkit_guest_memory::PageRuns;
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_machine_spec::{Given, path_text};
use vmmkit_snapshot::{self as container, Chain, Folder, FolderError, Lineage, Reader};
use vmmkit_vmm::{Machine, MachineBuilder, Ready, RestoreError, SavedRam};

use crate::build_failure::explain;
use crate::failure::{Failure, chain};
use crate::generate;
use crate::options::{self, Values};
use crate::saved_files::{FILES, FILES_KIND, FilesForm};
use crate::settings::Settings;

/// The section with the options that the machine was made with.
pub(crate) const COMMAND: &str = "command";
pub(crate) const COMMAND_KIND: &str = "vmmkit-run";
/// The section with the name of a guest that goes to another process.
pub(crate) const NAME_SECTION: &str = "name";
/// The key of `inspect` for the snapshots that one builds on: not a section.
const CHAIN: &str = "chain";
/// Options that are the new machine's own, not those of the saved one.
const NOT_SAVED: [&str; 14] = [
    "name",
    "detach",
    "api-socket",
    "no-instance",
    "paused",
    "sandbox",
    "restore",
    "base",
    "gdb",
    "log",
    "metrics",
    "timeline",
    "dry-run",
    "config",
];

/// The options of a machine, and the folder that its paths begin at.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandForm {
    folder: String,
    options: Vec<(String, String)>,
}

/// The options of `settings` as the contents of a section.
pub(crate) fn command(settings: &Settings) -> Vec<u8> {
    let folder = std::env::current_dir().unwrap_or_default();
    let mut options = options::words(settings);
    options.retain(|(name, _)| !NOT_SAVED.contains(&name.as_str()));
    let form = CommandForm {
        folder: path_text::of_path(&folder),
        options,
    };
    // Text alone: JSON can hold it.
    serde_json::to_vec(&form).unwrap_or_default()
}

/// The options `values`, and that the guest goes on from the snapshot in `folder`.
pub(crate) fn restoring(folder: &str, mut values: Values) -> Values {
    values.add("restore", Given::text(folder));
    values
}

/// A snapshot that is open.
#[derive(Debug)]
pub(crate) struct Snapshot {
    path: PathBuf,
    chain: Chain,
}

/// Opens the snapshot in `folder`, and those that it builds on, which may be in `base`.
pub(crate) fn open(folder: &Path, base: Option<&Path>) -> Result<Snapshot, Failure> {
    let chain = Folder::new(folder).open_chain(base).map_err(unopened)?;
    Ok(Snapshot {
        path: folder.to_owned(),
        chain,
    })
}

fn unopened(error: FolderError) -> Failure {
    let next = match error {
        FolderError::NoBase { .. } => {
            "move that snapshot's directory beside it, or say where it is: --base DIR"
        }
        FolderError::BaseChanged { .. } => {
            "copy snapshots with their times (cp -a), and replace none that others build on"
        }
        _ => "give the directory that `vmmkit snapshot` wrote to",
    };
    Failure::because(format!("snapshot: {error}"), causes(&error), next)
}

impl Snapshot {
    /// `values`, and those of the saved machine for options that are not among them. A console on a terminal is not
    /// that of a guest in the background.
    pub(crate) fn with_options(&self, values: Values) -> Result<Values, Failure> {
        if !values.has("disk") {
            self.check_files()?;
        }
        let saved = self.options()?;
        Ok(over(values, saved))
    }

    /// The options of the saved machine.
    pub(crate) fn options(&self) -> Result<Values, Failure> {
        options_in(self.chain.top().reader(), &self.path.display().to_string())
    }

    /// The machine of `builder` as it was saved.
    pub(crate) fn restore(
        &self,
        builder: MachineBuilder,
        kvm: &Kvm,
        settings: &Settings,
    ) -> Result<Machine<Ready>, Failure> {
        let mut reader = self.chain.top().reader();
        reader.take(COMMAND);
        reader.take(FILES);
        let ram = SavedRam::of(&self.chain).map_err(RestoreError::from);
        let restored = ram.and_then(|ram| builder.restore(kvm, reader, ram));
        restored.map_err(|error| unrestored(error, &self.path.display().to_string(), settings))
    }

    /// Its RAM, which the restored machine differs from more and more.
    pub(crate) fn lineage(&self) -> Result<Lineage, Failure> {
        let next = "free descriptors of this process";
        let lineage = self.chain.lineage();
        lineage.map_err(|error| Failure::host("snapshot", &error, next))
    }

    /// Checks that the disks, which are the saved machine's own, are as they were.
    fn check_files(&self) -> Result<(), Failure> {
        let mut reader = self.chain.top().reader();
        let section = reader.take(FILES).filter(|it| it.kind == FILES_KIND);
        let Some(section) = section else {
            return Ok(());
        };
        let form = serde_json::from_slice::<FilesForm>(section.contents);
        let name = self.path.display().to_string();
        form.map_err(|error| foreign(&name, FILES, &error.to_string()))?
            .check()
    }
}

/// `values`, and those of the saved machine for options that are not among them. A console on a terminal is not that of a
/// guest in the background.
pub(crate) fn over(values: Values, saved: Values) -> Values {
    let has_terminal = saved.value("serial") == Some("stdio");
    let is_apart = values.has("detach") || values.has("detached");
    match has_terminal && is_apart {
        true => values.or(saved.without("serial")),
        false => values.or(saved),
    }
}

/// The options of the machine whose sections `reader` has; `name` is where they come from.
pub(crate) fn options_in(mut reader: Reader<'_>, name: &str) -> Result<Values, Failure> {
    let section = reader
        .take(COMMAND)
        .filter(|section| section.kind == COMMAND_KIND);
    let Some(section) = section else {
        return Ok(Values::default());
    };
    let form = serde_json::from_slice::<CommandForm>(section.contents);
    let form = form.map_err(|error| foreign(name, COMMAND, &error.to_string()))?;
    let folder = path_text::path(&form.folder);
    let mut saved = Values::default();
    for (option, value) in &form.options {
        let known = options::named(option).filter(|it| !NOT_SAVED.contains(&it.name));
        let Some(known) = known else {
            let reason = format!("no option is called {option:?}");
            return Err(foreign(name, COMMAND, &reason));
        };
        saved.add(known.name, Given::text(value).in_folder(&folder));
    }
    Ok(saved)
}

/// The failure where `section` of `name` is not one of this program, for `reason`.
fn foreign(name: &str, section: &str, reason: &str) -> Failure {
    Failure::because(
        format!("{name}: section {section:?}: {reason}"),
        Vec::new(),
        "save the guest again with this vmmkit",
    )
}

/// The failure where a machine does not become that of `name`.
pub(crate) fn unrestored(error: RestoreError, name: &str, settings: &Settings) -> Failure {
    match error {
        RestoreError::Build(error) => explain(&error, settings),
        error => Failure::because(
            format!("{name}: {error}"),
            causes(&error),
            "run it with the CPUs, memory and devices that it was saved with, on such a host",
        ),
    }
}

/// The files with RAM of `snapshot`, first the one with all of it, and where those that it builds on were found.
fn chain_of(folder: &Folder, snapshot: &container::Snapshot) -> Value {
    let found = folder.open_chain(None);
    let found = found.as_ref().map(|chain| chain.bases());
    let mut files: Vec<Value> = Vec::new();
    for (number, base) in snapshot.bases().iter().enumerate() {
        let link = found.as_ref().ok().and_then(|links| links.get(number));
        let place = link.map(|link| path_text::of_path(&link.folder));
        files.push(json!({ "ram": base.name(), "directory": place }));
    }
    let place = path_text::of_path(folder.path());
    files.push(json!({ "ram": snapshot.name(), "directory": place }));
    match found {
        Ok(_) => json!({ "snapshots": files }),
        Err(error) => json!({ "snapshots": files, "error": error.to_string() }),
    }
}

/// How many pages of RAM `snapshot` has, if not all.
fn changed_pages(snapshot: &container::Snapshot) -> Option<Value> {
    let section = snapshot.reader().take(SavedRam::PAGES)?;
    let length = snapshot.ram().metadata().ok()?.len();
    Some(match PageRuns::from_bytes(section.contents, length) {
        Ok(runs) => json!({ "runs": runs.as_slice().len(), "pages": runs.pages() }),
        Err(error) => json!({ "error": error.to_string() }),
    })
}

/// The source of an error.
fn causes(error: &dyn Error) -> Vec<String> {
    error.source().map(chain).unwrap_or_default()
}

/// Prints the sections of the snapshot in `folder`, or one of them, as JSON.
pub(crate) fn inspect(folder: &str, part: Option<&str>) -> Result<ExitCode, Failure> {
    let folder = Folder::new(path_text::path(folder));
    let snapshot = folder.open().map_err(unopened)?;
    let reader = snapshot.reader();
    let mut sections = serde_json::Map::new();
    for section in reader.sections() {
        let value = serde_json::from_slice(section.contents).unwrap_or(Value::Null);
        sections.insert(section.id.to_owned(), value);
    }
    if let Some(pages) = changed_pages(&snapshot) {
        sections.insert(SavedRam::PAGES.to_owned(), pages);
    }
    sections.insert(CHAIN.to_owned(), chain_of(&folder, &snapshot));
    let shown = match part {
        None => Value::Object(sections),
        Some(part) => sections.remove(part).ok_or_else(|| {
            Failure::usage(
                format!("{part:?}: the snapshot has no such section"),
                "`vmmkit inspect DIR/` prints all of them",
            )
        })?,
    };
    generate::write(format!("{shown:#}\n").as_bytes())
}
