//! The files of the data source (cloud-init, reference of the NoCloud data source).

use std::path::Path;

use serde_json::{Map, Value, json};
use vmmkit_host_io::{FileError, read_file, read_text};
use vmmkit_machine_spec::CloudInitSpec;

use crate::Reason;

/// The maximum size of each file, in bytes.
const MAX_BYTES: usize = 1 << 20;
const SHELL: &str = "/bin/bash";

/// Each with its name.
pub(super) type Files = Vec<(&'static str, Vec<u8>)>;

/// The files that `spec` asks for, for the machine called `machine`.
pub(super) fn of(spec: &CloudInitSpec, machine: Option<&str>) -> Result<Files, Reason> {
    let read = |path: &Path| read_file(path, MAX_BYTES).map_err(failed(path));
    let mut files = Vec::new();
    let own = own_config(spec)?;
    match (&spec.user_data, own) {
        (Some(path), Some(own)) => {
            files.push(("user-data", read(path)?));
            // Below user data, which goes before it where both say something.
            files.push(("vendor-data", own));
        }
        (Some(path), None) => files.push(("user-data", read(path)?)),
        (None, own) => files.push(("user-data", own.unwrap_or_else(|| config(&Map::new())))),
    }
    if let Some(path) = &spec.network_config {
        files.push(("network-config", read(path)?));
    }
    let meta_data = match &spec.meta_data {
        Some(path) => read(path)?,
        None => meta_data(&files, spec.hostname.as_deref().or(machine)),
    };
    files.push(("meta-data", meta_data));
    Ok(files)
}

/// The configuration that the fields of `spec` make; `None` where they say nothing.
fn own_config(spec: &CloudInitSpec) -> Result<Option<Vec<u8>>, Reason> {
    let mut keys = Vec::new();
    for path in &spec.ssh_keys {
        keys.extend(public_keys(path)?);
    }
    let mut map = Map::new();
    match &spec.user {
        Some(user) => {
            let mut own = json!({
                "name": user,
                "shell": SHELL,
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": spec.password.is_none(),
                "ssh_authorized_keys": keys,
            });
            if let (Some(password), Some(own)) = (&spec.password, own.as_object_mut()) {
                own.insert("plain_text_passwd".to_owned(), password.as_str().into());
            }
            map.insert("users".to_owned(), json!(["default", own]));
        }
        None => {
            if !keys.is_empty() {
                map.insert("ssh_authorized_keys".to_owned(), json!(keys));
            }
            if let Some(password) = &spec.password {
                map.insert("password".to_owned(), password.as_str().into());
                map.insert("chpasswd".to_owned(), json!({"expire": false}));
            }
        }
    }
    if spec.password.is_some() {
        map.insert("ssh_pwauth".to_owned(), true.into());
    }
    Ok((!map.is_empty()).then(|| config(&map)))
}

/// The public keys of a file, which has at least one (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
fn public_keys(path: &Path) -> Result<Vec<String>, Reason> {
    let text = read_text(path, MAX_BYTES).map_err(failed(path))?;
    let lines = text.lines().map(str::trim);
    let keys: Vec<_> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    if keys.is_empty() {
        return Err(Reason::NoKey(path.to_owned()));
    }
    // The armour of PEM and of OpenSSH.
    let is_armour = |line: &String| line.starts_with("-----BEGIN") && line.contains("PRIVATE KEY");
    match keys.iter().any(is_armour) {
        true => Err(Reason::PrivateKey(path.to_owned())),
        false => Ok(keys),
    }
}

fn failed(path: &Path) -> impl FnOnce(FileError) -> Reason {
    move |source| Reason::CloudInit {
        path: path.to_owned(),
        source,
    }
}

/// JSON is YAML, and leaves nothing of a text to be taken for something else.
fn config(map: &Map<String, Value>) -> Vec<u8> {
    format!("#cloud-config\n{:#}\n", Value::Object(map.clone())).into_bytes()
}

/// A machine whose data is another is another instance: its first boot is to come.
fn meta_data(files: &Files, hostname: Option<&str>) -> Vec<u8> {
    let mut hash = Fnv::default();
    for (name, contents) in files {
        hash.add(name.as_bytes());
        hash.add(contents);
    }
    hash.add(hostname.unwrap_or_default().as_bytes());
    let mut map = json!({"instance-id": format!("iid-{:016x}", hash.0)});
    if let (Some(hostname), Some(map)) = (hostname, map.as_object_mut()) {
        map.insert("local-hostname".to_owned(), hostname.into());
    }
    format!("{map:#}\n").into_bytes()
}

/// FNV-1a, 64 bits.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds `bytes` and their end.
    fn add(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_le_bytes();
        for byte in bytes.iter().chain(&length) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(files: &Files, name: &str) -> String {
        let found = files.iter().find(|file| file.0 == name);
        String::from_utf8(found.unwrap().1.clone()).unwrap()
    }

    fn value(files: &Files, name: &str) -> Value {
        let text = text(files, name);
        serde_json::from_str(text.trim_start_matches("#cloud-config\n")).unwrap()
    }

    #[test]
    fn a_user_has_the_keys_of_all_files() {
        let path = std::env::temp_dir().join(format!("keys-{}", std::process::id()));
        std::fs::write(
            &path,
            "# mine\nssh-ed25519 AAAA me@x\n\nssh-rsa BBBB \"y\"\n",
        )
        .unwrap();
        let spec = CloudInitSpec {
            user: Some("me".to_owned()),
            ssh_keys: vec![path.clone()],
            ..CloudInitSpec::default()
        };
        let files = of(&spec, Some("web")).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text(&files, "user-data").starts_with("#cloud-config\n{"));
        let config = value(&files, "user-data");
        let user = &config["users"][1];
        assert_eq!(user["name"], "me");
        assert_eq!(user["lock_passwd"], true);
        let keys = json!(["ssh-ed25519 AAAA me@x", "ssh-rsa BBBB \"y\""]);
        assert_eq!(user["ssh_authorized_keys"], keys);
        assert_eq!(value(&files, "meta-data")["local-hostname"], "web");
        assert!(of(&spec, None).is_err(), "the file is gone");
    }

    #[test]
    fn a_file_without_a_public_key_is_refused() {
        let path = std::env::temp_dir().join(format!("no-key-{}", std::process::id()));
        let spec = CloudInitSpec {
            ssh_keys: vec![path.clone()],
            ..CloudInitSpec::default()
        };
        let reason = |text: &str| {
            std::fs::write(&path, text).unwrap();
            of(&spec, None).unwrap_err()
        };
        let empty = reason("# a comment\n\n");
        let private = reason(
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n",
        );
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(empty, Reason::NoKey(_)), "{empty:?}");
        assert!(matches!(private, Reason::PrivateKey(_)), "{private:?}");
    }

    #[test]
    fn fields_beside_user_data_are_vendor_data() {
        let path = std::env::temp_dir().join(format!("user-data-{}", std::process::id()));
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        let spec = CloudInitSpec {
            password: Some("a: b".to_owned()),
            user_data: Some(path.clone()),
            ..CloudInitSpec::default()
        };
        let files = of(&spec, None).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text(&files, "user-data"), "#!/bin/sh\n");
        let config = value(&files, "vendor-data");
        assert_eq!(config["password"], "a: b");
        assert_eq!(config["ssh_pwauth"], true);
        assert!(value(&files, "meta-data").get("local-hostname").is_none());
    }

    #[test]
    fn other_data_is_another_instance() {
        let instance = |user: &str, name| {
            let spec = CloudInitSpec {
                user: Some(user.to_owned()),
                ..CloudInitSpec::default()
            };
            value(&of(&spec, name).unwrap(), "meta-data")["instance-id"].clone()
        };
        assert_eq!(instance("a", None), instance("a", None));
        assert_ne!(instance("a", None), instance("b", None));
        assert_ne!(instance("a", None), instance("a", Some("web")));
    }
}
