//! `--cpu MODEL`, and `vmmkit cpu dump|diff`.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use vmmkit_host_io::{FileError, read_text};
use vmmkit_hypervisor::x86::{CpuidEntry, Msr, VcpuState};
use vmmkit_hypervisor::{Hypervisor, Irqchip, VcpuId, Vm, VmSettings};
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_x86_cpu::{CPU_MSRS, Clocks, CpuModel, Profile, Topology, cpuid};

use crate::cli::CpuAction;
use crate::devices::words;
use crate::failure::Failure;
use crate::settings::shown;
use crate::{exit_code, generate};

const NEXT: &str = "give host, baseline, x86-64-v2, x86-64-v3 or the file of a profile, and features to \
     hide: --cpu host,-avx512f";
/// The most bytes of a profile; one of 256 leaves takes some 30 KiB.
const MAX_BYTES: usize = 1 << 20;

/// The model that `text` is; messages begin with `option` and the text.
pub(crate) fn model(option: &str, text: &str) -> Result<CpuModel, Failure> {
    let what = format!("{option}{}", shown(text));
    let mut parts = words::split(text).into_iter();
    let base = parts.next().unwrap_or_default();
    let parsed = match is_file(base) {
        true => CpuModel::of_profile(read(option, base)?, parts),
        false => text.parse(),
    };
    parsed.map_err(|error| Failure::usage(format!("{what}: {error}"), NEXT))
}

/// The same text, its file relative to `folder`.
pub(crate) fn in_folder(text: &str, folder: &Path) -> String {
    let mut parts = words::split(text);
    match parts.first_mut() {
        Some(base) if is_file(base) => {
            let moved = words::of_path(&folder.join(words::path(base)));
            *base = &moved;
            parts.join(",")
        }
        _ => text.to_owned(),
    }
}

/// A path has a slash or ends as profiles do; models have names without.
fn is_file(base: &str) -> bool {
    base.contains('/') || base.ends_with(".toml")
}

fn read(option: &str, path: &str) -> Result<Profile, Failure> {
    let what = format!("{option}{path}");
    let text = match read_text(&words::path(path), MAX_BYTES) {
        Ok(text) => text,
        Err(FileError::TooLong(_)) => {
            let what = format!("{what}: this is no profile: it is larger than 1 MiB");
            return Err(Failure::usage(what, "`vmmkit cpu dump` writes profiles"));
        }
        Err(error) => {
            let next = "check the path and its permissions";
            return Err(Failure::host(&what, &error, next));
        }
    };
    Profile::parse(path, &text).map_err(|error| {
        let next = "`vmmkit cpu dump` writes profiles: compare it with one";
        Failure::usage(format!("{what}: {error}"), next)
    })
}

/// Writes one CPU, or how two differ.
pub(crate) fn act(action: CpuAction) -> Result<ExitCode, Failure> {
    match action {
        CpuAction::Dump { model: text, kvm } => {
            let model = model("", &text)?;
            let profile = Host::open(kvm.as_deref())?.guest(&text, &model)?;
            let mut lines =
                format!("# The CPU of a guest on this host, by `vmmkit cpu dump {text}`.\n");
            // Writing to a String cannot fail.
            let _ = write!(lines, "{profile}");
            generate::write(lines.as_bytes())
        }
        CpuAction::Diff { one, two, kvm } => {
            let models = [model("", &one)?, model("", &two)?];
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

/// What this host can give.
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
        let vm = self.kvm.create_vm(&VmSettings {
            irqchip: Irqchip::None,
        })?;
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
    fn a_path_is_told_from_a_model() {
        for (text, file) in [
            ("host", false),
            ("x86-64-v3", false),
            ("my.toml", true),
            ("./my", true),
        ] {
            assert_eq!(is_file(text), file, "{text}");
        }
        let folder = Path::new("/vm");
        assert_eq!(in_folder("a.toml,-avx", folder), "/vm/a.toml,-avx");
        assert_eq!(in_folder("host,-avx", folder), "host,-avx");
    }

    #[test]
    fn a_profile_that_is_not_there_or_none_is_named() {
        let refused = |text: &str| model("--cpu ", text).unwrap_err().text();
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
