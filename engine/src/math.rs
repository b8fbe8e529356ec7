//! Functions whose every bit is the same on every machine and in every build.

/// The sine of a phase, where `u32::MAX + 1` is a whole turn; right to 2e-7.
///
/// # Real-time
/// Yes; no branches, so that a loop over it becomes vector code.
///
/// # Source
/// The Taylor series of the sine to the 11th power over a quarter turn: the first term left out
/// is below 6e-8.
#[inline]
pub fn sine(phase: u32) -> f32 {
    const RADIANS: f32 = std::f32::consts::PI / 2_147_483_648.0;
    // Folded to a quarter turn either side while it is still a whole number, which loses nothing.
    let signed = phase as i32;
    let outside = signed.wrapping_add(1 << 30) < 0;
    let folded = if outside {
        i32::MIN.wrapping_sub(signed)
    } else {
        signed
    };
    let x = folded as f32 * RADIANS;
    let y = x * x;
    let series = -1.0 / 39_916_800.0;
    let series = series * y + 1.0 / 362_880.0;
    let series = series * y - 1.0 / 5_040.0;
    let series = series * y + 1.0 / 120.0;
    let series = series * y - 1.0 / 6.0;
    x + x * y * series
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sine_is_right_to_two_ten_millionths() {
        for step in 0..1_000_000_u32 {
            let phase = step.wrapping_mul(42_949_673);
            let exact = libm::sin(f64::from(phase) / 4_294_967_296.0 * std::f64::consts::TAU);
            assert!(
                (f64::from(super::sine(phase)) - exact).abs() < 2e-7,
                "at {phase}"
            );
        }
    }
}
