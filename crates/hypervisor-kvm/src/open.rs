//! Opening /dev/kvm.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use kvm_bindings::{
    KVM_API_VERSION, KVM_CAP_SET_GUEST_DEBUG, KVM_CAP_SPLIT_IRQCHIP, KVM_MAX_CPUID_ENTRIES, Msrs,
    kvm_msr_entry,
};
use kvm_ioctls::Cap;
use vmmkit_hypervisor::x86::{CpuidEntry, Msr};
use vmmkit_hypervisor::{
    Capabilities, CmdlineAddition, CmdlineConflict, Error, Hypervisor, Irqchip, Result, VmSettings,
};

use crate::inner::Inner;
use crate::made::Made;
use crate::open_error::open_error;
use crate::probe::{ProbeCache, late_ticks_hinder, probe_cached};
use crate::software::{self, SoftwareCounters, Support};
use crate::{KickSignal, KvmKind, KvmVm, OpenError, ProbeReport, brand, convert, kvm_kind, probe};

/// How KVM is used.
///
/// ```no_run
/// use std::path::Path;
/// use vmmkit_hypervisor_kvm::{KickSignal, KvmOptions};
///
/// // SIGURG is this program's own; SIGUSR2 is free.
/// let options = KvmOptions::new().kick_signal(KickSignal::new(libc::SIGUSR2)?);
/// let kvm = options.open(Path::new("/dev/kvm"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct KvmOptions {
    kick_signal: KickSignal,
}

impl KvmOptions {
    /// The settings that [`Kvm::open_path`] uses.
    pub fn new() -> Self {
        Self::default()
    }

    /// The signal that takes vCPUs out of the guest.
    #[must_use]
    pub fn kick_signal(self, kick_signal: KickSignal) -> Self {
        Self { kick_signal }
    }

    /// [`Kvm::open_path`] with these options.
    ///
    /// # Errors
    /// See [`Kvm::open`]; [`OpenError::KickSignal`] where the process has another handler for the
    /// signal.
    pub fn open(self, path: &Path) -> std::result::Result<Kvm, OpenError> {
        self.open_cached(path, None)
    }

    /// [`Kvm::open_cached`] with these options.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_cached(
        self,
        path: &Path,
        cache: Option<&ProbeCache>,
    ) -> std::result::Result<Kvm, OpenError> {
        let mut kvm = self.open_bare(path)?;
        if kvm_kind() == KvmKind::Software {
            let report = match cache {
                Some(cache) => probe_cached(&kvm, path, cache),
                None => probe(&kvm),
            };
            let report = report.map_err(|source| OpenError::Probe {
                path: path.to_owned(),
                source,
            })?;
            kvm.support = Support::new(report, kvm.capabilities.memory_slots);
        }
        let completes = kvm.support.is_some();
        kvm.capabilities.saved_state = !completes;
        tracing::debug!(path = %path.display(), kind = ?kvm_kind(), completes, "KVM opened");
        Ok(kvm)
    }

    /// [`Kvm::open_bare`] with these options.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_bare(self, path: &Path) -> std::result::Result<Kvm, OpenError> {
        let opened = match CString::new(path.as_os_str().as_bytes()) {
            Ok(name) => kvm_ioctls::Kvm::new_with_path(name).map_err(io::Error::from),
            Err(error) => Err(error.into()),
        };
        let kvm = opened.map_err(|source| open_error(path, source))?;
        let found = kvm.get_api_version();
        if u32::try_from(found) != Ok(KVM_API_VERSION) {
            return Err(OpenError::Version {
                found,
                expected: KVM_API_VERSION,
            });
        }
        let missing = REQUIRED
            .iter()
            .filter(|(extension, _)| !kvm.check_extension(*extension));
        let names: Vec<_> = missing.map(|&(_, name)| name).collect();
        if !names.is_empty() {
            return Err(OpenError::Extensions { names });
        }
        let capabilities = capabilities(&kvm);
        self.kick_signal
            .install()
            .map_err(|source| OpenError::KickSignal {
                signal: self.kick_signal,
                source,
            })?;
        Ok(Kvm {
            kvm: Arc::new(kvm),
            kick_signal: self.kick_signal,
            capabilities,
            support: None,
            drops_late_ticks: late_ticks_hinder(kvm_kind()),
            made: Made::default(),
        })
    }
}

/// /dev/kvm, opened and found good.
pub struct Kvm {
    kvm: Arc<kvm_ioctls::Kvm>,
    kick_signal: KickSignal,
    capabilities: Capabilities,
    /// The support for a software KVM; nothing elsewhere.
    support: Option<Arc<Support>>,
    /// Every VM drops late ticks, asked for or not.
    drops_late_ticks: bool,
    made: Made,
}

/// The extensions that every VM made here uses.
const REQUIRED: [(Cap, &str); 9] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
    (Cap::SetIdentityMapAddr, "KVM_CAP_SET_IDENTITY_MAP_ADDR"),
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::Pit2, "KVM_CAP_PIT2"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::SignalMsi, "KVM_CAP_SIGNAL_MSI"),
];

impl Kvm {
    /// Opens /dev/kvm.
    ///
    /// # Errors
    /// [`OpenError`] says what is missing and how to get it.
    pub fn open() -> std::result::Result<Self, OpenError> {
        Self::open_path(Path::new("/dev/kvm"))
    }

    /// Opens the KVM device at `path`. Where that is a software KVM it is [probed](probe), which
    /// takes some 50 ms, and VMs made here get what it lacks: instructions completed, SYSCALL bridged.
    /// On VT-x and AMD-V nothing is probed and nothing added.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_path(path: &Path) -> std::result::Result<Self, OpenError> {
        KvmOptions::new().open(path)
    }

    /// [`open_path`](Self::open_path), with the answers of the probe kept in `cache`: a host is probed
    /// once until it boots again. A cache that cannot be used is as good as none.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_cached(
        path: &Path,
        cache: Option<&ProbeCache>,
    ) -> std::result::Result<Self, OpenError> {
        KvmOptions::new().open_cached(path, cache)
    }

    /// Opens the KVM device at `path` and takes it as it is, also where it is a software KVM.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_bare(path: &Path) -> std::result::Result<Self, OpenError> {
        KvmOptions::new().open_bare(path)
    }

    /// The probe's report, where this is a software KVM with something missing.
    pub fn shortcomings(&self) -> Option<&ProbeReport> {
        self.support.as_ref().map(|support| support.report())
    }

    /// [`software_counters`](Self::software_counters), for other threads to ask again and again.
    pub fn software_counter(&self) -> impl Fn() -> SoftwareCounters + Send + Sync + use<> {
        let support = self.support.clone();
        move || {
            let support = support.as_ref();
            support.map_or_else(SoftwareCounters::default, |s| s.counters.read())
        }
    }

    /// How often something was done for guests that a software KVM lacks: all zero elsewhere.
    pub fn software_counters(&self) -> SoftwareCounters {
        self.software_counter()()
    }

    /// Leaves it to the host's kernel to take the VMs that were made here down, after the end of this
    /// process, which is to come now: with it, the process would wait for three grace periods of RCU
    /// (some 37 ms where the kernel's clock ticks 250 times a second). RAM is given back with the
    /// process all the same. A VM stays until then even if it is dropped.
    ///
    /// # Errors
    /// [`Error::Host`] where the host does not allow io_uring, which this is done by; the process waits
    /// then.
    pub fn leave_to_kernel(&self) -> Result<()> {
        self.made.leave_to_kernel()
    }

    /// The device's descriptor, for what this crate does not wrap.
    pub fn fd(&self) -> &kvm_ioctls::Kvm {
        &self.kvm
    }
}

impl Hypervisor for Kvm {
    type Vm = KvmVm;

    fn name(&self) -> &'static str {
        "KVM"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn create_vm(&self, settings: &VmSettings) -> Result<KvmVm> {
        match settings.irqchip {
            Irqchip::InKernel { .. } if !self.capabilities.irqchip => {
                return Err(Error::Unsupported("interrupt controllers"));
            }
            Irqchip::Split if !self.capabilities.split_irqchip => {
                return Err(Error::Unsupported("split interrupt controllers"));
            }
            _ => {}
        }
        let mut settings = *settings;
        settings.drop_late_ticks |= self.drops_late_ticks;
        let inner = Arc::new(Inner::new(
            Arc::clone(&self.kvm),
            &settings,
            self.kick_signal,
            self.support.clone(),
        )?);
        self.made.note(&inner);
        Ok(KvmVm { inner })
    }

    fn supported_cpuid(&self) -> Result<Vec<CpuidEntry>> {
        let cpuid = self
            .kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(|error| Error::host("KVM_GET_SUPPORTED_CPUID", error))?;
        let mut leaves: Vec<_> = cpuid.as_slice().iter().map(convert::cpuid).collect();
        brand::fill(&mut leaves);
        if let Some(support) = &self.support {
            support.mask(&mut leaves);
        }
        Ok(leaves)
    }

    fn feature_msrs(&self) -> Result<Vec<Msr>> {
        let Ok(list) = self.kvm.get_msr_feature_index_list() else {
            return Ok(Vec::new()); // a KVM before Linux 4.17
        };
        // One by one: the call stops at the first MSR that this CPU does not have.
        let value = |&index: &u32| {
            let entry = kvm_msr_entry {
                index,
                ..Default::default()
            };
            let mut msrs = Msrs::from_entries(&[entry]).ok()?;
            let read = self.kvm.get_msrs(&mut msrs).ok()?;
            let read = msrs.as_slice().iter().take(read).next()?;
            let value = read.data;
            Some(Msr { index, value })
        };
        Ok(list.as_slice().iter().filter_map(value).collect())
    }

    /// Those that make up for what a software KVM lacks; none on hardware.
    fn cmdline_additions(
        &self,
        parameters: &[String],
    ) -> std::result::Result<Vec<CmdlineAddition>, CmdlineConflict> {
        let report = self.shortcomings();
        report.map_or(Ok(Vec::new()), |report| {
            software::cmdline(report, parameters)
        })
    }
}

/// The capabilities of `kvm`.
fn capabilities(kvm: &kvm_ioctls::Kvm) -> Capabilities {
    let mut capabilities =
        Capabilities::complete(u32::try_from(kvm.get_max_vcpus()).unwrap_or(u32::MAX));
    capabilities.max_apic_id =
        u32::try_from(kvm.get_max_vcpu_id()).map_or(u32::MAX, |count| count.saturating_sub(1));
    capabilities.memory_slots = u32::try_from(kvm.get_nr_memslots()).unwrap_or(u32::MAX);
    capabilities.irqfd = kvm.check_extension(Cap::Irqfd);
    capabilities.ioeventfd = kvm.check_extension(Cap::Ioeventfd);
    capabilities.guest_debug = kvm.check_extension_raw(KVM_CAP_SET_GUEST_DEBUG.into()) > 0;
    capabilities.read_only_memory = kvm.check_extension(Cap::ReadonlyMem);
    let split = kvm.check_extension_raw(KVM_CAP_SPLIT_IRQCHIP.into());
    capabilities.split_irqchip = split > 0;
    capabilities
}

impl fmt::Debug for Kvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kvm")
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_told_by_its_path() {
        let error = Kvm::open_path(Path::new("/nonexistent/kvm")).unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. }));
        assert_eq!(error.to_string(), "/nonexistent/kvm does not exist");
    }

    #[test]
    fn a_device_that_is_no_kvm_has_no_version() {
        let error = Kvm::open_path(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(error, OpenError::Version { .. }), "{error}");
    }

    #[test]
    fn a_process_that_handles_the_kick_signal_is_told() {
        extern "C" fn theirs(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
        let signal = KickSignal::new(libc::SIGVTALRM).unwrap();
        vmm_sys_util::signal::register_signal_handler(signal.number(), theirs).unwrap();
        let opened = KvmOptions::new()
            .kick_signal(signal)
            .open_bare(Path::new("/dev/kvm"));
        match opened {
            Err(OpenError::KickSignal { signal, source }) => {
                assert_eq!(signal.number(), libc::SIGVTALRM);
                assert_eq!(source.kind(), io::ErrorKind::ResourceBusy);
            }
            Err(reason) => eprintln!("SKIPPED: the kick signal: {reason}"),
            Ok(_) => panic!("a handler of the process was replaced"),
        }
    }

    #[test]
    fn a_path_with_a_zero_byte_is_refused() {
        let error = Kvm::open_path(Path::new("/dev/k\0vm")).unwrap_err();
        assert!(matches!(error, OpenError::Open { .. }), "{error}");
    }
}
