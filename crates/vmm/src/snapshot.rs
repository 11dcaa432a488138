//! A paused machine as sections of a snapshot, and a machine made of them again.

use std::fs::File;
use vmmkit_guest_memory::{GuestRam, ImageError, PageRuns, RamImage};
use vmmkit_hypervisor::Hypervisor;
use vmmkit_hypervisor::saved::{VcpuSaved, VmSaved};
use vmmkit_pc_platform::sections;
use vmmkit_snapshot::{Chain, Reader, Section, Writer};

use crate::devices::Devices;
use crate::machine::{Machine, Paused};
use crate::ready::Ready;
use crate::{Handle, MachineBuilder, RestoreError, SaveError};
use vmmkit_device_bus::{StateError, StateReason};
use vmmkit_pc_platform::SectionError;

/// The section of the machine as a whole.
const MACHINE: &str = "machine";
/// The section of interrupt controllers, timers and clocks of the hypervisor.
const VM: &str = "vm";
/// The section of the pages that a snapshot of changes has.
const PAGES: &str = "ram-pages";
const PAGES_KIND: &str = "page-runs";

/// A saved machine whose sections have been read.
pub(crate) struct Saved {
    pub(crate) ram: GuestRam,
    pub(crate) vm: VmSaved,
    pub(crate) vcpus: Vec<VcpuSaved>,
}

impl Machine<Paused> {
    /// As [`Handle::save`], of a machine that nobody else resumes.
    ///
    /// # Errors
    /// [`SaveError`]; the machine can run on.
    pub fn save(&self, writer: &mut Writer, ram: &File) -> Result<(), SaveError> {
        self.handle().save(writer, ram)
    }

    /// As [`Handle::save_changes`], of a machine that nobody else resumes.
    ///
    /// # Errors
    /// [`SaveError`]; the machine can run on.
    pub fn save_changes(&self, writer: &mut Writer, ram: &File) -> Result<(), SaveError> {
        self.handle().save_changes(writer, ram)
    }
}

impl Handle {
    /// Writes the paused machine: its state to `writer`, its RAM to the empty file `ram`, in which pages of zeros
    /// are holes. It stays paused all the time, whoever asks for a resume meanwhile, and can run on afterwards.
    /// Files and connections of devices are not saved: [`MachineBuilder::restore`] is given others.
    ///
    /// # Errors
    /// [`SaveError`]; what is not saved is named before RAM is written, and the machine can run on.
    pub fn save(&self, writer: &mut Writer, ram: &File) -> Result<(), SaveError> {
        self.save_state(writer, |guest_ram, _| {
            guest_ram.write_image(ram).map_err(SaveError::Ram)
        })
    }

    /// As [`save`](Self::save), but of RAM only the pages that differ from the images that the machine was restored
    /// from are written to `ram`, the others are holes: to be restored with those images below
    /// ([`SavedRam`]). The machine must have been restored with its RAM
    /// [mapped](vmmkit_guest_memory::GuestRam::from_image).
    ///
    /// # Errors
    /// As `save`; [`SaveError::Changes`] where it is not known which pages changed.
    pub fn save_changes(&self, writer: &mut Writer, ram: &File) -> Result<(), SaveError> {
        self.save_state(writer, |guest_ram, writer| {
            let pages = guest_ram.changed_pages()?;
            let added = writer.add(Section {
                id: PAGES,
                kind: PAGES_KIND,
                version: 1,
                must_understand: true,
                contents: &pages.to_bytes(),
            });
            added.map_err(SectionError::from)?;
            guest_ram.write_changes(ram, &pages).map_err(SaveError::Ram)
        })
    }

    /// Writes all but RAM, and then RAM by `write`.
    fn save_state(
        &self,
        writer: &mut Writer,
        write: impl FnOnce(&GuestRam, &mut Writer) -> Result<u64, SaveError>,
    ) -> Result<(), SaveError> {
        let shared = self.shared();
        let is_at_rest = shared.devices.hold_at_rest();
        if !*is_at_rest {
            return Err(SaveError::NotPaused);
        }
        check_devices(&shared.devices)?;
        if let Some(region) = shared.platform.unowned(shared.devices.parts()) {
            let device = region.name.to_string();
            return Err(SaveError::NotAPart { device });
        }
        let control = self.run_control();
        let vcpus = control.visit(0..u32::MAX, |_, state| state.save());
        if vcpus.len() != shared.form.vcpus() as usize {
            return Err(SaveError::Ended);
        }
        sections::put(writer, MACHINE, &shared.form)?;
        for (number, vcpu) in (0_u32..).zip(vcpus) {
            let id = vcpu_id(number);
            let vcpu = vcpu.map_err(|source| SaveError::Hypervisor {
                section: id.clone(),
                source,
            })?;
            sections::put(writer, &id, &vcpu)?;
        }
        let vm = shared.vm.save().map_err(|source| SaveError::Hypervisor {
            section: VM.to_owned(),
            source,
        })?;
        sections::put(writer, VM, &vm)?;
        sections::save_parts(shared.devices.parts(), writer)?;
        write(&shared.ram, writer)?;
        Ok(())
    }
}

/// The RAM of a saved machine: a file with all of it, and files with the pages that changed since.
#[derive(Debug)]
pub struct SavedRam {
    image: RamImage,
    /// The last of its files is one of changes.
    is_changed: bool,
}

impl From<File> for SavedRam {
    fn from(full: File) -> Self {
        Self {
            image: full.into(),
            is_changed: false,
        }
    }
}

impl SavedRam {
    /// The RAM of the last snapshot of `chain`.
    ///
    /// # Errors
    /// [`RestoreError`]: a snapshot in it does not say which pages it has, or the host has no descriptor left.
    pub fn of(chain: &Chain) -> Result<Self, RestoreError> {
        let mut so_far: Option<Self> = None;
        for snapshot in chain.iter() {
            let file = snapshot.ram().try_clone().map_err(ImageError::Read)?;
            so_far = Some(match so_far {
                None => Self::from(file),
                Some(saved) => saved.changed(file, snapshot.reader())?,
            });
        }
        so_far.ok_or_else(|| StateError::whole(PAGES, StateReason::Absent).into())
    }

    /// The same, and then the pages that [`Handle::save_changes`] wrote to `image`, of which `snapshot` tells.
    ///
    /// # Errors
    /// [`RestoreError`]: it does not tell of them.
    pub fn changed(self, image: File, mut snapshot: Reader<'_>) -> Result<Self, RestoreError> {
        let section = snapshot
            .take(PAGES)
            .filter(|section| (section.kind, section.version) == (PAGES_KIND, 1));
        let section = section.ok_or_else(|| StateError::whole(PAGES, StateReason::Absent))?;
        let length = image.metadata().map_err(ImageError::Read)?.len();
        let pages = PageRuns::from_bytes(section.contents, length);
        let pages = pages.map_err(|source| RestoreError::Pages {
            section: PAGES,
            source,
        })?;
        Ok(Self {
            image: self.image.changed(image, pages),
            is_changed: true,
        })
    }
}

impl MachineBuilder {
    /// Builds the machine on `hypervisor` as it was saved: the sections that [`Handle::save`] wrote, and the RAM.
    /// The configuration and the devices must be those of the saved machine, in the same order; what is on
    /// the host's side of them is new. Nothing is read of the kernel's file until the guest is reset.
    ///
    /// The machine begins at [`start`](Machine::start) where the saved one was paused, and until then devices
    /// rest. [Anonymous](vmmkit_guest_memory::Backing::Anonymous) RAM is `ram` itself, mapped privately: its files
    /// must stay as they are while the machine is there. A [`File`] with all of RAM is one.
    ///
    /// # Errors
    /// [`RestoreError`]: nothing has run then.
    pub fn restore<H: Hypervisor>(
        self,
        hypervisor: &H,
        mut snapshot: Reader<'_>,
        ram: impl Into<SavedRam>,
    ) -> Result<Machine<Ready>, RestoreError> {
        let form = self.config.form();
        form.check(&sections::take(&mut snapshot, MACHINE)?)?;
        let vcpus = (0..form.vcpus()).map(|number| sections::take(&mut snapshot, &vcpu_id(number)));
        let vcpus = vcpus.collect::<Result<Vec<VcpuSaved>, _>>()?;
        let vm = sections::take(&mut snapshot, VM)?;
        let ram = ram.into();
        // Its contents are known: they say which pages the RAM has.
        if ram.is_changed != snapshot.take(PAGES).is_some() {
            let reason = StateReason::Contradicts("the files with RAM");
            return Err(StateError::whole(PAGES, reason).into());
        }
        let ram = GuestRam::from_image(&self.config.ram, &ram.image)?;
        let saved = Saved { ram, vm, vcpus };
        let machine = self.assemble(hypervisor, Some(&saved))?;
        let devices = machine.handle().shared().devices.clone();
        sections::restore_parts(devices.parts(), &mut snapshot)?;
        snapshot.finish()?;
        devices.begin_at_rest();
        Ok(machine)
    }
}

/// Some devices have more than is saved.
fn check_devices(devices: &Devices) -> Result<(), SaveError> {
    let unsaved = devices
        .virtio()
        .find_map(|(name, device)| Some((name, device.unsaved()?)));
    match unsaved {
        None => Ok(()),
        Some((name, reason)) => Err(SaveError::Device {
            device: name.to_string(),
            reason,
        }),
    }
}

fn vcpu_id(number: u32) -> String {
    format!("vcpu{number}")
}
