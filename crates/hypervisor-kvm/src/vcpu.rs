//! A vCPU: run it, decode its exit once, lend the bytes of the access.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use kvm_bindings::{
    KVM_EXIT_DEBUG, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR,
    KVM_EXIT_IO, KVM_EXIT_IO_IN, KVM_EXIT_IOAPIC_EOI, KVM_EXIT_MMIO, KVM_EXIT_SHUTDOWN,
    KVM_EXIT_SYSTEM_EVENT, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_UNINITIALIZED,
    KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN,
};
use kvm_ioctls::VcpuFd;
use vmmkit_hypervisor::x86::DebugExit;
use vmmkit_hypervisor::{
    Devices, Error, FailEntry, Kick, MmioAccess, PortAccess, Result, SystemEvent, Vcpu, VcpuExit,
    VcpuId, Width,
};

use crate::inner::{Descriptor, Inner};
use crate::kick::Kicker;
use crate::patience::{LIMIT, Patience};
use crate::run_page::{
    DEBUG, EOI_VECTOR, EXIT_REASON, FAIL_ENTRY, IO, MMIO_ADDRESS, MMIO_DATA, MMIO_IS_WRITE,
    MMIO_LENGTH, RunPage, SYSTEM_EVENT,
};
use crate::software::VcpuSupport;
use crate::{failure, ioctls};

/// A vCPU of a [`KvmVm`](crate::KvmVm), on the thread that calls it.
pub struct KvmVcpu {
    // Fixed at creation
    id: VcpuId,
    // Wiring; the descriptor closes before the memory behind the slots goes.
    pub(crate) fd: VcpuFd,
    pub(crate) descriptor: Arc<Descriptor>,
    pub(crate) page: Arc<RunPage>,
    kicker: Arc<Kicker>,
    pub(crate) vm: Arc<Inner>,
    /// The support for a software KVM; nothing elsewhere.
    pub(crate) software: Option<Box<VcpuSupport>>,
    // State between runs
    /// Where the bytes of the last access are in the run page: offset and length, of which
    /// `RunPage::holds` is true, or no length.
    data: (usize, usize),
    /// `complete_access` met another part of the same access: the next run reports it.
    held: bool,
    /// The next run is not the plain one: `held`, or there is `software`. One test on the exit
    /// path for both.
    aside: bool,
}

/// Which way an access goes, as the guest sees it.
enum Direction {
    Read,
    Write,
}

impl KvmVcpu {
    pub(crate) fn new(
        id: VcpuId,
        fd: VcpuFd,
        descriptor: Arc<Descriptor>,
        vm: Arc<Inner>,
    ) -> Result<Self> {
        let page = RunPage::map(&fd, descriptor.vm.run_size())
            .map_err(|source| Error::host("mmap of kvm_run", source))?;
        let page = Arc::new(page);
        let support = vm.support.as_ref();
        let software = support.map(|s| Box::new(VcpuSupport::new(Arc::clone(s), &page)));
        let kicker = Kicker::new(Arc::clone(&page), vm.kick_signal);
        Ok(Self {
            id,
            fd,
            descriptor,
            page,
            kicker: Arc::new(kicker),
            vm,
            aside: software.is_some(),
            software,
            data: (0, 0),
            held: false,
        })
    }

    /// Calls `f` with the vCPU's descriptor, for what this crate does not wrap. Between two runs it is the state
    /// of the guest's CPU as KVM has it; an access that is not [complete](vmmkit_hypervisor::Vcpu::complete_access)
    /// is not in it.
    pub fn with_fd<T>(&self, f: impl FnOnce(&VcpuFd) -> T) -> T {
        f(&self.fd)
    }

    /// Reads the exit out of the run page.
    #[inline]
    pub(crate) fn decode(&mut self) -> VcpuExit {
        match self.page.read(&EXIT_REASON) {
            KVM_EXIT_IO => match self.port_access() {
                Some((Direction::Read, access)) => VcpuExit::PortRead(access),
                Some((Direction::Write, access)) => VcpuExit::PortWrite(access),
                None => *self.rare_exit(KVM_EXIT_IO),
            },
            KVM_EXIT_MMIO => match self.mmio_access() {
                (Direction::Read, access) => VcpuExit::MmioRead(access),
                (Direction::Write, access) => VcpuExit::MmioWrite(access),
            },
            reason => *self.rare_exit(reason),
        }
    }

    /// The port access that ended the run, whose bytes are `data` from here on; `None` where the
    /// page does not hold them.
    #[inline]
    fn port_access(&mut self) -> Option<(Direction, PortAccess)> {
        let io = self.page.read(&IO);
        let width = Width::from_bytes(io.size)?;
        let offset = usize::try_from(io.data_offset).ok()?;
        let length = width.bytes().saturating_mul(io.count as usize);
        if !self.page.holds(offset, length) {
            return None;
        }
        self.data = (offset, length);
        let direction = if u32::from(io.direction) == KVM_EXIT_IO_IN {
            Direction::Read
        } else {
            Direction::Write
        };
        let access = PortAccess {
            port: io.port,
            width,
            count: io.count,
        };
        Some((direction, access))
    }

    /// The MMIO access that ended the run, whose bytes are `data` from here on.
    #[inline]
    fn mmio_access(&mut self) -> (Direction, MmioAccess) {
        let length = self.page.read(&MMIO_LENGTH).min(8) as u8;
        self.data = (MMIO_DATA, usize::from(length));
        let direction = if self.page.read(&MMIO_IS_WRITE) == 0 {
            Direction::Read
        } else {
            Direction::Write
        };
        let access = MmioAccess {
            address: self.page.read(&MMIO_ADDRESS),
            length,
        };
        (direction, access)
    }

    /// Boxed, so that the exits of the common path never go through memory.
    #[cold]
    fn rare_exit(&mut self, reason: u32) -> Box<VcpuExit> {
        self.data = (0, 0);
        Box::new(match reason {
            KVM_EXIT_HLT => VcpuExit::Halt,
            KVM_EXIT_IOAPIC_EOI => VcpuExit::IoapicEoi(self.page.read(&EOI_VECTOR)),
            KVM_EXIT_SHUTDOWN => VcpuExit::Shutdown,
            KVM_EXIT_INTR => VcpuExit::Interrupted,
            KVM_EXIT_SYSTEM_EVENT => VcpuExit::SystemEvent(match self.page.read(&SYSTEM_EVENT) {
                KVM_SYSTEM_EVENT_SHUTDOWN => SystemEvent::Shutdown,
                KVM_SYSTEM_EVENT_RESET => SystemEvent::Reset,
                KVM_SYSTEM_EVENT_CRASH => SystemEvent::Crash,
                other => SystemEvent::Other(other),
            }),
            KVM_EXIT_INTERNAL_ERROR => {
                let page = Arc::clone(&self.page);
                VcpuExit::InternalError(Box::new(failure::describe(self, &page)))
            }
            KVM_EXIT_FAIL_ENTRY => {
                let entry = self.page.read(&FAIL_ENTRY);
                VcpuExit::FailEntry(FailEntry {
                    reason: entry.hardware_entry_failure_reason,
                    cpu: entry.cpu,
                })
            }
            KVM_EXIT_DEBUG => {
                let debug = self.page.read(&DEBUG);
                VcpuExit::Debug(Box::new(DebugExit {
                    exception: debug.exception,
                    address: debug.pc,
                    dr6: debug.dr6,
                }))
            }
            other => VcpuExit::Unknown(other),
        })
    }

    /// A run that is not the plain one: the second part of an access, which `complete_access` met, or
    /// one on a software KVM. Boxed as in [`rare_exit`](Self::rare_exit).
    #[cold]
    fn run_aside(&mut self) -> Result<Box<VcpuExit>> {
        self.aside = self.software.is_some();
        let exit = if std::mem::take(&mut self.held) {
            self.decode()
        } else if self.aside {
            self.kicker.enter();
            self.run_supported()?
        } else {
            self.run()?
        };
        Ok(Box::new(exit))
    }

    /// `KVM_RUN` failed with `errno`. Where that is a reason to ask again, it is asked until it ran or
    /// a kick came, but not without end; `None` says that it ran, and the exit is in the page.
    #[cold]
    pub(crate) fn failed_run(&mut self, errno: i32) -> Option<Result<VcpuExit>> {
        let mut failed = Err(errno);
        let mut patience = Patience::default();
        while let Err(errno) = failed {
            let is_again = errno == libc::EAGAIN;
            if errno == libc::EINTR || (is_again && self.kicker.is_kicked()) {
                self.kicker.take();
                self.data = (0, 0);
                return Some(Ok(VcpuExit::Interrupted));
            }
            if !is_again {
                let error = io::Error::from_raw_os_error(errno);
                return Some(Err(Error::host("KVM_RUN", error)));
            }
            // A vCPU that waits for INIT or SIPI says so whenever something woke it, as often as the
            // guest likes (KVM API, KVM_RUN). From any other it means that the host's kernel lacks
            // something, for instance a thread of its own under RLIMIT_NPROC.
            if !self.waits_for_start() && patience.is_over(Instant::now()) {
                return Some(Err(Error::Starved {
                    operation: "KVM_RUN",
                    seconds: LIMIT.as_secs(),
                }));
            }
            let pause = patience.pause();
            if !pause.is_zero() {
                thread::sleep(pause);
            }
            failed = ioctls::run(&self.fd);
        }
        None
    }

    /// Whether the vCPU waits for INIT or SIPI of another.
    fn waits_for_start(&self) -> bool {
        let state = self.fd.get_mp_state().map(|state| state.mp_state);
        matches!(
            state,
            Ok(KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_INIT_RECEIVED)
        )
    }
}

impl Vcpu for KvmVcpu {
    fn id(&self) -> VcpuId {
        self.id
    }

    #[inline]
    fn run(&mut self) -> Result<VcpuExit> {
        if self.aside {
            return self.run_aside().map(|exit| *exit);
        }
        self.kicker.enter();
        if let Err(errno) = ioctls::run(&self.fd)
            && let Some(answer) = self.failed_run(errno)
        {
            return answer;
        }
        Ok(self.decode())
    }

    /// Decodes and answers in one loop. An access never becomes a [`VcpuExit`]: to put one together
    /// and to take it apart again is a quarter of the instructions of an exit in this process.
    #[inline]
    fn run_with(&mut self, devices: &mut impl Devices) -> Result<VcpuExit> {
        while self.aside {
            let exit = self.run_aside()?;
            if let Some(other) = exit.answered_by(devices, self.data()) {
                return Ok(other);
            }
        }
        // From here on nothing sets `aside`, and the thread stays the same.
        self.kicker.enter();
        loop {
            if let Err(errno) = ioctls::run(&self.fd)
                && let Some(answer) = self.failed_run(errno)
            {
                return answer;
            }
            match self.page.read(&EXIT_REASON) {
                KVM_EXIT_IO => match self.port_access() {
                    Some((Direction::Read, access)) => devices.read_port(access, self.data()),
                    Some((Direction::Write, access)) => devices.write_port(access, self.data()),
                    None => return Ok(*self.rare_exit(KVM_EXIT_IO)),
                },
                KVM_EXIT_MMIO => match self.mmio_access() {
                    (Direction::Read, access) => devices.read_mmio(access, self.data()),
                    (Direction::Write, access) => devices.write_mmio(access, self.data()),
                },
                reason => return Ok(*self.rare_exit(reason)),
            }
        }
    }

    #[inline]
    fn data(&mut self) -> &mut [u8] {
        let (offset, length) = self.data;
        // SAFETY: `self.data` is inside the page (its own invariant); `&mut self` shows that the
        // vCPU does not run and that no earlier slice lives; nothing else of this process reads or
        // writes that part of the page.
        unsafe { self.page.bytes(offset, length) }
    }

    fn complete_access(&mut self) -> Result<()> {
        if self.data.1 == 0 || self.held {
            return Ok(());
        }
        self.kicker.enter();
        self.kicker.begin_completion();
        let result = ioctls::run(&self.fd);
        self.kicker.end_completion();
        match result {
            // KVM splits an access that crosses a page, and hands over the second part.
            Ok(()) => {
                self.held = true;
                self.aside = true;
            }
            Err(libc::EINTR) => self.data = (0, 0),
            Err(errno) => {
                return Err(Error::host("KVM_RUN", io::Error::from_raw_os_error(errno)));
            }
        }
        Ok(())
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::<Kicker>::clone(&self.kicker)
    }
}

impl Drop for KvmVcpu {
    fn drop(&mut self) {
        self.kicker.leave();
    }
}

impl fmt::Debug for KvmVcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvmVcpu")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
