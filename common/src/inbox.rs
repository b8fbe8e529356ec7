//! The inbox: datagrams that have left the kernel's queue and are not settled yet.
//!
//! It has two parts. The kernel writes datagrams into the *staging* (with `recvmmsg`; the headers with
//! their lengths lie there, too). Admitted datagrams are copied to the *backlog*, where each has a ticket
//! and stays until its commands are in the command log. Refused datagrams take no room in the backlog. If
//! the gateway is killed, at any instant, each datagram is in the socket, the staging or the backlog. The
//! next gateway judges what it finds in the staging, and works through the backlog again under the same
//! tickets; the supervisor recognises the commands that it has accepted already. The gateway's drain thread
//! writes the inbox, except for `HEAD`, `REJECTED` and the settled marks, which its serving loop writes.
//! The supervisor reads the counts.

use crate::{
    layout::{self, HEADER_WORDS, Kind, LayoutError},
    limits::DATAGRAM_BYTES_MAX,
    sync::{AtomicU64, Ordering},
};

/// Datagrams that one call asks the kernel for.
pub const STAGED: u64 = 64;
/// Words of the backlog: about 45,000 short messages, half a second of the heaviest load.
pub const BACKLOG_WORDS: usize = 1 << 19;
/// Most datagrams in the backlog: those that fit if all are empty.
const TICKETS: u64 = (BACKLOG_WORDS / DATA_AT) as u64;
/// Most filtered senders, whose datagrams the kernel refuses.
pub const FILTERED_MAX: usize = 128;
/// Words of a filtered sender.
pub const SENDER_WORDS: usize = 3;

/// Words of a datagram's header by the kernel (`struct mmsghdr`).
pub const HEAD_WORDS: usize = 8;
/// Words in that header: the length of the sender's address; and the length of the datagram. The kernel
/// writes only the lower half of the latter word. The upper half holds the serial number of the slot.
const NAME_LENGTH: usize = 1;
const LENGTH: usize = 7;

// A slot of the staging: the vector for the kernel, the sender's address, the data.
/// First word of the vector that points to the data.
pub const VECTOR: usize = 0;
/// First word of the sender's address.
pub const NAME: usize = 2;
/// Words of a sender's address.
pub const NAME_WORDS: usize = 4;
/// First word of the data.
pub const DATA: usize = 8;
/// Words of a slot of the staging.
pub const SLOT_WORDS: usize = DATA + DATAGRAM_BYTES_MAX / 8;

// A record of the backlog: the serial number in the staging, the length, the ticket once it is settled, the
// sender's address, the data.
const SERIAL_AT: usize = 0;
const LENGTH_AT: usize = 1;
const SETTLED_AT: usize = 2;
const NAME_AT: usize = 3;
const DATA_AT: usize = NAME_AT + NAME_WORDS;
const RECORD_WORDS_MAX: u64 = (DATA_AT + DATAGRAM_BYTES_MAX / 8) as u64;

/// The oldest ticket that is not freed. First value 1, unless a test begins higher. Writer: the serving loop.
const HEAD: usize = HEADER_WORDS;
/// The next ticket. First value 1, unless a test begins higher.
const TAIL: usize = HEADER_WORDS + 1;
/// The next serial number that has not been judged. First value [`STAGED`], unless a test begins higher.
const JUDGED: usize = HEADER_WORDS + 2;
/// Counts: datagrams admitted; messages refused unread; datagrams that the kernel dropped because its queue was full.
const RECEIVED: usize = HEADER_WORDS + 3;
const REFUSED: usize = HEADER_WORDS + 4;
const DROPPED: usize = HEADER_WORDS + 5;
/// Count of messages refused after they were read. Writer: the serving loop.
const REJECTED: usize = HEADER_WORDS + 6;
/// The number of filtered senders, then the senders.
const FILTERED: usize = HEADER_WORDS + 7;
const SENDERS: usize = HEADER_WORDS + 8;
const HEADS: usize = SENDERS + FILTERED_MAX * SENDER_WORDS;
const SLOTS: usize = HEADS + STAGED as usize * HEAD_WORDS;
/// The place of each ticket's record in the backlog, in words; places only grow.
const INDEX: usize = SLOTS + STAGED as usize * SLOT_WORDS;
const BACKLOG: usize = INDEX + TICKETS as usize;

/// Words of an inbox.
pub const INBOX_WORDS: usize = BACKLOG + BACKLOG_WORDS;

/// Counts, each from 0 for the life of the instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxCounters {
    /// Datagrams admitted.
    pub received: u64,
    /// Messages refused, whether read or not.
    pub rejected: u64,
    /// Datagrams that the kernel dropped because its queue was full.
    pub dropped: u64,
}

/// A datagram, copied from the backlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The bytes; truncated if the datagram was longer than [`DATAGRAM_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// The original length.
    pub length: usize,
    /// The sender's address, as the kernel writes it.
    pub name: Name,
}

/// A sender's address, as the kernel writes it.
pub type Name = [u8; NAME_WORDS * 8];

/// The inbox, over mapped words or words on the heap.
#[derive(Clone, Copy, Debug)]
pub struct Inbox<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Inbox<'a> {
    /// Writes a new inbox into zeroed words.
    ///
    /// # Errors
    /// If there are too few words.
    pub fn create(words: &'a [AtomicU64]) -> Result<Self, LayoutError> {
        Self::create_from(words, 0)
    }

    /// As [`Self::create`], with the tickets up to `last` used up, and as many serial numbers and words of
    /// the backlog.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_from(words: &'a [AtomicU64], last: u64) -> Result<Self, LayoutError> {
        if words.len() < INBOX_WORDS {
            return Err(LayoutError::Short {
                found: words.len(),
                needed: INBOX_WORDS,
            });
        }
        words[HEAD].store(last + 1, Ordering::Relaxed);
        words[TAIL].store(last + 1, Ordering::Relaxed);
        let serial = last.next_multiple_of(STAGED) + STAGED;
        words[JUDGED].store(serial, Ordering::Relaxed);
        if last > 0 {
            // As if the last ticket had been admitted, empty, and freed.
            words[index_of(last)].store(last, Ordering::Relaxed);
            words[place(last, SERIAL_AT)].store(serial - 1, Ordering::Relaxed);
        }
        layout::seal_header(words, Kind::Inbox);
        Ok(Self { words })
    }

    /// Opens an inbox that another process has created.
    ///
    /// # Errors
    /// If the inbox is unfinished or does not fit.
    pub fn open(words: &'a [AtomicU64]) -> Result<Self, LayoutError> {
        layout::check_header(words, Kind::Inbox, INBOX_WORDS)?;
        Ok(Self { words })
    }

    /// All words of the inbox.
    #[must_use]
    pub const fn all_words(&self) -> &'a [AtomicU64] {
        self.words
    }

    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }

    fn add(&self, word: usize, count: u64) {
        self.words[word].store(self.get(word).wrapping_add(count), Ordering::Relaxed);
    }

    /// The oldest ticket that is not freed.
    #[must_use]
    pub fn head(&self) -> u64 {
        // SYNC: datagram freed (reader)
        self.words[HEAD].load(Ordering::Acquire)
    }

    /// The next ticket: all below it are in the backlog, or were.
    #[must_use]
    pub fn tail(&self) -> u64 {
        // SYNC: datagram admitted (reader)
        self.words[TAIL].load(Ordering::Acquire)
    }

    // ---- staging ----

    /// The serial number of the first of the next [`STAGED`] datagrams.
    #[must_use]
    pub fn next_serial(&self) -> u64 {
        let judged = self.get(JUDGED);
        judged.checked_next_multiple_of(STAGED).unwrap_or(judged)
    }

    /// The kernel's header for the datagram. The headers of [`STAGED`] datagrams are adjacent.
    #[must_use]
    pub fn head_words(&self, serial: u64) -> &'a [AtomicU64] {
        let start = HEADS + (serial % STAGED) as usize * HEAD_WORDS;
        &self.words[start..start + HEAD_WORDS]
    }

    /// The slot of the datagram: vector, address and data.
    #[must_use]
    pub fn slot_words(&self, serial: u64) -> &'a [AtomicU64] {
        let start = SLOTS + (serial % STAGED) as usize * SLOT_WORDS;
        &self.words[start..start + SLOT_WORDS]
    }

    /// The length of the datagram; `None` if another serial number has the slot.
    #[must_use]
    pub fn staged_length(&self, serial: u64) -> Option<usize> {
        let word = self.head_words(serial)[LENGTH].load(Ordering::Acquire);
        (word & !u64::from(u32::MAX) == empty(serial)).then_some(word as u32 as usize)
    }

    /// The sender's address of the datagram.
    #[must_use]
    pub fn staged_name(&self, serial: u64) -> Name {
        let length = self.head_words(serial)[NAME_LENGTH].load(Ordering::Relaxed) as u32 as usize;
        let mut name = name_of(|word| self.slot_words(serial)[NAME + word].load(Ordering::Relaxed));
        name[length.min(NAME_WORDS * 8)..].fill(0);
        name
    }

    /// The first bytes of the datagram, at most this many.
    #[must_use]
    pub fn staged_bytes(&self, serial: u64, most: usize) -> Vec<u8> {
        let length = self.staged_length(serial).unwrap_or(0);
        let slot = self.slot_words(serial);
        bytes_of(length.min(most).min(DATAGRAM_BYTES_MAX), |word| {
            slot[DATA + word].load(Ordering::Relaxed)
        })
    }

    /// Takes over from a gateway that was killed. Returns the serial numbers of the datagrams that the
    /// kernel has written and no gateway has judged, in order. An empty datagram is found only if a later
    /// one is not empty.
    #[must_use]
    pub fn adopt(&self) -> Vec<u64> {
        if let Some(last) = self.tail().checked_sub(1).filter(|last| *last > 0) {
            // The gateway was killed after it admitted the datagram, before it noted that in the staging.
            let serial = self.record(last, SERIAL_AT);
            self.pass_over_below(serial.wrapping_add(1));
        }
        let first = self.get(JUDGED);
        let end = self.next_serial().saturating_add(STAGED);
        let filled = |serial: &u64| self.staged_length(*serial).is_some_and(|length| length > 0);
        let last = (first..end).rev().find(filled);
        let to = last.map_or(first, |last| last + 1);
        (first..to)
            .filter(|serial| self.staged_length(*serial).is_some())
            .collect()
    }

    /// Marks this datagram and all before it as judged: their slots are free.
    pub fn pass_over(&self, serial: u64) {
        self.pass_over_below(serial.wrapping_add(1));
    }

    fn pass_over_below(&self, serial: u64) {
        if serial > self.get(JUDGED) {
            self.words[JUDGED].store(serial, Ordering::Relaxed);
        }
    }

    // ---- backlog ----

    /// Words that a datagram of this length takes in the backlog.
    #[must_use]
    pub fn words_for(length: usize) -> usize {
        DATA_AT + length.min(DATAGRAM_BYTES_MAX).div_ceil(8)
    }

    /// Free words of the backlog.
    #[must_use]
    pub fn free_words(&self) -> usize {
        let (head, tail) = (self.head(), self.tail());
        let used = match head < tail {
            true => self.end().saturating_sub(self.begin(head)),
            false => 0,
        };
        BACKLOG_WORDS.saturating_sub(used as usize)
    }

    /// Copies a datagram from the staging to the backlog, which must have room for it ([`Self::free_words`]).
    pub fn admit(&self, serial: u64) {
        let (ticket, at) = (self.tail(), self.end());
        let length = self.staged_length(serial).unwrap_or(0);
        let slot = self.slot_words(serial);
        let set = |word: usize, value: u64| {
            self.words[place(at, word)].store(value, Ordering::Relaxed);
        };
        set(SERIAL_AT, serial);
        set(LENGTH_AT, length as u64);
        set(SETTLED_AT, 0);
        for (word, bytes) in self.staged_name(serial).as_chunks().0.iter().enumerate() {
            set(NAME_AT + word, u64::from_le_bytes(*bytes));
        }
        for word in 0..Self::words_for(length) - DATA_AT {
            set(DATA_AT + word, slot[DATA + word].load(Ordering::Relaxed));
        }
        self.words[index_of(ticket)].store(at, Ordering::Relaxed);
        self.add(RECEIVED, 1);
        // SYNC: datagram admitted (writer)
        self.words[TAIL].store(ticket + 1, Ordering::Release);
        self.pass_over(serial);
    }

    /// The place of this ticket's record.
    fn begin(&self, ticket: u64) -> u64 {
        self.get(index_of(ticket))
    }

    /// The place of the next record.
    fn end(&self) -> u64 {
        match self.tail().saturating_sub(1) {
            0 => 0,
            last => self.begin(last).wrapping_add(self.words_of(last) as u64),
        }
    }

    fn record(&self, ticket: u64, word: usize) -> u64 {
        self.get(place(self.begin(ticket), word))
    }

    /// Words that this ticket's record takes.
    #[must_use]
    pub fn words_of(&self, ticket: u64) -> usize {
        Self::words_for(self.record(ticket, LENGTH_AT) as usize)
    }

    /// The sender's address of this ticket's datagram.
    #[must_use]
    pub fn name_of(&self, ticket: u64) -> Name {
        name_of(|word| self.record(ticket, NAME_AT + word))
    }

    /// Frees all tickets below this one.
    pub fn free_below(&self, ticket: u64) {
        let to = ticket.min(self.tail());
        if to > self.head() {
            // SYNC: datagram freed (writer)
            self.words[HEAD].store(to, Ordering::Release);
        }
    }

    /// Settles a datagram at once: it was refused or answered, and needs no command in the log.
    pub fn settle(&self, ticket: u64) {
        self.words[place(self.begin(ticket), SETTLED_AT)].store(ticket, Ordering::Relaxed);
    }

    /// Whether [`Self::settle`] was called for this ticket.
    #[must_use]
    pub fn settled(&self, ticket: u64) -> bool {
        self.record(ticket, SETTLED_AT) == ticket
    }

    /// The datagram of this ticket, which must be below [`Self::tail`] and not freed.
    #[must_use]
    pub fn datagram(&self, ticket: u64) -> Datagram {
        let length = self.record(ticket, LENGTH_AT) as usize;
        Datagram {
            bytes: bytes_of(length.min(DATAGRAM_BYTES_MAX), |word| {
                self.record(ticket, DATA_AT + word)
            }),
            length,
            name: self.name_of(ticket),
        }
    }

    /// The datagram of a ticket that may be freed, unless another record has overwritten it.
    #[must_use]
    pub fn recall(&self, ticket: u64) -> Option<Datagram> {
        let there = || {
            // The next record may be half written.
            let taken = self.end().saturating_add(RECORD_WORDS_MAX);
            let tail = self.tail();
            ticket > 0
                && ticket < tail
                && ticket.saturating_add(TICKETS) > tail
                && self.begin(ticket).saturating_add(BACKLOG_WORDS as u64) >= taken
        };
        if !there() {
            return None;
        }
        let datagram = self.datagram(ticket);
        there().then_some(datagram)
    }

    // ---- counts, and filtered senders ----

    /// Counts messages refused after they were read.
    pub fn add_rejected(&self, count: u64) {
        self.add(REJECTED, count);
    }

    /// Counts messages refused unread, by the gateway or by its filter in the kernel.
    pub fn add_refused(&self, count: u64) {
        self.add(REFUSED, count);
    }

    /// Counts datagrams that the kernel dropped because its queue was full.
    pub fn add_dropped(&self, count: u64) {
        self.add(DROPPED, count);
    }

    /// The counts.
    #[must_use]
    pub fn counters(&self) -> InboxCounters {
        InboxCounters {
            received: self.get(RECEIVED),
            rejected: self.get(REJECTED).wrapping_add(self.get(REFUSED)),
            dropped: self.get(DROPPED),
        }
    }

    /// Stores the filtered senders for the next gateway, at most [`FILTERED_MAX`].
    pub fn set_filtered(&self, senders: &[[u64; SENDER_WORDS]]) {
        let count = senders.len().min(FILTERED_MAX);
        self.words[FILTERED].store(0, Ordering::Relaxed);
        let values = senders[..count].iter().flatten();
        for (word, value) in self.words[SENDERS..HEADS].iter().zip(values) {
            word.store(*value, Ordering::Relaxed);
        }
        self.words[FILTERED].store(count as u64, Ordering::Relaxed);
    }

    /// The filtered senders.
    #[must_use]
    pub fn filtered(&self) -> Vec<[u64; SENDER_WORDS]> {
        let count = (self.get(FILTERED) as usize).min(FILTERED_MAX);
        let sender = |n: usize| std::array::from_fn(|w| self.get(SENDERS + n * SENDER_WORDS + w));
        (0..count).map(sender).collect()
    }
}

/// The length word of an empty slot, before the kernel writes the length.
#[must_use]
pub const fn empty(serial: u64) -> u64 {
    serial << 32
}

const fn index_of(ticket: u64) -> usize {
    INDEX + (ticket % TICKETS) as usize
}

const fn place(begin: u64, word: usize) -> usize {
    BACKLOG + (begin.wrapping_add(word as u64) % BACKLOG_WORDS as u64) as usize
}

fn name_of(word: impl Fn(usize) -> u64) -> Name {
    let mut name = [0; NAME_WORDS * 8];
    for (at, bytes) in name.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *bytes = word(at).to_le_bytes();
    }
    name
}

fn bytes_of(length: usize, word: impl Fn(usize) -> u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length.div_ceil(8))
        .flat_map(|at| word(at).to_le_bytes())
        .collect();
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests;
