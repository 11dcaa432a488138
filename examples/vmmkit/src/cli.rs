//! The command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::commands::Command;
use crate::exit_code;
use crate::failure::Failure;
use crate::options::RunArguments;
use crate::os_text;
use crate::usage;

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
    ///
    /// NAME is a guest of your own: its options are in ~/.config/vmmkit/NAME.toml, as for --config
    /// ($XDG_CONFIG_HOME/vmmkit, where that is set).
    #[command(
        after_help = exit_code::HELP,
        override_usage = "vmmkit run [OPTIONS] [NAME] [-- COMMAND...]"
    )]
    Run(RunArguments),
    /// Continue a guest where `vmmkit snapshot` saved it, with options of `vmmkit run` in the place of its own
    #[command(after_help = exit_code::HELP)]
    Restore {
        /// The directory of the snapshot
        #[arg(value_name = "DIR")]
        folder: String,
        /// Number of guests to start in the background, named NAME-1, NAME-2 and so on; {n} in the value of another
        /// option is the number of the guest
        #[arg(
            long,
            value_name = "N",
            allow_hyphen_values = true,
            help_heading = "Control"
        )]
        count: Option<String>,
        /// Options of `run` that replace the saved ones
        #[command(flatten)]
        options: RunArguments,
    },
    /// Wait for a guest that `vmmkit migrate` moves, and continue it here, with options of `vmmkit run` in the place of
    /// its own
    ///
    /// Files of the guest are opened as its own options say, here: only take guests from those who may do that. Its disks
    /// must be the same files, on storage that both hosts have. With - the guest continues in the background.
    #[command(after_help = exit_code::HELP)]
    Receive {
        /// Where the guest comes from: unix:PATH waits at a new socket, - is stdin and stdout [default: -]
        #[arg(value_name = "unix:PATH | -", allow_hyphen_values = true)]
        from: Option<String>,
        /// Options of `run` that replace the guest's own
        #[command(flatten)]
        options: RunArguments,
    },
    /// Start a copy of a running guest in the background, with options of `vmmkit run` in the place of its own
    ///
    /// The guest is paused while its state and memory are saved to a private directory in memory (/dev/shm), then
    /// continues; the copy goes on from there. A disk that the guest may write, a network interface and a socket
    /// cannot be shared: the copy needs its own.
    #[command(after_help = exit_code::HELP)]
    Fork {
        /// The guest
        #[arg(value_name = "GUEST")]
        guest: String,
        /// Options of `run` that replace the guest's own
        #[command(flatten)]
        options: RunArguments,
    },
    /// Print CPU profiles for --cpu, and compare them
    Cpu {
        /// The CPU information to show
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

/// The action of `vmmkit cpu`.
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

/// The request of the command line.
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
    match Cli::try_parse_from(&given).or_else(|error| named_guest(error, &given)) {
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

/// The command line again, with the file of the guest that `error` has taken for a stray word.
fn named_guest(error: clap::Error, given: &[String]) -> Result<Cli, clap::Error> {
    let words = usage::guest(&error, given);
    words.map_or(Err(error), Cli::try_parse_from)
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
        let shown = |argument: &&clap::Arg| {
            let is_option = argument.get_long().is_some();
            is_option && !argument.is_hide_set() && argument.get_id() != "help"
        };
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
        for heading in crate::options::HEADINGS {
            assert!(lines.contains(&&*format!("{heading}:")), "{heading}");
        }
    }
}
