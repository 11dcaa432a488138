//! All structures of a machine, and the entry point that finds them.

use vmmkit_guest_memory::GuestRam;

use super::structure::Structure;
use super::{MAX_STRINGS, Processors, Smbios, SmbiosError};
use crate::mp_table::checksum;

/// The version that the structures are of.
const VERSION: [u8; 2] = [3, 3];
/// The maker of the ACPI tables too.
const MAKER: &str = "VMMKIT";
const PRODUCT: &str = "KVM";

/// The handle that memory modules and ranges refer to.
const MEMORY_ARRAY: u16 = 0x1000;
const NO_HANDLE: u16 = 0xfffe;
/// The packages that are described: more would leave no room for texts.
const MAX_SOCKETS: u32 = 64;

/// DSP0134, 7.1.2.2, byte 2: the tables describe a virtual machine; they are enough for a kernel.
const VIRTUAL_MACHINE: u8 = 1 << 4;
/// 7.1.1: characteristics are not given.
const NOT_SUPPORTED: u64 = 1 << 3;
const KIB: u64 = 1024;
const MIB: u64 = 1 << 20;

/// The SMBIOS tables of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmbiosTables {
    structures: Vec<u8>,
}

impl SmbiosTables {
    /// The name of the entry point among the files of a firmware configuration device (QEMU, SeaBIOS, OVMF).
    pub const ANCHOR: &str = "etc/smbios/smbios-anchor";
    /// The name of the structures there.
    pub const TABLES: &str = "etc/smbios/smbios-tables";

    /// The tables of a machine that `named` names, with `processors` and `ram`.
    ///
    /// # Errors
    /// [`SmbiosError`], as of [`Smbios::check`].
    pub fn new(
        named: &Smbios,
        processors: Processors,
        ram: &GuestRam,
    ) -> Result<Self, SmbiosError> {
        named.check()?;
        let mut structures = firmware();
        structures.extend(system(named));
        structures.extend(chassis(named));
        for socket in 0..processors.sockets.min(MAX_SOCKETS) {
            structures.extend(processor(named, processors, socket));
        }
        if !named.oem_strings.is_empty() {
            structures.extend(oem_strings(&named.oem_strings));
        }
        structures.extend(memory(ram));
        // System boot information: no errors.
        structures.extend(Structure::new(32, 0x2000).bytes(&[0; 7]).finish());
        structures.extend(Structure::new(127, 0x7f00).finish());
        Ok(Self { structures })
    }

    /// The structures.
    pub fn structures(&self) -> &[u8] {
        &self.structures
    }

    /// The entry point (DSP0134, 5.2.2) for structures that lie at `address`.
    pub fn entry_point(&self, address: u64) -> [u8; 24] {
        let mut entry = [0; 24];
        let size = u32::try_from(self.structures.len()).unwrap_or(u32::MAX);
        let fields: [(usize, &[u8]); 6] = [
            (0, b"_SM3_"),
            (6, &[24]),
            (7, &VERSION),
            // The revision of the entry point.
            (10, &[1]),
            (12, &size.to_le_bytes()),
            (16, &address.to_le_bytes()),
        ];
        for (at, bytes) in fields {
            if let Some(place) = entry.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        }
        entry[5] = checksum(&entry);
        entry
    }
}

/// Type 0.
fn firmware() -> Vec<u8> {
    let structure = Structure::new(0, 0);
    let structure = structure.text(Some(MAKER));
    let structure = structure.text(Some(env!("CARGO_PKG_VERSION")));
    // Its segment, date and size: there is no ROM.
    let structure = structure.word(0).byte(0).byte(0).qword(NOT_SUPPORTED);
    // Releases of the firmware and of an embedded controller: none.
    let structure = structure.bytes(&[0, VIRTUAL_MACHINE, 0xff, 0xff, 0xff, 0xff]);
    structure.word(0).finish()
}

/// Type 1.
fn system(named: &Smbios) -> Vec<u8> {
    let product = named.product.as_deref().unwrap_or(PRODUCT);
    let structure = Structure::new(1, 0x100)
        .text(Some(maker(named)))
        .text(Some(product))
        .text(named.version.as_deref())
        .text(named.serial.as_deref())
        .bytes(&uuid(named.uuid))
        // Woken by its power switch.
        .byte(6)
        .text(named.sku.as_deref())
        .text(named.family.as_deref());
    structure.finish()
}

fn maker(named: &Smbios) -> &str {
    named.manufacturer.as_deref().unwrap_or(MAKER)
}

/// The first three fields are little-endian (DSP0134, 7.2.1); without one, all zeroes: not present.
fn uuid(uuid: Option<[u8; 16]>) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = uuid.unwrap_or_default();
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

/// Type 3: a chassis of another kind, its states safe, with nothing in it.
fn chassis(named: &Smbios) -> Vec<u8> {
    let structure = Structure::new(3, 0x300);
    let structure = structure.text(Some(maker(named)));
    let structure = structure.bytes(&[1, 0, 0, 0, 3, 3, 3, 3]);
    structure.dword(0).bytes(&[0; 5]).finish()
}

/// Type 4.
fn processor(named: &Smbios, processors: Processors, socket: u32) -> Vec<u8> {
    let handle = 0x400_u16.saturating_add(u16::try_from(socket).unwrap_or(u16::MAX));
    let name = format!("CPU {socket}");
    let narrow = |count: u32| u8::try_from(count).unwrap_or(u8::MAX);
    let wide = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
    let cores = processors.cores;
    let threads = cores.saturating_mul(processors.threads);
    let structure = Structure::new(4, handle)
        .text(Some(&name))
        // A central processor of a family that is not known.
        .bytes(&[3, 2])
        .text(Some(maker(named)))
        .qword(0)
        .text(None)
        // Voltage, clocks: not known. The socket is populated, the processor enabled.
        .byte(0)
        .bytes(&[0; 6])
        .bytes(&[0x41, 2])
        // No structures of caches.
        .bytes(&[0xff; 6])
        .bytes(&[0, 0, 0])
        .bytes(&[narrow(cores), narrow(cores), narrow(threads)])
        // 64 bits; several cores; threads of a core.
        .word(1 << 2 | u16::from(cores > 1) << 3 | u16::from(threads > cores) << 4)
        .word(2)
        .bytes(&wide(cores).to_le_bytes())
        .bytes(&wide(cores).to_le_bytes())
        .bytes(&wide(threads).to_le_bytes());
    structure.finish()
}

/// Type 11, as many as there must be.
fn oem_strings(texts: &[String]) -> Vec<u8> {
    let mut all = Vec::new();
    for (index, texts) in (0_u16..).zip(texts.chunks(MAX_STRINGS)) {
        let count = u8::try_from(texts.len()).unwrap_or(u8::MAX);
        let mut structure = Structure::new(11, 0xb00_u16.saturating_add(index)).byte(count);
        for text in texts {
            structure.add(text);
        }
        all.extend(structure.finish());
    }
    all
}

/// Types 16, 17 and 19: one array of one module, mapped where RAM is.
fn memory(ram: &GuestRam) -> Vec<u8> {
    let size = ram.size();
    let kib = u32::try_from(size / KIB).unwrap_or(0x8000_0000);
    let (kib, large) = match kib {
        0x8000_0000.. => (0x8000_0000, size),
        _ => (kib, 0),
    };
    // System board, system memory, no error correction.
    let array = Structure::new(16, MEMORY_ARRAY).bytes(&[3, 3, 3]);
    let array = array.dword(kib).word(NO_HANDLE).word(1).qword(large);
    let mut all = array.finish();
    all.extend(module(size));
    for (index, region) in (0_u16..).zip(ram.regions()) {
        let start = region.guest_address.0;
        let last = start.saturating_add(region.size).saturating_sub(1);
        let range = |address: u64| u32::try_from(address / KIB).ok();
        let narrow = range(start).zip(range(last).filter(|last| *last < u32::MAX));
        let handle = 0x1300_u16.saturating_add(index);
        let mapped = Structure::new(19, handle);
        // Numbers that 32 bits do not hold are at the end.
        let (first, end) = narrow.unwrap_or((u32::MAX, u32::MAX));
        let (far_first, far_end) = narrow.map_or((start, last), |_| (0, 0));
        let mapped = mapped.dword(first).dword(end).word(MEMORY_ARRAY).byte(1);
        all.extend(mapped.qword(far_first).qword(far_end).finish());
    }
    all
}

/// Type 17.
fn module(size: u64) -> Vec<u8> {
    let mib = size / MIB;
    let (short, extended) = match u16::try_from(mib) {
        Ok(mib @ ..0x7fff) => (mib, 0),
        _ => (0x7fff, u32::try_from(mib).unwrap_or(0x7fff_ffff)),
    };
    let structure = Structure::new(17, 0x1100);
    let structure = structure.word(MEMORY_ARRAY).word(NO_HANDLE);
    // Widths not known; a DIMM, which is in no set.
    let structure = structure.word(0xffff).word(0xffff).word(short);
    let structure = structure.bytes(&[9, 0]).text(Some("DIMM 0"));
    // No bank; RAM of another kind; speed, maker, serial number, asset tag, part number, rank.
    let structure = structure.byte(0).bytes(&[7, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    let structure = structure.dword(extended).word(0);
    // Minimum, maximum and configured voltage.
    structure.bytes(&[0; 6]).finish()
}

#[cfg(test)]
mod tests;
