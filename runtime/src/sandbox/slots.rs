//! Which uid of the launcher's range each living sandbox has. Never two at once the same; a freed one is used again as
//! late as possible, since its last processes may still be dying.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// How many uids the launcher's range is assumed to hold; it refuses a slot beyond its own range.
pub(super) const SLOTS_MAX: usize = 256;

#[derive(Debug, Default)]
struct Book {
    taken: BTreeSet<u16>,
    next: u16,
}

/// All slots.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots(Arc<Mutex<Book>>);

/// One slot, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    number: u16,
    slots: Slots,
}

impl Slots {
    /// The slot that was free for longest, or `None` if all are taken.
    pub(super) fn take(&self) -> Option<Slot> {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = u16::try_from(SLOTS_MAX).unwrap_or(u16::MAX);
        let start = book.next;
        let number = (0..count)
            .map(|step| (start + step) % count)
            .find(|n| !book.taken.contains(n))?;
        book.taken.insert(number);
        book.next = (number + 1) % count;
        Some(Slot {
            number,
            slots: self.clone(),
        })
    }
}

impl Slot {
    pub(super) fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .taken
            .remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_living_sandboxes_share_a_slot_and_a_freed_one_comes_last() {
        let slots = Slots::default();
        let first = slots.take().unwrap();
        let freed = first.number();
        drop(first);
        let held: Vec<_> = (1..SLOTS_MAX).map(|_| slots.take().unwrap()).collect();
        assert!(held.iter().all(|slot| slot.number() != freed));
        let last = slots.take().unwrap();
        assert_eq!(last.number(), freed);
        assert!(slots.take().is_none());
    }
}
