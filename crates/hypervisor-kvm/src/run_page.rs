//! The page a vCPU shares with the kernel (`struct kvm_run`, KVM API section 5).
//!
//! Three parties use it: the kernel during `KVM_RUN`, the vCPU's thread between runs, and kickers
//! at any time. So that this is sound, no reference to the structure exists: fields are copied
//! through raw pointers, the access bytes are lent only while `&mut` on the vCPU proves that it
//! does not run, and `immediate_exit` is an atomic to everyone.

use std::io;
use std::marker::PhantomData;
use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;

use kvm_bindings::{
    kvm_debug_exit_arch, kvm_regs, kvm_run, kvm_run__bindgen_ty_1__bindgen_ty_2 as RawFailEntry,
    kvm_run__bindgen_ty_1__bindgen_ty_4 as RawIo, kvm_run__bindgen_ty_1__bindgen_ty_6 as RawMmio,
    kvm_run__bindgen_ty_1__bindgen_ty_13 as RawInternal,
    kvm_run__bindgen_ty_1__bindgen_ty_23 as RawMsr, kvm_sregs, kvm_sync_regs,
};

/// A field of `kvm_run`: its offset, and a type every bit pattern of which is valid.
pub(crate) struct Field<T>(usize, PhantomData<T>);

impl<T> Field<T> {
    const fn at(offset: usize) -> Self {
        assert!(offset + size_of::<T>() <= size_of::<kvm_run>());
        assert!(offset.is_multiple_of(align_of::<T>()));
        Self(offset, PhantomData)
    }
}

const DETAIL: usize = offset_of!(kvm_run, __bindgen_anon_1);

pub(crate) const EXIT_REASON: Field<u32> = Field::at(offset_of!(kvm_run, exit_reason));
pub(crate) const IO: Field<RawIo> = Field::at(DETAIL);
/// The fields of `mmio`, one by one: its bytes, in the middle of it, are lent, not copied.
pub(crate) const MMIO_ADDRESS: Field<u64> = Field::at(DETAIL + offset_of!(RawMmio, phys_addr));
pub(crate) const MMIO_LENGTH: Field<u32> = Field::at(DETAIL + offset_of!(RawMmio, len));
pub(crate) const MMIO_IS_WRITE: Field<u8> = Field::at(DETAIL + offset_of!(RawMmio, is_write));
pub(crate) const FAIL_ENTRY: Field<RawFailEntry> = Field::at(DETAIL);
pub(crate) const INTERNAL: Field<RawInternal> = Field::at(DETAIL);
/// The first word of `system_event`: its type.
pub(crate) const SYSTEM_EVENT: Field<u32> = Field::at(DETAIL);
/// The debug exit.
pub(crate) const DEBUG: Field<kvm_debug_exit_arch> = Field::at(DETAIL);
/// The vector of `eoi`.
pub(crate) const EOI_VECTOR: Field<u8> = Field::at(DETAIL);
/// An access to an MSR that `KVM_X86_SET_MSR_FILTER` sends here.
pub(crate) const MSR: Field<RawMsr> = Field::at(DETAIL);
/// Which registers the kernel leaves in the page at an exit (KVM API, KVM_CAP_SYNC_REGS).
pub(crate) const VALID_REGS: Field<u64> = Field::at(offset_of!(kvm_run, kvm_valid_regs));
/// Which of them it takes from the page before it enters the guest.
pub(crate) const DIRTY_REGS: Field<u64> = Field::at(offset_of!(kvm_run, kvm_dirty_regs));
const SYNC: usize = offset_of!(kvm_run, s);
/// The general registers there.
pub(crate) const SYNC_REGS: Field<kvm_regs> = Field::at(SYNC + offset_of!(kvm_sync_regs, regs));
/// The special registers there.
pub(crate) const SYNC_SREGS: Field<kvm_sregs> = Field::at(SYNC + offset_of!(kvm_sync_regs, sregs));
/// Where the bytes of an MMIO access are.
pub(crate) const MMIO_DATA: usize = DETAIL + offset_of!(RawMmio, data);

/// A mapping of one vCPU's `kvm_run`; unmapped on drop.
pub(crate) struct RunPage {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping belongs to no thread, and what several threads may touch at a time
// (`immediate_exit`) is an atomic; `bytes` needs an exclusive borrow of the vCPU by its contract.
unsafe impl Send for RunPage {}
// SAFETY: as above.
unsafe impl Sync for RunPage {}

impl RunPage {
    /// Maps the `size` bytes (`KVM_GET_VCPU_MMAP_SIZE`) of `vcpu`.
    pub(crate) fn map(vcpu: &impl AsRawFd, size: usize) -> io::Result<Self> {
        if size < size_of::<kvm_run>() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "kvm_run is too small",
            ));
        }
        // SAFETY: the kernel chooses the address, so no mapping of this process is replaced.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                vcpu.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, size })
    }

    /// A copy of `field`. Only between runs does it mean something.
    #[inline]
    pub(crate) fn read<T: Copy>(&self, field: &Field<T>) -> T {
        let at = self.start.as_ptr().wrapping_add(field.0).cast::<T>();
        // SAFETY: `at` is aligned and inside the structure (`Field::at` asserts both at compile
        // time), which is inside the mapping (`map` checked); any bits are a `T` by the choice of
        // the constants above; volatile, since the kernel writes it behind the compiler's back.
        unsafe { at.read_volatile() }
    }

    /// Stores `value` in `field`, for the next run. For the vCPU's own thread, between runs.
    #[inline]
    pub(crate) fn write<T: Copy>(&self, field: &Field<T>, value: T) {
        let at = self.start.as_ptr().wrapping_add(field.0).cast::<T>();
        // SAFETY: aligned and inside the mapping, as in `read`; no reference to the bytes exists
        // but the slices of `bytes`, whose contract excludes this by the vCPU's exclusive borrow.
        unsafe { at.write_volatile(value) }
    }

    /// Whether `length` bytes at `offset` are inside the mapping and miss the structure's head.
    #[inline]
    pub(crate) fn holds(&self, offset: usize, length: usize) -> bool {
        offset >= DETAIL && offset <= self.size && length <= self.size - offset
    }

    /// The `length` bytes at `offset`.
    ///
    /// # Safety
    /// [`holds`](Self::holds) was true of them, or there are none. The vCPU does not run, and no
    /// other such slice exists, as long as the slice lives.
    #[inline]
    #[expect(
        clippy::mut_from_ref,
        reason = "the vCPU's own `&mut` is the exclusive borrow"
    )]
    pub(crate) unsafe fn bytes(&self, offset: usize, length: usize) -> &mut [u8] {
        let at = self.start.as_ptr().wrapping_add(offset);
        // SAFETY: the range is mapped (`holds`, by this function's contract) until `self` drops, or
        // empty, for which any address that is not null does; it is exclusive by the contract too,
        // and `immediate_exit` lies before it.
        unsafe { std::slice::from_raw_parts_mut(at, length) }
    }

    /// `immediate_exit`: `KVM_RUN` returns `EINTR` at once where it is not 0.
    #[inline]
    pub(crate) fn immediate_exit(&self) -> &AtomicU8 {
        let at = self
            .start
            .as_ptr()
            .wrapping_add(offset_of!(kvm_run, immediate_exit));
        // SAFETY: mapped until `self` drops; a byte has no alignment; nothing in this process
        // accesses it but through this atomic (kvm-ioctls' own mapping of it is never used).
        unsafe { AtomicU8::from_ptr(at) }
    }
}

impl Drop for RunPage {
    fn drop(&mut self) {
        // SAFETY: exactly the range `map` mapped; borrows of it ended with `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
    }
}
