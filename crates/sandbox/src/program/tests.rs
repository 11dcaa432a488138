use super::assembler::{JUMP, LOAD, RETURN};
use super::*;
use crate::Sysno;

const REFUSE: Answer = 0x0003_0000;
const FAIL: Answer = 0x0005_0026;

/// The call that a program decides on: struct seccomp_data.
#[derive(Clone, Copy, Debug)]
struct Data {
    architecture: u32,
    number: u32,
    arguments: [u32; 6],
}

impl Data {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            NUMBER => self.number,
            ARCHITECTURE => self.architecture,
            offset => {
                assert!(offset >= ARGUMENTS && (offset - ARGUMENTS).is_multiple_of(8));
                self.arguments[(offset - ARGUMENTS) as usize / 8]
            }
        }
    }
}

/// Runs `program` as the kernel would: its answer, and how many instructions it took.
fn run(program: &[sock_filter], data: Data) -> (Answer, usize) {
    let (mut accumulator, mut at) = (0, 0);
    for steps in 1.. {
        let it = &program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { it.jt } else { it.jf });
        match it.code {
            LOAD => accumulator = data.word(it.k),
            AND => accumulator &= it.k,
            JUMP => at += it.k as usize,
            IF_EQUAL => at += jump(accumulator == it.k),
            IF_NOT_LESS => at += jump(accumulator >= it.k),
            RETURN => return (it.k, steps),
            other => panic!("{other}"),
        }
    }
    unreachable!()
}

/// Whether `call` is the one of `data`.
fn fits(call: &Call, data: Data) -> bool {
    let mut arguments = call.arguments();
    call.number() as u32 == data.number
        && arguments.all(|argument| {
            let bits = data.arguments[usize::from(argument.index)] & argument.mask;
            (bits == argument.value) == argument.is_equal
        })
}

fn rules(calls: &[Call], answer: Answer) -> Vec<Rule> {
    calls
        .iter()
        .map(|call| Rule {
            call: *call,
            answer,
        })
        .collect()
}

fn many() -> Vec<Rule> {
    let request = |value| Call::any(Sysno::ioctl).with(Argument::equal(1, value));
    let all =
        |numbers: std::ops::Range<u32>| numbers.filter_map(|number| Sysno::new(number as usize));
    let mut many = rules(&[Call::any(Sysno::clone3)], FAIL);
    many.extend(rules(&all(0..3).map(Call::any).collect::<Vec<_>>(), ALLOW));
    // More than a jump of 255 goes over.
    many.extend(rules(&(0..200).map(request).collect::<Vec<_>>(), ALLOW));
    many.extend(rules(
        &[
            Call::any(Sysno::ioctl).with(Argument::masked(1, 0xff00, 0xae00)),
            Call::any(Sysno::ioctl).with(Argument::masked(1, 0xff00, 0xaf00)),
            Call::any(Sysno::ioctl)
                .with(Argument::not_equal(1, 300))
                .with(Argument::equal(0, 7)),
            Call::any(Sysno::ioctl).with(Argument::equal(1, 301)),
            Call::any(Sysno::mmap).with(Argument::masked(2, 4, 0)),
            Call::any(Sysno::mmap)
                .with(Argument::equal(0, 9))
                .with(Argument::equal(1, 8))
                .with(Argument::equal(5, 7)),
            Call::any(Sysno::rt_sigaction).with(Argument::not_equal(0, 31)),
            Call::any(Sysno::clone3),
            Call::any(Sysno::openat),
        ],
        ALLOW,
    ));
    many.extend(rules(&[Call::any(Sysno::rt_sigaction)], FAIL));
    many.extend(rules(
        &all(300..330).map(Call::any).collect::<Vec<_>>(),
        ALLOW,
    ));
    many
}

#[test]
fn the_first_rule_that_fits_decides() {
    let rules = many();
    let first = Rule {
        call: Call::any(Sysno::ioctl).with(Argument::equal(1, 0xae80)),
        answer: ALLOW,
    };
    let with_first = program(Some(first), &rules, REFUSE);
    let program = program(None, &rules, REFUSE);
    let (mut allowed, mut refused) = (0, 0);
    for number in (0..500).chain([16 | 1 << 30, u32::MAX]) {
        for value in [
            0, 4, 5, 7, 8, 9, 31, 199, 200, 300, 301, 0xae80, 0xafff, 0xb000,
        ] {
            for index in 0..7 {
                let mut arguments = [7, 8, 0, 0, 0, 7];
                if let Some(argument) = arguments.get_mut(index) {
                    *argument = value;
                }
                let data = Data {
                    architecture: X86_64,
                    number,
                    arguments,
                };
                let fitting = rules.iter().find(|rule| fits(&rule.call, data));
                let answer = fitting.map_or(REFUSE, |rule| rule.answer);
                assert_eq!(run(&program, data).0, answer, "{data:?}");
                assert_eq!(run(&with_first, data).0, answer, "{data:?}");
                allowed += usize::from(answer == ALLOW);
                refused += usize::from(answer == REFUSE);
            }
        }
    }
    assert!(allowed > 1000 && refused > 1000, "{allowed} {refused}");
}

#[test]
fn a_call_of_another_architecture_ends_the_process() {
    let program = program(None, &many(), ALLOW);
    let data = Data {
        // AUDIT_ARCH_I386.
        architecture: 0x4000_0003,
        number: 0,
        arguments: [0; 6],
    };
    assert_eq!(run(&program, data), (KILL_PROCESS, 3));
}

#[test]
fn a_decision_on_a_number_is_short() {
    // No two beside each other: as many spans as there can be.
    let numbers = (0..400).step_by(2).filter_map(Sysno::new);
    let calls: Vec<Call> = numbers.map(Call::any).collect();
    let all = rules(&calls, ALLOW);
    let hot = Call::any(Sysno::ioctl).with(Argument::equal(1, 0xae80));
    let first = rules(&[hot], ALLOW).pop();
    let program = program(first, &all, REFUSE);
    for number in 0..500 {
        let data = Data {
            architecture: X86_64,
            number,
            arguments: [0, 0xae80, 0, 0, 0, 0],
        };
        let steps = run(&program, data).1;
        match number {
            16 => assert_eq!(steps, 7),
            // Two to the eighth are enough spans; a jump that is too long takes two instructions.
            _ => assert!(steps <= 5 + 2 * 9 + 1, "{number}: {steps}"),
        }
    }
}
