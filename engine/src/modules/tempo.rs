//! Musical time: the common part of the modules that follow a tempo.
//!
//! Every length is a whole number of 48ths of a quarter note, so that counts are never rounded.

use super::{choice, linear};
use crate::catalog::Param;

/// The tempo in quarter notes per minute.
pub const BPM: Param = linear(
    "bpm",
    "bpm",
    [20.0, 120.0, 999.0],
    "quarter notes per minute",
);

/// A fraction of a whole note, 1/4 by default.
pub const DIVISION: Param = Param {
    default: 7.0,
    ..choice(
        "division",
        &[
            "4/1", "2/1", "1/1.", "1/1", "1/2.", "1/2", "1/4.", "1/4", "1/2t", "1/8.", "1/8",
            "1/4t", "1/16.", "1/16", "1/8t", "1/32", "1/16t", "1/32t",
        ],
        "length in whole notes; \".\" dotted, \"t\" triplet",
    )
};

/// The parts of a quarter note: every length is a whole number of parts.
pub const PARTS: u64 = 48;

/// The length of each division in [`PARTS`] of a quarter note.
const LENGTHS: [u64; 18] = [
    768, 384, 288, 192, 144, 96, 72, 48, 64, 36, 24, 32, 18, 12, 16, 6, 8, 4,
];

const _: () = assert!(LENGTHS.len() == DIVISION.choices.len());

/// The length of a division in [`PARTS`] of a quarter note.
#[inline(always)]
pub fn length(division: f32) -> u64 {
    LENGTHS[(division as usize).min(LENGTHS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_is_what_its_name_says() {
        for (number, name) in DIVISION.choices.iter().enumerate() {
            let plain = name.trim_end_matches(['.', 't']);
            let (over, under) = plain.split_once('/').unwrap();
            let [over, under]: [u64; 2] = [over, under].map(|n| n.parse().unwrap());
            let plain = 4 * PARTS * over / under;
            let expected = match name.chars().last() {
                Some('.') => plain * 3 / 2,
                Some('t') => plain * 2 / 3,
                _ => plain,
            };
            assert_eq!(length(number as f32), expected, "{name}");
        }
        assert_eq!(DIVISION.choices[DIVISION.default as usize], "1/4");
    }
}
