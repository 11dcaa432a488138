//! A paused machine as sections of a snapshot, and a machine made of them again.

use std::fs::File;

use vmmkit_guest_memory::GuestRam;
use vmmkit_hypervisor::Hypervisor;
use vmmkit_hypervisor::saved::{VcpuSaved, VmSaved};
use vmmkit_pc_platform::sections::{self, MACHINE};
use vmmkit_pc_platform::{Ahead, Extent, RamSaver, SavedRam};
use vmmkit_snapshot::{Reader, Writer};

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
        self.save_extent(Extent::Whole, writer, ram)
    }

    /// As [`save`](Self::save), but of RAM `extent` alone: of [changes](Extent::Changes), what is not among them is a
    /// hole in `ram`, which is restored with the images below that it differs from ([`SavedRam`]).
    ///
    /// # Errors
    /// As `save`; [`SaveError::Ram`] where it is not known which pages changed.
    pub fn save_extent(
        &self,
        extent: Extent,
        writer: &mut Writer,
        ram: &File,
    ) -> Result<(), SaveError> {
        self.save_as(writer, |saver, writer| Ok(saver.save(extent, writer, ram)?))
    }

    /// Writes `extent` of RAM to the empty file `ram` while the guest runs, until little of it is left that the guest has
    /// written since; [`save_rest`](Self::save_rest) is to follow. One at a time.
    ///
    /// # Errors
    /// As [`save_extent`](Self::save_extent).
    pub fn save_ahead(&self, extent: Extent, ram: &File) -> Result<Ahead, SaveError> {
        Ok(self.ram_saver()?.ahead(extent, ram)?)
    }

    /// To save the RAM of a machine that can be saved while its guest runs.
    ///
    /// # Errors
    /// [`SaveError::Device`].
    pub fn ram_saver(&self) -> Result<RamSaver<'_>, SaveError> {
        let shared = self.shared();
        sections::check_devices(shared.devices.virtio())?;
        Ok(shared.vm.saver(&shared.ram))
    }

    /// As [`save_extent`](Self::save_extent), of the paused machine whose RAM is in `ram` but for what it has written
    /// since then.
    ///
    /// # Errors
    /// As `save_extent`.
    pub fn save_rest(
        &self,
        ahead: Ahead,
        writer: &mut Writer,
        ram: &File,
    ) -> Result<(), SaveError> {
        self.save_as(writer, |saver, writer| Ok(saver.rest(ahead, writer, ram)?))
    }

    /// Gives up what is `ahead`: the guest's writes are logged no more than before.
    pub fn abandon(&self, ahead: Ahead) {
        drop(ahead);
        let shared = self.shared();
        shared.vm.saver(&shared.ram).end_unless_marked();
    }

    /// Writes the state of the paused machine to `writer`, and calls `save_ram`: nobody resumes the guest before that returns.
    ///
    /// # Errors
    /// As `save`, and that of `save_ram`.
    pub fn save_as<T, E: From<SaveError>>(
        &self,
        writer: &mut Writer,
        save_ram: impl FnOnce(RamSaver<'_>, &mut Writer) -> Result<T, E>,
    ) -> Result<T, E> {
        let rest = self.shared().devices.hold_at_rest();
        self.save_state(*rest, writer)?;
        save_ram(self.shared().vm.saver(&self.shared().ram), writer)
    }

    fn save_state(&self, is_at_rest: bool, writer: &mut Writer) -> Result<(), SaveError> {
        let shared = self.shared();
        if !is_at_rest {
            return Err(SaveError::NotPaused);
        }
        sections::check_devices(shared.devices.virtio())?;
        shared.platform.check_owned(shared.devices.parts())?;
        let vcpus = self
            .run_control()
            .visit(0..u32::MAX, |_, state| state.save());
        sections::put(writer, MACHINE, &shared.form)?;
        sections::put_core(writer, (shared.form.vcpus(), vcpus), shared.vm.state())?;
        Ok(sections::save_parts(shared.devices.parts(), writer)?)
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
