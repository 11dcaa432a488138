//! The SMBIOS tables of a specification, with the credentials that are in files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vmmkit_boot_loader::smbios::{MAX_TEXT, Smbios};
use vmmkit_host_io::read_file;
use vmmkit_machine_spec::{BootSpec, CredentialSpec, CredentialValue, Field, MachineSpec};

use crate::{AssemblyError, Reason};

/// How systemd finds a credential among the OEM strings (smbios-type-11(7)).
const CREDENTIAL: &str = "io.systemd.credential:";
/// The same with a value in base64.
const BINARY_CREDENTIAL: &str = "io.systemd.credential.binary:";

/// How SMBIOS names the machine that `spec` describes: where it says so, and where firmware or a credential
/// wants tables.
pub(crate) fn smbios(spec: &MachineSpec) -> Result<Option<Smbios>, AssemblyError> {
    let platform = &spec.platform;
    let of = |field| move |reason| AssemblyError { field, reason };
    let is_wanted = platform.smbios.is_some()
        || !platform.credentials.is_empty()
        || matches!(spec.boot, BootSpec::Firmware(_));
    if !is_wanted {
        return Ok(None);
    }
    let mut smbios = Smbios::default();
    if let Some(named) = &platform.smbios {
        smbios.manufacturer.clone_from(&named.manufacturer);
        smbios.product.clone_from(&named.product);
        smbios.version.clone_from(&named.version);
        smbios.serial.clone_from(&named.serial);
        smbios.uuid = named.uuid.map(|uuid| uuid.0);
        smbios.sku.clone_from(&named.sku);
        smbios.family.clone_from(&named.family);
        smbios.oem_strings.clone_from(&named.oem);
    }
    let check = |smbios: &Smbios| smbios.check().map_err(Reason::Smbios);
    check(&smbios).map_err(of(Field::Smbios))?;
    for (index, credential) in platform.credentials.iter().enumerate() {
        let text = oem_string(credential).map_err(of(Field::Credential(index)))?;
        smbios.oem_strings.push(text);
        check(&smbios).map_err(of(Field::Credential(index)))?;
    }
    Ok(Some(smbios))
}

fn oem_string(credential: &CredentialSpec) -> Result<String, Reason> {
    let name = &credential.name;
    let value = match &credential.value {
        CredentialValue::Text(text) => text.clone().into_bytes(),
        CredentialValue::File(path) => read_file(path, MAX_TEXT).map_err(Reason::Credential)?,
    };
    // A text ends at its first NUL.
    let text = String::from_utf8(value).map_err(|error| error.into_bytes());
    let text = text.and_then(|text| match text.contains('\0') {
        true => Err(text.into_bytes()),
        false => Ok(text),
    });
    Ok(match text {
        Ok(text) => format!("{CREDENTIAL}{name}={text}"),
        Err(bytes) => format!("{BINARY_CREDENTIAL}{name}={}", STANDARD.encode(bytes)),
    })
}

#[cfg(test)]
mod tests {
    use vmmkit_machine_spec::{KernelSpec, SmbiosSpec};

    use super::*;

    fn machine() -> MachineSpec {
        MachineSpec::new(BootSpec::Kernel(KernelSpec::new("k")))
    }

    fn credential(name: &str, value: CredentialValue) -> CredentialSpec {
        CredentialSpec {
            name: name.to_owned(),
            value,
        }
    }

    #[test]
    fn a_kernel_has_tables_where_they_are_asked_for() {
        let mut spec = machine();
        assert_eq!(smbios(&spec).unwrap(), None);
        spec.platform.smbios = Some(SmbiosSpec {
            serial: Some("7".to_owned()),
            ..SmbiosSpec::default()
        });
        let named = smbios(&spec).unwrap().unwrap();
        assert_eq!(named.serial.as_deref(), Some("7"));
        let firmware = MachineSpec::new(BootSpec::Firmware(
            vmmkit_machine_spec::FirmwareSpec::new("f"),
        ));
        assert_eq!(smbios(&firmware).unwrap(), Some(Smbios::default()));
    }

    #[test]
    fn a_credential_is_an_oem_string_in_base64_where_it_is_no_text() {
        let path = std::env::temp_dir().join(format!("credential-{}", std::process::id()));
        std::fs::write(&path, [0, 0xff, 1]).unwrap();
        let mut spec = machine();
        let text = CredentialValue::Text("a=b, c".to_owned());
        let file = CredentialValue::File(path.clone());
        spec.platform.credentials = vec![credential("x", text), credential("y", file)];
        let named = smbios(&spec).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        let expected = [
            "io.systemd.credential:x=a=b, c",
            "io.systemd.credential.binary:y=AP8B",
        ];
        assert_eq!(named.oem_strings, expected);
        let error = smbios(&spec).unwrap_err();
        assert_eq!(error.field, Field::Credential(1));
        assert!(matches!(error.reason, Reason::Credential(_)));
    }

    #[test]
    fn the_credential_that_finds_no_room_is_named() {
        let mut spec = machine();
        let large = CredentialValue::Text("x".repeat(MAX_TEXT / 2));
        spec.platform.credentials = vec![credential("a", large.clone()), credential("b", large)];
        let error = smbios(&spec).unwrap_err();
        assert_eq!(error.field, Field::Credential(1));
    }
}
