//! Why a vCPU stopped running: owned, complete, typed.

use std::fmt;

use crate::Devices;
use crate::x86::DebugExit;

/// The width of one access of a guest, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Width {
    /// 1 byte.
    Byte = 1,
    /// 2 bytes.
    Word = 2,
    /// 4 bytes.
    Dword = 4,
    /// 8 bytes.
    Qword = 8,
}

impl Width {
    /// The width of `bytes` bytes, if there is one.
    pub const fn from_bytes(bytes: u8) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Word),
            4 => Some(Self::Dword),
            8 => Some(Self::Qword),
            _ => None,
        }
    }

    /// The width in bytes.
    pub const fn bytes(self) -> usize {
        self as usize
    }
}

/// One IN or OUT instruction, or a part of an INS or OUTS: `count` accesses of `width` at one port.
/// The bytes are in [`Vcpu::data`](crate::Vcpu::data): `width * count` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAccess {
    /// The port.
    pub port: u16,
    /// The width of each access: 1, 2 or 4 bytes.
    pub width: Width,
    /// How many accesses, at least 1; more than 1 only for string instructions.
    pub count: u32,
}

/// One access to guest-physical memory that no RAM answers. The bytes are in
/// [`Vcpu::data`](crate::Vcpu::data): `length` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioAccess {
    /// The guest-physical address.
    pub address: u64,
    /// The length in bytes, 1 to 8.
    pub length: u8,
}

/// The hypervisor could not go on with the guest's instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalError {
    /// KVM_INTERNAL_ERROR_*: 1 is emulation (KVM API, `KVM_EXIT_INTERNAL_ERROR`).
    pub suberror: u32,
    /// RIP at the time, where it could be read.
    pub rip: Option<u64>,
    /// The bytes at RIP as far as the hypervisor gave them; up to 15.
    pub instruction: Vec<u8>,
    /// The instruction, disassembled, where the back end can.
    pub name: Option<String>,
    /// The raw detail words.
    pub data: Vec<u64>,
}

/// The hardware refused to enter the guest (`KVM_EXIT_FAIL_ENTRY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailEntry {
    /// The hardware's reason.
    pub reason: u64,
    /// The host CPU it happened on.
    pub cpu: u32,
}

/// A system-wide event the hypervisor saw itself (`KVM_EXIT_SYSTEM_EVENT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SystemEvent {
    /// The guest asked for power-off.
    Shutdown,
    /// The guest asked for a reset.
    Reset,
    /// The guest crashed.
    Crash,
    /// Another kind, by its number.
    Other(u32),
}

/// Why [`Vcpu::run`](crate::Vcpu::run) returned.
///
/// The common variants are small and by value; rare ones are boxed so that the whole stays in
/// registers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VcpuExit {
    /// The guest reads a port: fill [`Vcpu::data`](crate::Vcpu::data), then run again.
    PortRead(PortAccess),
    /// The guest wrote a port: the bytes are in [`Vcpu::data`](crate::Vcpu::data).
    PortWrite(PortAccess),
    /// The guest reads unclaimed physical memory: fill [`Vcpu::data`](crate::Vcpu::data).
    MmioRead(MmioAccess),
    /// The guest wrote unclaimed physical memory: the bytes are in [`Vcpu::data`](crate::Vcpu::data).
    MmioWrite(MmioAccess),
    /// The guest ended the level-triggered interrupt of this vector, with
    /// [`Irqchip::Split`](crate::Irqchip::Split).
    IoapicEoi(u8),
    /// HLT, where the interrupt controller is not the hypervisor's.
    Halt,
    /// Triple fault, or another shutdown cycle.
    Shutdown,
    /// A kick or a signal ended the run; nothing happened in the guest.
    Interrupted,
    /// A system-wide event.
    SystemEvent(SystemEvent),
    /// The hypervisor could not go on.
    InternalError(Box<InternalError>),
    /// The hardware refused to enter the guest.
    FailEntry(FailEntry),
    /// A debugger wanted to stop here.
    Debug(Box<DebugExit>),
    /// An exit this back end knows by number only.
    Unknown(u32),
}

impl VcpuExit {
    /// Lets `devices` answer an access, whose bytes are `data`; any other exit comes back.
    #[inline]
    pub fn answered_by(self, devices: &mut impl Devices, data: &mut [u8]) -> Option<Self> {
        match self {
            Self::PortRead(access) => devices.read_port(access, data),
            Self::PortWrite(access) => devices.write_port(access, data),
            Self::MmioRead(access) => devices.read_mmio(access, data),
            Self::MmioWrite(access) => devices.write_mmio(access, data),
            other => return Some(other),
        }
        None
    }

    /// The exit's name as the KVM API spells it, for messages and counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PortRead(_) | Self::PortWrite(_) => "KVM_EXIT_IO",
            Self::MmioRead(_) | Self::MmioWrite(_) => "KVM_EXIT_MMIO",
            Self::IoapicEoi(_) => "KVM_EXIT_IOAPIC_EOI",
            Self::Halt => "KVM_EXIT_HLT",
            Self::Shutdown => "KVM_EXIT_SHUTDOWN",
            Self::Interrupted => "KVM_EXIT_INTR",
            Self::SystemEvent(_) => "KVM_EXIT_SYSTEM_EVENT",
            Self::InternalError(_) => "KVM_EXIT_INTERNAL_ERROR",
            Self::FailEntry(_) => "KVM_EXIT_FAIL_ENTRY",
            Self::Debug(_) => "KVM_EXIT_DEBUG",
            Self::Unknown(_) => "an exit without a name here",
        }
    }
}

impl fmt::Display for InternalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "suberror {}", self.suberror)?;
        if let Some(rip) = self.rip {
            write!(f, " at RIP {rip:#x}")?;
        }
        if let Some(name) = &self.name {
            write!(f, ", instruction `{name}`")?;
        }
        if !self.instruction.is_empty() {
            write!(f, ", instruction bytes")?;
            for byte in &self.instruction {
                write!(f, " {byte:02x}")?;
            }
        }
        Ok(())
    }
}
