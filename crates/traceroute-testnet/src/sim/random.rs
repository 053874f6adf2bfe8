//! Seeded randomness: `SplitMix64` (Steele, Lea, Flood 2014), small and the same everywhere.

/// A stream of pseudo-random numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The stream number `stream` of a seed; different streams of one seed have nothing in common.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed ^ mix(stream)))
    }

    /// A number in `0.0..1.0`.
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit the mantissa")]
        let bits = (mix(self.0) >> 11) as f64;
        bits / 9_007_199_254_740_992.0
    }
}

/// Scatters the bits of a number.
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
