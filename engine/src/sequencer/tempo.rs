//! When a step is: exact, in whole frames, however long it has played.
//!
//! Step n of D to a whole note (four beats) at B thousandths of a beat a minute is
//! `n × 240 000 × rate / (B × D)` frames after step 0, rounded to the nearest. Each is computed from n and
//! whole numbers, none from the one before it, so that no error adds up. A tempo counts from the frame of the
//! step with which it begins.

/// How fast steps follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tempo {
    /// Thousandths of a beat a minute.
    pub bpm: u32,
    /// Steps in a whole note.
    pub division: u32,
}

impl Tempo {
    /// The frames of so many steps, given as a fraction.
    pub fn frames(self, rate_hz: u32, (numerator, denominator): (u128, u128)) -> u64 {
        let above = numerator * 240_000 * u128::from(rate_hz);
        // Whatever bits the arena holds.
        let below = (denominator * u128::from(self.bpm) * u128::from(self.division)).max(1);
        ((2 * above + below) / (2 * below)) as u64
    }
}

/// A number of a patch as a whole number of thousandths: what is written with three digits is meant exactly.
pub fn thousandths(number: f32) -> u32 {
    (f64::from(number) * 1_000.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_at_its_ideal_frame() {
        for (bpm, division, rate) in [
            (175.0, 16, 48_000),
            (174.3, 12, 44_100),
            (61.007, 7, 96_000),
        ] {
            let tempo = Tempo {
                bpm: thousandths(bpm),
                division,
            };
            let step =
                240.0 * f64::from(rate) / (f64::from(tempo.bpm) / 1_000.0 * f64::from(division));
            for n in (0..100_000_000).step_by(9_999_991) {
                let frame = tempo.frames(rate, (n, 1));
                assert!(
                    (frame as f64 - n as f64 * step).abs() <= 0.5 + 1e-3,
                    "{bpm} {n}"
                );
            }
        }
        // A sixteenth at 120 is an eighth of a second, for ever.
        let tempo = Tempo {
            bpm: 120_000,
            division: 16,
        };
        assert_eq!(tempo.frames(48_000, (1 << 40, 1)), 6_000 << 40);
        assert_eq!(
            tempo.frames(48_000, (1, 12_000)),
            1,
            "half a frame is rounded up"
        );
    }
}
