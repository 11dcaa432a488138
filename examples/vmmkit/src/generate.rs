//! Text on stdout that is not a guest's: help, completions, the manual.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap_complete::Shell;

use crate::failure::Failure;
use crate::{cli, exit_code, options};

/// Writes text to stdout.
pub(crate) fn write(text: &[u8]) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        // `vmmkit man | head` has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::host("stdout", &error, "write to another place"))
        }
        _ => Ok(exit_code::SUCCESS.into()),
    }
}

/// Writes the completions of `shell`.
pub(crate) fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut with_values(cli::command()), "vmmkit", &mut text);
    let text = String::from_utf8_lossy(&text);
    write(with_guests(shell, &text).as_bytes())
}

/// With what a shell offers as values of options of `run`. Here they are text that has more forms.
fn with_values(command: clap::Command) -> clap::Command {
    let with_words = options::all().filter(|option| !option.words.is_empty());
    command.mut_subcommand("run", |run| {
        with_words.fold(run, |run, option| {
            run.mut_arg(option.name, |argument| {
                argument.value_parser(PossibleValuesParser::new(option.words.iter().copied()))
            })
        })
    })
}

/// The commands that take the name of a guest, which `run`, `restore`, `receive` and `fork` give it.
fn of_guests() -> String {
    let command = cli::command();
    let takes_name = |command: &&clap::Command| {
        let mut arguments = command.get_arguments();
        !matches!(command.get_name(), "run" | "restore" | "receive" | "fork")
            && arguments.any(|argument| argument.get_id() == "name")
    };
    let commands = command.get_subcommands().filter(takes_name);
    let names: Vec<&str> = commands.map(clap::Command::get_name).collect();
    names.join(" ")
}

/// `script` with the names of the guests that run where a guest is named.
fn with_guests(shell: Shell, script: &str) -> String {
    let of_guests = of_guests();
    match shell {
        Shell::Bash => format!(
            "{script}
_vmmkit_with_guests() {{
    _vmmkit \"$@\"
    local cur=\"${{COMP_WORDS[COMP_CWORD]}}\" command=\"${{COMP_WORDS[1]}}\"
    case \" {of_guests} \" in
    *\" $command \"*)
        if [[ $cur != -* && ${{COMP_WORDS[COMP_CWORD-1]}} != --@(timeout|api-socket) ]]; then
            mapfile -t COMPREPLY < <(compgen -W \"$(vmmkit list -q 2>/dev/null)\" -- \"$cur\")
        fi
        ;;
    esac
}}
complete -F _vmmkit_with_guests -o nosort -o bashdefault -o default vmmkit
"
        ),
        Shell::Fish => format!(
            "{script}
complete -c vmmkit -n \"__fish_seen_subcommand_from {of_guests}\" -f -a \"(vmmkit list -q 2>/dev/null)\"
complete -c vmmkit -n \"__fish_seen_subcommand_from {of_guests}\" -s n -l name -x -a \"(vmmkit list -q 2>/dev/null)\"
"
        ),
        Shell::Zsh => {
            let is_guests = |line: &str| {
                ["'-n+[", "::names --", "::words --"].iter().any(|part| line.contains(part))
                    || (line.contains("--name=[") && !line.contains("--name=[Name of"))
            };
            let line = |line: &str| match is_guests(line) {
                true => line.replace(":_default", ":_vmmkit_guests") + "\n",
                false => format!("{line}\n"),
            };
            let script: String = script.lines().map(line).collect();
            let guests = "_vmmkit_guests() {\n    local -a names=(${(f)\"$(vmmkit list -q 2>/dev/null)\"})\n    \
                          _describe 'guest' names\n}\n\n_vmmkit() {";
            script.replacen("_vmmkit() {", guests, 1)
        }
        _ => script.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(shell: Shell) -> String {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut with_values(cli::command()), "vmmkit", &mut text);
        with_guests(shell, &String::from_utf8(text).unwrap())
    }

    #[test]
    fn the_commands_of_guests_are_those_that_take_a_name() {
        assert_eq!(
            of_guests(),
            "stat boot pause resume reset snapshot migrate power-button stop wait balloon memory limit resize console connect logs events inspect metrics"
        );
    }

    #[test]
    fn names_of_guests_and_values_are_offered() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            assert!(script.contains("vmmkit list -q"), "{shell}");
            assert!(script.contains("x86-64-v3"), "{shell}");
        }
        let zsh = script(Shell::Zsh);
        assert!(zsh.matches(":_vmmkit_guests'").count() > 20, "{zsh}");
    }
}
