//! Finds the forms of a credential's values in bytes. How long that takes does not tell anybody how near a text comes to a
//! value: nothing but eight bytes of one, all at once, makes it look twice. Never keeps a byte of what it looks through.
//!
//! ```text
//! every form is at least STRIDE + 7 bytes long ─▶ it covers eight bytes that begin at a multiple of STRIDE
//! those eight bytes ─▶ hash under a random key ─▶ filter ── not there (nearly always) ─▶ next
//!                                                       └── there ─▶ the forms with these eight bytes are compared
//! ```

use std::{fmt, ops::Range, sync::Arc};

use zeroize::Zeroizing;

use super::forms::{self, Fill, Form};

/// What is looked at in one step, in bytes.
const BLOCK_BYTES: usize = 8;

/// The widest step, in bytes: every form is entered as often as a step is wide.
const STRIDE_MAX: usize = 16;

/// Words of the filter: 64 Ki bits, which fit into the nearest cache.
const FILTER_WORDS: usize = 1024;

/// What to look for; made once for the values of a credential.
pub struct Scanner {
    forms: Vec<Form>,
    /// Whose each form is: the number of its value.
    owners: Vec<usize>,
    /// Blocks that begin a step into a form, in order, each with its form and place.
    blocks: Zeroizing<Vec<(u64, u32, u32)>>,
    /// Says nothing of a form to whoever does not know the key.
    filter: Box<[u64; FILTER_WORDS]>,
    key: u64,
    stride: usize,
    longest: usize,
}

/// A form in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) place: Range<usize>,
    /// Which value it is a form of, in the order in which they were given.
    pub(crate) value: usize,
    pub(super) fill: Fill,
}

impl Scanner {
    /// A scanner for these values; `None` where none of them can be looked for. The key must be random.
    #[must_use]
    pub fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>, key: u64) -> Option<Self> {
        let (mut forms, mut owners) = (Vec::new(), Vec::new());
        for (number, value) in values.into_iter().enumerate() {
            forms.extend(forms::of(value));
            owners.resize(forms.len(), number);
        }
        let lengths = || forms.iter().map(|form| form.text.len());
        let (shortest, longest) = (lengths().min()?, lengths().max()?);
        let stride = (shortest + 1)
            .checked_sub(BLOCK_BYTES)?
            .clamp(1, STRIDE_MAX);
        let mut scanner = Self {
            blocks: Zeroizing::new(Vec::with_capacity(forms.len() * stride)),
            forms,
            owners,
            filter: Box::new([0; FILTER_WORDS]),
            // An even number would forget the upper bits.
            key: key | 1,
            stride,
            longest,
        };
        scanner.enter();
        Some(scanner)
    }

    fn enter(&mut self) {
        for (number, form) in (0..).zip(&self.forms) {
            for (offset, block) in (0..).zip(form.text.windows(BLOCK_BYTES).take(self.stride)) {
                let block = number_of(block);
                let (word, bit) = self.slot(block);
                self.filter[word] |= bit;
                self.blocks.push((block, number, offset));
            }
        }
        self.blocks.sort_unstable();
    }

    /// Tells of every form in a text, each once, in no order.
    fn find(&self, text: &[u8], found: &mut impl FnMut(Found)) {
        let mut at = 0;
        while let Some(block) = text.get(at..at + BLOCK_BYTES) {
            let block = number_of(block);
            let (word, bit) = self.slot(block);
            if self.filter[word] & bit != 0 {
                self.compare(text, (at, block), found);
            }
            at += self.stride;
        }
    }

    #[cold]
    fn compare(&self, text: &[u8], (at, block): (usize, u64), found: &mut impl FnMut(Found)) {
        let first = self.blocks.partition_point(|(known, _, _)| *known < block);
        let alike = self.blocks[first..]
            .iter()
            .take_while(|(known, _, _)| *known == block);
        for (_, form, offset) in alike {
            let (number, offset) = (*form as usize, *offset as usize);
            let form = &self.forms[number];
            let Some(start) = at.checked_sub(offset) else {
                continue;
            };
            if text[start..].starts_with(&form.text) {
                let place = start..start + form.text.len();
                found(Found {
                    place,
                    value: self.owners[number],
                    fill: form.fill,
                });
            }
        }
    }

    #[inline]
    fn slot(&self, block: u64) -> (usize, u64) {
        let hash = block.wrapping_mul(self.key);
        // Ten bits for the word, six for the bit in it.
        ((hash >> 54) as usize, 1 << (hash >> 48 & 63))
    }
}

/// What one call is looked through for: usually one scanner, one more for each token that was minted for it.
#[derive(Debug, Clone, Default)]
pub struct Scanners(Vec<Arc<Scanner>>);

impl Scanners {
    /// The length of the longest form, in bytes; there is at least one.
    pub(crate) fn longest(&self) -> usize {
        let all = self.0.iter().map(|scanner| scanner.longest);
        all.max().unwrap_or(1)
    }

    /// Whether nothing is looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells of every form in a text.
    pub(crate) fn find(&self, text: &[u8], mut found: impl FnMut(Found)) {
        for scanner in &self.0 {
            scanner.find(text, &mut found);
        }
    }

    /// Whether a text has nothing to mask.
    pub(super) fn is_clean(&self, text: &[u8]) -> bool {
        let mut clean = true;
        self.find(text, |_| clean = false);
        clean
    }

    /// Masks a text that is there whole, and says how many places that took.
    pub fn mask(&self, text: &mut [u8]) -> u32 {
        let mut all = Vec::new();
        self.find(text, |found| all.push(found));
        let hits = separate(&mut all);
        cover(text, 0, &all);
        hits
    }
}

impl FromIterator<Arc<Scanner>> for Scanners {
    fn from_iter<I: IntoIterator<Item = Arc<Scanner>>>(scanners: I) -> Self {
        Self(scanners.into_iter().collect())
    }
}

/// How many places these are, where overlapping ones count once; puts them in order.
pub(super) fn separate(all: &mut [Found]) -> u32 {
    all.sort_unstable_by_key(|found| (found.place.start, found.place.end));
    let (mut hits, mut covered) = (0, 0);
    for found in all {
        if found.place.start >= covered {
            hits += 1;
        }
        covered = covered.max(found.place.end);
    }
    hits
}

/// Writes what stands for each of them over a part of the text that begins at `from`, whatever their order.
pub(super) fn cover(part: &mut [u8], from: usize, all: &[Found]) {
    for fill in [Fill::Letter, Fill::Digit, Fill::Star] {
        for found in all.iter().filter(|found| found.fill == fill) {
            let inside = |at: usize| at.saturating_sub(from).min(part.len());
            let (start, end) = (inside(found.place.start), inside(found.place.end));
            part[start..end].fill(fill.byte());
        }
    }
}

fn number_of(block: &[u8]) -> u64 {
    block
        .first_chunk()
        .map_or(0, |block| u64::from_le_bytes(*block))
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scanner(..)")
    }
}

#[cfg(test)]
mod tests;
