//! Exchange of 16 bytes at once.

use std::arch::asm;

use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, VolatileMemory};

use crate::{AccessError, ExchangeError, GuestRam};

impl GuestRam {
    /// Replaces the value at `address`, a multiple of 16, by `new` if it is `current`, as a locked
    /// CMPXCHG16B of the guest would: `Ok(Ok(current))`, or `Ok(Err(found))`. It orders all
    /// accesses of this thread around it.
    ///
    /// # Errors
    /// [`ExchangeError`] where it is not wholly inside RAM or not aligned, and where the host's CPU
    /// lacks the instruction.
    pub fn compare_exchange_u128(
        &self,
        address: GuestAddress,
        current: u128,
        new: u128,
    ) -> Result<Result<u128, u128>, ExchangeError> {
        let length = size_of::<u128>();
        let outside = AccessError {
            address: address.0,
            length,
        };
        if !std::arch::is_x86_feature_detected!("cmpxchg16b") {
            return Err(ExchangeError::NoInstruction);
        }
        let (mapping, offset) = self.range(address, length)?;
        let slice = mapping.get_slice(offset, length).map_err(|_| outside)?;
        let guard = slice.ptr_guard_mut();
        let cell = guard.as_ptr().cast::<u128>();
        if !cell.is_aligned() {
            return Err(outside.into());
        }
        // SAFETY: the CPU has CMPXCHG16B and `cell` is a multiple of 16 (both checked above);
        // `get_slice` checked that its 16 bytes lie in `mapping`, which is borrowed and so stays
        // mapped for writing; guest RAM is never borrowed as a Rust reference to plain data.
        let found = unsafe { locked_cmpxchg16b(cell, current, new) };
        if found != current {
            return Ok(Err(found));
        }
        mapping.bitmap().mark_dirty(offset, length);
        Ok(Ok(found))
    }
}

/// LOCK CMPXCHG16B: the value found at `cell`, which is now `new` where that is `current`. The
/// compiler's own function for it needs a run-time library in builds without optimisation.
///
/// # Safety
/// The CPU must have CMPXCHG16B; `cell` must be a multiple of 16 and mapped for writing.
unsafe fn locked_cmpxchg16b(cell: *mut u128, current: u128, new: u128) -> u128 {
    let (mut low, mut high) = halves(current);
    let (new_low, new_high) = halves(new);
    // SAFETY: the caller vouches for the instruction and for `cell`. RBX, which the compiler keeps
    // for itself, is given back; every other register that changes is an output. Without
    // `nomem`, no access of this thread moves across the block.
    unsafe {
        asm!(
            "xchg rsi, rbx",
            "lock cmpxchg16b [rdi]",
            "mov rbx, rsi",
            in("rdi") cell,
            inout("rsi") new_low => _,
            in("rcx") new_high,
            inout("rax") low,
            inout("rdx") high,
            options(nostack),
        );
    }
    u128::from(high) << 64 | u128::from(low)
}

/// The low and the high 8 bytes.
fn halves(value: u128) -> (u64, u64) {
    (value as u64, (value >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{RamConfig, RamSize};

    fn ram() -> GuestRam {
        let size = RamSize::mebibytes(1);
        let dirty_log = true;
        GuestRam::new(&RamConfig {
            size,
            dirty_log,
            ..RamConfig::default()
        })
        .unwrap()
    }

    #[test]
    fn equal_bytes_are_replaced_and_others_told() {
        let ram = ram();
        let address = GuestAddress(0x1010);
        let (old, new) = (0x1_0000_0000_0000_0002_u128, u128::MAX - 7);
        ram.write_bytes(address, &old.to_ne_bytes()).unwrap();

        assert_eq!(ram.compare_exchange_u128(address, 1, new), Ok(Err(old)));
        assert_eq!(ram.compare_exchange_u128(address, old, new), Ok(Ok(old)));

        let mut bytes = [0; 16];
        ram.read_bytes(address, &mut bytes).unwrap();
        assert_eq!(u128::from_ne_bytes(bytes), new);
    }

    #[test]
    fn only_aligned_bytes_in_ram_are_exchanged() {
        let ram = ram();
        for address in [8, 0xf_fff8, 1 << 20, 3 << 30, u64::MAX - 15] {
            let refused = AccessError {
                address,
                length: 16,
            };
            assert_eq!(
                ram.compare_exchange_u128(GuestAddress(address), 0, 1),
                Err(ExchangeError::Access(refused))
            );
        }
        assert_eq!(
            ram.compare_exchange_u128(GuestAddress(0xf_fff0), 0, 1),
            Ok(Ok(0))
        );
    }

    #[test]
    fn only_an_exchange_that_happened_is_in_the_dirty_log() {
        let ram = ram();
        ram.compare_exchange_u128(GuestAddress(0x1000), 5, 6)
            .unwrap()
            .unwrap_err();
        ram.compare_exchange_u128(GuestAddress(0x2000), 0, 6)
            .unwrap()
            .unwrap();
        let mut log = Vec::new();
        ram.take_dirty_pages(0, &mut log);
        assert_eq!(log[0], 1 << 2);
    }

    #[test]
    fn two_threads_lose_no_step_of_either_half() {
        const STEPS: u128 = 20_000;
        let ram = ram();
        let count = |step: u128| {
            let mut seen = 0;
            for _ in 0..STEPS {
                while let Err(found) = ram
                    .compare_exchange_u128(GuestAddress(0), seen, seen + step)
                    .unwrap()
                {
                    seen = found;
                }
            }
        };

        thread::scope(|scope| {
            scope.spawn(|| count(1));
            scope.spawn(|| count(1 << 64));
        });

        let total = ram.compare_exchange_u128(GuestAddress(0), 0, 0).unwrap();
        assert_eq!(total, Err(STEPS << 64 | STEPS));
    }
}
