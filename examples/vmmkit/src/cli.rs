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
    /// Write the manual page of a command to stdout, or all pages to a folder
    Man {
        /// The command [default: vmmkit itself]
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
        /// Write all pages there: vmmkit.1, vmmkit-run.1 and so on
        #[arg(long, value_parser = os_text::path_parser(), value_name = "DIR", conflicts_with = "command")]
        out: Option<PathBuf>,
    },
    /// Say which version this is
    Version,
}

/// The options of `run`, as text: `settings` makes values of them. All may be left out. The first line of
/// each is what `-h` shows.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunOptions {
    /// Kernel to boot [default: one that is found]
    ///
    /// ELF vmlinux, bzImage, unified kernel image, PVH or Multiboot kernel. The default is the first of
    /// ./vmlinux, ./bzImage, arch/x86/boot/bzImage, target/guest and /boot/vmlinuz-*.
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", help_heading = BOOT)]
    pub(crate) kernel: Option<PathBuf>,
    /// Initial RAM disk
    ///
    /// Best an uncompressed cpio; any: also one that Linux would not take.
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH[,any]", help_heading = BOOT)]
    pub(crate) initrd: Option<PathBuf>,
    /// Boot module of a PVH or Multiboot kernel
    ///
    /// And what is told with it; several times for several.
    #[arg(long = "module", value_name = "PATH[ ARGUMENTS]", help_heading = BOOT)]
    pub(crate) modules: Vec<ModuleOption>,
    /// Kernel command line, instead of the default one
    ///
    /// --dry-run shows the default.
    #[arg(long, value_name = "STRING", allow_hyphen_values = true, help_heading = BOOT)]
    pub(crate) cmdline: Option<String>,
    /// How to enter the kernel [default: auto]
    ///
    /// auto, payload, setup, pvh or multiboot.
    #[arg(long, value_name = "HOW", help_heading = BOOT)]
    pub(crate) entry: Option<String>,
    /// Do not describe the machine by ACPI tables
    #[arg(long, help_heading = BOOT)]
    pub(crate) no_acpi: bool,
    /// Describe CPUs and interrupts by an MP table too, or fail
    ///
    /// Otherwise there is one for up to 40 vCPUs.
    #[arg(long, help_heading = BOOT)]
    pub(crate) mp_table: bool,
    /// TOML file with these options
    ///
    /// The command line has precedence. docs/config.md describes its keys.
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", help_heading = BOOT)]
    pub(crate) config: Option<PathBuf>,
    /// Number of vCPUs, and their arrangement [default: 1]
    ///
    /// As in 8,sockets=2,dies=1,cores=2,threads=2; without levels they are cores of one socket.
    #[arg(long, value_name = "N[,LEVEL=M...]", allow_hyphen_values = true, help_heading = CPUS)]
    pub(crate) cpus: Option<String>,
    /// CPU of the guest [default: host]
    ///
    /// host, baseline, x86-64-v2, x86-64-v3 or a profile's file, without or with the features listed:
    /// host,-avx512f or my.toml,+aes.
    #[arg(long, value_name = "MODEL[,-FEATURE...]", help_heading = CPUS)]
    pub(crate) cpu: Option<String>,
    /// CPUs of the host that vCPUs run on
    ///
    /// For all vCPUs (0-3), or for some: 0:2,1-3:0+1 keeps vCPU 0 on CPU 2, vCPUs 1 to 3 on CPUs 0 and 1.
    #[arg(long, value_name = "[VCPUS:]CPUS[,...]", allow_hyphen_values = true, help_heading = CPUS)]
    pub(crate) affinity: Option<String>,
    /// How the host schedules threads
    ///
    /// Those of vCPUs, and those of devices: fifo:1 to fifo:99, rr:1 to rr:99 or nice:-20 to nice:19
    /// [default: as this process].
    #[arg(long, value_name = "vcpu=HOW[,io=HOW]", help_heading = CPUS)]
    pub(crate) priority: Option<String>,
    /// Guest RAM, with a unit K, M, G or T [default: 256M]
    ///
    /// How much it may become, by `vmmkit memory`: max=SIZE. Where it comes from:
    /// backend=anon|memfd|hugetlb[=2M|1G]|file=PATH, prefault, thp=on|off, merge, dump=on.
    #[arg(long, value_name = "SIZE[,max=SIZE][,KEY...]", allow_hyphen_values = true, help_heading = CPUS)]
    pub(crate) memory: Option<String>,
    #[command(flatten)]
    pub(crate) devices: DeviceOptions,
    /// Where the serial console is [default: stdio]
    ///
    /// stdio, null, pty, file=PATH or socket=PATH.
    #[arg(long, value_name = "WHERE", help_heading = CONSOLE)]
    pub(crate) serial: Option<String>,
    /// Say nothing on stderr but errors
    #[arg(long, short, help_heading = CONSOLE)]
    pub(crate) quiet: bool,
    /// Name of the guest for other commands [default: vmmkit-PID]
    ///
    /// `vmmkit list` shows it.
    #[arg(long, value_name = "NAME", help_heading = CONTROL)]
    pub(crate) name: Option<String>,
    /// One more UNIX socket for the control API
    ///
    /// At a place of your own.
    #[arg(long, value_parser = os_text::path_parser(), value_name = "PATH", help_heading = CONTROL)]
    pub(crate) api_socket: Option<PathBuf>,
    /// Do not make the guest known to other commands
    #[arg(long, help_heading = CONTROL)]
    pub(crate) no_instance: bool,
    /// Do not let the guest run before `vmmkit boot` says so
    #[arg(long, help_heading = CONTROL)]
    pub(crate) paused: bool,
    /// What a reset by the guest does [default: exit]
    ///
    /// exit, fail (exit with code 3), or reboot in the same process.
    #[arg(long, value_name = "WHAT", help_heading = CONTROL)]
    pub(crate) on_reboot: Option<String>,
    /// What a panic or triple fault does [default: exit]
    ///
    /// exit, reboot, or pause, which keeps the guest as it is.
    #[arg(long, value_name = "WHAT", help_heading = CONTROL)]
    pub(crate) on_crash: Option<String>,
    /// What clocks show after a pause [default: keep]
    ///
    /// keep, on from where they stood, or catch-up, the right time at once.
    #[arg(long, value_name = "WHAT", help_heading = CONTROL)]
    pub(crate) clock_after_pause: Option<String>,
    /// How long a power-off may take [default: 5]
    ///
    /// Of a guest that was asked to power off; it is stopped then.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, help_heading = CONTROL)]
    pub(crate) stop_timeout: Option<String>,
    /// Build the machine, say what would run, and do not run it
    #[arg(long, help_heading = DEBUG)]
    pub(crate) dry_run: bool,
    /// Serve GDB, and let the guest wait for it
    ///
    /// tcp:PORT of 127.0.0.1, which every user of this host reaches, or unix:PATH, which is yours alone.
    #[arg(long, value_name = "tcp:PORT|unix:PATH", help_heading = DEBUG)]
    pub(crate) gdb: Option<String>,
    /// Write what happens to the machine, a line each
    ///
    /// error, warn, info or debug, to stderr or at the end of a file [default: $VMMKIT_LOG, or nothing].
    #[arg(long, value_name = "LEVEL[,FILE]", help_heading = DEBUG)]
    pub(crate) log: Option<String>,
    /// Write metrics to a file, again every second
    ///
    /// And at the end: for Prometheus, or lines of JSON if it is called *.json or *.jsonl, or by
    /// format=prometheus|json; every=SECONDS.
    #[arg(long, value_name = "PATH[,KEY=VALUE...]", help_heading = DEBUG)]
    pub(crate) metrics: Option<String>,
    /// Draw the boot when the guest has ended
    ///
    /// As a picture, or the same as JSON.
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
