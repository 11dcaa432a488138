//! Model-specific registers that firmware sets before a kernel starts.

use vmmkit_hypervisor::x86::Msr;

use crate::{CpuModel, CpuidError};

/// IA32_MISC_ENABLE (Intel SDM vol. 4, table 2-2).
const MISC_ENABLE: u32 = 0x1a0;
/// REP MOVS and REP STOS work on whole cache lines; Linux does without them where it is clear.
const FAST_STRINGS: u64 = 1 << 0;
/// No branch trace store, no precise event based sampling: there is no PMU that has them.
const NO_TRACING: u64 = 1 << 11 | 1 << 12;
/// IA32_MTRR_DEF_TYPE (Intel SDM vol. 3A, 12.11.2.1).
const MTRR_DEF_TYPE: u32 = 0x2ff;
/// The MTRRs are in force. Kernels before Linux 6.6 do without the PAT where they are not.
const MTRRS: u64 = 1 << 11;
/// Memory that no MTRR covers is write-back.
const WRITE_BACK: u64 = 6;

/// The MSRs to set before the first run, on every vCPU: those of any guest, and those of `model`'s
/// profile. Each one costs start-up time, so that all others stay as the hypervisor's reset leaves
/// them.
pub fn boot_msrs(model: &CpuModel) -> Vec<Msr> {
    let mut msrs = vec![
        Msr {
            index: MISC_ENABLE,
            value: FAST_STRINGS | NO_TRACING,
        },
        Msr {
            index: MTRR_DEF_TYPE,
            value: MTRRS | WRITE_BACK,
        },
    ];
    let own = model.file().map_or(&[][..], |profile| profile.msrs());
    msrs.retain(|msr| own.iter().all(|other| other.index != msr.index));
    msrs.extend(own);
    msrs
}

/// Checks that a host whose features in MSRs are `host` has those of `model`'s profile.
///
/// # Errors
/// [`CpuidError::MsrLacks`] names the MSR and the bit.
pub fn check_msrs(model: &CpuModel, host: &[Msr]) -> Result<(), CpuidError> {
    model
        .file()
        .map_or(Ok(()), |profile| profile.check_msrs(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_write_back_and_strings_are_fast() {
        let msrs = boot_msrs(&CpuModel::default());

        assert_eq!(
            msrs,
            [
                Msr {
                    index: 0x1a0,
                    value: 0x1801
                },
                Msr {
                    index: 0x2ff,
                    value: 0x806
                }
            ]
        );
    }
}
