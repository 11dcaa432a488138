//! First-boot data for cloud-init.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::given::written;
use crate::{Fault, Given, Words, path_text};

/// First-boot data for cloud-init, as a disk of its NoCloud data source. What is left out is not configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CloudInitSpec {
    /// A user that is made, who may become root by sudo.
    pub user: Option<String>,
    /// Files of public keys that may log in as the user; without a user, as the image's own.
    pub ssh_keys: Vec<PathBuf>,
    /// The user's password, also on the console.
    pub password: Option<String>,
    /// The name of the machine; without it that of the machine here, if it has one.
    pub hostname: Option<String>,
    /// A file of user data: a script, or `#cloud-config`. It goes before the fields above.
    pub user_data: Option<PathBuf>,
    /// A file of metadata, in the place of `hostname`.
    pub meta_data: Option<PathBuf>,
    /// A file that configures the network.
    pub network_config: Option<PathBuf>,
}

impl CloudInitSpec {
    /// The maximum length of a user's name, as useradd(8) has it.
    pub const MAX_USER: usize = 32;

    /// `user=NAME`, `ssh-key=FILE` any number of times, `password=TEXT`, `hostname=NAME`, `user-data=FILE`,
    /// `meta-data=FILE` and `network-config=FILE`.
    ///
    /// # Errors
    /// [`Fault`] says what of it cannot be.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = Words::new(given);
        let user = words.parsed(
            "user",
            "a name of lower-case letters, digits, - and _",
            name,
        )?;
        let hostname = words.parsed("hostname", "a name of letters, digits, - and .", host)?;
        let password = words.value("password")?.map(str::to_owned);
        let mut ssh_keys = Vec::new();
        while let Some(path) = words.value("ssh-key")? {
            ssh_keys.push(words.path(path));
        }
        let mut file = |key| -> Result<Option<PathBuf>, Fault> {
            let path = words.value(key)?;
            Ok(path.map(|path| words.path(path)))
        };
        let spec = Self {
            user,
            ssh_keys,
            password,
            hostname,
            user_data: file("user-data")?,
            meta_data: file("meta-data")?,
            network_config: file("network-config")?,
        };
        words.end()?;
        match spec == Self::default() {
            true => Err(Fault::Missing("user, ssh-key or user-data")),
            false => Ok(spec),
        }
    }
}

/// A name that useradd(8) takes.
fn name(text: &str) -> Option<String> {
    let first = text.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_');
    let is_one = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '-' | '_')
    };
    let fits = first && text.len() <= CloudInitSpec::MAX_USER && text.chars().all(is_one);
    fits.then(|| text.to_owned())
}

/// A name of a host (RFC 1123, 2.1).
fn host(text: &str) -> Option<String> {
    let is_label = |label: &str| {
        let is_one = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        matches!(label.len(), 1..=63) && label.chars().all(is_one) && !label.starts_with('-')
    };
    (text.len() <= 253 && text.split('.').all(is_label)).then(|| text.to_owned())
}

impl fmt::Display for CloudInitSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = [
            ("user", &self.user),
            ("password", &self.password),
            ("hostname", &self.hostname),
        ];
        let keys = self.ssh_keys.iter().map(|path| ("ssh-key", Some(path)));
        let files = [
            ("user-data", self.user_data.as_ref()),
            ("meta-data", self.meta_data.as_ref()),
            ("network-config", self.network_config.as_ref()),
        ];
        let texts = texts
            .into_iter()
            .filter_map(|(key, text)| Some(format!("{key}={}", text.as_ref()?)));
        let files = keys
            .chain(files)
            .filter_map(|(key, path)| Some(format!("{key}={}", path_text::of_path(path?))));
        f.write_str(&written(&texts.chain(files).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_keys_is_written_as_it_is_read() {
        let parsed = |text| CloudInitSpec::parse(&Given::text(text));
        for text in [
            "user=me,ssh-key=a.pub,ssh-key=b.pub",
            "user=_x-1,password=a,,b,hostname=web.example",
            "user-data=u.yaml,meta-data=m,network-config=n",
        ] {
            let spec = parsed(text).unwrap();
            assert_eq!(spec.to_string(), text);
            let serialized = serde_json::to_string(&spec).unwrap();
            assert_eq!(
                serde_json::from_str::<CloudInitSpec>(&serialized).unwrap(),
                spec
            );
        }
    }

    #[test]
    fn names_that_no_system_has_are_refused() {
        for text in [
            "",
            "user=",
            "user=Me",
            "user=1a",
            "user=a b",
            "user=a:b",
            "hostname=a_b",
            "hostname=a..b",
            "hostname=-a",
            "user=a,user=b",
            "key=x",
        ] {
            assert!(
                CloudInitSpec::parse(&Given::text(text)).is_err(),
                "{text:?}"
            );
        }
    }
}
