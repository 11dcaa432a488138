//! Interrupt controllers, firmware and its messages: options as text, then values.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use vmmkit_host_io::{LostOutput, Sharing};
use vmmkit_hypervisor::Irqchip;
use vmmkit_legacy_devices::SerialOutput;

use crate::cli::{BOOT, CPUS, DEBUG};
use crate::failure::Failure;
use crate::files::{self, Outputs};
use crate::messages;
use crate::os_text;
use crate::serial::{self, CONSOLE_MODE};

/// The options, as text.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlatformOptions {
    /// Firmware to run instead of a kernel
    ///
    /// A flat image, which is mapped so that it ends at 4 GiB.
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", help_heading = BOOT)]
    pub(crate) firmware: Option<PathBuf>,
    /// Destination of debug port 0x402 [default: null]
    ///
    /// null, stderr or file=PATH.
    #[arg(long, value_name = "WHERE", help_heading = DEBUG)]
    pub(crate) debug_port: Option<String>,
    /// Interrupt controllers: kernel or split [default: kernel]
    ///
    /// kernel: all in the host's kernel; split: local APICs in the kernel, the I/O APIC in the VMM.
    #[arg(long, value_name = "kernel|split", help_heading = CPUS)]
    pub(crate) irqchip: Option<String>,
    /// The 8254 timer (PIT): on or off [default: on]
    ///
    /// --irqchip split has neither this timer nor the 8259.
    #[arg(long, value_name = "on|off", help_heading = CPUS)]
    pub(crate) legacy_timer: Option<String>,
}

impl PlatformOptions {
    /// Those of the command line, and for what it left out those of a file in `folder`, whose paths are
    /// relative to that.
    pub(crate) fn or(self, file: Self, folder: &Path) -> Self {
        let moved = |text: String| match text.strip_prefix("file=") {
            Some(file) => format!(
                "file={}",
                os_text::of_path(&folder.join(os_text::path(file)))
            ),
            None => text,
        };
        Self {
            firmware: self
                .firmware
                .or(file.firmware.map(|path| folder.join(path))),
            debug_port: self.debug_port.or(file.debug_port.map(moved)),
            irqchip: self.irqchip.or(file.irqchip),
            legacy_timer: self.legacy_timer.or(file.legacy_timer),
        }
    }

    /// The interrupt controllers. A kernel without ACPI looks for a PC's.
    pub(crate) fn irqchip(&self, has_acpi: bool) -> Result<Irqchip, Failure> {
        let timer = match self.legacy_timer.as_deref() {
            None => None,
            Some("on") => Some(true),
            Some("off") => Some(false),
            Some(other) => {
                let what = format!("--legacy-timer {other:?}: this is neither on nor off");
                return Err(Failure::usage(what, "give on or off"));
            }
        };
        match (self.irqchip.as_deref(), timer) {
            (None | Some("kernel"), timer) => Ok(Irqchip::InKernel {
                pit: timer.unwrap_or(true),
            }),
            (Some("split"), Some(true)) => Err(Failure::usage(
                "--legacy-timer on: with --irqchip split there is neither 8254 nor 8259",
                "leave --legacy-timer out, or give --irqchip kernel",
            )),
            (Some("split"), _) if !has_acpi => Err(Failure::usage(
                "--irqchip split: without ACPI a kernel takes interrupts from an 8259",
                "leave --no-acpi out, or give --irqchip kernel",
            )),
            (Some("split"), _) => Ok(Irqchip::Split),
            (Some(other), _) => Err(Failure::usage(
                format!("--irqchip {other:?}: there is no such place for it"),
                "give kernel or split",
            )),
        }
    }

    /// Where the debug port's bytes go.
    pub(crate) fn debug_port(&self) -> Result<DebugChoice, Failure> {
        match self.debug_port.as_deref() {
            None | Some("null") => Ok(DebugChoice::Null),
            Some("stderr") => Ok(DebugChoice::Stderr),
            Some(text) => match text.split_once('=') {
                Some(("file", path)) if !path.is_empty() => {
                    Ok(DebugChoice::File(os_text::path(path)))
                }
                _ => Err(Failure::usage(
                    format!("--debug-port {text:?}: there is no such place"),
                    "give null, stderr or file=PATH",
                )),
            },
        }
    }
}

/// The options that say what `irqchip` is, where it is not the default.
pub(crate) fn irqchip_options(irqchip: Irqchip) -> &'static [&'static str] {
    match irqchip {
        Irqchip::Split => &["--irqchip split"],
        Irqchip::InKernel { pit: false } => &["--legacy-timer off"],
        _ => &[],
    }
}

/// The choices of `--debug-port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DebugChoice {
    /// There is no such port.
    Null,
    /// Messages of this process.
    Stderr,
    /// The end of a file.
    File(PathBuf),
}

impl fmt::Display for DebugChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => write!(f, "file={}", os_text::of_path(path)),
        }
    }
}

impl DebugChoice {
    /// What takes the bytes; `None` where there is no port.
    pub(crate) fn open(&self, outputs: &Outputs) -> Result<Option<Box<dyn SerialOutput>>, Failure> {
        let file = match self {
            Self::Null => return Ok(None),
            Self::Stderr => None,
            Self::File(path) => {
                let file = outputs.open(path, Sharing::Alone, CONSOLE_MODE);
                let what = format!("--debug-port {self}");
                Some(file.map_err(|error| Failure::host(&what, &error, files::NEXT))?)
            }
        };
        Ok(Some(Box::new(Output {
            place: self.to_string(),
            file,
            has_lost: false,
        })))
    }
}

/// Where bytes go. Each is written at once: it cost an exit already, and the last one before a guest gets
/// stuck is the most wanted.
struct Output {
    /// As the option says it.
    place: String,
    /// stderr without one.
    file: Option<File>,
    /// The user was told that bytes are lost.
    has_lost: bool,
}

impl Output {
    fn tell_lost(&mut self, error: io::Error) {
        if std::mem::replace(&mut self.has_lost, true) {
            return;
        }
        let lost = match error.kind() {
            io::ErrorKind::WouldBlock => LostOutput::NoReader,
            _ => LostOutput::Failed(error),
        };
        serial::say_lost(&format!("--debug-port {}", self.place), &lost);
    }
}

impl SerialOutput for Output {
    fn push(&mut self, byte: u8) -> bool {
        match &mut self.file {
            // What does not fit any more is lost, as on a port that nobody listens to.
            Some(file) => match file.write_all(&[byte]) {
                Ok(()) => true,
                Err(error) => {
                    self.tell_lost(error);
                    false
                }
            },
            None => {
                messages::write(&String::from_utf8_lossy(&[byte]));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(irqchip: Option<&str>, timer: Option<&str>) -> PlatformOptions {
        PlatformOptions {
            irqchip: irqchip.map(str::to_owned),
            legacy_timer: timer.map(str::to_owned),
            ..PlatformOptions::default()
        }
    }

    #[test]
    fn a_split_irqchip_has_no_legacy_timer() {
        let chosen = |irqchip, timer| options(irqchip, timer).irqchip(true).unwrap();
        assert_eq!(chosen(None, None), Irqchip::InKernel { pit: true });
        assert_eq!(chosen(None, Some("off")), Irqchip::InKernel { pit: false });
        assert_eq!(chosen(Some("split"), None), Irqchip::Split);
        assert_eq!(chosen(Some("split"), Some("off")), Irqchip::Split);
        let refused = |irqchip, timer, has_acpi| {
            let failure = options(irqchip, timer).irqchip(has_acpi).unwrap_err();
            failure.text()
        };
        assert!(refused(Some("split"), Some("on"), true).contains("neither 8254 nor 8259"));
        assert!(refused(Some("split"), None, false).contains("without ACPI"));
        assert!(refused(Some("none"), None, true).contains("--irqchip \"none\""));
        assert!(refused(None, Some("maybe"), true).contains("neither on nor off"));
    }

    #[test]
    fn what_is_written_to_a_file_is_there_at_once() {
        let name = format!("vmmkit-debug-port-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let choice = DebugChoice::File(path.clone());
        let outputs = Outputs::default();
        let mut output = choice.open(&outputs).unwrap().unwrap();
        outputs.keep().unwrap();
        for byte in b"first\nsecond" {
            assert!(output.push(*byte));
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"first\nsecond");
        std::fs::remove_file(path).unwrap();
    }
}
