//! Content-defined chunking (FastCDC 2020), so that unchanged ranges of a changed
//! file are found again.

use std::borrow::Cow;
use std::io::Read;

use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};

use crate::format::config::ChunkSizes;

/// What makes a repository's cut points unique: it is mixed into the gear table.
#[derive(Debug, Clone, Copy)]
pub struct ChunkerSeed(pub u64);

/// Cuts a stream into chunks.
pub struct Chunker {
    cutter: Cutter,
    buffer: Vec<u8>,
    start: usize,
    end_of_input: bool,
}

impl std::fmt::Debug for Chunker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunker")
            .field("sizes", &self.cutter.sizes)
            .finish_non_exhaustive()
    }
}

impl Chunker {
    /// A chunker for one stream.
    #[must_use]
    pub fn new(sizes: ChunkSizes, seed: ChunkerSeed) -> Self {
        Self {
            cutter: Cutter::new(sizes, seed),
            buffer: Vec::new(),
            start: 0,
            end_of_input: false,
        }
    }

    /// Resets it for another stream with the same sizes.
    pub fn reset(&mut self) {
        self.buffer.clear();
        self.start = 0;
        self.end_of_input = false;
    }

    /// The next chunk of `input`, or `None` at its end.
    ///
    /// # Errors
    /// Any error of reading `input`.
    pub fn next_chunk(&mut self, input: &mut dyn Read) -> std::io::Result<Option<&[u8]>> {
        if !self.end_of_input && self.buffered_bytes() < self.max_chunk_bytes() {
            self.fill_buffer(input)?;
        }
        Ok(self.take_chunk())
    }

    /// Adds bytes to a stream that is pushed rather than read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.compact_buffer();
        self.buffer.extend_from_slice(bytes);
    }

    /// The next chunk of a pushed stream that is final: later bytes cannot change it.
    pub fn next_final_chunk(&mut self) -> Option<&[u8]> {
        if self.buffered_bytes() < self.max_chunk_bytes() {
            None
        } else {
            self.take_chunk()
        }
    }

    /// The next remaining chunk of a pushed stream, after its end.
    pub fn next_remaining_chunk(&mut self) -> Option<&[u8]> {
        self.take_chunk()
    }

    fn max_chunk_bytes(&self) -> usize {
        self.cutter.sizes.max as usize
    }

    fn buffered_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn compact_buffer(&mut self) {
        // Moving the rest only when it is smaller than what was consumed keeps the copying linear.
        if self.start > 0 && self.start >= self.buffered_bytes() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }

    fn fill_buffer(&mut self, input: &mut dyn Read) -> std::io::Result<()> {
        self.compact_buffer();
        let wanted = (2 * self.max_chunk_bytes()).saturating_sub(self.buffered_bytes());
        // Exact, as growth by doubling would take twice the memory.
        self.buffer.reserve_exact(wanted + 1);
        let got = input.take(wanted as u64).read_to_end(&mut self.buffer)?;
        self.end_of_input = got < wanted;
        Ok(())
    }

    fn take_chunk(&mut self) -> Option<&[u8]> {
        if self.buffered_bytes() == 0 {
            return None;
        }
        let length = self.cutter.first_chunk_length(&self.buffer[self.start..]);
        let chunk = self.start..self.start + length;
        self.start = chunk.end;
        Some(&self.buffer[chunk])
    }
}

struct Cutter {
    sizes: ChunkSizes,
    mask_s: u64,
    mask_l: u64,
    gear: Cow<'static, [u64]>,
    gear_ls: Cow<'static, [u64]>,
}

impl Cutter {
    fn new(sizes: ChunkSizes, seed: ChunkerSeed) -> Self {
        let (mask_s, mask_l) = select_masks(sizes.avg as usize, Normalization::Level1);
        let (gear, gear_ls) = get_gear_with_seed(seed.0);
        Self {
            sizes,
            mask_s,
            mask_l,
            gear,
            gear_ls,
        }
    }

    /// The length of the first chunk of `bytes`, which must not be empty.
    fn first_chunk_length(&self, bytes: &[u8]) -> usize {
        let (_, length) = cut_gear(
            bytes,
            self.sizes.min as usize,
            self.sizes.avg as usize,
            self.sizes.max as usize,
            self.mask_s,
            self.mask_l,
            self.mask_s << 1,
            self.mask_l << 1,
            &self.gear,
            &self.gear_ls,
        );
        length.clamp(1, bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::incompressible_bytes;
    use proptest::prelude::*;

    const SIZES: ChunkSizes = ChunkSizes {
        min: 1024,
        avg: 4096,
        max: 16384,
    };

    fn read_all(mut input: &[u8], seed: u64) -> Vec<Vec<u8>> {
        let mut chunker = Chunker::new(SIZES, ChunkerSeed(seed));
        let mut chunks = Vec::new();
        while let Some(chunk) = chunker.next_chunk(&mut input).unwrap() {
            chunks.push(chunk.to_vec());
        }
        chunks
    }

    fn push_all(input: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut chunker = Chunker::new(SIZES, ChunkerSeed(5));
        let mut chunks = Vec::new();
        for part in input.chunks(step) {
            chunker.push(part);
            while let Some(chunk) = chunker.next_final_chunk() {
                chunks.push(chunk.to_vec());
            }
        }
        while let Some(chunk) = chunker.next_remaining_chunk() {
            chunks.push(chunk.to_vec());
        }
        chunks
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn chunks_join_to_the_input_within_their_sizes(length in 0..200_000_usize, seed: u64) {
            let input = incompressible_bytes(length, seed);
            let chunks = read_all(&input, seed);
            prop_assert_eq!(chunks.concat(), input);
            for (n, chunk) in chunks.iter().enumerate() {
                prop_assert!(chunk.len() <= SIZES.max as usize);
                prop_assert!(chunk.len() >= SIZES.min as usize || n + 1 == chunks.len());
            }
        }

        #[test]
        fn reading_and_pushing_cut_alike(length in 0..200_000_usize, step in 1..50_000_usize) {
            let input = incompressible_bytes(length, 3);
            prop_assert_eq!(push_all(&input, step), read_all(&input, 5));
        }
    }

    #[test]
    fn an_insertion_changes_only_the_chunks_around_it() {
        let mut input = incompressible_bytes(1_000_000, 1);
        let before = read_all(&input, 9);
        input.splice(500_000..500_000, *b"inserted");
        let after = read_all(&input, 9);
        let common = after.iter().filter(|chunk| before.contains(chunk)).count();
        assert!(
            after.len() - common <= 4,
            "{} of {} chunks changed",
            after.len() - common,
            after.len()
        );
    }

    #[test]
    fn another_seed_cuts_elsewhere() {
        let input = incompressible_bytes(1_000_000, 1);
        assert_ne!(read_all(&input, 1), read_all(&input, 2));
    }
}
