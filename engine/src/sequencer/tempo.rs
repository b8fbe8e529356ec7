//! The frames of steps: exact integers, however long a sequence has played.
//!
//! Step n, with D steps in a whole note (four beats) and B thousandths of a beat per minute, is `n × 240 000
//! × rate / (B × D)` frames after step 0, rounded to the nearest. Each step is computed from n and integers,
//! never from the step before, so no error accumulates. A tempo counts from the frame of the step with which
//! it begins.

/// The speed of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tempo {
    /// Thousandths of a beat per minute.
    pub bpm: u32,
    /// Steps in a whole note.
    pub division: u32,
}

impl Tempo {
    /// The number of frames in a number of steps, given as a fraction.
    pub fn frames(self, rate_hz: u32, (numerator, denominator): (u128, u128)) -> u64 {
        let above = numerator * 240_000 * u128::from(rate_hz);
        // The arena may hold any bits.
        let below = (denominator * u128::from(self.bpm) * u128::from(self.division)).max(1);
        ((2 * above + below) / (2 * below)) as u64
    }
}

/// A number of a patch in thousandths: a number with three decimals is exact.
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
        // At 120 beats per minute, a sixteenth is an eighth of a second, for ever.
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
