//! The values of options before they are understood, and what is wrong with one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vmmkit_machine_spec::{Fault, Given, Unknown};

use super::{RunOption, advice};
use crate::failure::Failure;
use crate::settings::shown;

/// The values of each option that was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(BTreeMap<&'static str, Vec<Given>>);

impl Values {
    /// Those of the option `name`.
    pub(super) fn of(&self, name: &str) -> &[Given] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether the option `name` is given.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.of(name).is_empty()
    }

    /// The value of the option `name`.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.of(name).first().map(Given::as_text)
    }

    /// The path that the option `name` gives.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let given = self.of(name).first()?;
        Some(given.path(given.as_text()))
    }

    /// One more of the option `name`.
    pub(crate) fn add(&mut self, name: &'static str, given: Given) {
        self.0.entry(name).or_default().push(given);
    }

    /// These without the option `name`.
    #[must_use]
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// The same, with paths of options that were given without a folder in `folder`.
    #[must_use]
    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        for given in self.0.values_mut().flatten() {
            *given = given.clone().in_folder(folder);
        }
        self
    }

    /// The same, each value as `change` makes it of its text.
    #[must_use]
    pub(crate) fn changed(&self, change: impl Fn(&str) -> String) -> Self {
        let changed = |given: &Given| Given::text(&change(given.as_text()));
        let values = self.0.iter();
        Self(
            values
                .map(|(name, all)| (*name, all.iter().map(changed).collect()))
                .collect(),
        )
    }

    /// As words of a command line, which they came from.
    pub(crate) fn words(&self) -> Vec<String> {
        let options = self
            .0
            .iter()
            .filter_map(|(name, all)| Some((super::named(name)?, all)));
        let words =
            options.flat_map(|(option, all)| all.iter().map(|given| option.word(given.as_text())));
        words.collect()
    }

    /// These, and those of `others` for options that are not among them.
    #[must_use]
    pub(crate) fn or(mut self, others: Self) -> Self {
        for (name, values) in others.0 {
            self.0.entry(name).or_insert(values);
        }
        self
    }
}

/// Why a value is not one of its option.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// The fault of the value.
    Fault(Fault),
    /// All that there is to say.
    Failure(Failure),
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Unknown> for Wrong {
    fn from(unknown: Unknown) -> Self {
        Self::Fault(unknown.into())
    }
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Wrong {
    /// As the user reads it, of `given`, a value of `option`.
    pub(super) fn of(self, option: &RunOption, given: &Given) -> Failure {
        let fault = match self {
            Self::Failure(failure) => return failure,
            Self::Fault(fault) => fault,
        };
        let text = given.shown();
        Failure::usage(
            format!("--{} {}: {fault}", option.name, shown(&text)),
            advice::of_fault(option, &text, &fault),
        )
    }
}
