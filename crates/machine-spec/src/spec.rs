//! A machine.

use serde::{Deserialize, Serialize};

use crate::{
    BootSpec, ConsoleSpec, CpusSpec, DeviceSpec, MemorySpec, PlatformSpec, PolicySpec, Transport,
};

/// The command line of a kernel that was given none: the console on the first serial port; a reset by the
/// keyboard controller, at once after a panic, so that the VMM ends; no probing for what the machine does not
/// have (PCI, mouse ports).
const CMDLINE: [&str; 7] = [
    "console=ttyS0",
    "reboot=k",
    "panic=-1",
    "pci=off",
    "i8042.noaux",
    "i8042.nomux",
    "i8042.dumbkbd",
];

/// A machine: everything that a person chooses of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MachineSpec {
    /// Its name, for people.
    #[serde(default)]
    pub name: Option<String>,
    /// The boot.
    pub boot: BootSpec,
    /// Its CPUs.
    #[serde(default)]
    pub cpus: CpusSpec,
    /// Its memory.
    #[serde(default)]
    pub memory: MemorySpec,
    /// The platform.
    #[serde(default)]
    pub platform: PlatformSpec,
    /// Its serial console; see [`serial_console`](Self::serial_console).
    #[serde(default)]
    pub serial: Option<ConsoleSpec>,
    /// Its paravirtual devices.
    #[serde(default)]
    pub devices: Vec<DeviceSpec>,
    /// The policy for its end.
    #[serde(default)]
    pub policy: PolicySpec,
}

impl MachineSpec {
    /// A machine that runs `boot`, with defaults for all else: one vCPU, 256 MiB, the serial console on stdio.
    pub fn new(boot: BootSpec) -> Self {
        Self {
            name: None,
            boot,
            cpus: CpusSpec::default(),
            memory: MemorySpec::default(),
            platform: PlatformSpec::default(),
            serial: None,
            devices: Vec::new(),
            policy: PolicySpec::default(),
        }
    }

    /// Where its serial console is: as it says, or stdio unless a virtio console has that.
    pub fn serial_console(&self) -> ConsoleSpec {
        match &self.serial {
            Some(console) => console.clone(),
            None if self.has_virtio_stdio() => ConsoleSpec::Null,
            None => ConsoleSpec::Stdio,
        }
    }

    /// Whether another process must see its memory.
    pub fn needs_shared_memory(&self) -> bool {
        self.devices.iter().any(DeviceSpec::needs_shared_memory)
    }

    /// The command line for a kernel of this machine that was given none: its console is where stdio is, and
    /// where there is PCI, it is not told that there is none.
    pub fn default_cmdline(&self) -> String {
        let has_pci = self.platform.virtio.transport == Transport::Pci;
        let words = CMDLINE
            .iter()
            .filter(|word| !has_pci || **word != "pci=off");
        let words = words.map(|word| match *word {
            "console=ttyS0" if self.has_virtio_stdio() => "console=hvc0",
            word => word,
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Whether a virtio console is on stdio.
    pub fn has_virtio_stdio(&self) -> bool {
        self.devices
            .contains(&DeviceSpec::Console(ConsoleSpec::Stdio))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Given, KernelSpec};

    use super::*;

    fn machine() -> MachineSpec {
        MachineSpec::new(BootSpec::Kernel(KernelSpec::new("k")))
    }

    #[test]
    fn the_console_is_where_stdio_is() {
        let mut machine = machine();
        assert_eq!(machine.serial_console(), ConsoleSpec::Stdio);
        let line = machine.default_cmdline();
        assert!(line.starts_with("console=ttyS0 ") && line.contains(" pci=off "));
        machine
            .devices
            .push(DeviceSpec::Console(ConsoleSpec::Stdio));
        machine.platform.virtio.transport = Transport::Pci;
        assert_eq!(machine.serial_console(), ConsoleSpec::Null);
        let line = machine.default_cmdline();
        assert!(line.starts_with("console=hvc0 ") && !line.contains("pci"));
    }

    #[test]
    fn a_machine_is_serialized_and_read_again() {
        let mut full = machine();
        let given = |text| Given::text(text);
        full.cpus.vcpus = "8,sockets=2".parse().unwrap();
        full.cpus.affinity = Some("0-3:0,4:1+2".parse().unwrap());
        full.memory = MemorySpec::parse(&given("1G,max=2G,backend=memfd,thp=on")).unwrap();
        full.devices = vec![
            DeviceSpec::Disk(crate::DiskSpec::parse(&given("d.img,iops=5")).unwrap()),
            DeviceSpec::Net(crate::NetSpec::parse(&given("tap=t,create")).unwrap()),
            DeviceSpec::Rng,
        ];
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<MachineSpec>(&text).unwrap(), full);
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let text = r#"{"boot": {"kernel": {"image": "k"}}}"#;
        let read: MachineSpec = serde_json::from_str(text).unwrap();
        assert_eq!(read, machine());
        for wrong in [
            r"{}",
            r#"{"boot": {}}"#,
            r#"{"boot": {"firmware": "f"}, "memroy": {}}"#,
            r#"{"boot": {"firmware": "f"}, "memory": {"size": "1.5G"}}"#,
            r#"{"boot": {"firmware": "f"}, "cpus": {"vcpus": "0"}}"#,
        ] {
            assert!(
                serde_json::from_str::<MachineSpec>(wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
