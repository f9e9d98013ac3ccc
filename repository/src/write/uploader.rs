//! The uploader: stores packs, reads them back, and writes index fragments for what is stored.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::Receiver;

use crate::error::Result;
use crate::format::pack::{FinishedPack, PackRecord, pack_key};
use crate::index::FRAGMENT_CHUNKS_MAX;
use crate::progress::Progress;
use crate::store::verified_io::put_verified;
use crate::write::pipeline_state::PipelineState;

pub(super) fn run_uploader(
    shared: &PipelineState,
    packs: &Receiver<FinishedPack>,
    adopted: Vec<PackRecord>,
) {
    if let Err(error) = upload_packs(shared, packs, adopted) {
        shared.record_failure(error);
        packs.iter().for_each(drop);
    }
}

/// What is stored but not yet indexed.
#[derive(Default)]
struct UnindexedPacks {
    packs: Vec<PackRecord>,
    chunks: usize,
}

/// Packs that were not indexed go into this run's fragments, so that they are found without listing from now on.
fn upload_packs(
    shared: &PipelineState,
    packs: &Receiver<FinishedPack>,
    adopted: Vec<PackRecord>,
) -> Result<()> {
    let unwritten = Mutex::new(UnindexedPacks::default());
    for record in adopted {
        add_stored_pack(shared, &unwritten, record)?;
    }
    std::thread::scope(|scope| {
        // While one pack is synced or acknowledged, another can be sent. Each is in memory meanwhile.
        for _ in 0..shared
            .repository
            .backend
            .capabilities()
            .parallel_puts
            .max(1)
        {
            scope.spawn(|| {
                if let Err(error) = store_packs(shared, packs, &unwritten) {
                    shared.record_failure(error);
                    packs.iter().for_each(drop);
                }
            });
        }
    });
    let mut unwritten = unwritten
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if unwritten.packs.is_empty() || shared.has_failed() {
        return Ok(());
    }
    index_packs(shared, &mut unwritten)
}

fn store_packs(
    shared: &PipelineState,
    packs: &Receiver<FinishedPack>,
    unwritten: &Mutex<UnindexedPacks>,
) -> Result<()> {
    for FinishedPack { parts, record } in packs {
        if shared.has_failed() {
            continue;
        }
        if let Some(journal) = &shared.journal {
            journal.add_pack(&record.pack);
        }
        put_verified(
            shared.repository.backend.as_ref(),
            &pack_key(&record.pack),
            &parts,
            &record.pack,
        )?;
        shared
            .added_stored_bytes
            .fetch_add(record.size, Ordering::Relaxed);
        Progress::add(&shared.progress.stored_bytes, record.size);
        add_stored_pack(shared, unwritten, record)?;
    }
    Ok(())
}

/// Adds a stored pack; with enough of them, writes a fragment.
fn add_stored_pack(
    shared: &PipelineState,
    unwritten: &Mutex<UnindexedPacks>,
    record: PackRecord,
) -> Result<()> {
    let mut unwritten = unwritten.lock().unwrap_or_else(PoisonError::into_inner);
    unwritten.chunks += record.chunk_count();
    unwritten.packs.push(record);
    if unwritten.chunks >= FRAGMENT_CHUNKS_MAX {
        index_packs(shared, &mut unwritten)
    } else {
        Ok(())
    }
}

fn index_packs(shared: &PipelineState, unwritten: &mut UnindexedPacks) -> Result<()> {
    shared.repository.put_fragment(&unwritten.packs)?;
    shared.dedup_index.add_indexed_packs(&unwritten.packs)?;
    *unwritten = UnindexedPacks::default();
    Ok(())
}
