//! The packer: gathers segments into packs.

use crossbeam_channel::{Receiver, Sender};

use crate::error::{Error, Result};
use crate::format::pack::{FinishedPack, PackBuilder};
use crate::format::segment::SealedSegment;
use crate::write::pipeline_state::PipelineState;

/// Packs grow with the square root of the repository, up to this factor: four are in memory at a time.
const GROWTH_MAX: u64 = 4;

/// Below this many stored bytes packs have their first size.
const GROWTH_FROM_BYTES: u64 = 256 << 30;

pub(super) fn run_packer(
    shared: &PipelineState,
    segments: &Receiver<SealedSegment>,
    packs: &Sender<FinishedPack>,
) {
    if let Err(error) = pack_segments(shared, segments, packs) {
        shared.record_failure(error);
        segments.iter().for_each(drop);
    }
}

fn pack_segments(
    shared: &PipelineState,
    segments: &Receiver<SealedSegment>,
    packs: &Sender<FinishedPack>,
) -> Result<()> {
    let first = u64::from(shared.repository.config.layout.pack_bytes);
    let full = full_pack_bytes(first, shared.dedup_index.stored_bytes_before());
    let mut builder = PackBuilder::default();
    for segment in segments {
        if shared.has_failed() {
            continue;
        }
        if !builder.is_empty() && builder.size_bytes() + segment.stored.len() as u64 > full {
            send_pack(shared, std::mem::take(&mut builder), packs)?;
        }
        builder.push(segment)?;
    }
    if builder.is_empty() || shared.has_failed() {
        Ok(())
    } else {
        send_pack(shared, builder, packs)
    }
}

fn send_pack(
    shared: &PipelineState,
    builder: PackBuilder,
    packs: &Sender<FinishedPack>,
) -> Result<()> {
    let repository = &shared.repository;
    let signer = repository.signer()?;
    let pack = builder.finish(
        &repository.catalog_recipients,
        signer,
        repository.trust.repository(),
    )?;
    packs
        .send(pack)
        .map_err(|_| Error::Internal("the uploader stopped".to_owned()))
}

/// The size at which a pack is closed, in a repository of `stored_bytes`.
fn full_pack_bytes(first: u64, stored_bytes: u64) -> u64 {
    let factor = (stored_bytes / GROWTH_FROM_BYTES)
        .isqrt()
        .clamp(1, GROWTH_MAX);
    first * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_grow_with_the_repository_up_to_a_limit() {
        assert_eq!(full_pack_bytes(32, 0), 32);
        assert_eq!(full_pack_bytes(32, 1 << 40), 64);
        assert_eq!(full_pack_bytes(32, 1 << 60), 128);
    }
}
