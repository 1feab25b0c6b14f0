//! A filter that finds out about a call by its number, as short as it can be: the kernel walks through a filter once for every
//! number there is when it is installed, so a list that is searched from its beginning costs more than all other walls together.
//! It is one filter with all that is to be said, for each one more costs as much again to translate. What is looked at of a call's
//! arguments is said in `arguments.rs`.
//!
//! ```text
//! another architecture ─▶ the end of the program
//! number < middle? ─┬─ yes ─▶ number < middle of the lower half? …
//!                   └─ no ──▶ …                                    until one answer is left
//! ```

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, sock_filter};

/// Instructions of a filter (linux/bpf_common.h).
pub(super) const LOAD: u16 = 0x20;
pub(super) const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const SKIP: u16 = 0x05;
pub(super) const ANSWER: u16 = 0x06;

/// Where `struct seccomp_data` has a call's number, and its architecture.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// How linux/audit.h calls this architecture.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_00b7;

/// What becomes of a call; several in one table are told apart by this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is made.
    Pass,
    /// It fails with this error.
    Fail(libc::c_int),
    /// What this one of the pieces says, which looks at its arguments.
    Look(usize),
}

impl Answer {
    /// The answer as the kernel reads it. A piece has several.
    pub(super) fn word(self) -> u32 {
        match self {
            Self::Pass => libc::SECCOMP_RET_ALLOW,
            Self::Look(_) => libc::SECCOMP_RET_KILL_PROCESS,
            Self::Fail(errno) => {
                libc::SECCOMP_RET_ERRNO | (errno.cast_unsigned() & libc::SECCOMP_RET_DATA)
            }
        }
    }
}

/// The answer from this number on, up to the next one's.
type From = (u32, Answer);

/// A filter with these answers, and one for every other number.
pub(super) fn filter(
    answers: &BTreeMap<u32, Answer>,
    other: Answer,
    pieces: &[BpfProgram],
) -> BpfProgram {
    let mut program = vec![
        instruction(LOAD, ARCHITECTURE_AT),
        sock_filter {
            jt: 1,
            ..instruction(IF_EQUAL, ARCHITECTURE)
        },
        instruction(ANSWER, libc::SECCOMP_RET_KILL_PROCESS),
        instruction(LOAD, NUMBER_AT),
    ];
    search(&stretches(answers, other), pieces, &mut program);
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

/// Halves what is left until it is one answer, and adds that to the program.
fn search(stretches: &[From], pieces: &[BpfProgram], program: &mut BpfProgram) {
    let (lower, upper) = stretches.split_at(stretches.len() / 2);
    let Some((middle, answer)) = upper.first() else {
        return;
    };
    if lower.is_empty() {
        match answer {
            Answer::Look(piece) if let Some(piece) = pieces.get(*piece) => {
                program.extend_from_slice(piece);
            }
            answer => program.push(instruction(ANSWER, answer.word())),
        }
        return;
    }
    // What is over is known once it is there; what jumps does so forward and stays right wherever it stands.
    let at = program.len();
    program.push(instruction(IF_AT_LEAST, *middle));
    search(lower, pieces, program);
    let over = program.len() - at - 1;
    match u8::try_from(over) {
        Ok(over) => program[at].jt = over,
        // Further than a condition reaches.
        Err(_) => {
            program[at].jf = 1;
            let far = u32::try_from(over).unwrap_or(u32::MAX);
            program.insert(at + 1, instruction(SKIP, far));
        }
    }
    search(upper, pieces, program);
}

/// An instruction that jumps nowhere.
pub(super) fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const OTHER: Answer = Answer::Fail(38);

    /// What the kernel makes of a filter, for a call with this number and these arguments.
    pub(crate) fn run(program: &[sock_filter], call: (u32, [u64; 6]), architecture: u32) -> u32 {
        let (number, arguments) = call;
        let mut data = number.to_le_bytes().to_vec();
        data.extend(architecture.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        data.extend(arguments.iter().flat_map(|word| word.to_le_bytes()));
        let (mut at, mut held) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let either = |is: bool| usize::from(if is { jt } else { jf });
            at += match code {
                LOAD => {
                    let from = usize::try_from(k).unwrap();
                    held = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                    0
                }
                IF_EQUAL => either(held == k),
                IF_AT_LEAST => either(held >= k),
                0x45 => either(held & k != 0),
                0x54 => {
                    held &= k;
                    0
                }
                SKIP => usize::try_from(k).unwrap(),
                ANSWER => return k,
                other => panic!("{other}"),
            };
        }
    }

    fn agrees(answers: &BTreeMap<u32, Answer>) {
        let program = filter(answers, OTHER, &[]);
        let near = answers.keys().flat_map(|number| [*number, number + 1]);
        for number in (0..1200)
            .chain(near)
            .chain([0x4000_0000, 0x4000_0001, u32::MAX])
        {
            let wanted = answers.get(&number).copied().unwrap_or(OTHER);
            let call = (number, [0; 6]);
            assert_eq!(run(&program, call, ARCHITECTURE), wanted.word(), "{number}");
            let killed = run(&program, call, ARCHITECTURE ^ 1);
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

    #[test]
    fn a_piece_stands_where_its_call_is_and_one_that_is_missing_ends_the_program() {
        let answers = BTreeMap::from([
            (3, Answer::Look(0)),
            (4, Answer::Look(1)),
            (9, Answer::Pass),
        ]);
        let piece = vec![instruction(LOAD, 16), instruction(ANSWER, 7)];
        let program = filter(&answers, OTHER, &[piece]);
        let said = |number| run(&program, (number, [0; 6]), ARCHITECTURE);
        assert_eq!(said(3), 7);
        assert_eq!(said(4), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(said(9), libc::SECCOMP_RET_ALLOW);
        assert_eq!(said(5), OTHER.word());
    }
}
