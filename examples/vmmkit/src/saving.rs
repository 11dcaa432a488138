//! Saving the guest: to a directory, with how its machine was made beside its state.

use std::fs::File;
use std::path::Path;

use parking_lot::Mutex;
use thiserror::Error;
use vmmkit_control::{Cause, Saving};
use vmmkit_controlled::Standstill;
use vmmkit_snapshot::{Folder, FolderError, Lineage, Section, WriteError, Writer};
use vmmkit_vmm::{Extent, Handle, SaveError};

use crate::saved_files::{self, FILES, FILES_KIND, FilesForm, Image};
use crate::settings::Settings;
use crate::snapshot::{self, COMMAND, COMMAND_KIND, NAME_SECTION};

/// Why a machine was not saved.
#[derive(Debug, Error)]
pub(crate) enum NotSaved {
    /// The machine cannot be.
    #[error("the machine cannot be saved")]
    Machine(#[from] SaveError),
    /// The guest does not stand still.
    #[error(transparent)]
    Runs(Cause),
    /// The folder cannot take it.
    #[error("the snapshot cannot be written")]
    Folder(#[from] FolderError),
    /// A section cannot be written.
    #[error("the snapshot cannot be written")]
    Section(#[from] WriteError),
    /// There is no snapshot that it differs from.
    #[error(
        "the guest was neither restored from a snapshot nor saved before: there is none to differ from; save it once \
         without --diff"
    )]
    NoBase,
}

/// Saves one machine.
pub(crate) struct Saver {
    /// The options that it was made with.
    command: Vec<u8>,
    /// The name that it was given.
    name: Option<String>,
    /// The images of its disks.
    images: Vec<Image>,
    /// The snapshot that changes are saved on top of. Held while the machine is saved.
    base: Mutex<Option<Lineage>>,
}

impl Saver {
    /// Of the machine of `settings`.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            command: snapshot::command(settings),
            name: settings.control.name.clone(),
            images: saved_files::images(settings),
            base: Mutex::default(),
        }
    }

    /// The same, of a machine that was restored from the snapshot whose RAM `lineage` is.
    pub(crate) fn restored_from(self, lineage: Option<Lineage>) -> Self {
        *self.base.lock() = lineage;
        self
    }

    /// Saves the machine of `handle` to `folder`.
    pub(crate) fn save(
        &self,
        handle: &Handle,
        folder: &Path,
        saving: Saving,
        standstill: &mut Standstill<'_>,
    ) -> Result<(), NotSaved> {
        let folder = Folder::new(folder);
        let mut base = self.base.lock();
        let mut step = Step {
            saver: self,
            handle,
            is_live: saving.live,
            standstill,
        };
        if saving.diff {
            let lineage = base.as_ref().ok_or(NotSaved::NoBase)?;
            let write = |writer: &mut Writer, ram: &File| step.write(Extent::Changes, writer, ram);
            return folder.save_changes(lineage, write).map(drop);
        }
        // A guest that goes on from there has no changes; one whose RAM is mapped from snapshots that are still there
        // differs from these, at no cost.
        let is_mapped = handle.ram().is_mapped_from_images();
        let is_last = saving.stop || saving.apart;
        if is_last || (is_mapped && base.as_ref().is_some_and(Lineage::is_intact)) {
            let write = |writer: &mut Writer, ram: &File| step.write(Extent::Whole, writer, ram);
            return folder.save(write).map(drop);
        }
        let saved = folder.save(|writer, ram| {
            let written = step.write(Extent::Base, writer, ram);
            // Changes are those since this one now, whatever becomes of its files.
            if written.is_ok() {
                *base = None;
            }
            written
        });
        *base = Some(saved?);
        Ok(())
    }

    /// Adds how the machine was made, for a process that it goes to.
    pub(crate) fn describe(&self, manifest: &mut Writer) -> Result<(), WriteError> {
        if let Some(name) = &self.name {
            manifest.add(Section {
                id: NAME_SECTION,
                kind: "text",
                version: 1,
                must_understand: false,
                contents: name.as_bytes(),
            })?;
        }
        manifest.add(Section {
            id: COMMAND,
            kind: COMMAND_KIND,
            version: 1,
            must_understand: true,
            contents: &self.command,
        })
    }

    fn add_to(&self, writer: &mut Writer) -> Result<(), WriteError> {
        // Text and numbers alone: JSON can hold it.
        let files = serde_json::to_vec(&FilesForm::of(&self.images)).unwrap_or_default();
        writer.add(Section {
            id: COMMAND,
            kind: COMMAND_KIND,
            version: 1,
            must_understand: false,
            contents: &self.command,
        })?;
        writer.add(Section {
            id: FILES,
            kind: FILES_KIND,
            version: 1,
            must_understand: false,
            contents: &files,
        })
    }
}

/// One saving of a machine.
struct Step<'a, 'b> {
    saver: &'a Saver,
    handle: &'a Handle,
    is_live: bool,
    standstill: &'a mut Standstill<'b>,
}

impl Step<'_, '_> {
    /// Writes `extent`; the guest stands still for as long as it must.
    fn write(&mut self, extent: Extent, writer: &mut Writer, ram: &File) -> Result<(), NotSaved> {
        let ahead = self.is_live.then(|| self.handle.save_ahead(extent, ram));
        let ahead = ahead.transpose()?;
        if let Err(cause) = self.standstill.begin() {
            if let Some(ahead) = ahead {
                self.handle.abandon(ahead);
            }
            return Err(NotSaved::Runs(cause));
        }
        self.saver.add_to(writer)?;
        match ahead {
            Some(ahead) => self.handle.save_rest(ahead, writer, ram)?,
            None => self.handle.save_extent(extent, writer, ram)?,
        }
        self.standstill.end();
        Ok(())
    }
}
