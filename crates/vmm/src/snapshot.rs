//! A paused machine as sections of a snapshot, and a machine made of them again.

use std::fs::File;

use vmmkit_guest_memory::GuestRam;
use vmmkit_hypervisor::Hypervisor;
use vmmkit_hypervisor::saved::{VcpuSaved, VmSaved};
use vmmkit_pc_platform::sections::{self, MACHINE, VM, vcpu_id};
use vmmkit_pc_platform::{Extent, SavedRam, save_ram};
use vmmkit_snapshot::{Reader, Writer};

use crate::devices::Devices;
use crate::machine::{Machine, Paused};
use crate::ready::Ready;
use crate::{Handle, MachineBuilder, RestoreError, SaveError};

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
}

impl Handle {
    /// Writes the paused machine: its state to `writer`, its RAM to the empty file `ram`, in which pages of zeros
    /// are holes. It stays paused all the time, whoever asks for a resume meanwhile, and can run on afterwards.
    /// Files and connections of devices are not saved: [`MachineBuilder::restore`] is given others.
    ///
    /// # Errors
    /// [`SaveError`]; what is not saved is named before RAM is written, and the machine can run on.
    pub fn save(&self, writer: &mut Writer, ram: &File) -> Result<(), SaveError> {
        self.save_as(writer, ram, Extent::Whole)
    }

    /// As [`save`](Self::save), but of RAM only the pages that differ from the images that the machine was restored
    /// from are written to `ram`, the others are holes: to be restored with those images below
    /// ([`SavedRam`]). The machine must have been restored with its RAM
    /// [mapped](vmmkit_guest_memory::GuestRam::from_image).
    ///
    /// # Errors
    /// As `save`; [`SaveError::Ram`] where it is not known which pages changed.
    pub fn save_changes(&self, writer: &mut Writer, ram: &File) -> Result<(), SaveError> {
        self.save_as(writer, ram, Extent::Changes)
    }

    fn save_as(&self, writer: &mut Writer, ram: &File, extent: Extent) -> Result<(), SaveError> {
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
        Ok(save_ram(&shared.ram, extent, writer, ram)?)
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
        let (vcpus, vm) = sections::take_core(&mut snapshot, form.vcpus())?;
        let ram = ram.into().map(&self.config.ram, &mut snapshot)?;
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
