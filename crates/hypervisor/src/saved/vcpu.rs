//! The saved form of a vCPU.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::state::Value;
use vmmkit_device_bus::{StateError, StateForm, StateReason};

use super::text;
use crate::x86::{CpuidEntry, MpState, Msr, Registers, SpecialRegisters};

/// The most CPUID entries of a vCPU (`KVM_MAX_CPUID_ENTRIES` of the kernel).
const MAX_CPUID: u64 = 256;
/// The most MSRs that a state may have; hosts know of some 200.
const MAX_MSRS: u64 = 4096;
/// The most extended control registers (`KVM_MAX_XCRS`); CPUs have one or two.
const MAX_XCRS: u64 = 16;
/// Legacy area and header of XSAVE (Intel SDM volume 1, 13.4), in bytes.
const MIN_XSAVE: u64 = 512 + 64;
/// More than any XSAVE area: AMX makes it 11 KiB.
const MAX_XSAVE: u64 = 64 << 10;
/// The register page of a local APIC, in bytes.
const LAPIC_SIZE: u64 = 1024;

/// All state of a vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VcpuSaved {
    /// CPUID as the guest saw it, with what the hypervisor changes in it while the guest runs.
    #[serde(with = "text::rows")]
    pub cpuid: Vec<CpuidEntry>,
    /// The frequency of the guest's time-stamp counter in kHz.
    pub tsc_khz: u32,
    /// Offset of the guest's time-stamp counter from the host's, modulo 2^64; the host's is
    /// [`VmSaved::host_tsc`](super::VmSaved::host_tsc).
    pub tsc_offset: u64,
    /// Whether it runs or waits.
    pub mp_state: MpState,
    /// The general registers.
    pub registers: Registers,
    /// Segments, control registers, tables.
    pub special_registers: SpecialRegisters,
    /// The XSAVE area in the standard format (Intel SDM volume 1, 13.4), without zeros at its end: at least 576
    /// bytes.
    #[serde(with = "text::bytes")]
    pub xsave: Vec<u8>,
    /// XCR0 and others.
    pub xcrs: Vec<ExtendedControlRegister>,
    /// DR0 to DR3, DR6, DR7.
    pub debug_registers: DebugRegisters,
    /// Events on their way to the guest.
    pub events: VcpuEvents,
    /// The local APIC's register page, 1024 bytes; absent where it is not the hypervisor's.
    #[serde(with = "text::optional_bytes")]
    pub lapic: Option<Vec<u8>>,
    /// All MSRs that the host knows of, but for the time-stamp counter.
    #[serde(with = "text::rows")]
    pub msrs: Vec<Msr>,
}

impl StateForm for VcpuSaved {
    const KIND: &'static str = "x86-vcpu";
    const VERSION: u32 = 2;

    /// Version 1 had a map for each CPUID entry and MSR, and a number for each byte: three times as long.
    fn upgrade(from: u32, mut contents: Value) -> Option<Value> {
        if from != 1 {
            return None;
        }
        type Upgrade = fn(&Value) -> Option<Value>;
        let fields: [(&str, Upgrade); 4] = [
            ("cpuid", text::upgrade_rows::<CpuidEntry>),
            ("msrs", text::upgrade_rows::<Msr>),
            ("xsave", text::upgrade_bytes),
            ("lapic", text::upgrade_bytes),
        ];
        for (name, upgrade) in fields {
            // A field that is absent is an error of the newest form.
            if let Some(field) = contents.get_mut(name) {
                *field = upgrade(field)?;
            }
        }
        Some(contents)
    }
}

impl VcpuSaved {
    /// Checks lengths; values are the hypervisor's to check.
    ///
    /// # Errors
    /// The field that no vCPU could have.
    pub fn check(&self) -> Result<(), StateError> {
        let length = |field, length: usize, min, max| {
            let length = length as u64;
            if (min..=max).contains(&length) {
                return Ok(());
            }
            let reason = StateReason::OutOfRange { min, max };
            Err(StateError::field(Self::KIND, field, length, reason))
        };
        length("cpuid.length", self.cpuid.len(), 0, MAX_CPUID)?;
        length("xsave.length", self.xsave.len(), MIN_XSAVE, MAX_XSAVE)?;
        length("xcrs.length", self.xcrs.len(), 0, MAX_XCRS)?;
        length("msrs.length", self.msrs.len(), 0, MAX_MSRS)?;
        let lapic = self.lapic.as_ref();
        let lapic = lapic.map_or(LAPIC_SIZE as usize, Vec::len);
        length("lapic.length", lapic, LAPIC_SIZE, LAPIC_SIZE)
    }
}

/// An extended control register: XGETBV and XSETBV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendedControlRegister {
    /// Its number.
    pub index: u32,
    /// Its value.
    pub value: u64,
}

/// The debug registers (Intel SDM volume 3, 18.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the architecture's own names")]
pub struct DebugRegisters {
    pub addresses: [u64; 4],
    pub dr6: u64,
    pub dr7: u64,
}

/// Exceptions and interrupts on their way to the guest (KVM API, KVM_GET_VCPU_EVENTS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VcpuEvents {
    /// An exception.
    pub exception: ExceptionEvent,
    /// An interrupt that is being delivered.
    pub interrupt: InterruptEvent,
    /// Non-maskable interrupts.
    pub nmi: NmiEvent,
    /// System management mode; `None` where the host does not say.
    pub smi: Option<SmiEvent>,
    /// The vector of a start-up IPI.
    pub sipi_vector: u32,
    /// A triple fault is pending.
    pub is_triple_fault: bool,
}

/// An exception on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptionEvent {
    /// Its delivery has begun.
    pub is_injected: bool,
    /// It waits to be delivered.
    pub is_pending: bool,
    /// Its vector.
    pub vector: u8,
    /// Its error code, where it has one.
    pub error_code: Option<u32>,
    /// The value for CR2 or DR6 when it is delivered.
    pub payload: Option<u64>,
}

/// An interrupt that is being delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterruptEvent {
    /// Its delivery has begun.
    pub is_injected: bool,
    /// Its vector.
    pub vector: u8,
    /// An INT instruction made it.
    pub is_soft: bool,
    /// Interrupt shadow, which holds interrupts off for one instruction: bit 0 MOV SS, bit 1 STI.
    pub shadow: u8,
}

/// Non-maskable interrupts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NmiEvent {
    /// The delivery of one has begun.
    pub is_injected: bool,
    /// How many wait.
    pub pending: u8,
    /// They are held off until IRET.
    pub is_masked: bool,
}

/// System management mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmiEvent {
    /// The vCPU is in it.
    pub is_in_smm: bool,
    /// An SMI waits.
    pub is_pending: bool,
    /// It was entered in the handler of an NMI.
    pub is_inside_nmi: bool,
    /// An INIT waits for its end.
    pub is_init_latched: bool,
}
