//! The command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::boot_files::ModuleOption;
use crate::commands::Command;
use crate::devices::DeviceOptions;
use crate::exit_code;
use crate::failure::Failure;
use crate::os_text;
use crate::platform::PlatformOptions;
use crate::usage;

/// Boots a Linux guest as one ordinary process.
#[derive(Parser, Debug)]
#[command(name = "vmmkit", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

/// What is to be done.
#[derive(Subcommand, Debug)]
pub(crate) enum Action {
    /// Boot a guest; its serial console is this terminal
    ///
    /// In a terminal, every key goes to the guest but Ctrl-a: Ctrl-a h shows what it does, Ctrl-a
    /// x quits. Where stdin is a pipe or a file the guest gets its bytes and then Ctrl-D:
    /// `echo 'uname -a' | vmmkit run`. SIGTERM, SIGINT and SIGHUP ask the guest to power off,
    /// SIGQUIT shows its registers, and Ctrl-a z pauses it and goes back to the shell.
    #[command(after_help = exit_code::HELP)]
    Run(Box<RunOptions>),
    /// Show the CPUs that guests can have, as profiles for --cpu
    Cpu {
        /// What to show
        #[command(subcommand)]
        action: CpuAction,
    },
    /// Say whether this host can boot a Linux guest, and what is missing (exit code 0 or 1)
    Doctor(DoctorOptions),
    #[command(flatten)]
    Control(Command),
    /// Write a shell's completions to stdout
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual page to stdout
    Man,
    /// Say which version this is
    Version,
}

/// The options of `run`, as text: `settings` makes values of them. All may be left out.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunOptions {
    /// Kernel: ELF vmlinux, bzImage, unified kernel image, PVH or Multiboot kernel [default: the first of
    /// ./vmlinux, ./bzImage, arch/x86/boot/bzImage, target/guest, /boot/vmlinuz-*]
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH")]
    pub(crate) kernel: Option<PathBuf>,
    /// Initial RAM disk, best an uncompressed cpio; any: also one that Linux would not take
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH[,any]")]
    pub(crate) initrd: Option<PathBuf>,
    /// Boot module of a PVH or Multiboot kernel, and what is told with it; several times for several
    #[arg(long = "module", value_name = "PATH[ ARGUMENTS]")]
    pub(crate) modules: Vec<ModuleOption>,
    /// Kernel command line, instead of the default one
    #[arg(long, value_name = "STRING", allow_hyphen_values = true)]
    pub(crate) cmdline: Option<String>,
    /// Number of vCPUs, and how they are arranged: 8,sockets=2,dies=1,cores=2,threads=2 [default: 1,
    /// cores of one socket]
    #[arg(long, value_name = "N[,LEVEL=M...]", allow_hyphen_values = true)]
    pub(crate) cpus: Option<String>,
    /// CPUs of the host for all vCPUs (0-3), or for some: 0:2,1-3:0+1 keeps vCPU 0 on CPU 2, vCPUs 1 to
    /// 3 on CPUs 0 and 1
    #[arg(long, value_name = "[VCPUS:]CPUS[,...]", allow_hyphen_values = true)]
    pub(crate) affinity: Option<String>,
    /// How the host schedules the threads of vCPUs, and those of devices: fifo:1 to fifo:99, rr:1 to
    /// rr:99 or nice:-20 to nice:19 [default: as this process]
    #[arg(long, value_name = "vcpu=HOW[,io=HOW]")]
    pub(crate) priority: Option<String>,
    /// Guest RAM, with a unit K, M, G or T [default: 256M]; how much it may become, by `vmmkit memory`:
    /// max=SIZE; and where it comes from: backend=anon|memfd|hugetlb[=2M|1G]|file=PATH, prefault, thp=on|off, merge, dump=on
    #[arg(
        long,
        value_name = "SIZE[,max=SIZE][,backend=HOW][,KEY...]",
        allow_hyphen_values = true
    )]
    pub(crate) memory: Option<String>,
    /// Serial console: stdio, null, pty, file=PATH or socket=PATH [default: stdio]
    #[arg(long, value_name = "WHERE")]
    pub(crate) serial: Option<String>,
    #[command(flatten)]
    pub(crate) devices: DeviceOptions,
    #[command(flatten)]
    pub(crate) platform: PlatformOptions,
    /// CPU of the guest: host, baseline, x86-64-v2, x86-64-v3 or a profile's file, without or with the
    /// features listed: host,-avx512f or my.toml,+aes [default: host]
    #[arg(long, value_name = "MODEL[,-FEATURE...]")]
    pub(crate) cpu: Option<String>,
    /// Name by which `vmmkit list` and the other commands find it [default: vmmkit-PID]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// One more UNIX socket for the control API, at a place of your own
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH")]
    pub(crate) api_socket: Option<PathBuf>,
    /// Do not make it known: `vmmkit list` and the other commands will not find it
    #[arg(long)]
    pub(crate) no_instance: bool,
    /// Do not let the guest run before `vmmkit boot` says so
    #[arg(long)]
    pub(crate) paused: bool,
    /// Serve GDB there, and do not let the guest run before GDB says so: tcp:PORT of 127.0.0.1, which
    /// every user of this host reaches, or unix:PATH, which is yours alone
    #[arg(long, value_name = "tcp:PORT|unix:PATH")]
    pub(crate) gdb: Option<String>,
    /// How to enter the kernel: auto, payload, setup, pvh or multiboot [default: auto]
    #[arg(long, value_name = "HOW")]
    pub(crate) entry: Option<String>,
    /// Do not describe the machine by ACPI tables
    #[arg(long)]
    pub(crate) no_acpi: bool,
    /// Describe CPUs and interrupts by an MP table too, or fail (otherwise there is one for up to 40
    /// vCPUs)
    #[arg(long)]
    pub(crate) mp_table: bool,
    /// What a reset by the guest does: exit, fail (exit with code 3), or reboot in the same
    /// process [default: exit]
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_reboot: Option<String>,
    /// What a panic or triple fault of the guest does: exit, reboot, or pause, which keeps the guest
    /// as it is [default: exit]
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_crash: Option<String>,
    /// What the guest's clocks show after a pause: keep, on from where they stood, or catch-up, the right
    /// time at once [default: keep]
    #[arg(long, value_name = "WHAT")]
    pub(crate) clock_after_pause: Option<String>,
    /// How long a guest that was asked to power off may take [default: 5]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub(crate) stop_timeout: Option<String>,
    /// Write metrics to a file, again every second and at the end: for Prometheus, or lines of JSON if
    /// it is called *.json or *.jsonl
    #[arg(long, value_name = "PATH[,every=SECONDS][,format=prometheus|json]")]
    pub(crate) metrics: Option<String>,
    /// Draw the boot when the guest has ended: a picture, or the same as JSON
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH.svg|PATH.json")]
    pub(crate) timeline: Option<PathBuf>,
    /// Write what happens to the machine, a line each: error, warn, info or debug, to stderr or at the end
    /// of a file [default: $VMMKIT_LOG, or nothing]
    #[arg(long, value_name = "LEVEL[,FILE]")]
    pub(crate) log: Option<String>,
    /// TOML file with these options; the command line has precedence
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Build the machine, say what would run, and do not run it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Say nothing on stderr but errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The KVM device
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", hide = true)]
    pub(crate) kvm: Option<PathBuf>,
}

/// What `vmmkit cpu` is to do.
#[derive(Subcommand, Debug)]
pub(crate) enum CpuAction {
    /// Write the CPU of a guest on this host as a profile: TOML, for `vmmkit run --cpu FILE`
    Dump {
        /// As for `vmmkit run --cpu`
        #[arg(default_value = "host")]
        model: String,
        /// The KVM device
        #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", hide = true)]
        kvm: Option<PathBuf>,
    },
    /// Say how two CPUs differ: exit code 0 if they do not, 1 if they do
    ///
    /// A line for each register of CPUID and each MSR, with the values of both; below it, behind < the
    /// features that only the first one has, behind > those of the second.
    Diff {
        /// As for `vmmkit run --cpu`
        one: String,
        /// Likewise
        two: String,
        /// The KVM device
        #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", hide = true)]
        kvm: Option<PathBuf>,
    },
}

/// The options of `doctor`.
#[derive(clap::Args, Debug)]
pub(crate) struct DoctorOptions {
    /// Only set the exit code
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The KVM device
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", hide = true)]
    pub(crate) kvm: Option<PathBuf>,
}

/// What the command line asks for.
pub(crate) enum Parsed {
    /// Help or the version, to be printed.
    Text(String),
    /// An action.
    Action(Action),
}

/// Parses this process's arguments.
pub(crate) fn parse() -> Result<Parsed, Failure> {
    let given: Vec<String> = std::env::args_os()
        .map(|argument| os_text::of(&argument))
        .collect();
    match Cli::try_parse_from(&given) {
        Ok(cli) => Ok(Parsed::Action(cli.action)),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp if usage::is_other_help(&given) => {
                Err(usage::explain(&error, &given))
            }
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Parsed::Text(error.render().to_string()))
            }
            _ => Err(usage::explain(&error, &given)),
        },
    }
}

/// The command, for completions and the manual page.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
