//! The saved states of parts as sections of a snapshot.

use std::sync::Arc;

use vmmkit_device_bus::{SavedState, StateError, StateForm, StateReason};
use vmmkit_hypervisor::saved::{VcpuSaved, VmSaved};
use vmmkit_hypervisor::{Error as HypervisorError, SaveVm};
use vmmkit_snapshot::{Reader, Section, Writer};
use vmmkit_virtio::Device;

use crate::{Part, SaveError, SectionError};

/// The section of the machine as a whole.
pub const MACHINE: &str = "machine";
/// The section of interrupt controllers, timers and clocks of the hypervisor.
pub const VM: &str = "vm";

/// The section of a vCPU.
pub fn vcpu_id(number: u32) -> String {
    format!("vcpu{number}")
}

/// Adds the states of so many vCPUs, in their order, and of the VM.
///
/// # Errors
/// [`SaveError`]: the hypervisor does not give one, or it cannot be written; some vCPUs have ended.
pub fn put_core(
    writer: &mut Writer,
    (count, vcpus): (u32, Vec<Result<VcpuSaved, HypervisorError>>),
    vm: &dyn SaveVm,
) -> Result<(), SaveError> {
    if vcpus.len() != count as usize {
        return Err(SaveError::Ended);
    }
    for (number, vcpu) in (0_u32..).zip(vcpus) {
        let section = vcpu_id(number);
        let vcpu = vcpu.map_err(|source| SaveError::Hypervisor {
            section: section.clone(),
            source,
        })?;
        put(writer, &section, &vcpu)?;
    }
    let vm = vm.save().map_err(|source| SaveError::Hypervisor {
        section: VM.to_owned(),
        source,
    })?;
    Ok(put(writer, VM, &vm)?)
}

/// Checks that all of `devices`, each with its name, can be saved: some have more than their state.
///
/// # Errors
/// [`SaveError::Device`] for the first that cannot.
pub fn check_devices<'a>(
    devices: impl IntoIterator<Item = (&'a Arc<str>, &'a Arc<dyn Device>)>,
) -> Result<(), SaveError> {
    let mut unsaved = devices
        .into_iter()
        .filter_map(|(name, device)| Some((name, device.unsaved()?)));
    unsaved.next().map_or(Ok(()), |(name, reason)| {
        let device = name.to_string();
        Err(SaveError::Device { device, reason })
    })
}

/// Takes the states of the vCPUs and of the VM.
///
/// # Errors
/// [`StateError`] names the section.
pub fn take_core(
    snapshot: &mut Reader<'_>,
    vcpus: u32,
) -> Result<(Vec<VcpuSaved>, VmSaved), StateError> {
    let vcpus = (0..vcpus).map(|number| take(snapshot, &vcpu_id(number)));
    let vcpus = vcpus.collect::<Result<_, _>>()?;
    Ok((vcpus, take(snapshot, VM)?))
}

/// Adds the states of `parts`, in their order. They are at rest, and stay as they are.
///
/// # Errors
/// [`SectionError`] names the part.
pub fn save_parts(parts: &[Part], writer: &mut Writer) -> Result<(), SectionError> {
    for part in parts {
        let name = part.id().as_str();
        let saved = part.device().save_state();
        add(
            writer,
            &section_id(name),
            &saved.map_err(|error| error.of(name))?,
        )?;
    }
    Ok(())
}

/// Takes the states of `parts` from `snapshot` and restores them, in their order, but for those that are
/// [restored last](Part::restored_last). They rest from then on.
///
/// # Errors
/// [`StateError`] names the part; some parts may be restored then.
pub fn restore_parts(parts: &[Part], snapshot: &mut Reader<'_>) -> Result<(), StateError> {
    let (last, first): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.is_restored_last());
    for part in first.into_iter().chain(last) {
        let name = part.id().as_str();
        let saved = read(snapshot, &section_id(name))?;
        let restored = part.device().restore_state(&saved);
        restored.map_err(|error| error.of(name))?;
    }
    Ok(())
}

/// Adds `form` as the section `id`, which a reader must understand.
///
/// # Errors
/// [`SectionError`].
pub fn put<F: StateForm>(writer: &mut Writer, id: &str, form: &F) -> Result<(), SectionError> {
    add(writer, id, &SavedState::new(form)?)
}

fn add(writer: &mut Writer, id: &str, saved: &SavedState) -> Result<(), SectionError> {
    Ok(writer.add(Section {
        id,
        kind: saved.kind(),
        version: saved.version(),
        must_understand: true,
        contents: saved.to_json().as_bytes(),
    })?)
}

/// Takes the section `id`, whose form is `F`.
///
/// # Errors
/// [`StateError`] names the section.
pub fn take<F: StateForm>(snapshot: &mut Reader<'_>, id: &str) -> Result<F, StateError> {
    let saved = read(snapshot, id)?;
    saved.read().map_err(|error| error.of(id))
}

fn read(snapshot: &mut Reader<'_>, id: &str) -> Result<SavedState, StateError> {
    let section = snapshot
        .take(id)
        .ok_or_else(|| StateError::whole(id, StateReason::Absent))?;
    let saved = SavedState::from_json(section.contents).map_err(|error| error.of(id))?;
    if (saved.kind(), saved.version()) != (section.kind, section.version) {
        let reason = StateReason::Contradicts("the table of sections");
        let value = format_args!("{} {}", saved.kind(), saved.version());
        return Err(StateError::field(id, "kind", value, reason));
    }
    Ok(saved)
}

/// The id of the section of the part `name`: other bytes than letters, digits, "-" and "_" become a "." and their
/// hexadecimal number.
fn section_id(name: &str) -> String {
    let bytes = name.bytes().map(|byte| match byte {
        b'-' | b'_' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!(".{byte:02x}"),
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_ids_are_those_of_a_container_and_differ_where_names_do() {
        assert_eq!(section_id("blk0"), "blk0");
        assert_eq!(section_id("build number"), "build.20number");
        assert_ne!(section_id("a.20b"), section_id("a b"));
    }
}
