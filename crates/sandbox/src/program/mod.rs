//! The program of a filter: instructions of classic BPF (seccomp(2)).
//!
//! The number of a system call is searched for by halves. So every decision is short, also those that the kernel works
//! out for each number when a thread takes the filter on; a chain of comparisons grows with the square of the calls there.

mod assembler;

use std::collections::BTreeMap;

use seccompiler::sock_filter;

use assembler::{AND, Assembler, IF_EQUAL, IF_NOT_LESS, Place};

use crate::{Argument, Call};

/// struct seccomp_data: the number, the architecture, and from here the arguments, of 8 bytes, the lower half first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// AUDIT_ARCH_X86_64.
const X86_64: u32 = 0xc000_003e;
/// SECCOMP_RET_KILL_PROCESS.
const KILL_PROCESS: u32 = 0x8000_0000;

/// An answer of the kernel's (SECCOMP_RET_*).
pub(crate) type Answer = u32;
/// SECCOMP_RET_ALLOW.
pub(crate) const ALLOW: Answer = 0x7fff_0000;

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) call: Call,
    pub(crate) answer: Answer,
}

/// The program that gives a call the answer of the first of `rules` that fits it, or else `otherwise`. `first` is looked at
/// before them. A call of another architecture ends the process.
pub(crate) fn program(first: Option<Rule>, rules: &[Rule], otherwise: Answer) -> Vec<sock_filter> {
    let mut code = Assembler::default();
    let mut start = search(&mut code, &spans(rules, otherwise), otherwise);
    if let Some(rule) = first {
        let others = code.load(NUMBER, start);
        let fits = chain(&mut code, &[rule], others);
        start = code.branch(IF_EQUAL, number(&rule.call), fits, start);
    }
    let start = code.load(NUMBER, start);
    let end = code.answer(KILL_PROCESS);
    let start = code.branch(IF_EQUAL, X86_64, start, end);
    code.load(ARCHITECTURE, start);
    code.finish()
}

/// The numbers from `first` to the next span's.
#[derive(Debug)]
struct Span {
    first: u32,
    decision: Decision,
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Answer(Answer),
    Arguments(Vec<Rule>),
}

fn spans(rules: &[Rule], otherwise: Answer) -> Vec<Span> {
    let mut by_number: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    for rule in rules {
        let beside = by_number.entry(number(&rule.call)).or_default();
        let is_decided = beside.iter().any(|rule| rule.call.is_unconditional());
        if !is_decided && !beside.contains(rule) {
            beside.push(*rule);
        }
    }
    let mut spans = Vec::new();
    let mut add = |first, decision| match spans.last() {
        Some(Span { decision: last, .. }) if *last == decision => {}
        _ => spans.push(Span { first, decision }),
    };
    let mut next = 0;
    for (number, rules) in by_number {
        if number > next {
            add(next, Decision::Answer(otherwise));
        }
        add(number, decision(rules));
        next = number.saturating_add(1);
    }
    add(next, Decision::Answer(otherwise));
    spans
}

fn decision(rules: Vec<Rule>) -> Decision {
    match rules.last() {
        // It fits whatever those before it do not.
        Some(Rule { call, answer })
            if call.is_unconditional() && rules.iter().all(|rule| rule.answer == *answer) =>
        {
            Decision::Answer(*answer)
        }
        _ => Decision::Arguments(rules),
    }
}

/// Decides on the number that is loaded, which is in one of `spans`.
fn search(code: &mut Assembler, spans: &[Span], otherwise: Answer) -> Place {
    match spans {
        [] => code.answer(otherwise),
        [span] => span.decide(code, otherwise),
        // One number among others that have one answer.
        [low, one, high] if low.decision == high.decision && high.first - one.first == 1 => {
            let others = low.decide(code, otherwise);
            let fits = one.decide(code, otherwise);
            code.branch(IF_EQUAL, one.first, fits, others)
        }
        spans => {
            let (low, high) = spans.split_at(spans.len() / 2);
            let middle = high.first().map_or(0, |span| span.first);
            let high = search(code, high, otherwise);
            let low = search(code, low, otherwise);
            code.branch(IF_NOT_LESS, middle, high, low)
        }
    }
}

impl Span {
    fn decide(&self, code: &mut Assembler, otherwise: Answer) -> Place {
        match &self.decision {
            Decision::Answer(answer) => code.answer(*answer),
            Decision::Arguments(rules) => {
                let otherwise = code.answer(otherwise);
                chain(code, rules, otherwise)
            }
        }
    }
}

/// The answer of the first of `rules` whose arguments fit, or what is at `otherwise`.
fn chain(code: &mut Assembler, rules: &[Rule], otherwise: Place) -> Place {
    let mut next = otherwise;
    for (index, Rule { call, answer }) in rules.iter().enumerate().rev() {
        let before = index.checked_sub(1).and_then(|index| rules.get(index));
        let mut fits = code.answer(*answer);
        for (index, argument) in call
            .arguments()
            .collect::<Vec<_>>()
            .iter()
            .enumerate()
            .rev()
        {
            let (yes, no) = match argument.is_equal {
                true => (fits, next),
                false => (next, fits),
            };
            fits = code.branch(IF_EQUAL, argument.value, yes, no);
            let is_loaded = index == 0 && before.is_some_and(|rule| leaves(&rule.call, argument));
            if !is_loaded {
                if argument.mask != u32::MAX {
                    fits = code.statement(AND, argument.mask, fits);
                }
                fits = code.load(ARGUMENTS + 8 * u32::from(argument.index), fits);
            }
        }
        next = fits;
    }
    next
}

/// Whether the bits of `argument` are loaded where `call`, which comes before, did not fit.
fn leaves(call: &Call, argument: &Argument) -> bool {
    let mut arguments = call.arguments();
    let is_same = |it: &Argument| (it.index, it.mask) == (argument.index, argument.mask);
    arguments.next().is_some_and(is_same) && arguments.next().is_none()
}

fn number(call: &Call) -> u32 {
    call.number() as u32
}

#[cfg(test)]
mod tests;
