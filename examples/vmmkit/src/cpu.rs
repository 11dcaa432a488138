//! `--cpu MODEL`, and `vmmkit cpu dump|diff`.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use vmmkit_assembly::{CpuFileError, cpu_model};
use vmmkit_host_io::FileError;
use vmmkit_hypervisor::x86::{CpuidEntry, Msr, VcpuState};
use vmmkit_hypervisor::{Hypervisor, Irqchip, VcpuId, Vm, VmSettings};
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_machine_spec::{CpuBase, CpuModelSpec, Given};
use vmmkit_x86_cpu::{CPU_MSRS, Clocks, CpuModel, Profile, Topology, cpuid};

use crate::cli::CpuAction;
use crate::failure::Failure;
use crate::settings::shown;
use crate::{exit_code, generate};

pub(crate) const NEXT: &str = "give host, baseline, x86-64-v2, x86-64-v3 or the file of a profile, and features to \
     hide: --cpu host,-avx512f";

/// The model that `text` is.
fn model(text: &str) -> Result<CpuModel, Failure> {
    let spec = CpuModelSpec::parse(&Given::text(text));
    let spec = spec.map_err(|fault| Failure::usage(format!("{}: {fault}", shown(text)), NEXT))?;
    cpu_model(&spec).map_err(|error| failure("", &spec, &error))
}

/// That there is no model `spec`; messages begin with `option` and its text.
pub(crate) fn failure(option: &str, spec: &CpuModelSpec, error: &CpuFileError) -> Failure {
    let file = match &spec.base {
        CpuBase::Named(name) => format!("{option}{}", shown(name)),
        CpuBase::File(path) => format!("{option}{}", path.display()),
    };
    match error {
        CpuFileError::Read(FileError::TooLong(_)) => Failure::usage(
            format!("{file}: this is not a profile: it is larger than 1 MiB"),
            "`vmmkit cpu dump` writes profiles",
        ),
        CpuFileError::Read(error) => {
            Failure::host(&file, error, "check the path and its permissions")
        }
        CpuFileError::Profile(error) => Failure::usage(
            format!("{file}: {error}"),
            "`vmmkit cpu dump` writes profiles: compare it with one",
        ),
        error => Failure::usage(format!("{option}{spec}: {error}"), NEXT),
    }
}

/// Writes one CPU, or how two differ.
pub(crate) fn act(action: CpuAction) -> Result<ExitCode, Failure> {
    match action {
        CpuAction::Dump { model: text, kvm } => {
            let model = model(&text)?;
            let profile = Host::open(kvm.as_deref())?.guest(&text, &model)?;
            let mut lines =
                format!("# The CPU of a guest on this host, by `vmmkit cpu dump {text}`.\n");
            // Writing to a String cannot fail.
            let _ = write!(lines, "{profile}");
            generate::write(lines.as_bytes())
        }
        CpuAction::Diff { one, two, kvm } => {
            let models = [model(&one)?, model(&two)?];
            let host = Host::open(kvm.as_deref())?;
            let [first, second] = &models;
            let (first, second) = (host.plain(&one, first)?, host.plain(&two, second)?);
            let differences = first.differences(&second);
            let mut lines = String::new();
            for difference in &differences {
                let _ = writeln!(lines, "{difference}");
            }
            generate::write(lines.as_bytes())?;
            Ok(match differences.is_empty() {
                true => exit_code::SUCCESS,
                false => exit_code::HOST_ERROR,
            }
            .into())
        }
    }
}

/// Resources of this host.
struct Host {
    kvm: Kvm,
    supported: Vec<CpuidEntry>,
}

impl Host {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let path = path.unwrap_or(Path::new("/dev/kvm"));
        let kvm = Kvm::open_path(path).map_err(|error| Failure::kvm(path, &error))?;
        let supported = kvm.supported_cpuid().map_err(no_answer)?;
        Ok(Self { kvm, supported })
    }

    /// The CPU of a guest here.
    fn guest(&self, text: &str, model: &CpuModel) -> Result<Profile, Failure> {
        let one = Topology::of(1);
        let table = cpuid(&self.supported, model, &one, VcpuId(0), Clocks::default());
        let table = table.map_err(|error| {
            let next = "`vmmkit cpu dump` says what this host has";
            Failure::because(format!("{}: {error}", shown(text)), Vec::new(), next)
        })?;
        let msrs = self.settable_msrs(&table).map_err(no_answer)?;
        Ok(Profile::of_guest(text, &table, &msrs))
    }

    /// MSRs that say what the CPU can do, as far as a vCPU with `table` takes them: some KVMs know of one
    /// that it does not.
    fn settable_msrs(&self, table: &[CpuidEntry]) -> vmmkit_hypervisor::Result<Vec<Msr>> {
        let vm = self.kvm.create_vm(&VmSettings::new(Irqchip::None))?;
        let mut vcpu = vm.create_vcpu(VcpuId(0))?;
        vcpu.set_cpuid(table)?;
        let mut msrs = self.kvm.feature_msrs()?;
        msrs.retain(|msr| CPU_MSRS.iter().any(|(index, _)| *index == msr.index));
        msrs.retain(|msr| vcpu.set_msrs(&[*msr]).is_ok());
        Ok(msrs)
    }

    /// A profile without changes as it is, whether this host has all of it or not; otherwise the CPU of a
    /// guest here.
    fn plain(&self, text: &str, model: &CpuModel) -> Result<Profile, Failure> {
        if !model.has_changes() {
            let host = self.guest("host", &CpuModel::default())?;
            let vendor = host.vendor().unwrap_or_default();
            if let Ok(Some(profile)) = model.profile(vendor) {
                return Ok(profile.clone());
            }
        }
        self.guest(text, model)
    }
}

fn no_answer(error: vmmkit_hypervisor::Error) -> Failure {
    Failure::host(
        "KVM",
        &error,
        "`vmmkit doctor` says what this host's KVM can do",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_is_not_there_or_none_is_named() {
        let refused = |text: &str| {
            let spec = CpuModelSpec::parse(&Given::text(text)).unwrap();
            failure("--cpu ", &spec, &cpu_model(&spec).unwrap_err()).text()
        };
        let missing = refused("/nope.toml,-avx");
        assert!(
            missing.starts_with("error: --cpu /nope.toml: No such file"),
            "{missing}"
        );
        let wrong = refused("./Cargo.toml");
        assert!(
            wrong.starts_with("error: --cpu ./Cargo.toml: line ")
                && wrong.contains("unknown field"),
            "{wrong}"
        );
    }
}
