//! The embedder's own devices.

use std::sync::Arc;

use vmmkit_boot_loader::acpi::AcpiObject;
use vmmkit_device_bus::{AddressRange, DeviceMmio, DevicePio, Plug, RequestSink};
use vmmkit_pc_platform::{Needs, NoRoom, OwnDevice, OwnPlace, Part, PartDevice, PciSlot, Slot};
use vmmkit_pci::{PciError, PciFunction};
use vmmkit_telemetry::Inspect;

use crate::MachineBuilder;

impl MachineBuilder {
    /// Plugs a device of the embedder's own into the I/O ports. vCPU threads call it, several at
    /// once; what it does holds up the guest. A panic in it ends the run with
    /// [`RunError::ThreadPanicked`](crate::RunError::ThreadPanicked).
    ///
    /// [`FREE_PORTS`](crate::FREE_PORTS) are free in every machine; a range that the machine itself
    /// has a use for is an error of [`build`](Self::build), which names both owners.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use vmmkit_device_bus::{AddressRange, DevicePio, PioAddress, PioAddressOffset};
    /// use vmmkit_vmm::{Boot, MachineBuilder, MachineConfig};
    ///
    /// /// A port that tells the guest which build of the host's program it runs under.
    /// struct BuildNumber(u8);
    ///
    /// impl DevicePio for BuildNumber {
    ///     fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
    ///         data.fill(self.0);
    ///     }
    ///     fn pio_write(&self, _: PioAddress, _: PioAddressOffset, _: &[u8]) {}
    /// }
    ///
    /// let builder = MachineBuilder::new(MachineConfig::new(Boot::kernel("vmlinux")));
    /// builder.plug_port_device("build number", AddressRange::new(0x700, 1), Arc::new(BuildNumber(7)));
    /// ```
    #[must_use]
    pub fn plug_port_device(
        mut self,
        name: &str,
        range: AddressRange,
        device: Arc<dyn DevicePio + Send + Sync>,
    ) -> Self {
        self.own.plug_ports(Plug::new(name, range, device));
        self
    }

    /// Plugs a device of the embedder's own into guest-physical addresses that are not RAM: the
    /// hole from 3 GiB to 4 GiB, where [`FREE_MMIO`](crate::FREE_MMIO) is free in every machine, or
    /// above the end of RAM. Otherwise as [`plug_port_device`](Self::plug_port_device). The map is there.
    #[must_use]
    pub fn plug_mmio_device(
        mut self,
        name: &str,
        range: AddressRange,
        device: Arc<dyn DeviceMmio + Send + Sync>,
    ) -> Self {
        self.own.plug_mmio(Plug::new(name, range, device));
        self
    }

    /// Makes `device`, one of the embedder's own that was plugged in, a part of the machine: it is started,
    /// paused, resumed, reset and stopped in one order with all other parts, after them and before them, it is
    /// saved and restored, and [`Handle::inspect`](crate::Handle::inspect) shows it as `name`, which no other
    /// part has.
    #[must_use]
    pub fn lead<D: PartDevice + 'static>(mut self, name: &str, device: Arc<D>) -> Self {
        self.own.lead(Part::new(name, device));
        self
    }

    /// Adds a device of the embedder's own, a part of the machine like those that are [led](Self::lead), and
    /// says where it is: free ports, free addresses and an interrupt are found for its `needs`, and a driver
    /// finds it by ACPI if it has an identifier there. `make` is called once, while the machine is built, with
    /// all that the machine has for it: its place, its interrupt line, the guest's RAM and the taker of its
    /// requests. It must not wait.
    ///
    /// # Errors
    /// [`NoRoom`] says what there is not enough of.
    pub fn add_device(
        &mut self,
        name: &str,
        needs: &Needs,
        make: impl FnOnce(Slot) -> OwnDevice + Send + 'static,
    ) -> Result<OwnPlace, NoRoom> {
        self.own.add(name, needs, Box::new(make))
    }

    /// Adds a PCI function of the embedder's own, in a machine whose [`virtio`](crate::MachineConfig::virtio)
    /// devices are on a PCI bus: the bus finds places for it and its base addresses. It is a part of the machine, by
    /// its [name](PciFunction::name). `make` is called once, while the machine is built, with `vectors`
    /// message-signalled interrupts; [`MsixEndpoint`](vmmkit_pci::MsixEndpoint) does with them what a guest expects.
    /// A function that is reset disconnects them.
    pub fn add_pci_function<F: PciFunction + Inspect + 'static>(
        &mut self,
        vectors: u16,
        make: impl FnOnce(PciSlot) -> Result<Arc<F>, PciError> + Send + 'static,
    ) {
        self.own.add_function(vectors, make);
    }

    /// Describes a device of the embedder's own to the guest in AML, where ACPI describes the machine. That it is
    /// called as no other is, and the room for it, are looked at when the machine is built.
    pub fn add_acpi_object(&mut self, object: AcpiObject) {
        self.own.describe(object);
    }

    /// Where a device of the embedder's own, made before the machine, sends what it asks for: the end of
    /// the run or a reset. It may be called from within an access, and a device may keep it: unlike a
    /// [`Handle`](crate::Handle) it keeps nothing of the machine but its run state.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use vmmkit_device_bus::{
    ///     AddressRange, DevicePio, GuestRequest, PioAddress, PioAddressOffset, RequestSink,
    /// };
    /// use vmmkit_vmm::{Boot, FREE_PORTS, MachineBuilder, MachineConfig};
    ///
    /// /// A port: the byte that the guest writes is the code of its end.
    /// struct ExitCode(RequestSink);
    ///
    /// impl DevicePio for ExitCode {
    ///     fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
    ///         data.fill(0xff);
    ///     }
    ///     fn pio_write(&self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
    ///         (self.0)(GuestRequest::DebugExit(data.first().copied().unwrap_or(0)));
    ///     }
    /// }
    ///
    /// let builder = MachineBuilder::new(MachineConfig::new(Boot::kernel("vmlinux")));
    /// let device = Arc::new(ExitCode(builder.requests()));
    /// let range = AddressRange::new(FREE_PORTS.base, 1);
    /// let builder = builder.plug_port_device("exit code", range, device);
    /// ```
    pub fn requests(&self) -> RequestSink {
        self.supervisor.control().requests()
    }
}
