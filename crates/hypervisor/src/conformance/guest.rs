//! A guest of a few instructions, its VM, and a watchdog.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig};

use super::Failure;
use crate::x86::{DescriptorTable, Registers, Segment, SpecialRegisters, VcpuState};
use crate::{Devices, Hypervisor, Irqchip, Kick, Vcpu, VcpuExit, VcpuId, Vm, VmSettings};

/// Where the code is.
pub(super) const ENTRY: u64 = 0x1000;
/// The top of the stack.
pub(super) const STACK: u64 = 0x7000;
/// The page tables of long mode: three pages.
const TABLES: u64 = 0x9000;
/// Longer than any exit takes, also on a busy host where each instruction is emulated.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) type Outcome = Result<(), Failure>;
pub(super) type VcpuOf<H> = <<H as Hypervisor>::Vm as Vm>::Vcpu;

/// Without interrupt controllers.
pub(super) const BARE: VmSettings = VmSettings::new(Irqchip::None);

/// One VM with 512 KiB of RAM and one vCPU at [`ENTRY`].
pub(super) struct Guest<H: Hypervisor> {
    pub(super) vcpu: VcpuOf<H>,
    pub(super) vm: H::Vm,
    pub(super) ram: GuestRam,
    watchdog: Watchdog,
}

impl<H: Hypervisor> Guest<H> {
    /// `code` in 16-bit real mode, all segments at 0, DS at `data_segment * 16`.
    pub(super) fn real(
        hypervisor: &H,
        settings: &VmSettings,
        data_segment: u16,
        code: &[u8],
    ) -> Result<Self, Failure> {
        let mut guest = Self::new(hypervisor, settings, code)?;
        enter_real(&mut guest.vcpu, data_segment, ENTRY)?;
        Ok(guest)
    }

    /// `code` in 64-bit mode, with the first GiB mapped one to one.
    pub(super) fn long(hypervisor: &H, code: &[u8]) -> Result<Self, Failure> {
        let mut guest = Self::new(hypervisor, &BARE, code)?;
        let table = |index: u64| GuestAddress(TABLES + index * 0x1000);
        // Present, writable; the lowest level's entries are 2 MiB pages (AMD APM vol. 2, 5.3.4).
        guest.ram.write(table(0), table(1).0 | 3)?;
        guest.ram.write(table(1), table(2).0 | 3)?;
        for page in 0..512 {
            guest
                .ram
                .write(GuestAddress(table(2).0 + page * 8), (page << 21) | 0x83)?;
        }
        let vcpu = &mut guest.vcpu;
        let special = long_mode(&vcpu.special_registers()?);
        vcpu.set_special_registers(&special)?;
        vcpu.set_registers(&entry_registers(ENTRY))?;
        Ok(guest)
    }

    fn new(hypervisor: &H, settings: &VmSettings, code: &[u8]) -> Result<Self, Failure> {
        let vm = hypervisor.create_vm(settings)?;
        let ram = GuestRam::new(&RamConfig {
            size: "512K".parse()?,
            ..RamConfig::default()
        })?;
        ram.write_bytes(GuestAddress(ENTRY), code)?;
        vm.map_ram(&ram)?;
        let vcpu = vm.create_vcpu(VcpuId(0))?;
        let watchdog = Watchdog::over(vcpu.kicker());
        Ok(Self {
            vcpu,
            vm,
            ram,
            watchdog,
        })
    }

    /// Renews the VM; its vCPU enters the same code again, in real mode.
    pub(super) fn renew(self) -> Result<Self, Failure> {
        let Self { vcpu, vm, ram, .. } = self;
        drop(vcpu);
        vm.renew()?;
        let mut vcpu = vm.create_vcpu(VcpuId(0))?;
        enter_real(&mut vcpu, 0, ENTRY)?;
        let watchdog = Watchdog::over(vcpu.kicker());
        Ok(Self {
            vcpu,
            vm,
            ram,
            watchdog,
        })
    }

    /// Runs to the next exit other than an interruption.
    pub(super) fn run(&mut self) -> Result<VcpuExit, Failure> {
        loop {
            match self.vcpu.run()? {
                VcpuExit::Interrupted => self.alive()?,
                exit => {
                    self.alive()?;
                    return Ok(exit);
                }
            }
        }
    }

    /// [`run`](Self::run), where `devices` answer the accesses.
    pub(super) fn run_with(&mut self, devices: &mut impl Devices) -> Result<VcpuExit, Failure> {
        loop {
            let exit = self.vcpu.run_with(devices)?;
            self.alive()?;
            if exit != VcpuExit::Interrupted {
                return Ok(exit);
            }
        }
    }

    /// Runs and expects `promised`.
    pub(super) fn expect(&mut self, promised: VcpuExit) -> Outcome {
        let exit = self.run()?;
        same("exit", exit, promised)
    }

    /// Calms the watchdog; fails once it has barked.
    pub(super) fn alive(&self) -> Outcome {
        if self.watchdog.barked.load(Ordering::SeqCst) {
            return Err(Failure::Stuck(PATIENCE.as_secs()));
        }
        // It fails only where the watchdog's thread has ended, as after a panic of the kicker.
        let _ = self.watchdog.leash.send(());
        Ok(())
    }
}

/// Kicks a vCPU that was not seen to leave the guest for too long.
pub(super) struct Watchdog {
    barked: Arc<AtomicBool>,
    /// A message calms the dog; dropping it calls the dog off.
    leash: mpsc::Sender<()>,
}

impl Watchdog {
    fn over(kicker: Arc<dyn Kick>) -> Self {
        let (leash, pulls) = mpsc::channel::<()>();
        let barked = Arc::new(AtomicBool::new(false));
        let bark = Arc::clone(&barked);
        thread::spawn(move || {
            loop {
                match pulls.recv_timeout(PATIENCE) {
                    Ok(()) => {}
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        bark.store(true, Ordering::SeqCst);
                        kicker.kick();
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        Self { barked, leash }
    }
}

/// Puts `vcpu` into real mode at `entry`.
pub(super) fn enter_real(
    vcpu: &mut impl VcpuState,
    data_segment: u16,
    entry: u64,
) -> Result<(), Failure> {
    let mut special = vcpu.special_registers()?;
    (special.cs.base, special.cs.selector) = (0, 0);
    special.ds.base = u64::from(data_segment) << 4;
    special.ds.selector = data_segment;
    vcpu.set_special_registers(&special)?;
    vcpu.set_registers(&entry_registers(entry))?;
    Ok(())
}

fn entry_registers(rip: u64) -> Registers {
    Registers {
        rip,
        rsp: STACK,
        rflags: 2,
        ..Registers::default()
    }
}

/// 64-bit mode, ring 0, flat (AMD APM vol. 2, 14.6).
fn long_mode(reset: &SpecialRegisters) -> SpecialRegisters {
    let flat = Segment {
        limit: u32::MAX,
        selector: 0x10,
        kind: 3,
        present: true,
        s: true,
        db: true,
        g: true,
        ..Segment::default()
    };
    SpecialRegisters {
        cs: Segment {
            selector: 8,
            kind: 11,
            db: false,
            l: true,
            ..flat
        },
        ds: flat,
        es: flat,
        fs: flat,
        gs: flat,
        ss: flat,
        tr: Segment {
            selector: 0x18,
            kind: 11,
            s: false,
            db: false,
            g: false,
            limit: 0x67,
            ..flat
        },
        ldt: Segment {
            unusable: true,
            ..Segment::default()
        },
        gdt: DescriptorTable::default(),
        idt: DescriptorTable::default(),
        // PG, AM, WP, NE, ET, MP, PE
        cr0: 0x8005_0033,
        cr3: TABLES,
        // OSXMMEXCPT, OSFXSR, PAE
        cr4: 0x620,
        // LMA, LME
        efer: 0x500,
        ..*reset
    }
}

/// Fails where `found` is not `promised`.
pub(super) fn same<T: PartialEq + Debug>(what: &'static str, found: T, promised: T) -> Outcome {
    if found == promised {
        return Ok(());
    }
    Err(Failure::Broken {
        what,
        found: format!("{found:?}"),
        promised: format!("{promised:?}"),
    })
}
