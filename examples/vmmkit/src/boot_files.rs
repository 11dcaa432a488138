//! The files that a kernel gets beside its command line, as options name them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use vmmkit_boot_loader::{has_unused_pvh_entry, unified_cmdline};
use vmmkit_vmm::{MachineConfig, Module};

/// A value of `--module`: a file, and what is told with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModuleOption {
    pub(crate) path: PathBuf,
    pub(crate) arguments: String,
}

impl FromStr for ModuleOption {
    type Err = &'static str;

    /// The path ends at the first space, unless there is a file of the whole name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, arguments) = match text.split_once(' ') {
            Some(parts) if !Path::new(text).exists() => parts,
            _ => (text, ""),
        };
        if path.is_empty() {
            return Err("a path is missing");
        }
        Ok(Self {
            path: path.into(),
            arguments: arguments.trim().to_owned(),
        })
    }
}

impl ModuleOption {
    /// As the option is written.
    pub(crate) fn text(module: &Module) -> String {
        let Module { file, arguments } = module;
        if arguments.is_empty() {
            file.to_string()
        } else {
            format!("{file} {arguments}")
        }
    }
}

/// The path of `--initrd`, and whether it may be any file: `PATH,any`.
pub(crate) fn initrd(path: PathBuf) -> (PathBuf, bool) {
    match path.to_str().and_then(|text| text.strip_suffix(",any")) {
        Some(text) if !path.exists() => (text.into(), true),
        _ => (path, false),
    }
}

/// How to see more of a guest that ended in a triple fault.
pub(crate) fn after_triple_fault(machine: &MachineConfig) -> &'static str {
    let Some(kernel) = machine.boot.as_kernel() else {
        return "boot with --debug-port stderr";
    };
    let image = kernel.image.path().and_then(|path| File::open(path).ok());
    if image.is_some_and(|file| has_unused_pvh_entry(&file, kernel.entry)) {
        return "boot with --entry pvh, or with earlyprintk=ttyS0 on the kernel's command line";
    }
    "boot with earlyprintk=ttyS0 on the kernel's command line"
}

/// `default` and then the command line that a unified kernel image brings along.
pub(crate) fn with_unified(default: String, kernel: &Path) -> String {
    // Opening what is no regular file could wait for ever; the loader refuses it by its kind.
    let is_file = kernel.metadata().is_ok_and(|data| data.is_file());
    let file = is_file.then(|| File::open(kernel).ok()).flatten();
    match file.and_then(|file| unified_cmdline(&file)) {
        Some(own) => format!("{default} {own}"),
        None => default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_a_path_and_what_is_told_with_it() {
        let module: ModuleOption = "/env NR_CPUS=2 x".parse().unwrap();
        assert_eq!(module.path, Path::new("/env"));
        assert_eq!(module.arguments, "NR_CPUS=2 x");
        let module = Module {
            file: module.path.into(),
            arguments: module.arguments,
        };
        assert_eq!(ModuleOption::text(&module), "/env NR_CPUS=2 x");
        assert!(" x".parse::<ModuleOption>().is_err());
        assert!("".parse::<ModuleOption>().is_err());
    }

    #[test]
    fn any_file_is_an_initrd_on_demand() {
        assert_eq!(initrd("a,any".into()), ("a".into(), true));
        assert_eq!(initrd("a".into()), ("a".into(), false));
    }
}
