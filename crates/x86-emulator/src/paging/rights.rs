//! Access rights of a page (Intel SDM vol. 3, 4.6), and the error code where it is refused (4.7).

use super::Walk;
use crate::{CpuState, spec};

/// Error code: the page is there.
pub(crate) const PRESENT: u32 = 1 << 0;
/// Error code: the access was a write.
const WRITE: u32 = 1 << 1;
/// Error code: the access was a user's.
const USER: u32 = 1 << 2;
/// Error code: an entry has a reserved bit.
pub(crate) const RESERVED: u32 = 1 << 3;
/// Error code: the access was an instruction fetch.
const FETCH: u32 = 1 << 4;
/// Error code: a protection key forbade it.
pub(crate) const KEY: u32 = 1 << 5;

/// The access of an instruction to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// Also a read: CMPXCHG16B reads and writes, and faults as a write.
    Write,
    Fetch,
}

/// The rights of accesses by the state of the CPU. All are explicit ones: where INT n reads descriptor
/// tables, it has the state of the supervisor, with AC clear.
pub(crate) struct Rights {
    user: bool,
    write_protect: bool,
    no_execute: bool,
    smep: bool,
    /// SMAP holds: CR4.SMAP, and RFLAGS.AC is clear.
    smap: bool,
}

impl Rights {
    pub(crate) fn of(state: &CpuState) -> Self {
        let special = &state.special;
        Self {
            user: state.privilege_level() == 3,
            write_protect: special.cr0 & spec::CR0_WP != 0,
            no_execute: special.efer & spec::EFER_NXE != 0,
            smep: special.cr4 & spec::CR4_SMEP != 0,
            smap: special.cr4 & spec::CR4_SMAP != 0 && state.registers.rflags & spec::AC == 0,
        }
    }

    /// Whether `access` to the page is allowed, protection keys aside.
    pub(crate) fn allow(&self, page: &Walk, access: Access) -> bool {
        if self.user && !page.user {
            return false;
        }
        match access {
            Access::Read => self.allow_data(page),
            Access::Write => {
                self.allow_data(page) && (page.writable || !self.user && !self.write_protect)
            }
            Access::Fetch => !page.no_execute && (self.user || !page.user || !self.smep),
        }
    }

    fn allow_data(&self, page: &Walk) -> bool {
        self.user || !page.user || !self.smap
    }

    /// Whether PKRU allows `access` to a user page: two bits a key, access and write disable.
    /// Write disable binds the supervisor only with CR0.WP (4.6.2).
    pub(crate) fn allow_key(&self, pkru: u32, page: &Walk, access: Access) -> bool {
        let bits = pkru >> (2 * u32::from(page.key));
        let bound = self.user || self.write_protect;
        let forbidden = if access == Access::Write && bound {
            3
        } else {
            1
        };
        bits & forbidden == 0
    }

    /// The error code's bits that tell of the access. A fetch is told only where the CPU can
    /// forbid one.
    pub(crate) fn error_code(&self, access: Access) -> u32 {
        let access = match access {
            Access::Read => 0,
            Access::Write => WRITE,
            Access::Fetch if self.no_execute || self.smep => FETCH,
            Access::Fetch => 0,
        };
        if self.user { access | USER } else { access }
    }
}
