//! The inbox: datagrams that have left the kernel's queue and are not done with yet.
//!
//! The kernel writes them straight into these words (`recvmmsg`, with the headers that say how long
//! each is lying here too), so that a gateway that is killed at any instant leaves each datagram
//! either in the socket or here. Each has a ticket, the ever growing number of its place; it stays
//! until what it asks for is safe in the command log. A gateway that is started anew finds what was
//! received but not noted yet by its length, and works through all that is there again, under the
//! same tickets: the supervisor knows which it has taken already. One writer: the gateway (and the
//! kernel for it). Reader: the supervisor, for the counts.

use crate::{
    layout::{self, HEADER_WORDS, Kind, LayoutError},
    limits::DATAGRAM_BYTES_MAX,
    sync::{AtomicU64, Ordering},
};

/// Datagrams that it holds; behind it, the kernel's queue holds the rest.
pub const INBOX_SLOTS: u64 = 512;
/// Words of the kernel's header of a datagram (`struct mmsghdr`).
pub const HEAD_WORDS: usize = 8;
/// In the header: the length of the sender's address, of what the kernel adds, and the datagram's in
/// the lower half of its word; the upper half, which the kernel leaves alone, says whose it is.
const NAME_LENGTH: usize = 1;
const CONTROL_LENGTH: usize = 5;
const LENGTH: usize = 7;

// In a slot's words: where the data goes, the sender's address, what the kernel adds, the data.
/// Words of the vector that names the data.
pub const VECTOR: usize = 0;
/// First word of the sender's address.
pub const NAME: usize = 2;
/// Words of an address.
pub const NAME_WORDS: usize = 4;
/// First word of what the kernel adds.
pub const CONTROL: usize = NAME + NAME_WORDS;
/// Words of what the kernel adds.
pub const CONTROL_WORDS: usize = 4;
/// The ticket, once nothing more is to be done for the datagram though it is not freed yet.
const SETTLED: usize = CONTROL + CONTROL_WORDS;
/// First word of the data.
pub const DATA: usize = 16;
/// Words of a slot.
pub const SLOT_WORDS: usize = DATA + DATAGRAM_BYTES_MAX / 8;

/// Written by the gateway: the oldest ticket that is not done with; first value 1.
const HEAD: usize = HEADER_WORDS;
/// Written by the gateway: the next ticket; first value 1.
const TAIL: usize = HEADER_WORDS + 1;
/// Written by the gateway: datagrams taken in, messages refused, datagrams that the kernel dropped.
const RECEIVED: usize = HEADER_WORDS + 2;
const REJECTED: usize = HEADER_WORDS + 3;
const DROPPED: usize = HEADER_WORDS + 4;
const HEADS: usize = HEADER_WORDS + 8;
const SLOTS: usize = HEADS + INBOX_SLOTS as usize * HEAD_WORDS;

/// Words of an inbox.
pub const INBOX_WORDS: usize = SLOTS + INBOX_SLOTS as usize * SLOT_WORDS;

/// Counts, each from 0 for the life of the instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxCounters {
    /// Datagrams taken in.
    pub received: u64,
    /// Messages refused.
    pub rejected: u64,
    /// Datagrams that the kernel had to drop, since its queue was full.
    pub dropped: u64,
}

/// A datagram, copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Its bytes; not all of them where it was longer than [`DATAGRAM_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// The length that it had.
    pub length: usize,
    /// The sender's address, as the kernel writes it.
    pub name: [u8; NAME_WORDS * 8],
    /// What the kernel added (`struct cmsghdr`s).
    pub control: Vec<u8>,
}

/// The inbox, over mapped or heap words.
#[derive(Clone, Copy, Debug)]
pub struct Inbox<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Inbox<'a> {
    /// Writes a new inbox into zeroed words.
    ///
    /// # Errors
    /// When there are too few words.
    pub fn create(words: &'a [AtomicU64]) -> Result<Self, LayoutError> {
        if words.len() < INBOX_WORDS {
            return Err(LayoutError::Short {
                found: words.len(),
                needed: INBOX_WORDS,
            });
        }
        words[HEAD].store(1, Ordering::Relaxed);
        words[TAIL].store(1, Ordering::Relaxed);
        layout::seal_header(words, Kind::Inbox);
        Ok(Self { words })
    }

    /// An inbox that another process has made.
    ///
    /// # Errors
    /// When it is unfinished or does not fit.
    pub fn open(words: &'a [AtomicU64]) -> Result<Self, LayoutError> {
        layout::check_header(words, Kind::Inbox, INBOX_WORDS)?;
        Ok(Self { words })
    }

    /// All its words.
    #[must_use]
    pub const fn all_words(&self) -> &'a [AtomicU64] {
        self.words
    }

    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }

    /// The oldest ticket that is not done with.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.get(HEAD)
    }

    /// The next ticket: all below it are here, or done with.
    #[must_use]
    pub fn tail(&self) -> u64 {
        self.get(TAIL)
    }

    /// The kernel's header for the datagram of that ticket.
    #[must_use]
    pub fn head_words(&self, ticket: u64) -> &'a [AtomicU64] {
        let start = HEADS + (ticket % INBOX_SLOTS) as usize * HEAD_WORDS;
        &self.words[start..start + HEAD_WORDS]
    }

    /// The rest of what belongs to that ticket.
    #[must_use]
    pub fn slot_words(&self, ticket: u64) -> &'a [AtomicU64] {
        let start = SLOTS + (ticket % INBOX_SLOTS) as usize * SLOT_WORDS;
        &self.words[start..start + SLOT_WORDS]
    }

    /// Tickets from [`Self::tail`] on that can be offered to the kernel at once: free, and their
    /// headers one after the other.
    #[must_use]
    pub fn room(&self) -> u64 {
        let free = self
            .head()
            .saturating_add(INBOX_SLOTS)
            .saturating_sub(self.tail());
        free.min(INBOX_SLOTS - self.tail() % INBOX_SLOTS)
    }

    /// Notes that the kernel has filled that many more slots.
    pub fn received(&self, count: u64) {
        self.words[RECEIVED].store(self.get(RECEIVED) + count, Ordering::Relaxed);
        self.words[TAIL].store(self.tail() + count, Ordering::Release);
    }

    /// Takes over from a gateway that was killed: what the kernel has filled and nobody has noted is
    /// found by its length. Returns how many.
    pub fn adopt(&self) -> u64 {
        let tail = self.tail();
        let filled = |ticket: &u64| self.length(*ticket).is_some_and(|length| length > 0);
        let last = (tail..self.head() + INBOX_SLOTS).rev().find(filled);
        let found = last.map_or(0, |last| last + 1 - tail);
        self.received(found);
        found
    }

    /// The length of the datagram of that ticket; `None` where its place is another's.
    fn length(&self, ticket: u64) -> Option<usize> {
        let word = self.head_words(ticket)[LENGTH].load(Ordering::Acquire);
        (word & !u64::from(u32::MAX) == empty(ticket)).then_some(word as u32 as usize)
    }

    /// Frees all tickets below that one.
    pub fn free_below(&self, ticket: u64) {
        let to = ticket.min(self.tail());
        if to > self.head() {
            self.words[HEAD].store(to, Ordering::Release);
        }
    }

    /// Notes that nothing more is to be done for that datagram: it was refused, or
    /// answered at once.
    pub fn settle(&self, ticket: u64) {
        self.slot_words(ticket)[SETTLED].store(ticket, Ordering::Relaxed);
    }

    /// Whether that has been noted.
    #[must_use]
    pub fn settled(&self, ticket: u64) -> bool {
        self.slot_words(ticket)[SETTLED].load(Ordering::Relaxed) == ticket
    }

    /// The datagram of that ticket, which must be below [`Self::tail`]; freed or not.
    #[must_use]
    pub fn datagram(&self, ticket: u64) -> Datagram {
        let (head, slot) = (self.head_words(ticket), self.slot_words(ticket));
        let length = self.length(ticket).unwrap_or(0);
        let mut name = [0; NAME_WORDS * 8];
        name.copy_from_slice(&bytes_of(&slot[NAME..], NAME_WORDS * 8));
        let name_length = head[NAME_LENGTH].load(Ordering::Relaxed) as u32 as usize;
        name[name_length.min(NAME_WORDS * 8)..].fill(0);
        let control = head[CONTROL_LENGTH].load(Ordering::Relaxed) as usize;
        Datagram {
            bytes: bytes_of(&slot[DATA..], length.min(DATAGRAM_BYTES_MAX)),
            length,
            name,
            control: bytes_of(&slot[CONTROL..], control.min(CONTROL_WORDS * 8)),
        }
    }

    /// The datagram of a ticket that may be done with, while its place has not been taken by another.
    #[must_use]
    pub fn recall(&self, ticket: u64) -> Option<Datagram> {
        let there =
            ticket > 0 && ticket < self.tail() && ticket.saturating_add(INBOX_SLOTS) >= self.tail();
        (there && self.length(ticket).is_some()).then(|| self.datagram(ticket))
    }

    /// Counts messages refused.
    pub fn add_rejected(&self, count: u64) {
        self.words[REJECTED].store(self.get(REJECTED) + count, Ordering::Relaxed);
    }

    /// Notes what the kernel says that it dropped in all: 32 bits that may wrap.
    pub fn note_dropped(&self, count: u32) {
        let before = self.get(DROPPED);
        let grown = count.wrapping_sub(before as u32);
        self.words[DROPPED].store(before + u64::from(grown), Ordering::Relaxed);
    }

    /// The counts.
    #[must_use]
    pub fn counters(&self) -> InboxCounters {
        InboxCounters {
            received: self.get(RECEIVED),
            rejected: self.get(REJECTED),
            dropped: self.get(DROPPED),
        }
    }
}

/// The word of a length before the kernel has written it.
#[must_use]
pub const fn empty(ticket: u64) -> u64 {
    ticket << 32
}

fn bytes_of(words: &[AtomicU64], length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = words
        .iter()
        .take(length.div_ceil(8))
        .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
        .collect();
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::heap;

    /// As the kernel does.
    fn fill(inbox: &Inbox<'_>, ticket: u64, byte: u8) {
        let word = u64::from_le_bytes([byte; 8]);
        inbox.slot_words(ticket)[DATA].store(word, Ordering::Relaxed);
        inbox.head_words(ticket)[LENGTH].store(empty(ticket) | 3, Ordering::Relaxed);
    }

    #[test]
    fn what_was_received_but_not_noted_is_found_again() {
        let words = heap(INBOX_WORDS);
        let inbox = Inbox::create(&words).unwrap();
        fill(&inbox, 1, b'a');
        inbox.received(1);
        // Killed inside a receive of four, the second one empty.
        fill(&inbox, 2, b'b');
        fill(&inbox, 4, b'd');
        let inbox = Inbox::open(&words).unwrap();
        assert_eq!(inbox.adopt(), 3);
        assert_eq!((inbox.head(), inbox.tail()), (1, 5));
        assert_eq!(inbox.datagram(2).bytes, b"bbb");
        assert_eq!(inbox.datagram(3).bytes, b"");
        assert_eq!(inbox.adopt(), 0);
        inbox.free_below(3);
        assert_eq!((inbox.head(), inbox.adopt()), (3, 0));
    }

    #[test]
    fn it_is_full_when_nothing_is_freed_and_goes_round() {
        let words = heap(INBOX_WORDS);
        let inbox = Inbox::create(&words).unwrap();
        let mut received = 0;
        while inbox.room() > 0 {
            received += inbox.room();
            (inbox.tail()..inbox.tail() + inbox.room()).for_each(|t| fill(&inbox, t, 1));
            inbox.received(inbox.room());
        }
        assert_eq!(received, INBOX_SLOTS);
        assert_eq!(inbox.adopt(), 0);
        inbox.free_below(11);
        assert!(inbox.room() > 0);
        assert_eq!(inbox.adopt(), 0, "what was freed is not found again");
        assert!(inbox.recall(1).is_some(), "its place is nobody else's yet");
        let next = inbox.tail();
        fill(&inbox, next, 1);
        assert_eq!(inbox.adopt(), 1);
        assert_eq!(inbox.recall(next - INBOX_SLOTS), None);
        assert!(!inbox.settled(next));
        inbox.settle(next);
        assert!(inbox.settled(next) && !inbox.settled(next + INBOX_SLOTS));
    }

    #[test]
    fn the_kernels_count_of_drops_may_wrap() {
        let words = heap(INBOX_WORDS);
        let inbox = Inbox::create(&words).unwrap();
        inbox.note_dropped(u32::MAX);
        inbox.note_dropped(4);
        assert_eq!(inbox.counters().dropped, u64::from(u32::MAX) + 5);
    }
}
