//! XSAVE, XSAVEOPT, XSAVEC and XSAVES (Intel SDM vol. 1, 13.7 and 13.9 to 13.11).

use crate::cpu::{Cpu, Run, Stop};
use crate::image::Image;
use crate::paging::Access;
use crate::xsave_area::{AVX, HEADER, SSE};
use crate::{Exception, ExtendedState, NotCompleted, PhysicalMemory, spec};

/// XCOMP_BV: the format is the compacted one.
pub(super) const COMPACTED: u64 = 1 << 63;

/// The form of an instruction, which tells it apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// XSAVE: standard format, all that is asked for.
    Whole,
    /// XSAVEOPT: standard format, what is in use. (What was not modified since the last restore
    /// may be left out; here it is not.)
    InUse,
    /// XSAVEC: compacted format, what is in use.
    Compacted,
    /// XSAVES: as XSAVEC, with supervisor components.
    Supervisor,
}

impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
    pub(super) fn xsave(&mut self) -> Run<E> {
        self.save(Form::Whole, false)
    }

    pub(super) fn xsave64(&mut self) -> Run<E> {
        self.save(Form::Whole, true)
    }

    pub(super) fn xsaveopt(&mut self) -> Run<E> {
        self.save(Form::InUse, false)
    }

    pub(super) fn xsaveopt64(&mut self) -> Run<E> {
        self.save(Form::InUse, true)
    }

    pub(super) fn xsavec(&mut self) -> Run<E> {
        self.save(Form::Compacted, false)
    }

    pub(super) fn xsavec64(&mut self) -> Run<E> {
        self.save(Form::Compacted, true)
    }

    pub(super) fn xsaves(&mut self) -> Run<E> {
        self.save(Form::Supervisor, false)
    }

    pub(super) fn xsaves64(&mut self) -> Run<E> {
        self.save(Form::Supervisor, true)
    }

    fn save(&mut self, form: Form, wide: bool) -> Run<E> {
        self.require_xsave(form == Form::Supervisor)?;
        let place = self.aligned_place(64, HEADER + 64)?;
        let requested = self.requested(form == Form::Supervisor)?;
        let mut area = self.load()?;
        if !wide {
            area.narrow_pointers();
        }
        let compacted = matches!(form, Form::Compacted | Form::Supervisor);
        // In the compacted format MXCSR goes with the XMM registers, in the other with AVX also.
        let in_use = if compacted {
            area.in_use()
        } else {
            area.xstate_bv()
        };
        let saved = match form {
            Form::Whole => requested,
            _ => requested & in_use,
        };
        let with_mxcsr = if compacted {
            saved & SSE
        } else {
            requested & (SSE | AVX)
        };
        let xcomp_bv = compacted.then_some(COMPACTED | requested);
        let header = if compacted { 16 } else { 8 };
        let mut image = self.image(saved, xcomp_bv, HEADER..HEADER + header)?;
        if with_mxcsr != 0 {
            image.add_mxcsr(true);
        }

        let target = self.open(place, &image, Access::Write)?;
        let before = match compacted {
            true => 0,
            false => u64::from_le_bytes(self.take(&target, HEADER)?),
        };
        let xstate_bv = before & !requested | in_use & requested;
        self.copy_out(&area, &image, &target)?;
        self.put(&target, HEADER, &xstate_bv.to_le_bytes())?;
        match xcomp_bv {
            Some(xcomp_bv) => self.put(&target, HEADER + 8, &xcomp_bv.to_le_bytes()),
            None => Ok(()),
        }
    }

    /// #UD, #NM or #GP where instructions of the XSAVE feature set are not to be used.
    pub(super) fn require_xsave(&self, supervisor: bool) -> Run<E> {
        self.require_cr4(spec::CR4_OSXSAVE)?;
        self.require_available(spec::CR0_TS)?;
        let allowed = !supervisor || self.state.privilege_level() == 0;
        self.require(allowed, Exception::GENERAL_PROTECTION)
    }

    /// The requested-feature bitmap (13.7): EDX:EAX as far as XCR0, or it and IA32_XSS, allow.
    pub(super) fn requested(&mut self, supervisor: bool) -> Run<E, u64> {
        let (user, privileged) = self.enabled(supervisor)?;
        let asked = self.edx_eax();
        // KVM's XSAVE area has no supervisor components.
        if asked & privileged != 0 {
            return Err(no_place(asked & privileged));
        }
        Ok(asked & user)
    }

    /// XCR0, and IA32_XSS where it matters.
    pub(super) fn enabled(&mut self, supervisor: bool) -> Run<E, (u64, u64)> {
        let user = self.xcr0()?;
        let privileged = if supervisor {
            self.msr(spec::MSR_XSS)?
        } else {
            0
        };
        Ok((user & !COMPACTED, privileged))
    }

    /// The parts of an image for `components`.
    pub(super) fn image(
        &self,
        components: u64,
        xcomp_bv: Option<u64>,
        header: std::ops::Range<usize>,
    ) -> Run<E, Image> {
        let mut image = Image::new(header);
        let mut misplaced = 0;
        for number in (0..63).filter(|number| components >> number & 1 != 0) {
            if !image.add(number, xcomp_bv, &self.cpuid.xsave) {
                misplaced |= 1 << number;
            }
        }
        if misplaced == 0 {
            Ok(image)
        } else {
            Err(no_place(misplaced))
        }
    }
}

fn no_place<E>(components: u64) -> Stop<E> {
    Stop::NotCompleted(NotCompleted::NoPlace { components })
}
