//! Tests of the inbox: tickets, room, and what the next gateway finds.

use super::*;
use crate::sync::heap;

/// Writes a datagram as the kernel does.
fn fill(inbox: &Inbox<'_>, serial: u64, byte: u8, length: u64) {
    let word = u64::from_le_bytes([byte; 8]);
    inbox.slot_words(serial)[DATA].store(word, Ordering::Relaxed);
    inbox.slot_words(serial)[NAME].store(u64::from(byte), Ordering::Relaxed);
    inbox.head_words(serial)[NAME_LENGTH].store(8, Ordering::Relaxed);
    inbox.head_words(serial)[LENGTH].store(empty(serial) | length, Ordering::Relaxed);
}

/// Prepares a batch as for `recvmmsg`.
fn offer(inbox: &Inbox<'_>) -> u64 {
    let first = inbox.next_serial();
    for serial in first..first + STAGED {
        inbox.head_words(serial)[LENGTH].store(empty(serial), Ordering::Relaxed);
    }
    first
}

#[test]
fn what_was_received_but_not_judged_is_found_again_whenever_the_kill_comes() {
    let words = heap(INBOX_WORDS);
    let inbox = Inbox::create(&words).unwrap();
    let first = offer(&inbox);
    // Killed while it received four datagrams, of which the second is empty.
    for (at, byte) in [(0, b'a'), (2, b'c'), (3, b'd')] {
        fill(&inbox, first + at, byte, 3);
    }
    let found = Inbox::open(&words).unwrap().adopt();
    assert_eq!(found, (first..first + 4).collect::<Vec<_>>());
    // Killed after it judged two of them; the second was refused.
    inbox.admit(first);
    inbox.pass_over(first + 1);
    assert_eq!(inbox.adopt(), [first + 2, first + 3]);
    // Killed between the copy to the backlog and the mark in the staging.
    let judged = inbox.get(JUDGED);
    inbox.admit(first + 2);
    words[JUDGED].store(judged, Ordering::Relaxed);
    assert_eq!(inbox.adopt(), [first + 3]);
    inbox.admit(first + 3);
    assert_eq!(inbox.adopt(), [0; 0]);
    let texts = (1..inbox.tail()).map(|ticket| inbox.datagram(ticket).bytes);
    assert_eq!(texts.collect::<Vec<_>>(), [b"aaa", b"ccc", b"ddd"]);
    assert_eq!(inbox.name_of(2)[0], b'c');
    // A new batch, not judged, after one that was not full.
    let next = offer(&inbox);
    assert!(next > first + 3 && next.is_multiple_of(STAGED));
    fill(&inbox, next, b'e', 3);
    assert_eq!(inbox.adopt(), [next]);
    inbox.pass_over(next);
    inbox.free_below(3);
    assert_eq!((inbox.head(), inbox.tail()), (3, 4));
    assert_eq!(inbox.counters().received, 3);
}

#[test]
fn the_backlog_goes_round_and_what_is_refused_takes_no_room() {
    let words = heap(INBOX_WORDS);
    let inbox = Inbox::create(&words).unwrap();
    let length = DATAGRAM_BYTES_MAX as u64 - 8;
    let each = Inbox::words_for(length as usize);
    let admit = |byte: u8| {
        let serial = offer(&inbox);
        fill(&inbox, serial, byte, length);
        inbox.admit(serial);
    };
    for round in 0..3 {
        let mut count = 0;
        while inbox.free_words() >= each {
            count += 1;
            admit(count as u8);
        }
        assert_eq!(count, BACKLOG_WORDS / each);
        assert_eq!(inbox.free_words(), BACKLOG_WORDS % each);
        let last = inbox.tail() - 1;
        let datagram = inbox.datagram(last);
        assert_eq!(datagram.bytes[..8], [count as u8; 8]);
        assert_eq!(datagram.length, length as usize);
        assert!(!inbox.settled(last));
        inbox.settle(last);
        assert!(inbox.settled(last));
        if round == 0 {
            for _ in 0..1_000 {
                let serial = offer(&inbox);
                fill(&inbox, serial, 1, length);
                inbox.pass_over(serial);
            }
        }
        inbox.free_below(inbox.tail());
        assert_eq!(inbox.free_words(), BACKLOG_WORDS);
        assert!(inbox.recall(last).is_some(), "not overwritten yet");
        assert_eq!(inbox.recall(1), None);
    }
}

#[test]
fn short_ones_find_as_many_tickets_as_words() {
    let words = heap(INBOX_WORDS);
    let inbox = Inbox::create(&words).unwrap();
    while inbox.free_words() >= Inbox::words_for(0) {
        let serial = offer(&inbox);
        fill(&inbox, serial, 0, 0);
        inbox.admit(serial);
    }
    assert!(inbox.tail() - inbox.head() <= TICKETS);
    assert!(inbox.datagram(1).bytes.is_empty());
}

#[test]
fn whom_the_kernel_refuses_is_kept_for_a_successor() {
    let words = heap(INBOX_WORDS);
    let inbox = Inbox::create(&words).unwrap();
    assert!(inbox.filtered().is_empty());
    let many: Vec<_> = (0..200).map(|n| [n, n + 1, n + 2]).collect();
    inbox.set_filtered(&many);
    assert_eq!(inbox.filtered(), many[..FILTERED_MAX]);
    inbox.set_filtered(&many[..1]);
    assert_eq!(inbox.filtered(), [[0, 1, 2]]);
}
