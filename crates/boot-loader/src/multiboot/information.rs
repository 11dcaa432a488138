//! Boot information for a Multiboot kernel (Multiboot 0.6.96, 3.3; Multiboot2 2.0, 3.6).

use vmmkit_guest_memory::{AccessError, GuestAddress, GuestRam};

use super::MultibootError;
use super::header::Version;
use crate::Placed;
use crate::memory_map::{BOOT_INFO, BOOT_INFO_SIZE, E820Entry, EBDA, HIGH_MEMORY, low_ram_end};

/// The loader's name, for kernels that know the habits of some.
const LOADER: &str = "boot-loader";

/// `flags` of version 1: which fields are valid.
const HAS_MEMORY: u32 = 1;
const HAS_CMDLINE: u32 = 1 << 2;
const HAS_MODULES: u32 = 1 << 3;
const HAS_MAP: u32 = 1 << 6;
const HAS_LOADER: u32 = 1 << 9;
/// The size of the structure of version 1.
const SIZE_1: usize = 116;
/// An RSDP of ACPI 2.0 has 36 bytes (ACPI 6.5, 5.2.5.3).
const RSDP: usize = 36;

/// A module in RAM, and the string that goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub(crate) placed: Placed,
    pub(crate) text: String,
}

/// All that is told.
pub(crate) struct Told<'a> {
    /// By convention, the kernel's name comes first.
    pub(crate) cmdline: &'a str,
    pub(crate) modules: &'a [Module],
    pub(crate) e820: &'a [E820Entry],
    pub(crate) rsdp: Option<GuestAddress>,
    /// The kernel's lowest address.
    pub(crate) kernel: u64,
}

/// Writes the information of `version` to its place; answers with its size.
pub(crate) fn write(
    ram: &GuestRam,
    version: Version,
    told: &Told<'_>,
) -> Result<u64, MultibootError> {
    let memory = [
        EBDA.0 >> 10,
        low_ram_end(ram).saturating_sub(HIGH_MEMORY.0) >> 10,
    ];
    let memory = memory.map(low_half);
    let bytes = match version {
        Version::One => version_1(told, memory),
        Version::Two => version_2(ram, told, memory)?,
    };
    let (size, limit) = (bytes.len(), BOOT_INFO_SIZE as usize);
    if size > limit {
        return Err(MultibootError::TooMuchToTell { size, limit });
    }
    ram.write_bytes(BOOT_INFO, &bytes)?;
    Ok(size as u64)
}

/// All addresses are below 4 GiB.
fn low_half(value: u64) -> u32 {
    (value & u64::from(u32::MAX)) as u32
}

fn version_1(told: &Told<'_>, [lower, upper]: [u32; 2]) -> Vec<u8> {
    let mut tail = Tail {
        start: SIZE_1,
        bytes: Vec::new(),
    };
    let cmdline = tail.text(told.cmdline);
    let loader = tail.text(LOADER);
    let texts: Vec<u32> = told
        .modules
        .iter()
        .map(|module| tail.text(&module.text))
        .collect();
    tail.align(4);
    let modules = tail.address();
    for (module, text) in told.modules.iter().zip(texts) {
        let (start, end) = ends(module.placed);
        tail.words(&[start, end, text, 0]);
    }
    let map = tail.address();
    for entry in told.e820 {
        tail.words(&[20]); // the size of what follows
        tail.bytes.extend(entry.start.0.to_le_bytes());
        tail.bytes.extend(entry.size.to_le_bytes());
        tail.words(&[entry.kind as u32]);
    }
    let map_size = tail.address().saturating_sub(map);
    let mut head = [0_u32; SIZE_1 / 4];
    let flags = HAS_MEMORY | HAS_CMDLINE | HAS_MODULES | HAS_MAP | HAS_LOADER;
    let fields = [
        (0, flags),
        (1, lower),
        (2, upper),
        (4, cmdline),
        (5, told.modules.len() as u32),
        (6, modules),
        (11, map_size),
        (12, map),
        (16, loader),
    ];
    for (index, value) in fields {
        if let Some(field) = head.get_mut(index) {
            *field = value;
        }
    }
    let mut bytes: Vec<u8> = head.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.append(&mut tail.bytes);
    bytes
}

fn ends(placed: Placed) -> (u32, u32) {
    let end = placed.start.0.saturating_add(placed.size);
    (low_half(placed.start.0), low_half(end))
}

/// The part behind the structure of version 1, which points to it.
struct Tail {
    start: usize,
    bytes: Vec<u8>,
}

impl Tail {
    /// The address of what is put next.
    fn address(&self) -> u32 {
        let offset = self.start.saturating_add(self.bytes.len());
        low_half(BOOT_INFO.0.saturating_add(offset as u64))
    }

    /// Puts a string with its NUL.
    fn text(&mut self, text: &str) -> u32 {
        let address = self.address();
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        address
    }

    fn words(&mut self, words: &[u32]) {
        self.bytes
            .extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    fn align(&mut self, to: usize) {
        let end = self.start.saturating_add(self.bytes.len());
        let padding = end.next_multiple_of(to).saturating_sub(end);
        self.bytes
            .resize(self.bytes.len().saturating_add(padding), 0);
    }
}

fn version_2(
    ram: &GuestRam,
    told: &Told<'_>,
    [lower, upper]: [u32; 2],
) -> Result<Vec<u8>, AccessError> {
    let mut tags = Tags(vec![0; 8]);
    tags.put(1, &[], told.cmdline.as_bytes(), true);
    tags.put(2, &[], LOADER.as_bytes(), true);
    for module in told.modules {
        let (start, end) = ends(module.placed);
        tags.put(3, &[start, end], module.text.as_bytes(), true);
    }
    tags.put(4, &[lower, upper], &[], false);
    let mut map = Vec::new();
    for entry in told.e820 {
        map.extend(entry.start.0.to_le_bytes());
        map.extend(entry.size.to_le_bytes());
        map.extend((entry.kind as u32).to_le_bytes());
        map.extend([0; 4]);
    }
    tags.put(6, &[24, 0], &map, false); // the size of an entry, its version
    if let Some(rsdp) = told.rsdp {
        let mut bytes = [0; RSDP];
        ram.read_bytes(rsdp, &mut bytes)?;
        tags.put(15, &[], &bytes, false);
    }
    tags.put(21, &[low_half(told.kernel)], &[], false);
    tags.put(0, &[], &[], false);
    let mut bytes = tags.0;
    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    for (to, from) in bytes.iter_mut().zip(size.to_le_bytes()) {
        *to = from;
    }
    Ok(bytes)
}

/// Tags of version 2, each at a multiple of 8.
struct Tags(Vec<u8>);

impl Tags {
    fn put(&mut self, kind: u32, words: &[u32], data: &[u8], ends_with_nul: bool) {
        let size = 8 + words.len() * 4 + data.len() + usize::from(ends_with_nul);
        self.0.extend(kind.to_le_bytes());
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.0.extend(size.to_le_bytes());
        self.0
            .extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self.0.extend(data);
        if ends_with_nul {
            self.0.push(0);
        }
        self.0.resize(self.0.len().next_multiple_of(8), 0);
    }
}
