//! Shuffles and shifts of XMM registers (Intel SDM vol. 2B): with the rest of SSE here, what
//! BLAKE2s, which seeds Linux's random numbers early in the boot, needs.

use iced_x86::OpKind;

use super::sse::lanes;
use crate::cpu::{Cpu, Run};
use crate::{ExtendedState, PhysicalMemory};

/// Which half of each operand an unpacking takes.
#[derive(Clone, Copy)]
enum Half {
    Low,
    High,
}

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    pub(super) fn punpcklbw(&mut self) -> Run<E> {
        self.packed(|left, right| interleave(8, left, right, Half::Low))
    }

    pub(super) fn punpcklwd(&mut self) -> Run<E> {
        self.packed(|left, right| interleave(16, left, right, Half::Low))
    }

    pub(super) fn punpckldq(&mut self) -> Run<E> {
        self.packed(|left, right| interleave(32, left, right, Half::Low))
    }

    pub(super) fn punpcklqdq(&mut self) -> Run<E> {
        self.packed(|left, right| interleave(64, left, right, Half::Low))
    }

    pub(super) fn punpckhbw(&mut self) -> Run<E> {
        self.packed(|left, right| interleave(8, left, right, Half::High))
    }

    pub(super) fn punpckhwd(&mut self) -> Run<E> {
        self.packed(|left, right| interleave(16, left, right, Half::High))
    }

    pub(super) fn punpckhdq(&mut self) -> Run<E> {
        self.packed(|left, right| interleave(32, left, right, Half::High))
    }

    pub(super) fn punpckhqdq(&mut self) -> Run<E> {
        self.packed(|left, right| interleave(64, left, right, Half::High))
    }

    /// Each byte of the source names a byte of the destination, or with bit 7 a zero.
    pub(super) fn pshufb(&mut self) -> Run<E> {
        self.packed(|bytes, places| {
            lanes(8, places, 0, |place, _| {
                if place & 0x80 != 0 {
                    return 0;
                }
                (bytes >> ((place & 0xf) * 8)) as u64
            })
        })
    }

    /// Two bits of the immediate name a part of the source for each part of the destination.
    pub(super) fn pshufd(&mut self) -> Run<E> {
        let order = self.instruction.immediate8();
        self.packed(|_, source| select(32, source, order))
    }

    pub(super) fn pshuflw(&mut self) -> Run<E> {
        let order = self.instruction.immediate8();
        self.packed(|_, source| {
            let low = u128::from(u64::MAX);
            source & !low | select(16, source & low, order)
        })
    }

    pub(super) fn pshufhw(&mut self) -> Run<E> {
        let order = self.instruction.immediate8();
        self.packed(|_, source| {
            let low = u128::from(u64::MAX);
            source & low | select(16, source >> 64, order) << 64
        })
    }

    /// 16 bytes of destination and source together, from a byte on.
    pub(super) fn palignr(&mut self) -> Run<E> {
        let bits = u32::from(self.instruction.immediate8()) * 8;
        self.packed(|left, right| {
            let low = right.checked_shr(bits).unwrap_or(0);
            let high = match bits {
                0 => 0,
                1..128 => left << (128 - bits),
                _ => left.checked_shr(bits - 128).unwrap_or(0),
            };
            low | high
        })
    }

    pub(super) fn psllw(&mut self) -> Run<E> {
        self.shift(16, |value, count| value.checked_shl(count).unwrap_or(0))
    }

    pub(super) fn pslld(&mut self) -> Run<E> {
        self.shift(32, |value, count| value.checked_shl(count).unwrap_or(0))
    }

    pub(super) fn psllq(&mut self) -> Run<E> {
        self.shift(64, |value, count| value.checked_shl(count).unwrap_or(0))
    }

    pub(super) fn psrlw(&mut self) -> Run<E> {
        self.shift(16, |value, count| value.checked_shr(count).unwrap_or(0))
    }

    pub(super) fn psrld(&mut self) -> Run<E> {
        self.shift(32, |value, count| value.checked_shr(count).unwrap_or(0))
    }

    pub(super) fn psrlq(&mut self) -> Run<E> {
        self.shift(64, |value, count| value.checked_shr(count).unwrap_or(0))
    }

    pub(super) fn psraw(&mut self) -> Run<E> {
        self.shift(16, |value, count| {
            ((value as u16).cast_signed() >> count.min(15)) as u64
        })
    }

    pub(super) fn psrad(&mut self) -> Run<E> {
        self.shift(32, |value, count| {
            ((value as u32).cast_signed() >> count.min(31)) as u64
        })
    }

    /// The whole register, by bytes.
    pub(super) fn pslldq(&mut self) -> Run<E> {
        let bits = u32::from(self.instruction.immediate8()) * 8;
        self.packed(|left, _| left.checked_shl(bits).unwrap_or(0))
    }

    pub(super) fn psrldq(&mut self) -> Run<E> {
        let bits = u32::from(self.instruction.immediate8()) * 8;
        self.packed(|left, _| left.checked_shr(bits).unwrap_or(0))
    }

    /// Shifts each part of so many bits by the immediate, or by the low 64 bits of the source.
    fn shift(&mut self, bits: u32, operation: impl Fn(u64, u32) -> u64) -> Run<E> {
        let immediate = match self.instruction.op1_kind() {
            OpKind::Immediate8 => Some(self.instruction.immediate8().into()),
            _ => None,
        };
        self.packed(|left, right| {
            let count = immediate.unwrap_or(right as u64);
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            lanes(bits, left, 0, |value, _| operation(value, count))
        })
    }
}

/// The parts of a half of each operand in turn.
fn interleave(bits: u32, left: u128, right: u128, half: Half) -> u128 {
    let start = match half {
        Half::Low => 0,
        Half::High => 64,
    };
    let mask = u128::from(u64::MAX >> (64 - bits));
    (0..64 / bits).fold(0, |result, lane| {
        let from = start + lane * bits;
        let to = lane * bits * 2;
        result | (left >> from & mask) << to | (right >> from & mask) << (to + bits)
    })
}

/// Four parts of `source`, each named by two bits of `order`, the lowest first.
fn select(bits: u32, source: u128, order: u8) -> u128 {
    let mask = u128::from(u64::MAX >> (64 - bits));
    (0..4).fold(0, |result, lane| {
        let from = u32::from(order >> (lane * 2) & 3) * bits;
        result | (source >> from & mask) << (lane * bits)
    })
}
