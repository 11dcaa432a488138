//! The x87's environment and state in memory: FNSTENV, FLDENV, FNSAVE and FRSTOR, in the format that protected
//! mode of 32 bits has and 64-bit mode uses (Intel SDM vol. 1, figure 8-9). Not the one of 16 bits.

use iced_x86::MemorySize;

use super::x87_stack::tag;
use crate::cpu::{Cpu, Run, Stop};
use crate::{ExtendedState, PhysicalMemory, XsaveArea};

/// Bytes of the environment; the eight registers follow, 10 bytes each.
const ENVIRONMENT: usize = 28;
const STATE: usize = 108;
const REGISTER: usize = 10;
/// FCW: all exceptions masked.
const MASKS: u16 = 0x3f;

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// Stores, and masks all exceptions.
    pub(super) fn fnstenv(&mut self) -> Run<E> {
        self.require_format(MemorySize::FpuEnv28)?;
        self.require_x87()?;
        let mut area = self.load()?;
        self.write(self.place(), &environment(&area))?;
        area.set_fcw(area.fcw() | MASKS);
        self.settle_summary(&mut area);
        self.store(area)
    }

    pub(super) fn fldenv(&mut self) -> Run<E> {
        self.require_format(MemorySize::FpuEnv28)?;
        let mut area = self.x87()?;
        let image: [u8; ENVIRONMENT] = self.read(self.place())?;
        load_environment(&mut area, &image);
        self.settle_summary(&mut area);
        self.store(area)
    }

    /// Stores, and resets the unit as FNINIT does.
    pub(super) fn fnsave(&mut self) -> Run<E> {
        self.require_format(MemorySize::FpuState108)?;
        self.require_x87()?;
        let area = self.load()?;
        let mut image = [0; STATE];
        let (head, registers) = image.split_at_mut(ENVIRONMENT);
        head.copy_from_slice(&environment(&area));
        for (number, place) in registers.chunks_exact_mut(REGISTER).enumerate() {
            place.copy_from_slice(&area.register(number));
        }
        self.write(self.place(), &image)?;
        self.fninit()
    }

    pub(super) fn frstor(&mut self) -> Run<E> {
        self.require_format(MemorySize::FpuState108)?;
        let mut area = self.x87()?;
        let image: [u8; STATE] = self.read(self.place())?;
        let (head, registers) = image.split_at(ENVIRONMENT);
        load_environment(&mut area, head);
        for (number, bytes) in registers.as_chunks().0.iter().enumerate() {
            area.set_register(number, *bytes);
        }
        self.settle_summary(&mut area);
        self.store(area)
    }

    fn require_format(&self, size: MemorySize) -> Run<E> {
        if self.instruction.memory_size() == size {
            Ok(())
        } else {
            Err(Stop::Unsupported)
        }
    }
}

/// The upper half of a word of 16 bits, and of the last one, is all ones.
fn environment(area: &XsaveArea) -> [u8; ENVIRONMENT] {
    let word = |value: u16| 0xffff_0000 | u32::from(value);
    let pointers = area.pointers();
    let words = [
        word(area.fcw()),
        word(area.fsw()),
        word(tags(area)),
        pointers.instruction,
        u32::from(pointers.opcode & 0x7ff) << 16,
        pointers.data,
        word(0),
    ];
    let mut bytes = [0; ENVIRONMENT];
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    bytes
}

/// The whole tag word: two bits for each place of the register file.
fn tags(area: &XsaveArea) -> u16 {
    (0..8).fold(0, |all, number| {
        let bits = area.st(number).map_or(3, tag);
        all | bits << (area.physical(number) * 2)
    })
}

fn load_environment(area: &mut XsaveArea, image: &[u8]) {
    let word = |number: usize| {
        let words = image.as_chunks().0.get(number);
        words.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let [fcw, fsw, tags] = [0, 1, 2].map(|number| word(number) as u16);
    area.set_fcw(super::x87::control_word(fcw));
    // The registers stay where they are in the register file.
    let turned = (fsw >> 11 & 7).wrapping_sub(area.fsw() >> 11 & 7) & 7;
    area.turn(turned);
    area.set_fsw(fsw);
    let is_full = |place: &u32| tags >> (place * 2) & 3 != 3;
    let full = (0..8)
        .filter(is_full)
        .fold(0, |all, place| all | 1 << place);
    area.set_tags(full);
    area.set_pointers(&crate::xsave_area::Pointers {
        instruction: word(3),
        opcode: (word(4) >> 16) as u16 & 0x7ff,
        data: word(5),
    });
}
