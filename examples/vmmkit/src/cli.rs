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

/// Headings of the options of `run`.
pub(crate) const BOOT: &str = "Boot";
pub(crate) const CPUS: &str = "CPU and memory";
pub(crate) const DEVICES: &str = "Devices";
pub(crate) const CONSOLE: &str = "Console";
pub(crate) const CONTROL: &str = "Control";
pub(crate) const DEBUG: &str = "Debug";

/// Run Linux guests on KVM, each as one ordinary process.
#[derive(Parser, Debug)]
#[command(name = "vmmkit", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

/// The command to run.
#[derive(Subcommand, Debug)]
pub(crate) enum Action {
    /// Boot a guest; its serial console is this terminal
    ///
    /// In a terminal every key goes to the guest except Ctrl-a: Ctrl-a h lists its commands, Ctrl-a x quits,
    /// Ctrl-a z pauses the guest and returns to the shell. If stdin is a pipe or a file, the guest reads its
    /// bytes and then Ctrl-D: `echo 'uname -a' | vmmkit run`. SIGTERM, SIGINT and SIGHUP ask the guest to power
    /// off; SIGQUIT prints its registers.
    #[command(after_help = exit_code::HELP)]
    Run(Box<RunOptions>),
    /// Print CPU profiles for --cpu, and compare them
    Cpu {
        /// What to show
        #[command(subcommand)]
        action: CpuAction,
    },
    /// Check whether this host can boot a Linux guest, and what is missing (exit code 0 or 1)
    Doctor(DoctorOptions),
    #[command(flatten)]
    Control(Command),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print a command's manual page, or write all pages to a directory
    Man {
        /// The command [default: vmmkit itself]
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
        /// Write all pages to this directory: vmmkit.1, vmmkit-run.1 and so on
        #[arg(long, value_parser = os_text::path_parser(), value_name = "DIR", conflicts_with = "command")]
        out: Option<PathBuf>,
    },
    /// Print the version
    Version,
}

/// The options of `run`, as text: `settings` parses them. All are optional. `-h` prints the first line of
/// each.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunOptions {
    /// Kernel to boot [default: the first one found]
    ///
    /// An ELF vmlinux, a bzImage, a unified kernel image, or a PVH or Multiboot kernel. The default is the first
    /// of ./vmlinux, ./bzImage, arch/x86/boot/bzImage, target/guest and /boot/vmlinuz-*.
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", help_heading = BOOT)]
    pub(crate) kernel: Option<PathBuf>,
    /// Initial RAM disk
    ///
    /// A cpio archive, compressed or not; with any, whatever the file contains.
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH[,any]", help_heading = BOOT)]
    pub(crate) initrd: Option<PathBuf>,
    /// Boot module of a PVH or Multiboot kernel
    ///
    /// With its arguments; may be repeated.
    #[arg(long = "module", value_name = "PATH[ ARGUMENTS]", help_heading = BOOT)]
    pub(crate) modules: Vec<ModuleOption>,
    /// Kernel command line, replacing the default
    ///
    /// --dry-run prints the default.
    #[arg(long, value_name = "STRING", allow_hyphen_values = true, help_heading = BOOT)]
    pub(crate) cmdline: Option<String>,
    /// Entry point of the kernel [default: auto]
    ///
    /// auto, payload, setup, pvh or multiboot.
    #[arg(long, value_name = "HOW", help_heading = BOOT)]
    pub(crate) entry: Option<String>,
    /// Omit the ACPI tables
    #[arg(long, help_heading = BOOT)]
    pub(crate) no_acpi: bool,
    /// Require an MP table
    ///
    /// By default there is one for up to 40 vCPUs.
    #[arg(long, help_heading = BOOT)]
    pub(crate) mp_table: bool,
    /// TOML file with these options
    ///
    /// The command line takes precedence. docs/config.md describes the keys.
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", help_heading = BOOT)]
    pub(crate) config: Option<PathBuf>,
    /// Number of vCPUs, and their topology [default: 1]
    ///
    /// For example 8,sockets=2,dies=1,cores=2,threads=2; by default they are cores of one socket.
    #[arg(long, value_name = "N[,LEVEL=M...]", allow_hyphen_values = true, help_heading = CPUS)]
    pub(crate) cpus: Option<String>,
    /// CPU model of the guest [default: host]
    ///
    /// host, baseline, x86-64-v2, x86-64-v3 or a profile file, plus or minus features: host,-avx512f or
    /// my.toml,+aes.
    #[arg(long, value_name = "MODEL[,-FEATURE...]", help_heading = CPUS)]
    pub(crate) cpu: Option<String>,
    /// Host CPUs that vCPUs may run on
    ///
    /// For all vCPUs (0-3) or for some: 0:2,1-3:0+1 pins vCPU 0 to CPU 2, and vCPUs 1 to 3 to CPUs 0 and 1.
    #[arg(long, value_name = "[VCPUS:]CPUS[,...]", allow_hyphen_values = true, help_heading = CPUS)]
    pub(crate) affinity: Option<String>,
    /// Scheduling of vCPU and device threads
    ///
    /// fifo:1 to fifo:99, rr:1 to rr:99 or nice:-20 to nice:19 [default: that of this process].
    #[arg(long, value_name = "vcpu=HOW[,io=HOW]", help_heading = CPUS)]
    pub(crate) priority: Option<String>,
    /// Guest RAM, with a unit K, M, G or T [default: 256M]
    ///
    /// max=SIZE is the limit for `vmmkit memory`. Backing: backend=anon|memfd|hugetlb[=2M|1G]|file=PATH,
    /// prefault, thp=on|off, merge, dump=on.
    #[arg(long, value_name = "SIZE[,max=SIZE][,KEY...]", allow_hyphen_values = true, help_heading = CPUS)]
    pub(crate) memory: Option<String>,
    #[command(flatten)]
    pub(crate) devices: DeviceOptions,
    /// Destination of the serial console [default: stdio]
    ///
    /// stdio, null, pty, file=PATH or socket=PATH.
    #[arg(long, value_name = "WHERE", help_heading = CONSOLE)]
    pub(crate) serial: Option<String>,
    /// Print only errors on stderr
    #[arg(long, short, help_heading = CONSOLE)]
    pub(crate) quiet: bool,
    /// Name of the guest, for other commands [default: vmmkit-PID]
    ///
    /// `vmmkit list` prints it.
    #[arg(long, value_name = "NAME", help_heading = CONTROL)]
    pub(crate) name: Option<String>,
    /// Additional UNIX socket for the control API
    ///
    /// At a path of your choice.
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", help_heading = CONTROL)]
    pub(crate) api_socket: Option<PathBuf>,
    /// Do not register the guest for other commands
    #[arg(long, help_heading = CONTROL)]
    pub(crate) no_instance: bool,
    /// Create the guest, but wait for `vmmkit boot`
    #[arg(long, help_heading = CONTROL)]
    pub(crate) paused: bool,
    /// Action on a reset by the guest [default: exit]
    ///
    /// exit, fail (exit with code 3), or reboot in the same process.
    #[arg(long, value_name = "WHAT", help_heading = CONTROL)]
    pub(crate) on_reboot: Option<String>,
    /// Action on a panic or triple fault [default: exit]
    ///
    /// exit, reboot, or pause, which keeps the crashed guest for inspection.
    #[arg(long, value_name = "WHAT", help_heading = CONTROL)]
    pub(crate) on_crash: Option<String>,
    /// Wall clock after a pause [default: keep]
    ///
    /// keep (it continues from the pause) or catch-up (it is corrected at once).
    #[arg(long, value_name = "WHAT", help_heading = CONTROL)]
    pub(crate) clock_after_pause: Option<String>,
    /// Time limit for a requested power-off [default: 5]
    ///
    /// A guest that has not powered off by then is stopped.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, help_heading = CONTROL)]
    pub(crate) stop_timeout: Option<String>,
    /// Build the machine, print the full command, and exit
    #[arg(long, help_heading = DEBUG)]
    pub(crate) dry_run: bool,
    /// Start a GDB server, and wait for GDB
    ///
    /// tcp:PORT on 127.0.0.1, which every local user can reach, or unix:PATH, which only you can.
    #[arg(long, value_name = "tcp:PORT|unix:PATH", help_heading = DEBUG)]
    pub(crate) gdb: Option<String>,
    /// Log the machine's events, one per line
    ///
    /// error, warn, info or debug; to stderr, or appended to a file [default: $VMMKIT_LOG, or none].
    #[arg(long, value_name = "LEVEL[,FILE]", help_heading = DEBUG)]
    pub(crate) log: Option<String>,
    /// Write metrics to a file every second and at the end
    ///
    /// Prometheus text, or JSON lines if its name ends in .json or .jsonl. Keys: format=prometheus|json,
    /// every=SECONDS.
    #[arg(long, value_name = "PATH[,KEY=VALUE...]", help_heading = DEBUG)]
    pub(crate) metrics: Option<String>,
    /// Write a timeline of the boot when the guest has ended
    ///
    /// A picture (SVG), or the same data as JSON.
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH.svg|PATH.json", help_heading = DEBUG)]
    pub(crate) timeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) platform: PlatformOptions,
    /// The KVM device
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", hide = true)]
    pub(crate) kvm: Option<PathBuf>,
}

/// What `vmmkit cpu` is to do.
#[derive(Subcommand, Debug)]
pub(crate) enum CpuAction {
    /// Print a guest's CPU on this host as a TOML profile, for `vmmkit run --cpu FILE`
    Dump {
        /// As for `vmmkit run --cpu`
        #[arg(default_value = "host")]
        model: String,
        /// The KVM device
        #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", hide = true)]
        kvm: Option<PathBuf>,
    },
    /// Compare two CPUs: exit code 0 if they are equal, 1 if they differ
    ///
    /// One line for each CPUID register and MSR that differs, with both values; below it, features that only the
    /// first CPU has (<) and features that only the second one has (>).
    Diff {
        /// A CPU, as for `vmmkit run --cpu`
        one: String,
        /// The other CPU
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

    /// Each option of `run` is under a heading, and one line of `-h`.
    #[test]
    fn the_short_help_has_a_line_for_each_option() {
        let mut command = Cli::command();
        command.build();
        let run = command.find_subcommand_mut("run").unwrap();
        let shown = |argument: &&clap::Arg| !argument.is_hide_set() && argument.get_id() != "help";
        let options: Vec<clap::Arg> = run.get_arguments().filter(shown).cloned().collect();
        let text = run.render_help().to_string();
        let lines: Vec<&str> = text.lines().collect();
        for option in &options {
            let name = format!("--{}", option.get_long().unwrap());
            assert!(option.get_help_heading().is_some(), "{name}");
            let is_its = |line: &&&str| line.split([' ', ',', '[']).any(|word| word == name);
            let line = lines.iter().find(is_its).unwrap();
            let help = option.get_help().unwrap().to_string();
            assert!(line.ends_with(&help), "{line}: {help}");
        }
        for heading in [BOOT, CPUS, DEVICES, CONSOLE, CONTROL, DEBUG] {
            assert!(lines.contains(&&*format!("{heading}:")), "{heading}");
        }
    }
}
