//! The CPUID bits that the emulator needs.

mod offered;

use vmmkit_hypervisor::x86::CpuidEntry;

/// Components are numbered 0 to 62; bit 63 of a bitmap means something else.
const COMPONENTS: usize = 63;

/// One vCPU's CPUID bits that the emulator needs.
///
/// Features are not gates for what the emulator knows: the software hypervisors that need it cannot
/// hide all of them, so that the guest may see more than this CPUID says. For the rest of the
/// instructions they are.
#[derive(Clone, Debug)]
pub(crate) struct Cpuid {
    /// MAXPHYADDR (leaf 80000008H), 52 where it is not told: then no address bit is reserved.
    pub(crate) physical_bits: u32,
    /// The state components (leaf 0DH).
    pub(crate) xsave: XsaveLayout,
    /// Its leaves.
    features: Vec<CpuidEntry>,
}

/// Where state components are in an XSAVE area (Intel SDM vol. 1, 13.2 and 13.4.3).
#[derive(Clone, Debug)]
pub(crate) struct XsaveLayout {
    /// The bits that XCR0 may have.
    pub(crate) user: u64,
    components: [Component; COMPONENTS],
}

/// One component of the extended region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Component {
    /// Bytes; 0 where there is no such component.
    pub(crate) size: usize,
    /// From the start of the area, in the standard format; 0 for a supervisor component.
    pub(crate) offset: usize,
    /// In the compacted format it begins at a multiple of 64.
    aligned: bool,
}

/// Where the extended region begins: the legacy region and the header come before.
pub(crate) const EXTENDED_REGION: usize = 576;

impl Cpuid {
    pub(crate) fn new(entries: &[CpuidEntry]) -> Self {
        let physical_bits = find(entries, 0x8000_0008, 0).map_or(52, |leaf| leaf.eax & 0xff);
        Self {
            physical_bits,
            xsave: XsaveLayout::new(entries),
            features: entries.to_vec(),
        }
    }

    /// Whether the vendor is AMD (leaf 0). One that is not told is Intel.
    pub(crate) fn is_amd(&self) -> bool {
        let vendor = u32::from_le_bytes(*b"cAMD");
        find(&self.features, 0, 0).is_some_and(|leaf| leaf.ecx == vendor)
    }
}

impl XsaveLayout {
    fn new(entries: &[CpuidEntry]) -> Self {
        let both = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let mut components = [Component::default(); COMPONENTS];
        for (index, component) in (0..).zip(&mut components).skip(2) {
            if let Some(leaf) = find(entries, 0xd, index) {
                *component = Component {
                    size: leaf.eax as usize,
                    offset: leaf.ebx as usize,
                    aligned: leaf.ecx & 2 != 0,
                };
            }
        }
        Self {
            user: find(entries, 0xd, 0).map_or(0, |leaf| both(leaf.edx, leaf.eax)),
            components,
        }
    }

    /// A component of the extended region; `None` where CPUID does not tell of it.
    pub(crate) fn component(&self, number: u32) -> Option<Component> {
        let component = self.components.get(number as usize)?;
        (component.size > 0).then_some(*component)
    }

    /// Where `number` is in an area of the compacted format that has the components of `xcomp_bv`
    /// (13.4.3). `None` where CPUID does not tell of one up to it.
    pub(crate) fn compacted_offset(&self, number: u32, xcomp_bv: u64) -> Option<usize> {
        let mut end = EXTENDED_REGION;
        for index in (2..=number).filter(|index| xcomp_bv >> index & 1 != 0) {
            let component = self.component(index)?;
            let start = if component.aligned {
                end.checked_next_multiple_of(64)?
            } else {
                end
            };
            if index == number {
                return Some(start);
            }
            end = start.checked_add(component.size)?;
        }
        None
    }
}

fn find(entries: &[CpuidEntry], function: u32, index: u32) -> Option<&CpuidEntry> {
    entries
        .iter()
        .find(|entry| entry.function == function && (entry.index == index || function != 0xd))
}

#[cfg(test)]
mod tests;
