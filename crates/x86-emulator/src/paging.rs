//! Linear addresses to guest-physical ones, through the guest's own page tables.

mod rights;
mod span;
mod walk;

pub(crate) use rights::{Access, Rights};
pub(crate) use span::Span;
pub(crate) use walk::{Tables, Walk, WalkStop};

use crate::cpu::{Cpu, Run, Stop};
use crate::{Exception, ExtendedState, NotCompleted, PhysicalMemory, spec};

/// Bytes of a page of the smallest size: what a [`Span`] is split by.
pub(crate) const PAGE: u64 = 4096;

/// How often a walk starts again because another vCPU changed an entry before the accessed bit
/// was in it. A change needs a store of the guest each time, so that more than a few are malice.
const TRIES: u32 = 64;

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    /// Where the `length` bytes (at most a page) at `linear` are, if `access` to all of them is
    /// allowed. The addresses are canonical. Accessed and dirty bits are set only then.
    pub(crate) fn translate(&mut self, linear: u64, length: usize, access: Access) -> Run<E, Span> {
        let in_first = (PAGE - linear % PAGE).min(length as u64);
        let in_second = length as u64 - in_first;
        for _ in 0..TRIES {
            let first = self.walk(linear, access)?;
            let mut second = None;
            if in_second > 0 {
                let next = linear.wrapping_add(in_first);
                second = Some(self.walk(next, access)?);
            }
            let writes = access == Access::Write;
            if !self.mark(&first, writes)? {
                continue;
            }
            if let Some(second) = &second
                && !self.mark(second, writes)?
            {
                continue;
            }
            let second = second.map(|walk| walk.physical);
            return Ok(Span::new(first.physical, in_first, second));
        }
        Err(Stop::NotCompleted(NotCompleted::Unsettled { linear }))
    }

    /// The page of `linear`, if `access` to it is allowed. Changes nothing.
    fn walk(&mut self, linear: u64, access: Access) -> Run<E, Walk> {
        let rights = Rights::of(self.state);
        let tables = Tables::of(self.state, self.cpuid.physical_bits);
        let fault = |reason| Stop::PageFault {
            linear,
            error_code: rights.error_code(access) | reason,
        };
        let walk = tables
            .walk(self.memory, linear)
            .map_err(|stop| match stop {
                WalkStop::Absent => fault(0),
                WalkStop::Reserved => fault(rights::PRESENT | rights::RESERVED),
                WalkStop::NotRam { address } => {
                    Stop::NotCompleted(NotCompleted::NotRam { address })
                }
            })?;
        if !rights.allow(&walk, access) {
            return Err(fault(rights::PRESENT));
        }
        // PKRU costs a system call: only where a key can matter.
        if walk.user && access != Access::Fetch && self.state.special.cr4 & spec::CR4_PKE != 0 {
            let pkru = self.protection_keys()?;
            if !rights.allow_key(pkru, &walk, access) {
                return Err(fault(rights::PRESENT | rights::KEY));
            }
        }
        Ok(walk)
    }

    /// Sets accessed bits and, for writes, the dirty bit; `false` where an entry has changed.
    fn mark(&self, walk: &Walk, writes: bool) -> Run<E, bool> {
        walk.mark(self.memory, writes)
            .map_err(|address| Stop::NotCompleted(NotCompleted::NotRam { address }))
    }

    /// Fails with #GP(0), or #SS(0) for the stack, unless all of the bytes are canonical.
    pub(crate) fn check_canonical(&self, linear: u64, length: usize, stack: bool) -> Run<E> {
        let last = linear.wrapping_add(length.saturating_sub(1) as u64);
        if self.state.is_canonical(linear) && self.state.is_canonical(last) {
            return Ok(());
        }
        Err(Stop::Fault(if stack {
            Exception::STACK
        } else {
            Exception::GENERAL_PROTECTION
        }))
    }
}
