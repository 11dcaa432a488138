//! Snapshots of the command line: what is in a folder beside the machine, and how a guest goes on from it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_machine_spec::{Given, path_text};
use vmmkit_snapshot::{self as container, Folder, FolderError, Section, WriteError};
use vmmkit_vmm::{Handle, Machine, MachineBuilder, Ready, RestoreError, SaveError};

use crate::build_failure::explain;
use crate::failure::{Failure, chain};
use crate::generate;
use crate::options::{self, Values};
use crate::saved_files::{FILES, FILES_KIND, FilesForm};
use crate::settings::Settings;

/// The section with the options that the machine was made with.
const COMMAND: &str = "command";
const COMMAND_KIND: &str = "vmmkit-run";
/// Options that are the new machine's own, not those of the saved one.
const NOT_SAVED: [&str; 12] = [
    "name",
    "api-socket",
    "no-instance",
    "paused",
    "sandbox",
    "restore",
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

/// Why a machine was not saved.
#[derive(Debug, Error)]
pub(crate) enum NotSaved {
    /// The machine cannot be.
    #[error("the machine cannot be saved")]
    Machine(#[from] SaveError),
    /// The folder cannot take it.
    #[error("the snapshot cannot be written")]
    Folder(#[from] FolderError),
    /// A section cannot be written.
    #[error("the snapshot cannot be written")]
    Section(#[from] WriteError),
}

/// Saves the paused machine of `handle`, which `command` made and whose disks are `images`.
pub(crate) fn save(
    handle: &Handle,
    folder: &Path,
    command: &[u8],
    images: &[PathBuf],
) -> Result<(), NotSaved> {
    // Text and numbers alone: JSON can hold it.
    let files = serde_json::to_vec(&FilesForm::of(images)).unwrap_or_default();
    Folder::new(folder).save(|writer, ram| {
        writer.add(Section {
            id: COMMAND,
            kind: COMMAND_KIND,
            version: 1,
            must_understand: false,
            contents: command,
        })?;
        writer.add(Section {
            id: FILES,
            kind: FILES_KIND,
            version: 1,
            must_understand: false,
            contents: &files,
        })?;
        Ok(handle.save(writer, ram)?)
    })
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
    snapshot: container::Snapshot,
}

/// Opens the snapshot in `folder`.
pub(crate) fn open(folder: &Path) -> Result<Snapshot, Failure> {
    let snapshot = Folder::new(folder).open().map_err(|error| {
        Failure::because(
            format!("snapshot: {error}"),
            causes(&error),
            "give the directory that `vmmkit snapshot` wrote to",
        )
    })?;
    Ok(Snapshot {
        path: folder.to_owned(),
        snapshot,
    })
}

impl Snapshot {
    /// `values`, and those of the saved machine for options that are not among them.
    pub(crate) fn with_options(&self, values: Values) -> Result<Values, Failure> {
        let mut reader = self.snapshot.reader();
        let section = reader
            .take(COMMAND)
            .filter(|section| section.kind == COMMAND_KIND);
        let Some(section) = section else {
            return Ok(values);
        };
        if !values.has("disk") {
            self.check_files()?;
        }
        let form = serde_json::from_slice::<CommandForm>(section.contents);
        let form = form.map_err(|error| self.foreign(COMMAND, &error.to_string()))?;
        let folder = path_text::path(&form.folder);
        let mut saved = Values::default();
        for (name, value) in &form.options {
            let option = options::named(name).filter(|it| !NOT_SAVED.contains(&it.name));
            let Some(option) = option else {
                return Err(self.foreign(COMMAND, &format!("no option is called {name:?}")));
            };
            saved.add(option.name, Given::text(value).in_folder(&folder));
        }
        Ok(values.or(saved))
    }

    /// The machine of `builder` as it was saved.
    pub(crate) fn restore(
        &self,
        builder: MachineBuilder,
        kvm: &Kvm,
        settings: &Settings,
    ) -> Result<Machine<Ready>, Failure> {
        let mut reader = self.snapshot.reader();
        reader.take(COMMAND);
        reader.take(FILES);
        let ram = self.snapshot.ram().try_clone();
        let ram = ram.map_err(|error| {
            Failure::host("snapshot", &error, "free descriptors of this process")
        })?;
        builder.restore(kvm, reader, ram).map_err(|error| match error {
            RestoreError::Build(error) => explain(&error, settings),
            error => Failure::because(
                format!("{}: {error}", self.path.display()),
                causes(&error),
                "run it with the CPUs, memory and devices that it was saved with, on such a host",
            ),
        })
    }

    /// Checks that the disks, which are the saved machine's own, are as they were.
    fn check_files(&self) -> Result<(), Failure> {
        let mut reader = self.snapshot.reader();
        let section = reader.take(FILES).filter(|it| it.kind == FILES_KIND);
        let Some(section) = section else {
            return Ok(());
        };
        let form = serde_json::from_slice::<FilesForm>(section.contents);
        form.map_err(|error| self.foreign(FILES, &error.to_string()))?
            .check()
    }

    /// The failure where `section` is not one of this program, for `reason`.
    fn foreign(&self, section: &str, reason: &str) -> Failure {
        Failure::because(
            format!("{}: section {section:?}: {reason}", self.path.display()),
            Vec::new(),
            "save the guest again with this vmmkit",
        )
    }
}

/// The source of an error.
fn causes(error: &dyn Error) -> Vec<String> {
    error.source().map(chain).unwrap_or_default()
}

/// Prints the sections of the snapshot in `folder`, or one of them, as JSON.
pub(crate) fn inspect(folder: &str, part: Option<&str>) -> Result<ExitCode, Failure> {
    let snapshot = open(&path_text::path(folder))?;
    let reader = snapshot.snapshot.reader();
    let mut sections = serde_json::Map::new();
    for section in reader.sections() {
        let value = serde_json::from_slice(section.contents).unwrap_or(Value::Null);
        sections.insert(section.id.to_owned(), value);
    }
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
