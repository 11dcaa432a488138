//! The boot of a machine.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Fault, Given, Unknown, path_text};

/// The boot of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootSpec {
    /// A kernel and what goes with it.
    Kernel(KernelSpec),
    /// Firmware.
    Firmware(FirmwareSpec),
}

impl BootSpec {
    /// The kernel or the firmware.
    pub fn image(&self) -> &Path {
        match self {
            Self::Kernel(kernel) => &kernel.image,
            Self::Firmware(firmware) => &firmware.image,
        }
    }

    /// The kernel and what goes with it; `None` for firmware.
    pub fn as_kernel(&self) -> Option<&KernelSpec> {
        match self {
            Self::Kernel(kernel) => Some(kernel),
            Self::Firmware(_) => None,
        }
    }
}

/// Firmware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "FirmwareForm", into = "FirmwareForm")]
#[non_exhaustive]
pub struct FirmwareSpec {
    /// The image, which ends at 4 GiB.
    pub image: PathBuf,
    /// The file that holds the variables of UEFI firmware, in a flash chip right below the image.
    pub vars: Option<PathBuf>,
}

impl FirmwareSpec {
    /// The firmware at `image`, without variables that last.
    pub fn new(image: impl Into<PathBuf>) -> Self {
        Self {
            image: image.into(),
            vars: None,
        }
    }

    /// `PATH[,vars=PATH]`, unless `exists` says that there is a file of that whole name. A comma is part of a path.
    ///
    /// # Errors
    /// [`Fault::Missing`] without a path of either.
    pub fn parse(given: &Given, exists: impl Fn(&Path) -> bool) -> Result<Self, Fault> {
        let text = given.as_text();
        let (image, vars) = match text.split_once(VARS) {
            Some((image, vars)) if !exists(&given.path(text)) => (image, Some(vars)),
            _ => (text, None),
        };
        if image.is_empty() {
            return Err(Fault::Missing("path"));
        }
        if vars.is_some_and(str::is_empty) {
            return Err(Fault::Missing("vars"));
        }
        Ok(Self {
            image: given.path(image),
            vars: vars.map(|vars| given.path(vars)),
        })
    }
}

/// The key of a file of variables behind the path of an image.
const VARS: &str = ",vars=";

impl fmt::Display for FirmwareSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&path_text::of_path(&self.image))?;
        match &self.vars {
            Some(vars) => write!(f, "{VARS}{}", path_text::of_path(vars)),
            None => Ok(()),
        }
    }
}

/// As it is serialized: a path, as long as it has no variables.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum FirmwareForm {
    Image(PathBuf),
    #[serde(rename_all = "kebab-case")]
    WithVars(FirmwareAndVars),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FirmwareAndVars {
    image: PathBuf,
    vars: Option<PathBuf>,
}

impl From<FirmwareForm> for FirmwareSpec {
    fn from(form: FirmwareForm) -> Self {
        match form {
            FirmwareForm::Image(image) => Self::new(image),
            FirmwareForm::WithVars(FirmwareAndVars { image, vars }) => Self { image, vars },
        }
    }
}

impl From<FirmwareSpec> for FirmwareForm {
    fn from(spec: FirmwareSpec) -> Self {
        let FirmwareSpec { image, vars } = spec;
        match vars {
            None => Self::Image(image),
            vars => Self::WithVars(FirmwareAndVars { image, vars }),
        }
    }
}

/// A kernel and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KernelSpec {
    /// The kernel.
    pub image: PathBuf,
    /// The initial RAM disk.
    #[serde(default)]
    pub initrd: Option<InitrdSpec>,
    /// Boot modules, of a kernel entered by PVH or Multiboot.
    #[serde(default)]
    pub modules: Vec<ModuleSpec>,
    /// The command line; without one, that which fits the machine.
    #[serde(default)]
    pub cmdline: Option<String>,
    /// How it is entered.
    #[serde(default)]
    pub entry: Entry,
}

impl KernelSpec {
    /// The kernel at `image`, alone.
    pub fn new(image: impl Into<PathBuf>) -> Self {
        Self {
            image: image.into(),
            initrd: None,
            modules: Vec::new(),
            cmdline: None,
            entry: Entry::default(),
        }
    }
}

words_of! {
    /// How a kernel is entered.
    Entry {
        /// As is fastest.
        #[default]
        Auto = "auto",
        /// An ELF, or the one inside a bzImage, by Linux's boot protocol.
        Payload = "payload",
        /// A bzImage's own decompressor.
        Setup = "setup",
        /// By PVH.
        Pvh = "pvh",
        /// By Multiboot.
        Multiboot = "multiboot",
    }
}

impl Entry {
    /// One of [`WORDS`](Self::WORDS).
    ///
    /// # Errors
    /// [`Unknown::Entry`].
    pub fn parse(given: &Given) -> Result<Self, Fault> {
        Ok(Self::named(given.as_text()).ok_or(Unknown::Entry)?)
    }
}

/// An initial RAM disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InitrdSpec {
    /// The archive.
    pub path: PathBuf,
    /// Take any file.
    #[serde(default)]
    pub any: bool,
}

impl InitrdSpec {
    /// `PATH`, or `PATH,any` unless `exists` says that there is a file of that whole name. A comma is part of a
    /// path.
    pub fn parse(given: &Given, exists: impl Fn(&Path) -> bool) -> Self {
        let whole = given.path(given.as_text());
        match given.as_text().strip_suffix(",any") {
            Some(path) if !exists(&whole) => Self {
                path: given.path(path),
                any: true,
            },
            _ => Self {
                path: whole,
                any: false,
            },
        }
    }
}

impl fmt::Display for InitrdSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&path_text::of_path(&self.path))?;
        f.write_str(if self.any { ",any" } else { "" })
    }
}

/// A boot module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModuleSpec {
    /// The file.
    pub path: PathBuf,
    /// The string that the kernel gets with it.
    #[serde(default)]
    pub arguments: String,
}

impl ModuleSpec {
    /// `PATH ARGUMENTS`: the path ends at the first space, unless `exists` says that there is a file of the whole
    /// name.
    ///
    /// # Errors
    /// [`Fault::Missing`] without a path.
    pub fn parse(given: &Given, exists: impl Fn(&Path) -> bool) -> Result<Self, Fault> {
        let text = given.as_text();
        let (path, arguments) = match text.split_once(' ') {
            Some(parts) if !exists(&given.path(text)) => parts,
            _ => (text, ""),
        };
        if path.is_empty() {
            return Err(Fault::Missing("path"));
        }
        Ok(Self {
            path: given.path(path),
            arguments: arguments.trim().to_owned(),
        })
    }
}

impl fmt::Display for ModuleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&path_text::of_path(&self.path))?;
        match self.arguments.as_str() {
            "" => Ok(()),
            arguments => write!(f, " {arguments}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_a_path_and_a_string() {
        let parsed = |text| ModuleSpec::parse(&Given::text(text), |_| false);
        let module = parsed("/env NR_CPUS=2 x").unwrap();
        assert_eq!(module.path, Path::new("/env"));
        assert_eq!(module.arguments, "NR_CPUS=2 x");
        assert_eq!(module.to_string(), "/env NR_CPUS=2 x");
        assert!(parsed(" x").is_err() && parsed("").is_err());
        let whole = ModuleSpec::parse(&Given::text("a b"), |_| true).unwrap();
        assert_eq!(whole.path, Path::new("a b"));
    }

    #[test]
    fn firmware_has_a_file_for_its_variables() {
        let parsed = |text, exists| FirmwareSpec::parse(&Given::text(text), |_| exists);
        for (text, exists, image, vars) in [
            ("a", false, "a", None),
            ("a,b,vars=c,d", false, "a,b", Some("c,d")),
            ("a,vars=c", true, "a,vars=c", None),
        ] {
            let spec = parsed(text, exists).unwrap();
            assert_eq!(spec.image, Path::new(image));
            assert_eq!(spec.vars.as_deref(), vars.map(Path::new));
            assert_eq!(spec.to_string(), text);
            let json = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<FirmwareSpec>(&json).unwrap(), spec);
        }
        for text in ["", ",vars=x", "a,vars="] {
            assert!(parsed(text, false).is_err(), "{text}");
        }
    }

    #[test]
    fn any_file_is_an_initrd_on_demand() {
        let parsed = |text, exists| InitrdSpec::parse(&Given::text(text), |_| exists);
        for (text, exists, path, any) in [
            ("a,any", false, "a", true),
            ("a,any", true, "a,any", false),
            ("a,b", false, "a,b", false),
        ] {
            let initrd = parsed(text, exists);
            assert_eq!((initrd.path.to_str(), initrd.any), (Some(path), any));
            assert_eq!(initrd.to_string(), text);
        }
    }
}
