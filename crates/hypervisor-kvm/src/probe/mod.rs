//! Abilities and lacks of this host's KVM, as plain data.
//!
//! Where kvm_intel or kvm_amd is loaded, the CPU runs the guest, and asking for capabilities is
//! all. A /dev/kvm without either is a software one, whose instruction emulator may have holes;
//! there, guests of a few instructions are run to find them.

mod cache;
mod cpuid;
mod debug;
mod instructions;
pub(crate) mod micro_guest;

use std::arch::x86_64::__cpuid;
use std::fmt;
use std::path::Path;

use vmmkit_hypervisor::{Hypervisor, Result};

pub use cache::ProbeCache;
pub use cpuid::{ForcedBits, forced_cpuid};
pub use debug::probe_debug;

use crate::Kvm;

/// The kind of KVM behind /dev/kvm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvmKind {
    /// VT-x, by the module kvm_intel.
    Intel,
    /// AMD-V, by the module kvm_amd.
    Amd,
    /// Neither: guests are emulated, at least in ring 0.
    Software,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What: an instruction or a capability.
    pub name: &'static str,
    /// Whether this KVM has it.
    pub ok: bool,
    /// Its user.
    pub meaning: &'static str,
    /// The remedy where it is missing; `None` where it is not, or nothing helps.
    pub remedy: Option<Remedy>,
    /// The next step where nothing is done.
    pub fix: &'static str,
    /// Whether an ordinary Linux guest needs it, whatever is done.
    pub essential: bool,
}

/// The remedy for something that a software KVM lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// The instruction is completed by `vmmkit-x86-emulator` when KVM hands it back.
    Completed,
    /// SYSCALL goes to a page that exits, and the vCPU is put into ring 0.
    Bridged,
    /// CPUID does not announce it to the guest, and it is completed where it is used all the same.
    Masked,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// The kind of KVM behind /dev/kvm.
    pub kind: KvmKind,
    /// The findings, the essential first.
    pub findings: Vec<Finding>,
}

impl ProbeReport {
    /// Whether an ordinary, unpatched Linux guest boots: nothing essential is missing without a
    /// remedy.
    pub fn can_boot_linux(&self) -> bool {
        self.missing()
            .all(|finding| !finding.essential || finding.remedy.is_some())
    }

    /// Whether `name` was looked at and is missing.
    pub fn lacks(&self, name: &str) -> bool {
        self.missing().any(|finding| finding.name == name)
    }

    /// The findings that are not ok.
    pub fn missing(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.ok)
    }
}

/// The kind of KVM behind /dev/kvm, by the modules that are loaded (or built in). A process that does not see them,
/// as in a jail without /sys, goes by the CPU: with VT-x or AMD-V, KVM is taken to be by it.
pub fn kvm_kind() -> KvmKind {
    let modules = Path::new("/sys/module");
    let loaded = modules.is_dir().then(|| {
        let is_loaded = |name| modules.join(name).exists();
        ["kvm_intel", "kvm_amd"].map(is_loaded)
    });
    kind_by(loaded, of_cpu())
}

/// The kind by the modules that are loaded (Intel's, AMD's), or by the CPU's where they are not to be seen.
fn kind_by(loaded: Option<[bool; 2]>, cpu: KvmKind) -> KvmKind {
    match loaded {
        None => cpu,
        Some([true, _]) => KvmKind::Intel,
        Some([_, true]) => KvmKind::Amd,
        Some(_) => KvmKind::Software,
    }
}

/// The kind that this CPU makes possible: VT-x (SDM, CPUID.01H:ECX bit 5) or AMD-V (APM, CPUID Fn8000_0001 ECX bit 2).
fn of_cpu() -> KvmKind {
    const EXTENDED: u32 = 0x8000_0001;
    let has_svm = __cpuid(EXTENDED - 1).eax >= EXTENDED && __cpuid(EXTENDED).ecx & 1 << 2 != 0;
    match __cpuid(1).ecx & 1 << 5 != 0 {
        true => KvmKind::Intel,
        false if has_svm => KvmKind::Amd,
        false => KvmKind::Software,
    }
}

/// Whether a PIT whose ticks are made up for hinders all other interrupts: it turns AVIC off (Linux,
/// arch/x86/kvm/svm/avic.c, APICV_INHIBIT_REASON_PIT_REINJ), where that is on or may be. A software KVM has had
/// its guests without such ticks.
pub(crate) fn late_ticks_hinder(kind: KvmKind) -> bool {
    match kind {
        KvmKind::Intel => false,
        KvmKind::Amd => {
            let avic = std::fs::read_to_string("/sys/module/kvm_amd/parameters/avic");
            may_be_on(avic.ok().as_deref())
        }
        KvmKind::Software => true,
    }
}

/// Whether a parameter of a module with this value, if it is known, may be on.
fn may_be_on(parameter: Option<&str>) -> bool {
    !matches!(parameter.map(str::trim), Some("N" | "0"))
}

/// Looks at `kvm`. It takes some 50 ms on a software KVM, and two seconds for each micro-guest that
/// hangs.
///
/// # Errors
/// The first call the host refuses; that a guest fails is a finding and no error.
pub fn probe(kvm: &Kvm) -> Result<ProbeReport> {
    if let Some(known) = kvm.shortcomings() {
        return Ok(known.clone());
    }
    let kind = kvm_kind();
    let known = match kind {
        KvmKind::Software => instructions::probe(kvm)?.known,
        _ => Vec::new(),
    };
    Ok(report(kvm, kind, &known))
}

/// [`probe`] of a software KVM at `device`, whose answers `cache` keeps.
pub(crate) fn probe_cached(kvm: &Kvm, device: &Path, cache: &ProbeCache) -> Result<ProbeReport> {
    let names = instructions::names();
    let host = cache::Host::this(device);
    let kept = host.as_ref().and_then(|host| cache.read(host, &names));
    let known = match kept {
        Some(known) => known,
        None => {
            let answers = instructions::probe(kvm)?;
            if let Some(host) = host.filter(|_| answers.certain) {
                let named: Vec<_> = names.into_iter().zip(answers.known.clone()).collect();
                cache.write(&host, &named);
            }
            answers.known
        }
    };
    Ok(report(kvm, KvmKind::Software, &known))
}

fn report(kvm: &Kvm, kind: KvmKind, known: &[bool]) -> ProbeReport {
    let mut findings = instructions::findings(known);
    findings.extend(capabilities(kvm));
    findings.sort_by_key(|finding| !finding.essential);
    ProbeReport { kind, findings }
}

fn capabilities(kvm: &Kvm) -> [Finding; 2] {
    let known = kvm.capabilities();
    let finding = |name, ok, meaning| Finding {
        name,
        ok,
        meaning,
        remedy: None,
        fix: "use a newer Linux kernel on the host",
        essential: false,
    };
    [
        finding(
            "irqfd",
            known.irqfd,
            "devices on their own threads interrupt the guest by it",
        ),
        finding(
            "ioeventfd",
            known.ioeventfd,
            "a guest's notification needs no exit with it",
        ),
    ]
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed by the VMM",
            Self::Bridged => "bridged by the VMM",
            Self::Masked => "masked in CPUID, completed by the VMM",
        })
    }
}

impl fmt::Display for KvmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intel => "VT-x (kvm_intel)",
            Self::Amd => "AMD-V (kvm_amd)",
            Self::Software => "software KVM (neither kvm_intel nor kvm_amd is loaded)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jail_without_sys_goes_by_the_cpu() {
        for cpu in [KvmKind::Intel, KvmKind::Amd, KvmKind::Software] {
            assert_eq!(kind_by(None, cpu), cpu);
            assert_eq!(kind_by(Some([false, false]), cpu), KvmKind::Software);
            assert_eq!(kind_by(Some([true, false]), cpu), KvmKind::Intel);
            assert_eq!(kind_by(Some([false, true]), cpu), KvmKind::Amd);
        }
    }

    #[test]
    fn the_cpu_of_genuine_kvm_has_what_it_needs() {
        match kvm_kind() {
            KvmKind::Software => {}
            kind => assert_eq!(of_cpu(), kind),
        }
    }

    #[test]
    fn late_ticks_are_dropped_where_avic_is_on_or_may_be() {
        assert!(may_be_on(Some("Y\n")) && may_be_on(Some("1\n")) && may_be_on(None));
        assert!(!may_be_on(Some("N\n")) && !may_be_on(Some("0\n")));
        assert!(!late_ticks_hinder(KvmKind::Intel) && late_ticks_hinder(KvmKind::Software));
    }

    fn found(ok: bool, essential: bool, remedy: Option<Remedy>) -> ProbeReport {
        let finding = Finding {
            name: "X",
            ok,
            meaning: "",
            remedy,
            fix: "",
            essential,
        };
        ProbeReport {
            kind: KvmKind::Software,
            findings: vec![finding],
        }
    }

    #[test]
    fn linux_boots_unless_something_essential_is_missing_without_a_remedy() {
        assert!(found(true, true, None).can_boot_linux());
        assert!(found(false, false, None).can_boot_linux());
        assert!(found(false, true, Some(Remedy::Completed)).can_boot_linux());
        assert!(!found(false, true, None).can_boot_linux());
    }

    #[test]
    fn what_is_kept_is_what_the_probe_found() {
        let device = Path::new("/dev/kvm");
        let kvm = match Kvm::open_bare(device) {
            Ok(kvm) if kvm_kind() == KvmKind::Software => kvm,
            other => return eprintln!("SKIPPED: a kept probe: no software KVM: {other:?}"),
        };
        let prefix = std::env::temp_dir().join("probe-kept-");
        let folder = vmm_sys_util::tempdir::TempDir::new_with_prefix(prefix).unwrap();
        let cache = ProbeCache::in_folder(folder.as_path());
        let first = probe_cached(&kvm, device, &cache).unwrap();
        let file = folder.as_path().join("software-kvm");
        let Ok(text) = std::fs::read_to_string(&file) else {
            return eprintln!("SKIPPED: a kept probe: this host was too busy to be certain");
        };
        assert_eq!(probe_cached(&kvm, device, &cache).unwrap(), first);
        // The answers are the file's: one that is changed there is another finding.
        std::fs::write(&file, text.replace("\nNOP 1", "\nNOP 0")).unwrap();
        assert!(!first.lacks("NOP"));
        assert!(probe_cached(&kvm, device, &cache).unwrap().lacks("NOP"));
    }

    #[test]
    fn this_host_is_probed_in_seconds() {
        let kvm = match Kvm::open_bare(Path::new("/dev/kvm")) {
            Ok(kvm) => kvm,
            Err(reason) => return eprintln!("SKIPPED: the probe of this host: {reason}"),
        };
        let report = probe(&kvm).unwrap();
        for finding in &report.findings {
            eprintln!(
                "{} {}",
                if finding.ok { "ok     " } else { "missing" },
                finding.name
            );
        }
        if report.kind == KvmKind::Software {
            assert!(
                report
                    .findings
                    .iter()
                    .any(|finding| finding.name == "SYSCALL")
            );
            // A probe that found nothing at all working would be broken itself.
            assert!(
                report
                    .findings
                    .iter()
                    .any(|finding| finding.name == "NOP" && finding.ok)
            );
        } else {
            assert!(report.can_boot_linux());
        }
    }
}
