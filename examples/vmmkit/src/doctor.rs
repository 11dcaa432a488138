//! `vmmkit doctor`: what this host's KVM can do, what is missing, and how to get it.

use std::fmt::Write;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use vmmkit_host_io::is_raw;
use vmmkit_hypervisor::CmdlineAddition;
use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_hypervisor::{Capabilities, Hypervisor};
use vmmkit_hypervisor_kvm::{
    Finding, ForcedBits, Kvm, KvmKind, ProbeReport, forced_cpuid, probe, probe_debug,
};
use vmmkit_sandbox::{Support, support};
use vmmkit_x86_cpu::{Bit, Register};

use crate::cli::DoctorOptions;
use crate::failure::Failure;
use crate::{exit_code, generate, messages};

/// Looks at the host and prints what was found. The exit code says whether Linux boots here.
pub(crate) fn doctor(options: &DoctorOptions) -> Result<ExitCode, Failure> {
    let path = options.kvm.as_deref().unwrap_or(Path::new("/dev/kvm"));
    match look(path) {
        Ok(Found {
            report,
            capabilities,
            forced,
            additions,
        }) => {
            if !options.quiet {
                hint_at_raw_terminal();
                let text = table(path, &report, &capabilities, &forced, &additions, support());
                generate::write(text.as_bytes())?;
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

/// A vmmkit that was killed by SIGKILL could not restore its terminal.
fn hint_at_raw_terminal() {
    if is_raw(io::stdin().as_fd()) {
        messages::say(
            "this terminal is raw, as a guest has it: a vmmkit may have been killed there\n  \
             next: type stty sane, and Ctrl-j",
        );
    }
}

/// Findings about a host's KVM.
struct Found {
    report: ProbeReport,
    capabilities: Capabilities,
    forced: Vec<ForcedBits>,
    /// Additions to a Linux guest's command line here.
    additions: Vec<CmdlineAddition>,
}

fn look(path: &Path) -> Result<Found, Failure> {
    let kvm = Kvm::open_path(path).map_err(|error| Failure::kvm(path, &error))?;
    let failed = |error| {
        let next = "check that no limit of this process is in the way (ulimit -a)";
        Failure::host(&format!("probe of {}", path.display()), &error, next)
    };
    let mut report = probe(&kvm).map_err(failed)?;
    report.findings.extend(probe_debug(&kvm).map_err(failed)?);
    let forced = match report.kind {
        KvmKind::Software => forced_cpuid(&kvm).map_err(failed)?,
        // The CPU leaves the guest at CPUID.
        _ => Vec::new(),
    };
    Ok(Found {
        report,
        capabilities: kvm.capabilities().clone(),
        forced,
        // A command line without parameters asks for nothing that cannot work.
        additions: kvm.cmdline_additions(&[]).unwrap_or_default(),
    })
}

fn table(
    path: &Path,
    report: &ProbeReport,
    capabilities: &Capabilities,
    forced: &[ForcedBits],
    additions: &[CmdlineAddition],
    sandbox: Support,
) -> String {
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
    let sides = [
        (
            "CPUID",
            "always on",
            forced.iter().map(|bits| bits.on).collect(),
        ),
        (
            "",
            "always off",
            forced.iter().map(|bits| bits.off).collect(),
        ),
    ];
    for (label, what, leaves) in sides {
        let bits = bits(leaves);
        if !bits.is_empty() {
            let _ = writeln!(text, "{label:<12}  {what}, whatever --cpu says: {bits}");
        }
    }
    for CmdlineAddition { parameter, reason } in additions {
        let _ = writeln!(
            text,
            "{:<12}  `{parameter}` is added, unless the command line has its own: {reason}",
            "Linux"
        );
    }
    let Support {
        files,
        system_calls,
    } = sandbox;
    for (what, is_there, fix) in [
        (
            "files",
            files,
            "a kernel with Landlock (5.13 or newer, lsm=landlock)",
        ),
        (
            "system calls",
            system_calls,
            "a kernel with CONFIG_SECCOMP_FILTER",
        ),
    ] {
        let state = match is_there {
            true => format!("{what} are closed while a guest runs, but with --sandbox off"),
            false => format!(
                "missing: {what} stay open while a guest runs\n{:14}fix: {fix}",
                ""
            ),
        };
        let _ = writeln!(text, "{:<12}  {state}", "sandbox");
    }
    let verdict = match report.can_boot_linux() {
        true => "this host can boot a Linux guest",
        false => "this host cannot boot an ordinary Linux guest with KVM; tools/boot can without",
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}

/// The names of all bits, or their places.
fn bits(leaves: Vec<CpuidEntry>) -> String {
    let words = leaves.into_iter().flat_map(|leaf| {
        let registers = [
            (Register::Eax, leaf.eax),
            (Register::Ebx, leaf.ebx),
            (Register::Ecx, leaf.ecx),
            (Register::Edx, leaf.edx),
        ];
        registers.map(|(register, word)| (leaf.function, leaf.index, register, word))
    });
    let all = words
        .flat_map(|(function, index, register, word)| Bit::of(function, index, register, word));
    let names = all.map(|bit| match bit.feature() {
        Some(feature) => feature.name.to_owned(),
        None => format!(
            "{:#x}.{}:{}:{}",
            bit.function, bit.index, bit.register, bit.bit
        ),
    });
    names.collect::<Vec<_>>().join(" ")
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
        let leaf = |edx| CpuidEntry {
            function: 1,
            edx,
            ..CpuidEntry::default()
        };
        let forced = [ForcedBits {
            on: leaf(0x401),
            off: leaf(0),
        }];
        let text = table(
            Path::new("/dev/kvm"),
            &report,
            &Capabilities::complete(4),
            &forced,
            &[CmdlineAddition {
                parameter: "nopti",
                reason: "the bridge",
            }],
            Support {
                files: true,
                system_calls: false,
            },
        );
        let line = "CPUID         always on, whatever --cpu says: fpu 0x1.0:EDX:10\n";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("always off"), "{text}");
        let line =
            "Linux         `nopti` is added, unless the command line has its own: the bridge\n";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains("SYSCALL       MISSING: programs call Linux by it"),
            "{text}"
        );
        assert!(text.contains("fix: another host"), "{text}");
        let lines = "sandbox       files are closed while a guest runs, but with --sandbox off\n\
                     sandbox       missing: system calls stay open while a guest runs";
        assert!(text.contains(lines), "{text}");
        assert!(text.ends_with("tools/boot can without\n"), "{text}");
    }
}
