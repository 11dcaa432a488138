//! Which CPU the guest sees.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vmmkit_x86_cpu::CpuModel;

use crate::given::{escaped, path_word};
use crate::{Fault, Given};

/// Which CPU the guest sees: a model that there is, or one of a file, and changes to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CpuModelSpec {
    /// The model.
    pub base: CpuBase,
    /// Features with a sign: `-avx512f` takes one away, `+aes` insists on one.
    pub changes: Vec<String>,
}

/// A CPU model without changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuBase {
    /// One of those that there are, by its name.
    Named(String),
    /// The file of a profile.
    File(PathBuf),
}

impl Default for CpuBase {
    fn default() -> Self {
        Self::Named("host".to_owned())
    }
}

impl CpuModelSpec {
    /// `MODEL`, or the path of a profile, which has a slash or ends in `.toml`, and changes.
    ///
    /// # Errors
    /// [`Fault::CpuModel`] for a name or a change that there is not. What is in a file is not known here.
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        let mut words = given.words().iter();
        let base = words.next().map(String::as_str).unwrap_or_default();
        let spec = Self {
            base: match is_file(base) {
                true => CpuBase::File(given.path(base)),
                false => CpuBase::Named(base.to_owned()),
            },
            changes: words.cloned().collect(),
        };
        spec.named()?;
        Ok(spec)
    }

    /// The model, of one that is named; `None` for that of a file.
    ///
    /// # Errors
    /// [`Fault::CpuModel`].
    pub fn named(&self) -> Result<Option<CpuModel>, Fault> {
        match self.base {
            CpuBase::Named(_) => Ok(Some(self.to_string().parse()?)),
            CpuBase::File(_) => Ok(None),
        }
    }
}

/// A path has a slash or ends as profiles do; models have names without.
fn is_file(base: &str) -> bool {
    base.contains('/') || base.ends_with(".toml")
}

impl fmt::Display for CpuModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.base {
            CpuBase::Named(name) => f.write_str(&escaped(name))?,
            CpuBase::File(path) => f.write_str(&path_word(path))?,
        }
        for change in &self.changes {
            write!(f, ",{}", escaped(change))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        let moved = |text| {
            let given = Given::text(text).in_folder(Path::new("/vm"));
            CpuModelSpec::parse(&given).unwrap().to_string()
        };
        assert_eq!(moved("a.toml,-avx"), "/vm/a.toml,-avx");
        assert_eq!(moved("host,-avx"), "host,-avx");
        // A comma that is doubled is part of a name or of a change, and none has one.
        for text in [
            "",
            "i486",
            "host,avx",
            "host,,+x2apic",
            "host,+x2apic,,-avx",
            "host,",
        ] {
            assert!(CpuModelSpec::parse(&Given::text(text)).is_err(), "{text}");
        }
    }
}
