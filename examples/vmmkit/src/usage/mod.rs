//! A command line that cannot be understood: what of it, why, and what was probably meant.

mod elsewhere;
mod stray;

pub(crate) use stray::advice as file_advice;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;
use crate::options::Takes;
use crate::{cli, options, os_text, own_guest};
use vmmkit_machine_spec::nearest;

/// clap's error in vmmkit's form. `given` is the whole command line.
pub(crate) fn explain(error: &clap::Error, given: &[String]) -> Failure {
    let usage = Usage { error, given };
    Failure::usage(usage.what(), usage.next())
}

/// The command line `given` with --config instead of the name of a guest that is described in the user's folder, where
/// `error` is of such a word.
pub(crate) fn guest(error: &clap::Error, given: &[String]) -> Option<Vec<String>> {
    let usage = Usage { error, given };
    if error.kind() != ErrorKind::UnknownArgument || usage.command() != Some("run") {
        return None;
    }
    let name = usage.argument();
    let path = own_guest::file_of(&name).filter(|path| path.exists())?;
    let is_value = |place: usize| {
        let before = place.checked_sub(1).and_then(|before| given.get(before));
        let option = before.and_then(|word| options::named(word.strip_prefix("--")?));
        option.is_some_and(|option| !matches!(option.takes, Takes::Flag | Takes::Optional))
    };
    let words = given.iter().take_while(|word| *word != "--").enumerate();
    let mut places = words.filter(|(place, word)| **word == name && !is_value(*place));
    let (place, _) = places.next()?;
    let mut given = given.to_vec();
    *given.get_mut(place)? = format!("--config={}", os_text::of(path.as_os_str()));
    Some(given)
}

/// Whether what the parser takes for -h is the beginning of an option of another program, such as -hda.
pub(crate) fn is_other_help(given: &[String]) -> bool {
    let asks = |word: &String| word == "-h" || word == "--help" || word == "help";
    !given.iter().any(asks) && other_help(given).is_some()
}

fn other_help(given: &[String]) -> Option<&String> {
    given
        .iter()
        .find(|word| word.starts_with("-h") && word.len() > 2)
}

/// An error, and what it is about.
struct Usage<'a> {
    error: &'a clap::Error,
    given: &'a [String],
}

impl Usage<'_> {
    fn context(&self, kind: ContextKind) -> String {
        match self.error.get(kind) {
            Some(ContextValue::String(text)) => text.clone(),
            Some(ContextValue::Strings(texts)) => texts.join(", "),
            _ => String::new(),
        }
    }

    /// The argument as the user wrote it.
    fn argument(&self) -> String {
        if self.error.kind() == ErrorKind::DisplayHelp {
            return other_help(self.given).cloned().unwrap_or_default();
        }
        let argument = plain(&self.context(ContextKind::InvalidArg));
        // Of `-smp` the parser says `-s`, or the first letter of it that is unknown.
        let letter = argument
            .strip_prefix('-')
            .filter(|letter| letter.chars().count() == 1);
        let whole = letter.and_then(|letter| {
            let is_whole = |word: &&String| {
                let letters = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
                letters.is_some_and(|letters| letters.contains(letter))
            };
            self.given.iter().skip(1).find(is_whole)
        });
        match whole {
            Some(whole) if self.error.kind() == ErrorKind::UnknownArgument => {
                whole.split('=').next().unwrap_or_default().to_owned()
            }
            _ => argument,
        }
    }

    /// Another option that excludes `argument`; none where it excludes itself.
    fn rival(&self, argument: &str) -> Option<String> {
        let prior = plain(&self.context(ContextKind::PriorArg));
        (!prior.is_empty() && prior != argument).then_some(prior)
    }

    /// The command that was given, if there is such a one.
    fn command(&self) -> Option<&str> {
        let name = self.given.get(1)?;
        let command = cli::command();
        command.find_subcommand(name).is_some().then_some(name)
    }

    /// The command that helps.
    fn help(&self) -> String {
        match self.command() {
            Some(name) => format!("vmmkit {name} --help"),
            None => "vmmkit --help".to_owned(),
        }
    }

    /// The thing, its value and the reason.
    fn what(&self) -> String {
        let argument = self.argument();
        let value = self.context(ContextKind::InvalidValue);
        match self.error.kind() {
            ErrorKind::UnknownArgument | ErrorKind::DisplayHelp if argument.starts_with('-') => {
                format!("{argument}: there is no such option")
            }
            ErrorKind::UnknownArgument if self.command().is_none() => {
                format!("{argument}: there is no such command")
            }
            ErrorKind::UnknownArgument => {
                format!("{argument}: unexpected argument")
            }
            ErrorKind::InvalidSubcommand => {
                let name = self.context(ContextKind::InvalidSubcommand);
                format!("{name}: there is no such command")
            }
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                format!("no command was given: there are {}", self.commands())
            }
            ErrorKind::ArgumentConflict => match self.rival(&argument) {
                None => format!("{argument}: it was given twice"),
                Some(rival) => format!("{argument}: it cannot be given with {rival}"),
            },
            ErrorKind::InvalidValue if value.is_empty() => {
                format!("{argument}: its value is missing")
            }
            ErrorKind::InvalidValue => {
                let valid = self.context(ContextKind::ValidValue);
                format!("{argument} {value}: it must be one of {valid}")
            }
            ErrorKind::MissingRequiredArgument if argument.contains(" and ") => {
                format!("{argument}: they are missing")
            }
            ErrorKind::MissingRequiredArgument => format!("{argument}: it is missing"),
            ErrorKind::InvalidUtf8 => "arguments: one of them is not UTF-8 text".to_owned(),
            ErrorKind::TooManyValues => format!("{argument} {value}: this option takes no value"),
            other => format!("arguments: {other}"),
        }
    }

    /// The commands there are, the most wanted ones of all or those of `vmmkit cpu`.
    fn commands(&self) -> &'static str {
        match self.command() {
            Some("cpu") => "dump and diff",
            _ => "run, list, stop, cpu, doctor and others",
        }
    }

    /// The next step.
    fn next(&self) -> String {
        let argument = self.argument();
        let advice = match self.error.kind() {
            ErrorKind::UnknownArgument | ErrorKind::DisplayHelp if argument.starts_with('-') => {
                self.option(&argument)
            }
            ErrorKind::UnknownArgument if self.command().is_none() => command(&argument, None),
            ErrorKind::UnknownArgument => return self.stray(&argument),
            ErrorKind::InvalidSubcommand => command(
                &self.context(ContextKind::InvalidSubcommand),
                self.command(),
            ),
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Some(match self.command() {
                    Some("cpu") => "show a CPU with `vmmkit cpu dump`".to_owned(),
                    _ => "boot a guest with `vmmkit run`".to_owned(),
                })
            }
            ErrorKind::ArgumentConflict => Some(match self.rival(&argument) {
                Some(_) => "give one of them".to_owned(),
                None => "give it once".to_owned(),
            }),
            ErrorKind::MissingRequiredArgument if self.command() == Some("restore") => {
                Some("give the directory that `vmmkit snapshot` wrote to".to_owned())
            }
            ErrorKind::MissingRequiredArgument => self.form(),
            ErrorKind::InvalidValue if self.context(ContextKind::InvalidValue).is_empty() => {
                self.with_value(&argument)
            }
            ErrorKind::TooManyValues => Some(format!("write {argument} alone")),
            _ => None,
        };
        self.with_help(advice)
    }

    /// `advice`, and where the help is.
    fn with_help(&self, advice: Option<String>) -> String {
        let help = self.help();
        match advice {
            Some(advice) if advice.ends_with('?') => format!("{advice} See `{help}`"),
            Some(advice) => format!("{advice}; see `{help}`"),
            None => format!("see `{help}`"),
        }
    }

    /// How the command is written, of one that takes arguments without a dash.
    fn form(&self) -> Option<String> {
        let mut whole = cli::command();
        whole.build();
        let command = whole.find_subcommand_mut(self.command()?)?;
        command.get_positionals().next()?;
        let usage = command.render_usage().to_string();
        Some(format!("write `{}`", usage.strip_prefix("Usage: ")?))
    }

    /// An option with the value that it takes, as the help shows it.
    fn with_value(&self, argument: &str) -> Option<String> {
        let whole = cli::command();
        let command = whole.find_subcommand(self.command()?)?;
        let name = argument.trim_start_matches('-');
        let option = command
            .get_arguments()
            .find(|option| option.get_long() == Some(name))?;
        let value = option.get_value_names()?.first()?;
        Some(format!("give {argument} {value}"))
    }

    /// The probable meaning of an unknown option.
    fn option(&self, argument: &str) -> Option<String> {
        let name = self.command();
        let whole = cli::command();
        let Some(command) = name.and_then(|name| whole.find_subcommand(name)) else {
            // As of a program that has no commands.
            let known = elsewhere::option("run", argument).is_some()
                || options(whole.find_subcommand("run"))
                    .contains(&argument.trim_matches('-').to_owned());
            return known.then(|| "options of a guest come after run: `vmmkit run ...`".to_owned());
        };
        if let Some(advice) = elsewhere::option(name.unwrap_or_default(), argument) {
            return Some(advice.to_owned());
        }
        let options = options(Some(command));
        let near = nearest(
            argument.trim_start_matches('-'),
            options.iter().map(String::as_str),
        );
        // A value may stand right behind an option of one letter.
        let letter = || elsewhere::option(name.unwrap_or_default(), argument.get(..2)?);
        match near {
            Some(near) => Some(format!("did you mean --{near}?")),
            None if argument.starts_with("--") => None,
            None => letter().map(str::to_owned),
        }
    }

    /// The probable meaning of an argument that has no place.
    fn stray(&self, argument: &str) -> String {
        let help = self.help();
        match self.command() {
            Some("run") => {}
            Some("list") => {
                let advice = format!("`vmmkit stat {argument}` shows one guest");
                return self.with_help(Some(advice));
            }
            _ => return self.with_help(self.form()),
        }
        let place = self.given.iter().position(|word| word == argument);
        let before = place.and_then(|place| self.given.get(place.checked_sub(1)?));
        if before.is_some_and(|before| before == "--balloon") {
            return format!("did you mean --balloon={argument}? See `{help}`");
        }
        if before.is_some_and(|before| before == "--rng") {
            return format!(
                "leave {argument} out: --rng alone gives the guest random numbers of this host's kernel; see `{help}`"
            );
        }
        match stray::advice(argument) {
            Some(advice) => format!("{advice}; see `{help}`"),
            None => {
                let own = own_guest::file_of(argument).map_or_else(String::new, |path| {
                    format!(
                        "; a guest of your own would be described in {}",
                        path.display()
                    )
                });
                format!(
                    "give a kernel by --kernel PATH, a disk by --disk PATH; images are not downloaded{own}; see \
                     `{help}`"
                )
            }
        }
    }
}

/// `--kernel <PATH>` is the option as its help shows it, `<NAME>` is an argument; a word of the user's stays.
fn plain(argument: &str) -> String {
    if let Some((first, rest)) = argument.split_once(", ") {
        return format!("{} and {}", plain(first), plain(rest));
    }
    let name = match argument.starts_with('-') {
        true => argument.split([' ', '=']).next().unwrap_or_default(),
        false if argument.starts_with(['<', '[']) => {
            argument.trim_matches(['<', '>', '[', ']', '.'])
        }
        false => argument,
    };
    name.to_owned()
}

/// The probable meaning of an unknown command.
fn command(word: &str, within: Option<&str>) -> Option<String> {
    let commands = cli::command();
    if let Some(command) = within.filter(|name| *name != "help") {
        let commands = commands.find_subcommand(command).into_iter();
        let names: Vec<&str> = commands.flat_map(names).collect();
        let near = nearest(word, names.iter().copied()).map(|near| format!("did you mean {near}?"));
        return near.or_else(|| {
            let next =
                format!("`vmmkit cpu dump {word}` shows one CPU, `vmmkit cpu diff` compares two");
            (command == "cpu").then_some(next)
        });
    }
    if let Some(advice) = elsewhere::command(word) {
        return Some(advice.to_owned());
    }
    if std::fs::metadata(crate::os_text::path(word)).is_ok()
        && let Some(advice) = stray::advice(word)
    {
        return Some(format!("boot it with `vmmkit run`; {advice}"));
    }
    let names: Vec<&str> = names(&commands).collect();
    let near = nearest(word, names.iter().copied());
    near.map(|near| format!("did you mean {near}?"))
}

fn names(command: &clap::Command) -> impl Iterator<Item = &str> {
    command.get_subcommands().map(clap::Command::get_name)
}

/// The long options of a command that its help shows.
fn options(command: Option<&clap::Command>) -> Vec<String> {
    let all = command.into_iter().flat_map(clap::Command::get_arguments);
    let shown = all.filter(|argument| !argument.is_hide_set());
    shown
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word that is one of ours would never be looked up.
    #[test]
    fn no_word_of_other_programs_is_one_of_ours() {
        let command = cli::command();
        let run = command.find_subcommand("run");
        let own = options(run);
        for word in elsewhere::options_of_run() {
            let name = word.trim_start_matches("--");
            assert!(!own.iter().any(|own| own == name), "{word}");
        }
        for word in elsewhere::commands() {
            assert!(command.find_subcommand(word).is_none(), "{word}");
        }
    }
}
