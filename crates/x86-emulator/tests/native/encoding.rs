//! Machine code for every form of a memory operand, and random numbers.

/// Numbers from a seed, the same in each run (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8 ^ self.0 << 40
    }

    /// Any number, the ends of ranges more often.
    pub(crate) fn edge(&mut self) -> u64 {
        let any = self.next();
        match any % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (any >> 8 & 63),
            3 => any & 0xff,
            _ => any,
        }
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    fn pick(&mut self, from: &[u8]) -> u8 {
        from[self.next() as usize % from.len()]
    }
}

/// An instruction but for its operand.
pub(crate) struct Opcode {
    prefixes: Vec<u8>,
    wide: bool,
    opcode: Vec<u8>,
    /// The register operand, or the digit that belongs to the opcode.
    register: u8,
    immediate: Option<u8>,
}

impl Opcode {
    pub(crate) fn new(prefixes: &[u8], wide: bool, opcode: &[u8], register: u8) -> Self {
        Self {
            prefixes: prefixes.to_vec(),
            wide,
            opcode: opcode.to_vec(),
            register,
            immediate: None,
        }
    }

    /// With a byte after the operand.
    pub(crate) fn immediate(self, immediate: u8) -> Self {
        Self {
            immediate: Some(immediate),
            ..self
        }
    }
}

/// How the operand is addressed.
#[derive(Debug)]
pub(crate) enum Form {
    /// A base, with a displacement of 0, 1 or 4 bytes.
    Base {
        base: u8,
        displacement: i32,
        short: bool,
    },
    /// A base, an index and a displacement of 4 bytes.
    Index {
        base: u8,
        index: u8,
        scale: u8,
        displacement: i32,
    },
    /// An index without a base.
    IndexOnly {
        index: u8,
        scale: u8,
    },
    /// An address-size prefix, and a base with anything in its upper half.
    Narrow {
        base: u8,
        upper: u64,
    },
    RipRelative,
    Absolute,
}

/// Registers that may hold an address: not RSP, which is the test's own. The last two are RAX and RDX.
const BASES: [u8; 15] = [1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 2];

impl Form {
    /// The forms in turn; `None` where `target` is out of one's reach. `spare` leaves RAX and RDX
    /// alone.
    pub(crate) fn of(round: usize, random: &mut Random, target: u64, spare: bool) -> Option<Self> {
        let bases = if spare { &BASES[..13] } else { &BASES };
        let base = random.pick(bases);
        let index = loop {
            let index = random.pick(bases);
            if index != base {
                break index;
            }
        };
        let scale = random.next() as u8 & 3;
        let displacement = random.next() as i32;
        let low = i32::try_from(target).is_ok();
        Some(match round % 7 {
            0 => Self::Base {
                base,
                displacement: 0,
                short: true,
            },
            1 => Self::Base {
                base,
                displacement: displacement % 128,
                short: true,
            },
            2 => Self::Base {
                base,
                displacement,
                short: false,
            },
            3 => Self::Index {
                base,
                index,
                scale,
                displacement,
            },
            4 if low && round % 14 == 4 => Self::IndexOnly { index, scale },
            4 if low => Self::Absolute,
            5 => Self::RipRelative,
            6 if low => Self::Narrow {
                base,
                upper: random.next() << 32,
            },
            _ => return None,
        })
    }

    /// The instruction with its operand at `target`; sets the registers of the address.
    pub(crate) fn encode(
        &self,
        opcode: &Opcode,
        target: u64,
        instruction: u64,
        gpr: &mut [u64; 16],
    ) -> Vec<u8> {
        let reg = (opcode.register & 7) << 3;
        let (mut rex_bits, tail) = self.tail(reg, target, gpr);
        rex_bits |= opcode.register >> 3 << 2 | u8::from(opcode.wide) << 3;
        let mut code = opcode.prefixes.clone();
        if matches!(self, Self::Narrow { .. }) {
            code.insert(0, 0x67);
        }
        if rex_bits != 0 {
            code.push(0x40 | rex_bits);
        }
        code.extend(&opcode.opcode);
        code.extend(tail);
        if matches!(self, Self::RipRelative) {
            let immediate = u64::from(opcode.immediate.is_some());
            let end = instruction + code.len() as u64 + 4 + immediate;
            code.extend((target.wrapping_sub(end) as i32).to_le_bytes());
        }
        code.extend(opcode.immediate);
        code
    }

    /// REX.X and REX.B, and ModRM with what follows.
    fn tail(&self, reg: u8, target: u64, gpr: &mut [u64; 16]) -> (u8, Vec<u8>) {
        let mut code = Vec::new();
        let distance = |displacement: i32| i64::from(displacement).cast_unsigned();
        match *self {
            Self::Base {
                base,
                displacement,
                short,
            } => {
                gpr[usize::from(base)] = target.wrapping_sub(distance(displacement));
                // RBP and R13 have no form without displacement; R12 needs a SIB byte.
                let mode = match (displacement, short) {
                    (0, _) if base & 7 != 5 => 0,
                    (_, true) => 1,
                    _ => 2,
                };
                code.push(mode << 6 | reg | base & 7);
                if base & 7 == 4 {
                    code.push(0x24);
                }
                match mode {
                    0 => {}
                    1 => code.push(displacement as u8),
                    _ => code.extend(displacement.to_le_bytes()),
                }
                (base >> 3, code)
            }
            Self::Index {
                base,
                index,
                scale,
                displacement,
            } => {
                let scaled = gpr[usize::from(index)] << scale;
                let rest = target
                    .wrapping_sub(scaled)
                    .wrapping_sub(distance(displacement));
                gpr[usize::from(base)] = rest;
                code.extend([0x84 | reg, scale << 6 | (index & 7) << 3 | base & 7]);
                code.extend(displacement.to_le_bytes());
                (base >> 3 | index >> 3 << 1, code)
            }
            Self::IndexOnly { index, scale } => {
                gpr[usize::from(index)] = 0x100;
                code.extend([0x04 | reg, scale << 6 | (index & 7) << 3 | 5]);
                let rest = target - (0x100 << scale);
                code.extend((rest as u32).to_le_bytes());
                (index >> 3 << 1, code)
            }
            Self::Narrow { base, upper } => {
                gpr[usize::from(base)] = upper | target.wrapping_sub(5) & 0xffff_ffff;
                code.push(0x40 | reg | base & 7);
                if base & 7 == 4 {
                    code.push(0x24);
                }
                code.push(5);
                (base >> 3, code)
            }
            Self::RipRelative => {
                code.push(0x05 | reg);
                (0, code)
            }
            Self::Absolute => {
                code.extend([0x04 | reg, 0x25]);
                code.extend((target as u32).to_le_bytes());
                (0, code)
            }
        }
    }
}
