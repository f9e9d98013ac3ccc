//! Numbers that are the same in every run.

/// A generator, which is its own seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Different for every seed and stream.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(
            seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
                ^ (stream + 1).wrapping_mul(0xD1B5_4A32_D192_ED03),
        )
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.any() % end
    }

    /// One of them, if there are any.
    pub(super) fn pick<T>(&mut self, of: impl ExactSizeIterator<Item = T>) -> Option<T> {
        let mut of = of;
        match of.len() {
            0 => None,
            len => of.nth(usize::try_from(self.below(len as u64)).ok()?),
        }
    }
}
