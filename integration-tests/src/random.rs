//! Random numbers from a seed, so that a failing run can be repeated.

/// splitmix64 by Sebastiano Vigna.
pub struct Random(u64);

impl Random {
    /// Starts from the seed in `UNDERSTUDY_SEED`, else from `default`; prints the seed.
    #[must_use]
    pub fn seeded(default: u64) -> Self {
        let seed = std::env::var("UNDERSTUDY_SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or(default);
        println!("seed {seed} (repeat with UNDERSTUDY_SEED={seed})");
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}
