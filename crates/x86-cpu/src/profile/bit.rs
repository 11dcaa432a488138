//! A bit of CPUID by its place.

use std::fmt;

use crate::{Feature, Register};

/// One bit of CPUID, whether it has a name or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bit {
    /// The leaf: EAX on input.
    pub function: u32,
    /// The sub-leaf: ECX on input; 0 for a leaf without.
    pub index: u32,
    /// The register of the answer.
    pub register: Register,
    /// The bit of that register, 0 to 31.
    pub bit: u32,
}

impl Bit {
    /// The bits of `word`, which is `register` of such a leaf, lowest first.
    pub fn of(
        function: u32,
        index: u32,
        register: Register,
        word: u32,
    ) -> impl Iterator<Item = Self> {
        let bits = (0..u32::BITS).filter(move |bit| word >> bit & 1 != 0);
        bits.map(move |bit| Self {
            function,
            index,
            register,
            bit,
        })
    }

    /// The feature that it reports, where that has a name.
    pub fn feature(&self) -> Option<Feature> {
        Feature::all().find(|it| {
            (it.function, it.index, it.register, it.bit)
                == (self.function, self.index, self.register, self.bit)
        })
    }
}

impl fmt::Display for Bit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(feature) = self.feature() {
            return write!(f, "{feature}");
        }
        let Self {
            function,
            index,
            register,
            bit,
        } = self;
        write!(f, "CPUID leaf {function:#x}.{index}, {register} bit {bit}")
    }
}
