//! The CPU model of a specification, read from a file where it is in one.

use std::path::Path;

use thiserror::Error;
use vmmkit_host_io::{FileError, read_text};
use vmmkit_machine_spec::{CpuBase, CpuModelSpec, Fault};
use vmmkit_x86_cpu::{CpuModel, CpuModelError, Profile, ProfileError};

/// The most bytes of a profile; one of 256 leaves takes some 30 KiB.
const MAX_BYTES: usize = 1 << 20;

/// Why there is no such CPU model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CpuFileError {
    /// Not a name, or not a change.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// It is not a profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The profile, or a change of it.
    #[error(transparent)]
    Model(#[from] CpuModelError),
}

/// The CPU model that `spec` means.
///
/// # Errors
/// [`CpuFileError`].
pub fn cpu_model(spec: &CpuModelSpec) -> Result<CpuModel, CpuFileError> {
    match (&spec.base, spec.named()?) {
        (_, Some(model)) => Ok(model),
        (CpuBase::File(path), None) => of_file(path, &spec.changes),
        (CpuBase::Named(_), None) => Ok(CpuModel::default()),
    }
}

fn of_file(path: &Path, changes: &[String]) -> Result<CpuModel, CpuFileError> {
    let text = read_text(path, MAX_BYTES)?;
    let profile = Profile::parse(&path.display().to_string(), &text)?;
    let changes = changes.iter().map(String::as_str);
    Ok(CpuModel::of_profile(profile, changes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_is_not_there_or_none_is_told_apart() {
        let refused = |path: &str| {
            let spec = CpuModelSpec {
                base: CpuBase::File(path.into()),
                changes: vec!["-avx".to_owned()],
            };
            cpu_model(&spec).unwrap_err()
        };
        assert!(matches!(refused("/nope.toml"), CpuFileError::Read(_)));
        let wrong = refused("./Cargo.toml");
        assert!(matches!(wrong, CpuFileError::Profile(_)), "{wrong}");
    }
}
