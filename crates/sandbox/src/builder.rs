//! System calls and their answers, before they are compiled.

use std::collections::BTreeSet;

use crate::filter::MAX_INSTRUCTIONS;
use crate::program::{ALLOW, Answer, Rule, program};
use crate::{Call, Filter, FilterError, Refusal, Sysno};

/// The last argument of a system call, counted from 0.
const LAST_ARGUMENT: u8 = 5;

/// System calls and their answers, as data: [`build`](Self::build) compiles them. Of all that fit a call, the one that was
/// added first decides.
#[derive(Clone, Debug)]
pub struct FilterBuilder {
    first: Option<Rule>,
    rules: Vec<Rule>,
    otherwise: Answer,
}

impl FilterBuilder {
    pub(crate) fn new(otherwise: Answer) -> Self {
        Self {
            first: None,
            rules: Vec::new(),
            otherwise,
        }
    }

    /// Allows `calls`.
    #[must_use]
    pub fn allow(self, calls: &[Call]) -> Self {
        self.answer(calls, ALLOW)
    }

    /// Answers `calls` with `refusal`.
    #[must_use]
    pub fn refuse(self, calls: &[Call], refusal: Refusal) -> Self {
        self.answer(calls, refusal.answer())
    }

    /// Allows `call`, and looks for it before all others: it costs seven instructions, or three where all its arguments are
    /// allowed, and each other call two more. For one with arguments that a thread makes again and again; the kernel
    /// remembers by itself which calls are allowed whatever their arguments are (from Linux 5.11).
    #[must_use]
    pub fn allow_first(self, call: Call) -> Self {
        let first = Some(Rule {
            call,
            answer: ALLOW,
        });
        Self { first, ..self }
    }

    fn answer(mut self, calls: &[Call], answer: Answer) -> Self {
        let rules = calls.iter().map(|call| Rule {
            call: *call,
            answer,
        });
        self.rules.extend(rules);
        self
    }

    /// The filter.
    ///
    /// # Errors
    /// [`FilterError::NoArgument`], [`FilterError::TooLong`].
    pub fn build(&self) -> Result<Filter, FilterError> {
        let rules = || self.first.iter().chain(&self.rules);
        for Rule { call, .. } in rules() {
            let index = call.arguments().map(|argument| argument.index).max();
            if let Some(index) = index.filter(|index| *index > LAST_ARGUMENT) {
                let call = call.number();
                return Err(FilterError::NoArgument { call, index });
            }
        }
        let program = program(self.first, &self.rules, self.otherwise);
        let instructions = program.len();
        if instructions > MAX_INSTRUCTIONS {
            return Err(FilterError::TooLong { instructions });
        }
        let numbers: BTreeSet<Sysno> = rules().map(|rule| rule.call.number()).collect();
        let numbers = numbers.len();
        Ok(Filter { program, numbers })
    }
}
