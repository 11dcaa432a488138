//! The options as the parser of command lines has them, and what it found.

use clap::builder::{NonEmptyStringValueParser, StringValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use vmmkit_machine_spec::Given;

use super::{RunOption, Takes, Values, all};

/// The words after `--`.
const WORDS: &str = "words";

/// The options of a command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunArguments(pub(crate) Values);

impl RunOption {
    /// The option with its value as one word of a command line.
    pub(super) fn word(&self, value: &str) -> String {
        let name = self.name;
        match self.takes {
            Takes::Flag => format!("--{name}"),
            Takes::Optional if value.is_empty() => format!("--{name}"),
            _ => format!("--{name}={value}"),
        }
    }

    fn argument(&self) -> Arg {
        let argument = Arg::new(self.name)
            .long(self.name)
            .help_heading(self.heading)
            .help(self.help)
            .hide(self.is_hidden);
        let argument = match self.more {
            "" => argument,
            more => argument.long_help(format!("{}\n\n{more}", self.help)),
        };
        let argument = match self.name {
            "quiet" => argument.short('q'),
            _ => argument,
        };
        let argument = match self.takes {
            Takes::Flag => return argument.action(ArgAction::SetTrue),
            Takes::Many => argument.action(ArgAction::Append),
            Takes::Optional => argument
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value(""),
            _ => argument.action(ArgAction::Set),
        };
        let argument = argument.value_name(self.value);
        match self.takes {
            Takes::Path => argument.value_parser(NonEmptyStringValueParser::new()),
            Takes::Line | Takes::Words | Takes::Parts | Takes::Number => argument
                .value_parser(StringValueParser::new())
                .allow_hyphen_values(true),
            _ => argument.value_parser(StringValueParser::new()),
        }
    }
}

impl Args for RunArguments {
    fn augment_args(command: Command) -> Command {
        let words = Arg::new(WORDS)
            .value_name("COMMAND")
            .help("Command to run in the guest's root directory")
            .num_args(1..)
            .last(true);
        command.args(all().map(RunOption::argument)).arg(words)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RunArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut values = Values::default();
        for option in all() {
            if option.takes == Takes::Flag {
                if matches.get_flag(option.name) {
                    values.add(option.name, Given::text(""));
                }
                continue;
            }
            let given = matches.get_many::<String>(option.name);
            for text in given.into_iter().flatten() {
                values.add(option.name, Given::text(text));
            }
        }
        let words = matches.get_many::<String>(WORDS);
        for text in words.into_iter().flatten() {
            values.add("command", Given::text(text));
        }
        Ok(Self(values))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
