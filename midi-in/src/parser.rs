//! Parses bytes to messages; the bytes of an incomplete message can be saved.
//!
//! A pipe delivers single bytes: its reader may be killed in the middle of a message, and with running status the
//! successor would lack the status byte. `midly` parses the bytes; the tail is stored beside it.

use midly::{live::LiveEvent, stream::MidiStream};

/// The parser, and the bytes since the last complete message on which the next one depends.
#[derive(Default)]
pub struct Parser {
    stream: MidiStream,
    tail: Vec<u8>,
}

impl Parser {
    /// A parser that continues after the given bytes.
    pub fn after(tail: &[u8]) -> Self {
        let mut parser = Self::default();
        parser.feed(tail, |_| {});
        parser
    }

    /// Passes on all complete messages.
    pub fn feed(&mut self, bytes: &[u8], mut hear: impl FnMut(LiveEvent<'_>)) {
        for byte in bytes {
            self.stream.feed(std::slice::from_ref(byte), &mut hear);
            if self.follow(*byte) {
                // `midly` would hold the message until the next status byte, and real-time messages would overtake it.
                self.stream.flush(&mut hear);
            }
        }
    }

    /// The bytes on which the rest of a message depends.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Whether a system common message is complete.
    fn follow(&mut self, byte: u8) -> bool {
        match byte {
            // Real-time messages may interrupt other messages.
            0xF8.. => return false,
            0x80.. => {
                self.tail.clear();
                // The content of a system exclusive message is ignored.
                if !matches!(byte, 0xF0 | 0xF4..=0xF7) {
                    self.tail.push(byte);
                }
                return false;
            }
            _ if self.tail.is_empty() => return false,
            _ => self.tail.push(byte),
        }
        let status = self.tail[0];
        let whole = match status {
            0xC0..=0xDF | 0xF1 | 0xF3 => 2,
            _ => 3,
        };
        if self.tail.len() < whole {
            return false;
        }
        // The status of a channel message remains as running status.
        let common = status >= 0xF0;
        self.tail.truncate(usize::from(!common));
        common
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(parser: &mut Parser, bytes: &[u8], all: &mut Vec<String>) {
        parser.feed(bytes, |event| {
            // System exclusive messages are ignored.
            let text = format!("{event:?}");
            if !text.contains("SysEx") {
                all.push(text);
            }
        });
    }

    #[test]
    fn cut_anywhere_it_hears_the_same() {
        let bytes = [
            0x90, 60, 100, 0xF8, 64, 0xF8, 80, 60, 0, 0xC3, 5, 6, 0xF0, 1, 2, 0xF8, 3, 0xF7, 0xB0,
            64, 127, 0xF2, 1, 2, 3, 0xE0, 0, 64, 1, 65, 0xFA, 0xD1, 9,
        ];
        let mut whole = Vec::new();
        heard(&mut Parser::default(), &bytes, &mut whole);
        assert_eq!(whole.len(), 14);
        for cut in 0..bytes.len() {
            let mut all = Vec::new();
            let mut first = Parser::default();
            heard(&mut first, &bytes[..cut], &mut all);
            let mut second = Parser::after(first.tail());
            heard(&mut second, &bytes[cut..], &mut all);
            assert_eq!(all, whole, "cut at {cut}");
        }
    }
}
