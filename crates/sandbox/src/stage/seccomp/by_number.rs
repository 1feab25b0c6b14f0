//! A filter that looks at a call's number alone, as short as it can be: the kernel walks through a filter once for every number
//! there is when it is installed, so a list that is searched from its beginning costs more than all other walls together.
//! Never looks at arguments.
//!
//! ```text
//! another architecture ─▶ the end of the program
//! number < middle? ─┬─ yes ─▶ number < middle of the lower half? …
//!                   └─ no ──▶ …                                    until one answer is left
//! ```

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, sock_filter};

/// Instructions of a filter (linux/bpf_common.h).
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const SKIP: u16 = 0x05;
const ANSWER: u16 = 0x06;

/// Where `struct seccomp_data` has a call's number, and its architecture.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// How linux/audit.h calls this architecture.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// What becomes of a call; several in one table are told apart by this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It goes on to the next filter.
    Pass,
    /// It fails with this error.
    Fail(libc::c_int),
}

impl Answer {
    fn word(self) -> u32 {
        match self {
            Self::Pass => libc::SECCOMP_RET_ALLOW,
            Self::Fail(errno) => {
                libc::SECCOMP_RET_ERRNO | (errno.cast_unsigned() & libc::SECCOMP_RET_DATA)
            }
        }
    }
}

/// The answer from this number on, up to the next one's.
type From = (u32, Answer);

/// A filter with these answers, and one for every other number.
pub(super) fn filter(answers: &BTreeMap<u32, Answer>, other: Answer) -> BpfProgram {
    let mut program = vec![
        instruction(LOAD, ARCHITECTURE_AT),
        sock_filter {
            jt: 1,
            ..instruction(IF_EQUAL, ARCHITECTURE)
        },
        instruction(ANSWER, libc::SECCOMP_RET_KILL_PROCESS),
        instruction(LOAD, NUMBER_AT),
    ];
    program.extend(search(&stretches(answers, other)));
    program
}

/// Numbers that follow each other and have one answer, as one.
fn stretches(answers: &BTreeMap<u32, Answer>, other: Answer) -> Vec<From> {
    let mut found = vec![(0, other)];
    let mut begin = |at: u32, answer: Answer| {
        found.pop_if(|(from, _)| *from == at);
        if found.last().is_none_or(|(_, before)| *before != answer) {
            found.push((at, answer));
        }
    };
    for (number, answer) in answers {
        begin(*number, *answer);
        begin(number.saturating_add(1), other);
    }
    found
}

/// Halves what is left until it is one answer.
fn search(stretches: &[From]) -> BpfProgram {
    let (lower, upper) = stretches.split_at(stretches.len() / 2);
    let Some((middle, answer)) = upper.first() else {
        return Vec::new();
    };
    if lower.is_empty() {
        return vec![instruction(ANSWER, answer.word())];
    }
    let (lower, upper) = (search(lower), search(upper));
    let mut program = match u8::try_from(lower.len()) {
        Ok(over) => vec![sock_filter {
            jt: over,
            ..instruction(IF_AT_LEAST, *middle)
        }],
        // Further than a condition reaches.
        Err(_) => vec![
            sock_filter {
                jf: 1,
                ..instruction(IF_AT_LEAST, *middle)
            },
            instruction(SKIP, u32::try_from(lower.len()).unwrap_or(u32::MAX)),
        ],
    };
    program.extend(lower);
    program.extend(upper);
    program
}

fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel makes of a filter.
    fn run(program: &[sock_filter], number: u32, architecture: u32) -> u32 {
        let (mut at, mut held) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let skipped = match code {
                LOAD if k == NUMBER_AT => {
                    held = number;
                    0
                }
                LOAD => {
                    held = architecture;
                    0
                }
                IF_EQUAL => u32::from(if held == k { jt } else { jf }),
                IF_AT_LEAST => u32::from(if held >= k { jt } else { jf }),
                SKIP => k,
                ANSWER => return k,
                other => panic!("{other}"),
            };
            at += usize::try_from(skipped).unwrap();
        }
    }

    fn agrees(answers: &BTreeMap<u32, Answer>) {
        let program = filter(answers, Answer::Fail(38));
        let near = answers.keys().flat_map(|number| [*number, number + 1]);
        for number in (0..1200)
            .chain(near)
            .chain([0x4000_0000, 0x4000_0001, u32::MAX])
        {
            let wanted = answers.get(&number).copied().unwrap_or(Answer::Fail(38));
            assert_eq!(
                run(&program, number, ARCHITECTURE),
                wanted.word(),
                "{number}"
            );
            let killed = run(&program, number, ARCHITECTURE ^ 1);
            assert_eq!(killed, libc::SECCOMP_RET_KILL_PROCESS);
        }
    }

    #[test]
    fn every_number_has_its_answer_and_another_architecture_ends() {
        agrees(&BTreeMap::new());
        agrees(&BTreeMap::from([(0, Answer::Pass)]));
        agrees(&BTreeMap::from([
            (0, Answer::Fail(1)),
            (1, Answer::Pass),
            (2, Answer::Pass),
            (4, Answer::Fail(38)),
        ]));
    }

    #[test]
    fn a_list_that_is_longer_than_a_condition_reaches_too() {
        let odd = (0..1000).filter(|number| number % 2 == 1);
        agrees(&odd.map(|number| (number, Answer::Pass)).collect());
    }
}
