//! Instructions of classic BPF, from the last to the first.
//!
//! They jump forwards only. So where an instruction goes on to is there before it, and one answer serves all that are in
//! reach of it.

use std::collections::BTreeMap;

use seccompiler::sock_filter;

use super::Answer;

/// BPF_LD | BPF_W | BPF_ABS, BPF_ALU | BPF_AND | BPF_K, BPF_JMP | BPF_JA, BPF_JMP | BPF_JEQ | BPF_K, BPF_JMP | BPF_JGE |
/// BPF_K, BPF_RET | BPF_K.
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const IF_EQUAL: u16 = 0x15;
pub(super) const IF_NOT_LESS: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// The most instructions that a comparison goes over, less one that is put in between for each of its two ways.
const REACH: usize = 253;

/// An instruction, counted from the end of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

/// A program that is written from its end.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    backwards: Vec<sock_filter>,
    answers: BTreeMap<Answer, Place>,
}

impl Assembler {
    /// Ends with `answer`.
    pub(super) fn answer(&mut self, answer: Answer) -> Place {
        match self.answers.get(&answer) {
            Some(place) if self.distance(*place) <= REACH => *place,
            _ => {
                let place = self.push(RETURN, answer, 0, 0);
                self.answers.insert(answer, place);
                place
            }
        }
    }

    /// Loads the word at `offset` of struct seccomp_data, and goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Place) -> Place {
        self.statement(LOAD, offset, next)
    }

    /// An instruction that goes on at `next`.
    pub(super) fn statement(&mut self, code: u16, value: u32, next: Place) -> Place {
        if self.distance(next) > 0 {
            self.jump(next);
        }
        self.push(code, value, 0, 0)
    }

    /// Compares what is loaded with `value`.
    pub(super) fn branch(&mut self, code: u16, value: u32, yes: Place, no: Place) -> Place {
        let (yes, no) = (self.near(yes), self.near(no));
        let over = |place| u8::try_from(self.distance(place)).unwrap_or(u8::MAX);
        let (yes, no) = (over(yes), over(no));
        self.push(code, value, yes, no)
    }

    /// The program.
    pub(super) fn finish(mut self) -> Vec<sock_filter> {
        self.backwards.reverse();
        self.backwards
    }

    /// `place`, or a jump to it where that is out of a comparison's reach.
    fn near(&mut self, place: Place) -> Place {
        match self.distance(place) > REACH {
            true => self.jump(place),
            false => place,
        }
    }

    fn jump(&mut self, to: Place) -> Place {
        let over = u32::try_from(self.distance(to)).unwrap_or(u32::MAX);
        self.push(JUMP, over, 0, 0)
    }

    /// How many instructions the next one would go over.
    fn distance(&self, Place(place): Place) -> usize {
        self.backwards.len() - 1 - place
    }

    fn push(&mut self, code: u16, k: u32, jt: u8, jf: u8) -> Place {
        self.backwards.push(sock_filter { code, jt, jf, k });
        Place(self.backwards.len() - 1)
    }
}
