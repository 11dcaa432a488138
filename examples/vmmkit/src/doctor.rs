//! `vmmkit doctor`: what this host's KVM can do, what is missing, and how to get it.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use vmmkit_hypervisor::{Capabilities, Hypervisor};
use vmmkit_hypervisor_kvm::{Finding, Kvm, ProbeReport, probe};

use crate::cli::DoctorOptions;
use crate::failure::Failure;
use crate::{exit_code, generate};

/// Looks at the host and prints what was found. The exit code says whether Linux boots here.
pub(crate) fn doctor(options: &DoctorOptions) -> Result<ExitCode, Failure> {
    let path = options.kvm.as_deref().unwrap_or(Path::new("/dev/kvm"));
    match look(path) {
        Ok((report, capabilities)) => {
            if !options.quiet {
                generate::write(table(path, &report, &capabilities).as_bytes())?;
            }
            let boots = report.can_boot_linux();
            Ok(if boots {
                exit_code::SUCCESS
            } else {
                exit_code::HOST_ERROR
            }
            .into())
        }
        Err(_) if options.quiet => Ok(exit_code::HOST_ERROR.into()),
        Err(failure) => Err(failure),
    }
}

fn look(path: &Path) -> Result<(ProbeReport, Capabilities), Failure> {
    let kvm = Kvm::open_path(path).map_err(|error| Failure::kvm(path, &error))?;
    let report = probe(&kvm).map_err(|error| {
        let next = "check that no limit of this process is in the way (ulimit -a)";
        Failure::host(&format!("probe of {}", path.display()), &error, next)
    })?;
    Ok((report, kvm.capabilities().clone()))
}

fn table(path: &Path, report: &ProbeReport, capabilities: &Capabilities) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{:<12}  {}", path.display(), report.kind);
    let _ = writeln!(text, "{:<12}  up to {}", "vCPUs", capabilities.max_vcpus);
    let _ = writeln!(
        text,
        "{:<12}  {}",
        "memory slots", capabilities.memory_slots
    );
    for finding in &report.findings {
        let _ = writeln!(text, "{:<12}  {}", finding.name, state(finding));
    }
    let verdict = match report.can_boot_linux() {
        true => "this host can boot a Linux guest",
        false => "this host cannot boot an ordinary Linux guest with KVM; tools/boot can without",
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}

fn state(finding: &Finding) -> String {
    let Finding { meaning, fix, .. } = finding;
    match (finding.ok, finding.remedy, finding.essential) {
        (true, ..) => "ok".to_owned(),
        (false, Some(remedy), _) => format!("{remedy}: {meaning}"),
        (false, None, true) => format!("MISSING: {meaning}\n{:14}fix: {fix}", ""),
        (false, None, false) => format!("missing: {meaning}\n{:14}fix: {fix}", ""),
    }
}

#[cfg(test)]
mod tests {
    use vmmkit_hypervisor_kvm::KvmKind;

    use super::*;

    #[test]
    fn what_is_missing_comes_with_its_fix() {
        let finding = Finding {
            name: "SYSCALL",
            ok: false,
            meaning: "programs call Linux by it",
            remedy: None,
            fix: "another host",
            essential: true,
        };
        let report = ProbeReport {
            kind: KvmKind::Software,
            findings: vec![finding],
        };
        let text = table(Path::new("/dev/kvm"), &report, &Capabilities::complete(4));
        assert!(
            text.contains("SYSCALL       MISSING: programs call Linux by it"),
            "{text}"
        );
        assert!(text.contains("fix: another host"), "{text}");
        assert!(text.ends_with("tools/boot can without\n"), "{text}");
    }
}
