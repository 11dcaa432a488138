//! Opening /dev/kvm, and saying what to do where it cannot be used.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kvm_bindings::{
    KVM_API_VERSION, KVM_CAP_SET_GUEST_DEBUG, KVM_CAP_SPLIT_IRQCHIP, KVM_MAX_CPUID_ENTRIES, Msrs,
    kvm_msr_entry,
};
use kvm_ioctls::Cap;
use thiserror::Error;
use vmmkit_hypervisor::x86::{CpuidEntry, Msr};
use vmmkit_hypervisor::{Capabilities, Error, Hypervisor, Irqchip, Result, VmSettings};

use crate::made::Made;
use crate::probe::{ProbeCache, probe_cached};
use crate::software::{self, CmdlineAddition, CmdlineConflict, SoftwareCounters, Support};
use crate::{KvmKind, KvmVm, ProbeReport, brand, convert, kvm_kind, probe};

/// Why KVM cannot be used, and the next step.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such device.
    #[error(
        "{} does not exist: load the module (`sudo modprobe kvm_intel` or `sudo modprobe \
         kvm_amd`); if that fails, enable VT-x or AMD-V in the firmware's settings, or, inside a \
         virtual machine, nested virtualization on its host",
        .path.display()
    )]
    Missing {
        /// The device.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// This user may not open it.
    #[error(
        "{} may not be opened by this user: join the group that owns it (`sudo usermod -aG kvm \
         $USER`), then log in again",
        .path.display()
    )]
    Forbidden {
        /// The device.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// It exists, and opening it failed for another reason.
    #[error("{} cannot be opened", .path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// It speaks another version of the KVM API.
    #[error("KVM API version {found}: {expected} is needed (Linux 2.6.22 or later)")]
    Version {
        /// The version found; -1 where the device is not KVM at all.
        found: i32,
        /// The version needed.
        expected: u32,
    },
    /// It lacks extensions that vmmkit cannot do without.
    #[error("this KVM lacks {}: a newer Linux kernel is needed", .names.join(", "))]
    Extensions {
        /// Their names as the KVM API spells them.
        names: Vec<&'static str>,
    },
    /// It is a software KVM, and the probe of what it lacks could not run.
    #[error("{} is a software KVM, and looking at what it lacks failed", .path.display())]
    Probe {
        /// The device.
        path: PathBuf,
        /// The host's reason.
        #[source]
        source: Error,
    },
}

/// /dev/kvm, opened and found good.
pub struct Kvm {
    kvm: Arc<kvm_ioctls::Kvm>,
    capabilities: Capabilities,
    /// What a software KVM needs; nothing elsewhere.
    support: Option<Arc<Support>>,
    made: Made,
}

/// What every VM made here uses.
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
        Self::open_cached(path, None)
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
        let mut kvm = Self::open_bare(path)?;
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
        tracing::debug!(path = %path.display(), kind = ?kvm_kind(), completes, "KVM opened");
        Ok(kvm)
    }

    /// Opens the KVM device at `path` and takes it as it is, also where it is a software KVM.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_bare(path: &Path) -> std::result::Result<Self, OpenError> {
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
        Ok(Self {
            kvm: Arc::new(kvm),
            capabilities,
            support: None,
            made: Made::default(),
        })
    }

    /// What the probe found, where this is a software KVM with something missing.
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

    /// The kernel parameters that a Linux guest with `cmdline` should get besides, on this host.
    /// What `cmdline` says itself is left alone.
    ///
    /// # Errors
    /// [`CmdlineConflict`] where it asks for what cannot work here.
    pub fn cmdline_additions(
        &self,
        cmdline: &str,
    ) -> std::result::Result<Vec<CmdlineAddition>, CmdlineConflict> {
        let report = self.shortcomings();
        report.map_or(Ok(Vec::new()), |report| software::cmdline(report, cmdline))
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
        let vm = KvmVm::new(Arc::clone(&self.kvm), settings, self.support.clone())?;
        self.made.note(&vm);
        Ok(vm)
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
}

fn open_error(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    match source.raw_os_error() {
        // ENODEV and ENXIO: the node is there, the module behind it is not.
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => OpenError::Missing { path, source },
        Some(libc::EACCES | libc::EPERM) => OpenError::Forbidden { path, source },
        _ => OpenError::Open { path, source },
    }
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
    fn a_missing_device_names_the_modules_to_load() {
        let error = Kvm::open_path(Path::new("/nonexistent/kvm")).unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. }));
        assert!(error.to_string().contains("modprobe kvm_intel"), "{error}");
    }

    #[test]
    fn a_forbidden_device_names_the_group_to_join() {
        let source = io::Error::from_raw_os_error(libc::EACCES);
        let error = open_error(Path::new("/dev/kvm"), source);
        assert!(matches!(error, OpenError::Forbidden { .. }));
        assert!(
            error.to_string().contains("usermod -aG kvm $USER"),
            "{error}"
        );
    }

    #[test]
    fn a_device_that_is_no_kvm_has_no_version() {
        let error = Kvm::open_path(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(error, OpenError::Version { .. }), "{error}");
    }

    #[test]
    fn a_path_with_a_zero_byte_is_refused() {
        let error = Kvm::open_path(Path::new("/dev/k\0vm")).unwrap_err();
        assert!(matches!(error, OpenError::Open { .. }), "{error}");
    }
}
