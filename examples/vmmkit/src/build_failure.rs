//! Why a machine cannot be built, in the words of the options that it was asked for by.

use std::path::PathBuf;

use vmmkit_boot_loader::{EntryChoice, LoadError};
use vmmkit_vmm::{BuildError, ConfigError, MachineConfig};

use crate::failure::{Failure, chain};
use crate::load_advice;
use crate::memory;

/// What of a machine's configuration messages name.
pub(crate) struct Asked {
    initrd: String,
    memory: String,
    cpu: String,
    firmware: String,
    modules: Vec<String>,
    chose_entry: bool,
}

impl Asked {
    /// Notes it before the builder takes the configuration.
    pub(crate) fn of(config: &MachineConfig) -> Self {
        let shown = |path: &Option<PathBuf>| {
            let path = path.as_ref();
            path.map_or(String::new(), |path| path.display().to_string())
        };
        Self {
            initrd: shown(&config.initrd),
            firmware: shown(&config.firmware),
            memory: memory::text(&config.ram),
            cpu: config.cpu.to_string(),
            modules: config
                .modules
                .iter()
                .map(|(path, _)| path.display().to_string())
                .collect(),
            chose_entry: config.entry != EntryChoice::Auto,
        }
    }

    /// `error` as the user reads it.
    pub(crate) fn explain(&self, error: &BuildError) -> Failure {
        // A build error names the thing, its cause is the reason.
        let mut reasons = chain(error);
        let mut thing = match error {
            BuildError::Config(_) => format!("--{}", reasons.remove(0)),
            BuildError::Ram(_) => format!("--memory {}", self.memory),
            BuildError::Cpu(_) => format!("--cpu {}", self.cpu),
            BuildError::Load { path, source } => {
                self.file(source, &format!("--kernel {}", path.display()))
            }
            BuildError::Cmdline(conflict) => format!("--cmdline {}", conflict.parameter),
            _ => reasons.remove(0),
        };
        if let BuildError::Cmdline(conflict) = error {
            reasons = vec![conflict.reason.to_owned()];
        }
        if matches!(
            error,
            BuildError::Ram(_) | BuildError::Cpu(_) | BuildError::Load { .. }
        ) {
            reasons.remove(0);
        }
        if let BuildError::Load {
            source: LoadError::Module { .. },
            ..
        } = error
        {
            reasons.remove(0); // which module it is, the option says
        }
        if !reasons.is_empty() {
            thing = format!("{thing}: {}", reasons.remove(0));
        }
        if matches!(error, BuildError::Cmdline(_)) {
            return Failure::usage(thing, self.advice(error));
        }
        Failure::because(thing, reasons, self.advice(error))
    }

    /// The option that what cannot be loaded came by.
    fn file(&self, error: &LoadError, kernel: &str) -> String {
        match error {
            LoadError::Initrd(_) if !self.initrd.is_empty() => format!("--initrd {}", self.initrd),
            LoadError::Module { index, .. } => {
                let path = self.modules.get(*index).map_or("", String::as_str);
                format!("--module {path}")
            }
            error if load_advice::memory_needed(error).is_some() => {
                format!("--memory {}", self.memory)
            }
            LoadError::Cmdline(_) => "--cmdline".to_owned(),
            LoadError::Firmware(_) => format!("--firmware {}", self.firmware),
            LoadError::RamTooSmall { .. } => format!("--memory {}", self.memory),
            _ => kernel.to_owned(),
        }
    }

    fn advice(&self, error: &BuildError) -> String {
        let advice = match error {
            BuildError::Ram(error) => return memory::advice(error),
            BuildError::Cmdline(_) => "leave it out, or boot on a host with VT-x or AMD-V",
            BuildError::Open { .. } => "check the path and its permissions",
            BuildError::Config(ConfigError::TooManyVcpus { .. }) => "ask for fewer with --cpus",
            BuildError::Config(_) => "see `vmmkit run --help`",
            BuildError::Cpu(_) => {
                "`vmmkit cpu dump` says what this host has; leave out what it lacks, as in --cpu host,-avx2"
            }
            BuildError::Load { source, path } => {
                return load_advice::of(source, path, self.chose_entry);
            }
            _ => "`vmmkit doctor` says what this host's KVM can do",
        };
        advice.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn asked() -> Asked {
        Asked::of(&MachineConfig {
            initrd: Some("vm.cpio".into()),
            ..MachineConfig::default()
        })
    }

    #[test]
    fn the_reason_is_in_the_first_line() {
        let error = BuildError::Open {
            option: "--kernel",
            path: "/nope".into(),
            source: io::Error::from_raw_os_error(2),
        };
        assert_eq!(
            asked().explain(&error).text(),
            "error: --kernel /nope: No such file or directory\n  next: check the path and its \
             permissions"
        );
    }

    #[test]
    fn the_option_at_fault_is_named() {
        let error = BuildError::Load {
            path: "vmlinux".into(),
            source: LoadError::RamTooSmall { size: 1, least: 2 },
        };
        assert!(
            asked()
                .explain(&error)
                .text()
                .starts_with("error: --memory 256M: 1 bytes of guest RAM are too few")
        );
    }
}
