//! The emulator: fetches, decodes, runs, and tells what came of it.

use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, FastFormatter, Instruction};
use vmmkit_hypervisor::x86::{CpuidEntry, SpecialRegisters};

use crate::cpu::{Cpu, Place, Run, Stop};
use crate::cpuid::Cpuid;
use crate::instructions::is_known;
use crate::outcome::Mode;
use crate::paging::{Access, PAGE};
use crate::{
    Completed, Completion, CpuState, Exception, ExtendedState, NotCompleted, PhysicalMemory, spec,
};

/// The longest instruction (Intel SDM vol. 2A, 2.3.11).
const LONGEST: usize = 15;

/// Completes single instructions of one vCPU. It holds what the vCPU's CPUID says and nothing of
/// its state; any number of threads may use it.
#[derive(Clone, Debug)]
pub struct Emulator {
    cpuid: Cpuid,
}

impl Emulator {
    /// An emulator for a vCPU with this CPUID, of which it takes the layout of the XSAVE area (leaf
    /// 0DH; the [`XsaveArea`](crate::XsaveArea) has the same) and the size of physical addresses.
    pub fn new(cpuid: &[CpuidEntry]) -> Self {
        Self {
            cpuid: Cpuid::new(cpuid),
        }
    }

    /// Completes the instruction at CS:RIP. `given` is its bytes as far as the hypervisor gave
    /// them; where they are too few, it is fetched through the guest's page tables. One that the
    /// emulator does not know and the vCPU's CPUID does not offer is an invalid opcode (#UD), in
    /// every mode.
    ///
    /// # Errors
    /// [`NotCompleted`] where it is offered and none that the emulator knows, or where something it
    /// needs cannot be had. The general registers and memory are then as they were, but for accessed
    /// and dirty bits of page tables.
    pub fn complete<E: ExtendedState>(
        &self,
        state: &mut CpuState,
        memory: &impl PhysicalMemory,
        extended: &mut E,
        given: &[u8],
    ) -> Result<Completion, NotCompleted<E::Error>> {
        if let Some(mode) = mode_instead(state) {
            return self.complete_elsewhere(state, mode, given);
        }
        let before = state.registers;
        let mut cpu = Cpu {
            cpuid: &self.cpuid,
            state,
            memory,
            extended,
            instruction: Instruction::default(),
        };
        let mut bytes = Bytes::default();
        let stop = match cpu.step(given, &mut bytes) {
            Ok(completed) => {
                state.registers.rflags &= !spec::RF;
                let flags = match completed {
                    // INT n clears TF itself.
                    Completed::Int => 0,
                    // The one with which they end counts (AMD APM vol. 2, 13.1.4).
                    Completed::Sysret | Completed::Sysretq => state.registers.rflags,
                    _ => before.rflags,
                };
                let steps = flags & spec::TF != 0;
                return Ok(if steps {
                    Completion::Stepped(completed)
                } else {
                    Completion::Done(completed)
                });
            }
            Err(Stop::Trap(exception)) => {
                state.registers.rflags &= !spec::RF;
                return Ok(Completion::Fault(exception));
            }
            Err(stop) => stop,
        };
        let instruction = cpu.instruction;
        state.registers = before;
        match stop {
            Stop::Fault(exception) | Stop::Trap(exception) => Ok(Completion::Fault(exception)),
            Stop::PageFault { linear, error_code } => {
                state.special.cr2 = linear;
                Ok(Completion::Fault(Exception::page_fault(error_code)))
            }
            Stop::Unsupported if !self.cpuid.offers(&instruction) => {
                Ok(Completion::Fault(Exception::INVALID_OPCODE))
            }
            Stop::Unsupported => Err(unsupported(&instruction, &bytes)),
            Stop::NotCompleted(reason) => Err(reason),
        }
    }

    /// Outside of 64-bit mode nothing is completed, but what is not an instruction there is #UD too.
    fn complete_elsewhere<E>(
        &self,
        state: &CpuState,
        mode: Mode,
        given: &[u8],
    ) -> Result<Completion, NotCompleted<E>> {
        let bits = if state.special.cs.db { 32 } else { 16 };
        let mut decoder = Decoder::new(bits, given, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let whole = decoder.last_error() != DecoderError::NoMoreBytes;
        if whole && !is_known(instruction.mnemonic()) && !self.cpuid.offers(&instruction) {
            return Ok(Completion::Fault(Exception::INVALID_OPCODE));
        }
        Err(NotCompleted::NotLongMode { mode })
    }
}

/// The bytes of an instruction, as many as are known.
#[derive(Default)]
struct Bytes {
    all: [u8; LONGEST],
    length: usize,
}

impl Bytes {
    fn known(&self) -> &[u8] {
        self.all.get(..self.length).unwrap_or_default()
    }

    /// Adds bytes, as far as there is room.
    fn add(&mut self, more: &[u8]) {
        let room = self.all.get_mut(self.length..).unwrap_or_default();
        let count = room.len().min(more.len());
        for (place, byte) in room.iter_mut().zip(more) {
            *place = *byte;
        }
        self.length += count;
    }
}

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    fn step(&mut self, given: &[u8], bytes: &mut Bytes) -> Run<E, Completed> {
        self.fetch(given, bytes)?;
        // Longer than an instruction may be (Intel SDM vol. 3, 6.15, #GP).
        let too_long = self.instruction.is_invalid() && self.instruction.len() == LONGEST;
        self.require(!too_long, Exception::GENERAL_PROTECTION)?;
        self.state.registers.rip = self.instruction.next_ip();
        self.execute()
    }

    /// Decodes `given`, and where that is not a whole instruction, what memory has at RIP: first
    /// to the end of the page, since the next one may not be there and not be needed.
    fn fetch(&mut self, given: &[u8], bytes: &mut Bytes) -> Run<E> {
        bytes.add(given);
        if !given.is_empty() && self.decode(bytes) {
            return Ok(());
        }
        *bytes = Bytes::default();
        let rip = self.state.registers.rip;
        let in_page = usize::try_from(PAGE - rip % PAGE).map_or(LONGEST, |left| left.min(LONGEST));
        self.fetch_part(rip, in_page, bytes)?;
        if self.decode(bytes) {
            return Ok(());
        }
        if in_page < LONGEST {
            let next = rip.wrapping_add(in_page as u64);
            self.fetch_part(next, LONGEST - in_page, bytes)?;
            if self.decode(bytes) {
                return Ok(());
            }
        }
        Err(Stop::Fault(Exception::GENERAL_PROTECTION))
    }

    /// Adds the `length` bytes at `linear`, which are in one page.
    fn fetch_part(&mut self, linear: u64, length: usize, bytes: &mut Bytes) -> Run<E> {
        let place = Place {
            linear,
            stack: false,
        };
        let span = self.span(place, length, Access::Fetch)?;
        let mut part = [0; LONGEST];
        let part = part.get_mut(..length).unwrap_or_default();
        self.in_ram(span.read(self.memory, 0, part))?;
        bytes.add(part);
        Ok(())
    }

    /// Whether the bytes are enough to say what the instruction is, or that they are none.
    fn decode(&mut self, bytes: &Bytes) -> bool {
        let rip = self.state.registers.rip;
        let mut decoder = Decoder::with_ip(64, bytes.known(), rip, DecoderOptions::NONE);
        decoder.decode_out(&mut self.instruction);
        decoder.last_error() != DecoderError::NoMoreBytes
    }
}

/// Which mode it is instead, where it is not 64-bit mode (AMD APM vol. 2, 1.3).
fn mode_instead(state: &CpuState) -> Option<Mode> {
    let SpecialRegisters { cs, cr0, efer, .. } = &state.special;
    Some(if cr0 & spec::CR0_PE == 0 {
        Mode::Real
    } else if efer & spec::EFER_LMA != 0 && cr0 & spec::CR0_PG != 0 {
        if cs.l {
            return None;
        }
        Mode::Compatibility
    } else if state.registers.rflags & spec::VM != 0 {
        Mode::Virtual8086
    } else {
        Mode::Protected
    })
}

/// The instruction that `bytes` begin with, at `rip` in code of `bits` bits (16, 32 or 64), for a
/// message, and how many of them it is; `None` where they are none.
pub fn disassemble(bytes: &[u8], rip: u64, bits: u32) -> Option<(String, usize)> {
    // The decoder knows no other.
    let bits = if matches!(bits, 16 | 32) { bits } else { 64 };
    let instruction = Decoder::with_ip(bits, bytes, rip, DecoderOptions::NONE).decode();
    let mut name = String::new();
    FastFormatter::new().format(&instruction, &mut name);
    (!instruction.is_invalid()).then_some((name, instruction.len()))
}

fn unsupported<E>(instruction: &Instruction, bytes: &Bytes) -> NotCompleted<E> {
    let mut name = String::new();
    FastFormatter::new().format(instruction, &mut name);
    let length = match instruction.code() {
        Code::INVALID => LONGEST,
        _ => instruction.len(),
    };
    NotCompleted::Unsupported {
        name,
        bytes: bytes.known().iter().take(length).copied().collect(),
    }
}
