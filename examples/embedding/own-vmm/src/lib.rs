//! A VMM that was there before vmmkit: guest memory by vm-memory, KVM by kvm-ioctls, a loop of its own. Its programs
//! (src/bin) each take one thing of vmmkit and leave all of this as it is.

use std::error::Error;

use kvm_bindings::{kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// Any error, for a program of a few lines.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The number of its first memory slot; its own business.
pub const FIRST_SLOT: u32 = 4;
/// Where guests report: a byte written there is a byte of text.
pub const TEXT_PORT: u16 = 0xe9;

/// An access of the guest that no memory answers.
pub enum Access<'a> {
    /// `OUT` to a port.
    PortWrite(u16, &'a [u8]),
    /// `IN` from a port.
    PortRead(u16, &'a mut [u8]),
    /// A store to an address.
    Write(u64, &'a [u8]),
    /// A load from an address.
    Read(u64, &'a mut [u8]),
}

/// One VM with one vCPU. Fields drop in order: KVM lets go of the memory before it is unmapped.
pub struct OwnVm {
    /// The vCPU.
    pub vcpu: VcpuFd,
    _vm: VmFd,
    /// The guest's memory.
    pub memory: GuestMemoryMmap,
}

impl OwnVm {
    /// A VM with memory at these addresses, of these sizes in bytes.
    pub fn new(ranges: &[(u64, usize)]) -> Result<Self> {
        let kvm = Kvm::new()?;
        let vm = kvm.create_vm()?;
        vm.set_identity_map_address(0xfffb_c000)?;
        vm.set_tss_address(0xfffb_d000)?;
        let ranges: Vec<_> = ranges
            .iter()
            .map(|&(start, size)| (GuestAddress(start), size))
            .collect();
        let memory = GuestMemoryMmap::from_ranges(&ranges)?;
        for (slot, region) in (FIRST_SLOT..).zip(memory.iter()) {
            let region = kvm_userspace_memory_region {
                slot,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
                ..Default::default()
            };
            // SAFETY: the region is mapped for as long as `memory` is, which this VM holds.
            unsafe { vm.set_user_memory_region(region)? };
        }
        let vcpu = vm.create_vcpu(0)?;
        vcpu.set_cpuid2(&kvm.get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES)?)?;
        Ok(Self {
            vcpu,
            _vm: vm,
            memory,
        })
    }

    /// Puts `code` at `address`, below 64 KiB, and the vCPU there in real mode.
    pub fn load_real(&self, address: u16, code: &[u8]) -> Result<()> {
        self.memory
            .write_slice(code, GuestAddress(address.into()))?;
        let mut special = self.vcpu.get_sregs()?;
        (special.cs.base, special.cs.selector) = (0, 0);
        self.vcpu.set_sregs(&special)?;
        self.vcpu.set_regs(&kvm_regs {
            rip: address.into(),
            rflags: 2,
            ..Default::default()
        })?;
        Ok(())
    }

    /// Runs the guest until it halts, with the answers of `device`; the text that it reported.
    pub fn run(&mut self, mut device: impl FnMut(Access<'_>)) -> Result<String> {
        let mut text = Vec::new();
        loop {
            match self.vcpu.run()? {
                VcpuExit::IoOut(TEXT_PORT, bytes) => text.extend_from_slice(bytes),
                VcpuExit::IoOut(port, bytes) => device(Access::PortWrite(port, bytes)),
                VcpuExit::IoIn(port, bytes) => device(Access::PortRead(port, bytes)),
                VcpuExit::MmioWrite(address, bytes) => device(Access::Write(address, bytes)),
                VcpuExit::MmioRead(address, bytes) => device(Access::Read(address, bytes)),
                VcpuExit::Hlt => return Ok(String::from_utf8_lossy(&text).into_owned()),
                other => return Err(format!("the guest left with {other:?}").into()),
            }
        }
    }
}
