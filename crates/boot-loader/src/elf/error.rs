//! Why an ELF file cannot be loaded as a kernel.

use std::io;

use thiserror::Error;

/// Why an ELF file cannot be loaded as a kernel. Each variant names the field of the ELF
/// specification (System V ABI, chapters 4 and 5) and its value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The file ends too early.
    #[error("the ELF file is truncated: {size} of at least {needed} bytes ({what})")]
    Truncated {
        /// The part that lies beyond the end.
        what: String,
        /// The bytes it would take.
        needed: u64,
        /// The bytes there are.
        size: u64,
    },
    /// A 32-bit file that names no way to enter it.
    #[error(
        "this is a 32-bit ELF (EI_CLASS = 1) that has neither a PVH note, nor a Multiboot header, nor \
         a note of Linux"
    )]
    NoEntry32,
    /// Built for another processor.
    #[error(
        "this ELF is for {name} (e_machine = {value}): a 64-bit one for x86-64 (62) or a 32-bit one for \
         x86 (3) is needed"
    )]
    Machine {
        /// The value.
        value: u16,
        /// The processor's name.
        name: &'static str,
    },
    /// Not an executable.
    #[error("this ELF is {name} (e_type = {value}), not an executable (2): {advice}")]
    Type {
        /// The value.
        value: u16,
        /// The name of that type.
        name: &'static str,
        /// The next step.
        advice: &'static str,
    },
    /// A header field with a value that cannot be.
    #[error("{field} = {value:#x} in the ELF header: {rule}")]
    Header {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A program header field with a value that cannot be.
    #[error("program header {index}: {field} = {value:#x}: {rule}")]
    Segment {
        /// Which program header, from 0.
        index: usize,
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A segment outside RAM.
    #[error(
        "program header {index}: p_paddr = {address:#x} with p_memsz = {size:#x} is outside guest \
         RAM, which ends at {ram_end:#x}: give the guest more memory"
    )]
    OutsideRam {
        /// Which program header, from 0.
        index: usize,
        /// Its physical address.
        address: u64,
        /// Its size in memory.
        size: u64,
        /// The end of the RAM below the MMIO hole.
        ram_end: u64,
    },
    /// Two segments at one address.
    #[error(
        "program headers {first} and {second} overlap in memory (p_paddr = {address:#x} of the \
         second lies before {end:#x}, the end of the first)"
    )]
    Overlap {
        /// The lower segment's program header, from 0.
        first: usize,
        /// The higher one's.
        second: usize,
        /// Where the second starts.
        address: u64,
        /// Where the first ends.
        end: u64,
    },
    /// Nothing to load.
    #[error("none of the {count} program headers is a PT_LOAD with a size: nothing to load")]
    NothingToLoad {
        /// How many program headers there are.
        count: usize,
    },
    /// An entry address where nothing is loaded.
    #[error("{field} = {value:#x} is not inside the loaded segments ({start:#x} to {end:#x})")]
    EntryOutside {
        /// `e_entry`, or the PVH note's.
        field: &'static str,
        /// The address.
        value: u64,
        /// Where the lowest segment starts.
        start: u64,
        /// Where the highest one ends.
        end: u64,
    },
    /// PVH was asked for.
    #[error("no PVH entry: no PT_NOTE holds a note of owner Xen and type 18 (CONFIG_PVH)")]
    NoPvhNote,
    /// The bytes could not be had.
    #[error("cannot read {what}")]
    Read {
        /// The part that was to be read.
        what: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// RAM went away under the loader.
    #[error("cannot write a segment")]
    Ram(#[from] vmmkit_guest_memory::AccessError),
}
