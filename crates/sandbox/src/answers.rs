//! What init was asked and has not answered: how long it may take. Never waits itself; a timer runs while anything is due.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
};
use postern_contract::launch::{Obstacle, Said};

/// How often it is looked whether init answers.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// What is unanswered at so many looks in a row is answered no more: after 15 to 30 seconds.
const LOOKS_MAX: u8 = 2;

/// The verbs that init has not answered.
#[derive(Debug)]
pub(crate) struct Answers {
    timer: TimerFd,
    /// How often each was looked at.
    due: BTreeMap<u64, u8>,
}

impl AsFd for Answers {
    /// Readable when it is time for another look.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl Answers {
    pub(crate) fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self {
            timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?,
            due: BTreeMap::new(),
        })
    }

    /// Init has been asked.
    pub(crate) fn expect(&mut self, re: u64) -> Result<(), Obstacle> {
        if self.due.is_empty() {
            let every = Expiration::Interval(TimeSpec::from_duration(LOOK_EVERY));
            self.timer
                .set(every, TimerSetTimeFlags::empty())
                .map_err(|errno| Obstacle::plain(format!("no time can be kept for it: {errno}")))?;
        }
        self.due.insert(re, 0);
        Ok(())
    }

    /// Init has said something, or nothing.
    pub(crate) fn heard(&mut self, text: &[u8]) -> Result<(), serde_json::Error> {
        if text.is_empty() {
            return Ok(());
        }
        if let Said::Done { re, .. } | Said::Failed { re, .. } = serde_json::from_slice(text)? {
            self.due.remove(&re);
        }
        if self.due.is_empty() {
            // One look too many, at worst, of which nothing comes.
            let _stopped = self.timer.unset();
        }
        Ok(())
    }

    /// The time for a look has come. The error is the number of a verb that is answered no more.
    pub(crate) fn passed(&mut self) -> Result<(), u64> {
        // Only so that it is not readable any more; where the timer was stopped meanwhile there is nothing to read.
        let mut times = [0; 8];
        let _read = nix::unistd::read(&self.timer, &mut times);
        for (re, looks) in &mut self.due {
            *looks += 1;
            if *looks >= LOOKS_MAX {
                return Err(*re);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use postern_contract::launch::Outcome;

    use super::*;

    fn done(re: u64) -> Vec<u8> {
        let outcome = Outcome::Plain;
        serde_json::to_vec(&Said::Done { re, outcome }).unwrap()
    }

    #[test]
    fn what_is_not_answered_at_two_looks_is_told() {
        let mut answers = Answers::new().unwrap();
        answers.expect(1).unwrap();
        answers.expect(2).unwrap();
        assert_eq!(answers.passed(), Ok(()));
        // That others are answered does not count for it.
        answers.heard(&done(1)).unwrap();
        answers.expect(3).unwrap();
        assert_eq!(answers.passed(), Err(2));
    }

    #[test]
    fn a_timer_runs_only_while_something_is_due() {
        let mut answers = Answers::new().unwrap();
        assert_eq!(answers.timer.get().unwrap(), None);
        answers.expect(1).unwrap();
        assert!(answers.timer.get().unwrap().is_some());
        answers.heard(b"").unwrap();
        assert!(answers.timer.get().unwrap().is_some());
        answers.heard(&done(1)).unwrap();
        assert_eq!(answers.timer.get().unwrap(), None);
        for _ in 0..4 {
            assert_eq!(answers.passed(), Ok(()));
        }
        assert!(answers.heard(b"nonsense").is_err());
    }
}
