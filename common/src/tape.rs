//! The tape: what audio-out has played, block by block, for the recorder.
//!
//! The tape is a ring of blocks with a numbering of its own, the place: concealed blocks have a place, too.
//! Cells are sealed like those of [`crate::ring`], so a reader gets the whole block or learns that it came
//! too late. Beside the cells lie the order, written by the supervisor, and the progress of the recording,
//! written by the recorder. Either process may die at any time; its successor reads here where to continue.
//! audio-out waits for the recorder only in freewheel.

use crate::{
    layout::{self, HEADER_WORDS, Kind, LayoutError},
    limits::{TAPE_BYTES_MAX, TAPE_SECONDS},
    stage::AudioFormat,
    sync::{AtomicU64, Ordering, fence},
    units::{BlockIndex, First},
};

// In the header: samples in a block, and the number of cells.
const SAMPLES: usize = 4;
const CELLS: usize = 5;
// The run's first block, which is also the first place; and the number that stands for "no recording yet".
const FIRST_BLOCK: usize = 6;
const FIRST_TAKE: usize = 7;
/// Written by audio-out: the place of the next block, that is the first place plus the number of blocks played.
const POSITION: usize = HEADER_WORDS;
/// Written by the supervisor: the take, the number of the last recording that was asked for; see `FIRST_TAKE`.
const TAKE: usize = 16;
/// Written by the supervisor before [`TAKE`]: the order, in one of two places by whether the take is even
/// or odd. It holds the places where the recording begins and ends ([`OPEN`] while unknown), and the
/// submission ids of both requests.
const ORDERS: usize = 17;
const ORDER_FROM: usize = 0;
const ORDER_TO: usize = 1;
const ORDER_BEGIN_SUBMISSION: usize = 2;
const ORDER_END_SUBMISSION: usize = 3;
const ORDER_WORDS: usize = 4;
const OPEN: u64 = u64::MAX;
/// Written by the supervisor before [`TAKE`], after the previous recording has ended: the file's name.
const NAME: usize = ORDERS + 2 * ORDER_WORDS;
const NAME_WORDS: usize = 1 + NAME_BYTES_MAX / 8;
/// Written by the recorder: the take that has a file, and the take that has ended.
const BEGUN: usize = 48;
const ENDED: usize = 49;
/// Written by the recorder: the number of updates of the progress, whose parity selects the valid one of two copies.
const HALF: usize = 50;
const PROGRESS: usize = 51;
const PROGRESS_WORDS: usize = 4;
/// Written by the recorder: what is wrong.
const TROUBLE: usize = 64;
const TROUBLE_WORDS: usize = 1 + TROUBLE_BYTES_MAX / 8;
const FIRST_CELL: usize = 96;

// The first words of a cell; the samples follow, two per word.
const SEAL: usize = 0;
const NEXT: usize = 1;
const CELL_HEAD: usize = 2;

/// Most bytes of a recording's name.
pub const NAME_BYTES_MAX: usize = 128;
/// Most bytes of a message about what is wrong.
pub const TROUBLE_BYTES_MAX: usize = 240;

const _: () = assert!(NAME + NAME_WORDS <= BEGUN);
const _: () = assert!(PROGRESS + 2 * PROGRESS_WORDS <= TROUBLE);
const _: () = assert!(TROUBLE + TROUBLE_WORDS <= FIRST_CELL);

/// Cells of a tape for this audio format.
#[must_use]
pub const fn tape_cells(format: &AudioFormat) -> usize {
    let wanted = (format.rate_hz * TAPE_SECONDS / format.block_frames) as usize;
    let most = TAPE_BYTES_MAX / (8 * cell_words(format.block_samples()));
    if wanted < most { wanted } else { most }
}

/// Words of a tape with this many cells.
#[must_use]
pub const fn tape_words(block_samples: usize, cells: usize) -> usize {
    FIRST_CELL + cells * cell_words(block_samples)
}

const fn cell_words(block_samples: usize) -> usize {
    (CELL_HEAD + block_samples.div_ceil(2)).next_multiple_of(8)
}

/// What to record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The take, from 1.
    pub take: u64,
    /// The file's name.
    pub name: String,
    /// The place of the first block.
    pub from: u64,
    /// The place after the last block, once known.
    pub to: Option<u64>,
}

/// The progress of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the file that are valid; bytes behind them are not.
    pub bytes: u64,
    /// Frames in them.
    pub frames: u64,
    /// Of these, frames that the tape no longer held: recorded as silence.
    pub missing: u64,
    /// The first place that the recorder still needs.
    pub needed: u64,
}

/// The result of reading a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The block that was played.
    Played,
    /// Nothing has been played there yet.
    NotYet,
    /// The block has been overwritten.
    Gone,
}

/// The tape, over mapped words or words on the heap.
#[derive(Clone, Copy, Debug)]
pub struct Tape<'a> {
    words: &'a [AtomicU64],
    block_samples: usize,
    cells: usize,
}

impl<'a> Tape<'a> {
    /// Writes a new tape into zeroed words.
    ///
    /// # Errors
    /// If there are too few words.
    pub fn create(
        words: &'a [AtomicU64],
        block_samples: usize,
        cells: usize,
    ) -> Result<Self, LayoutError> {
        Self::create_from(words, block_samples, cells, First::default())
    }

    /// As [`Self::create`], for a run whose counters begin at `first`.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_from(
        words: &'a [AtomicU64],
        block_samples: usize,
        cells: usize,
        first: First,
    ) -> Result<Self, LayoutError> {
        let needed = tape_words(block_samples, cells);
        if words.len() < needed {
            return Err(LayoutError::Short {
                found: words.len(),
                needed,
            });
        }
        words[SAMPLES].store(block_samples as u64, Ordering::Relaxed);
        words[CELLS].store(cells as u64, Ordering::Relaxed);
        words[FIRST_BLOCK].store(first.block.0, Ordering::Relaxed);
        words[FIRST_TAKE].store(first.number, Ordering::Relaxed);
        words[POSITION].store(first.block.0, Ordering::Relaxed);
        for word in [TAKE, BEGUN, ENDED] {
            words[word].store(first.number, Ordering::Relaxed);
        }
        layout::seal_header(words, Kind::Tape);
        Ok(Self {
            words,
            block_samples,
            cells,
        })
    }

    /// Opens a tape that another process has created, for blocks of this many samples.
    ///
    /// # Errors
    /// If the tape is unfinished or does not fit.
    pub fn open(words: &'a [AtomicU64], block_samples: usize) -> Result<Self, LayoutError> {
        layout::check_header(words, Kind::Tape, FIRST_CELL)?;
        let [found, cells] = [SAMPLES, CELLS].map(|at| words[at].load(Ordering::Relaxed) as usize);
        let fits = found == block_samples && cells > 0;
        let needed = tape_words(block_samples, cells);
        if !fits || words.len() < needed {
            return Err(LayoutError::Short {
                found: words.len(),
                needed,
            });
        }
        Ok(Self {
            words,
            block_samples,
            cells,
        })
    }

    /// All words of the tape, to lock them into memory.
    #[must_use]
    pub const fn all_words(&self) -> &'a [AtomicU64] {
        self.words
    }

    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }

    fn cell(&self, place: u64) -> &'a [AtomicU64] {
        let words = cell_words(self.block_samples);
        let start = FIRST_CELL + (place % self.cells as u64) as usize * words;
        &self.words[start..start + words]
    }

    // ---- what was played ----

    /// The place of the next block: all below it have been played.
    #[must_use]
    pub fn position(&self) -> u64 {
        // SYNC: tape position (reader)
        self.words[POSITION].load(Ordering::Acquire)
    }

    /// The block to play after the last one on the tape.
    #[must_use]
    pub fn next_block(&self) -> BlockIndex {
        let (position, first) = (self.position(), self.get(FIRST_BLOCK));
        match position > first {
            true => BlockIndex(self.cell(position - 1)[NEXT].load(Ordering::Relaxed)),
            false => BlockIndex(first),
        }
    }

    /// Appends what was played; `next` is the block to play after it. Written by audio-out.
    ///
    /// # Real-time
    /// Yes; linear in the samples.
    pub fn append(&self, samples: &[f32], next: BlockIndex) {
        let place = self.get(POSITION);
        let cell = self.cell(place);
        cell[SEAL].store(0, Ordering::Relaxed);
        // SYNC: tape seal broken (writer): a reader that sees a new sample sees the broken seal
        fence(Ordering::Release);
        cell[NEXT].store(next.0, Ordering::Relaxed);
        layout::store_samples(&cell[CELL_HEAD..], samples);
        // SYNC: tape cell (writer)
        cell[SEAL].store(place + 1, Ordering::Release);
        // SYNC: tape position (writer): all cells below it are sealed
        self.words[POSITION].store(place + 1, Ordering::Release);
    }

    /// Copies what was played at this place.
    ///
    /// # Real-time
    /// Yes; linear in the samples.
    #[must_use]
    pub fn read(&self, place: u64, into: &mut [f32]) -> Found {
        if place >= self.position() {
            return Found::NotYet;
        }
        let cell = self.cell(place);
        // SYNC: tape cell (reader)
        if cell[SEAL].load(Ordering::Acquire) != place + 1 {
            return Found::Gone;
        }
        layout::load_samples(&cell[CELL_HEAD..], into);
        // SYNC: tape seal broken (reader)
        fence(Ordering::Acquire);
        match cell[SEAL].load(Ordering::Relaxed) == place + 1 {
            true => Found::Played,
            false => Found::Gone,
        }
    }

    /// Whether a block can be appended without loss to a recording. In freewheel, audio-out waits until
    /// there is room, unless the recorder reports that it cannot write.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let begun = self.begun() == self.take();
        if !self.recording() || (begun && self.get(TROUBLE) != 0) {
            return true;
        }
        let needed = match begun {
            true => self.progress().needed,
            false => self.order_words(self.take())[ORDER_FROM].load(Ordering::Relaxed),
        };
        self.get(POSITION).saturating_sub(needed) < self.cells as u64
    }

    // ---- the order ----

    fn take(&self) -> u64 {
        // SYNC: take (reader)
        self.words[TAKE].load(Ordering::Acquire)
    }

    /// The words of this take's order.
    fn order_words(&self, take: u64) -> &'a [AtomicU64] {
        let start = ORDERS + ORDER_WORDS * (take % 2) as usize;
        &self.words[start..start + ORDER_WORDS]
    }

    /// The order of the last recording that was asked for.
    #[must_use]
    pub fn order(&self) -> Option<Order> {
        let take = self.take();
        let words = self.order_words(take);
        // SYNC: recording's end (reader)
        let to = words[ORDER_TO].load(Ordering::Acquire);
        (take > self.get(FIRST_TAKE)).then(|| Order {
            take,
            name: layout::load_text(&self.words[NAME..NAME + NAME_WORDS]),
            from: words[ORDER_FROM].load(Ordering::Relaxed),
            to: (to != OPEN).then_some(to),
        })
    }

    /// Whether a recording was asked for and has not ended.
    #[must_use]
    pub fn recording(&self) -> bool {
        self.ended() != self.take()
    }

    /// Orders a recording from the next block on; the previous one must have ended. Written by the
    /// supervisor, with the submission id of the request, if it has one.
    pub fn begin(&self, name: &str, submission_id: Option<u64>) {
        let take = self.take() + 1;
        layout::store_text(&self.words[NAME..NAME + NAME_WORDS], name);
        let submission_id = submission_id.unwrap_or(0).max(self.submission_id());
        let words = self.order_words(take);
        for (word, value) in [
            (ORDER_FROM, self.position()),
            (ORDER_TO, OPEN),
            (ORDER_BEGIN_SUBMISSION, submission_id),
            (ORDER_END_SUBMISSION, 0),
        ] {
            words[word].store(value, Ordering::Relaxed);
        }
        // SYNC: take (writer): the order is complete before it
        self.words[TAKE].store(take, Ordering::Release);
    }

    /// Orders the end of the recording before the next block. Written by the supervisor.
    pub fn end(&self, submission_id: Option<u64>) {
        let words = self.order_words(self.take());
        let submission_id = submission_id.unwrap_or(0).max(self.submission_id());
        words[ORDER_END_SUBMISSION].store(submission_id, Ordering::Relaxed);
        // SYNC: recording's end (writer)
        words[ORDER_TO].store(self.position(), Ordering::Release);
    }

    /// The highest submission id of a request to begin or end a recording; 0 before the first.
    #[must_use]
    pub fn submission_id(&self) -> u64 {
        let words = self.order_words(self.take());
        // SYNC: recording's end (reader)
        let ends = words[ORDER_TO].load(Ordering::Acquire) != OPEN;
        let last = match ends {
            true => ORDER_END_SUBMISSION,
            false => ORDER_BEGIN_SUBMISSION,
        };
        words[last].load(Ordering::Relaxed)
    }

    // ---- the progress ----

    /// The last take that has a file, or that can never have one.
    #[must_use]
    pub fn begun(&self) -> u64 {
        // SYNC: recording begun (reader)
        self.words[BEGUN].load(Ordering::Acquire)
    }

    /// Sets the take that has begun. Written by the recorder, after the file's first progress.
    pub fn set_begun(&self, take: u64) {
        // SYNC: recording begun (writer)
        self.words[BEGUN].store(take, Ordering::Release);
    }

    /// The last take that has ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        // SYNC: recording ended (reader)
        self.words[ENDED].load(Ordering::Acquire)
    }

    /// Sets the take that has ended. Written by the recorder.
    pub fn set_ended(&self, take: u64) {
        // SYNC: recording ended (writer): the file is complete
        self.words[ENDED].store(take, Ordering::Release);
    }

    /// The progress of the recording.
    #[must_use]
    pub fn progress(&self) -> Progress {
        // SYNC: recorded (reader)
        let half = self.words[HALF].load(Ordering::Acquire);
        let place = PROGRESS + PROGRESS_WORDS * (half as usize % 2);
        Progress {
            bytes: self.get(place),
            frames: self.get(place + 1),
            missing: self.get(place + 2),
            needed: self.get(place + 3),
        }
    }

    /// Sets the progress. Written by the recorder, after the file.
    pub fn set_progress(&self, progress: Progress) {
        let half = self.get(HALF) + 1;
        let place = PROGRESS + PROGRESS_WORDS * (half as usize % 2);
        let Progress {
            bytes,
            frames,
            missing,
            needed,
        } = progress;
        for (word, value) in (place..).zip([bytes, frames, missing, needed]) {
            self.words[word].store(value, Ordering::Relaxed);
        }
        // SYNC: recorded (writer): the four words that it selects are complete
        self.words[HALF].store(half, Ordering::Release);
    }

    /// What is wrong with the recording that has [begun](Self::begun) last, in one line.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let text = layout::load_text(&self.words[TROUBLE..TROUBLE + TROUBLE_WORDS]);
        (!text.is_empty()).then_some(text)
    }

    /// Sets what is wrong; an empty text: nothing. Written by the recorder.
    pub fn set_trouble(&self, text: &str) {
        layout::store_text(&self.words[TROUBLE..TROUBLE + TROUBLE_WORDS], text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::heap;

    const SAMPLES_IN_BLOCK: usize = 3;

    fn with_tape(cells: usize, test: impl FnOnce(Tape<'_>)) {
        let words = heap(tape_words(SAMPLES_IN_BLOCK, cells));
        Tape::create(&words, SAMPLES_IN_BLOCK, cells).unwrap();
        test(Tape::open(&words, SAMPLES_IN_BLOCK).unwrap());
    }

    fn play(tape: &Tape<'_>, blocks: std::ops::Range<u64>) {
        for block in blocks {
            tape.append(&[block as f32; SAMPLES_IN_BLOCK], BlockIndex(block + 1));
        }
    }

    #[test]
    fn what_was_played_is_found_at_its_place_until_it_is_overwritten() {
        with_tape(4, |tape| {
            let mut out = [0.0; SAMPLES_IN_BLOCK];
            assert_eq!(tape.read(0, &mut out), Found::NotYet);
            assert_eq!(tape.next_block(), BlockIndex(0));
            play(&tape, 10..16);
            assert_eq!((tape.position(), tape.next_block()), (6, BlockIndex(16)));
            for (place, found) in [(1, Found::Gone), (2, Found::Played), (6, Found::NotYet)] {
                assert_eq!(tape.read(place, &mut out), found);
            }
            assert_eq!(tape.read(5, &mut out), Found::Played);
            assert_eq!(out, [15.0; SAMPLES_IN_BLOCK]);
            // audio-out was killed while it wrote the next cell.
            tape.cell(6)[SEAL].store(0, Ordering::Relaxed);
            assert_eq!(tape.read(2, &mut out), Found::Gone);
            assert_eq!(tape.read(6, &mut out), Found::NotYet);
        });
    }

    #[test]
    fn without_a_clock_there_is_room_for_what_a_recording_does_not_need_any_more() {
        with_tape(4, |tape| {
            play(&tape, 0..6);
            assert!(tape.has_room(), "nothing is recorded");
            tape.begin("a.wav", None);
            play(&tape, 6..10);
            assert!(!tape.has_room());
            tape.set_progress(Progress {
                needed: 7,
                ..Progress::default()
            });
            assert!(!tape.has_room(), "the progress belongs to another take");
            tape.set_begun(1);
            assert!(tape.has_room());
            play(&tape, 10..11);
            assert!(!tape.has_room());
            tape.set_trouble("the disk is full");
            assert!(tape.has_room(), "the music does not wait for a disk");
            tape.set_trouble("");
            assert!(!tape.has_room());
            tape.set_ended(1);
            assert!(tape.has_room());
        });
    }

    #[test]
    fn an_order_holds_until_the_next_and_its_submissions_are_known_again() {
        with_tape(4, |tape| {
            assert_eq!((tape.order(), tape.submission_id()), (None, 0));
            play(&tape, 0..2);
            tape.begin("a.wav", Some(7));
            let order = Order {
                take: 1,
                name: "a.wav".into(),
                from: 2,
                to: None,
            };
            assert_eq!(tape.order(), Some(order.clone()));
            assert_eq!((tape.recording(), tape.submission_id()), (true, 7));
            play(&tape, 2..5);
            tape.end(Some(9));
            let to = Some(5);
            assert_eq!(tape.order(), Some(Order { to, ..order }));
            assert_eq!((tape.recording(), tape.submission_id()), (true, 9));
            tape.set_ended(1);
            assert!(!tape.recording());
            tape.begin("b.flac", None);
            assert_eq!((tape.order().unwrap().take, tape.submission_id()), (2, 9));
        });
    }

    #[test]
    fn a_tape_of_another_shape_is_refused_and_a_large_shape_gets_a_shorter_one() {
        let words = heap(tape_words(SAMPLES_IN_BLOCK, 2));
        Tape::create(&words, SAMPLES_IN_BLOCK, 2).unwrap();
        assert!(Tape::open(&words, SAMPLES_IN_BLOCK + 2).is_err());
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 128,
            channels: 2,
            lead_blocks: 4,
            freewheel: false,
        };
        assert_eq!(tape_cells(&format), 6_000);
        let large = AudioFormat {
            rate_hz: 192_000,
            channels: 32,
            ..format
        };
        let words = tape_words(large.block_samples(), tape_cells(&large));
        assert!(words * 8 <= TAPE_BYTES_MAX + FIRST_CELL * 8);
        assert!(tape_cells(&large) as u32 * large.block_frames > 2 * large.rate_hz);
    }
}
