//! Claims: a slot belongs to one owner at a time, for as long as the owner's lease lasts.
//!
//! Each attempt has a number, and whatever an owner writes counts only while its number is the last one. So an owner that was
//! frozen and wakes up later changes nothing.

use chrono::{DateTime, Utc};
use reprise_repository::Outcome;
use rusqlite::{Transaction, params};

use super::database::Ledger;
use super::error::LedgerResult;
use super::records::{ActiveSlot, CLOCK_AHEAD_MAX, RunDetails, RunResult, SlotState, StepRecord};

/// Who claims, and for how long.
#[derive(Debug, Clone)]
pub struct Claimant {
    /// A name that no other process has.
    pub owner: String,
    /// When the lease ends, unless it is renewed.
    pub lease_until: DateTime<Utc>,
    /// Now.
    pub now: DateTime<Utc>,
}

/// An attempt at a slot that this process owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The ID of its run.
    pub run: String,
    /// The job.
    pub job: String,
    /// The slot.
    pub slot: String,
    /// The number of the attempt, from 1.
    pub attempt: u32,
}

impl Ledger {
    /// Claims a slot that nobody has decided, if no run of the same job is under way. `None`: somebody else was faster.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn claim_slot(
        &self,
        (job, slot, due): (&str, &str, DateTime<Utc>),
        claimant: &Claimant,
        details: &RunDetails,
    ) -> LedgerResult<Option<Claim>> {
        self.with_transaction(|transaction| {
            let inserted = transaction
                .prepare_cached(
                    "INSERT INTO slots (job, slot, due, first_slot, slot_count, state, reason, decided, attempt, failed, lost, owner, lease_until, not_before)
                     SELECT ?1, ?2, ?3, ?2, 1, 'running', '', ?4, 1, 0, 0, ?5, ?6, 0
                     WHERE NOT EXISTS (SELECT 1 FROM slots WHERE job = ?1 AND (due BETWEEN ?3 AND ?7 OR slot = ?2 OR state IN ('running', 'waiting')))",
                )?
                .execute(params![
                    job,
                    slot,
                    due.timestamp_millis(),
                    claimant.now.timestamp_millis(),
                    claimant.owner,
                    claimant.lease_until.timestamp_millis(),
                    (claimant.now + CLOCK_AHEAD_MAX).timestamp_millis(),
                ])?;
            if inserted == 0 {
                return Ok(None);
            }
            begin_run(transaction, (job, slot, 1), claimant, details).map(Some)
        })
    }

    /// Claims the next attempt at a slot whose last one failed, or was lost with its owner. `None`: somebody else was faster,
    /// or the owner lives.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn claim_again(
        &self,
        job: &str,
        active: &ActiveSlot,
        claimant: &Claimant,
        details: &RunDetails,
    ) -> LedgerResult<Option<Claim>> {
        self.with_transaction(|transaction| {
            close_lost_run(transaction, job, active, claimant.now)?;
            let updated = transaction
                .prepare_cached(
                    "UPDATE slots SET attempt = attempt + 1, lost = lost + (state = 'running'), state = 'running', owner = ?4, lease_until = ?5
                     WHERE job = ?1 AND slot = ?2 AND attempt = ?3
                     AND ((state = 'running' AND lease_until NOT BETWEEN ?6 AND ?7) OR (state = 'waiting' AND not_before NOT BETWEEN ?6 + 1 AND ?8))",
                )?
                .execute(params![
                    job,
                    active.slot,
                    active.attempt,
                    claimant.owner,
                    claimant.lease_until.timestamp_millis(),
                    claimant.now.timestamp_millis(),
                    (claimant.now + CLOCK_AHEAD_MAX).timestamp_millis(),
                    (claimant.now + CLOCK_AHEAD_MAX * 2).timestamp_millis(),
                ])?;
            if updated == 0 {
                return Ok(None);
            }
            let attempt = active.attempt + 1;
            begin_run(transaction, (job, &active.slot, attempt), claimant, details).map(Some)
        })
    }

    /// Decides a slot as failed that is not tried again. Whether it was still as described.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn give_up(
        &self,
        job: &str,
        active: &ActiveSlot,
        reason: &str,
        now: DateTime<Utc>,
    ) -> LedgerResult<bool> {
        self.with_transaction(|transaction| {
            close_lost_run(transaction, job, active, now)?;
            let updated = transaction
                .prepare_cached(
                    "UPDATE slots SET state = 'failed', reason = ?4, decided = ?5, lease_until = 0
                     WHERE job = ?1 AND slot = ?2 AND attempt = ?3
                     AND ((state = 'running' AND lease_until NOT BETWEEN ?5 AND ?6) OR state = 'waiting')",
                )?
                .execute(params![
                    job,
                    active.slot,
                    active.attempt,
                    reason,
                    now.timestamp_millis(),
                    (now + CLOCK_AHEAD_MAX).timestamp_millis(),
                ])?;
            Ok(updated == 1)
        })
    }

    /// Prolongs the lease of a claim, also one that has expired if nobody took it over. Whether the claim is still this
    /// process's: asked before a snapshot is committed, too, as then nobody takes over while it is.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn renew_claim(&self, claim: &Claim, lease_until: DateTime<Utc>) -> LedgerResult<bool> {
        let updated = self.with_connection(|connection| {
            connection
                .prepare_cached(
                    "UPDATE slots SET lease_until = ?4 WHERE job = ?1 AND slot = ?2 AND attempt = ?3 AND state = 'running'",
                )?
                .execute(params![
                    claim.job,
                    claim.slot,
                    claim.attempt,
                    lease_until.timestamp_millis()
                ])
        })?;
        Ok(updated == 1)
    }

    /// Records what a run has done.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn add_step(&self, claim: &Claim, step: &StepRecord) -> LedgerResult<()> {
        self.with_connection(|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO steps (run, number, name, outcome, facts, error, hint)
                     SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5, ?6 FROM steps WHERE run = ?1",
                )?
                .execute(params![
                    claim.run,
                    step.name,
                    SlotState::of_outcome(step.outcome).as_str(),
                    step.facts.to_string(),
                    step.error,
                    step.hint
                ])
        })?;
        Ok(())
    }

    /// The names of what earlier attempts at a slot have finished already.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn finished_steps(&self, claim: &Claim) -> LedgerResult<Vec<String>> {
        self.with_connection(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT steps.name FROM steps JOIN runs ON runs.id = steps.run
                 WHERE runs.job = ?1 AND runs.slot = ?2 AND steps.outcome IN ('ok', 'degraded')",
            )?;
            statement
                .query_map([&claim.job, &claim.slot], |row| row.get(0))?
                .collect()
        })
    }

    /// Records how a run ended. Whether it still counts; if not, a later attempt does.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn finish_claim(
        &self,
        claim: &Claim,
        result: &RunResult,
        now: DateTime<Utc>,
    ) -> LedgerResult<bool> {
        let ended = SlotState::of_outcome(result.outcome);
        let state = match result.retry_at {
            Some(_) => SlotState::Waiting,
            None => ended,
        };
        self.with_transaction(|transaction| {
            let updated = transaction
                .prepare_cached(
                    "UPDATE slots SET state = ?4, reason = ?5, decided = ?6, failed = failed + ?7, not_before = ?8, lease_until = 0
                     WHERE job = ?1 AND slot = ?2 AND attempt = ?3 AND state = 'running'",
                )?
                .execute(params![
                    claim.job,
                    claim.slot,
                    claim.attempt,
                    state.as_str(),
                    result.error,
                    now.timestamp_millis(),
                    u32::from(result.outcome == Outcome::Failed),
                    result.retry_at.map_or(0, |at| at.timestamp_millis()),
                ])?;
            let counts = updated == 1;
            let error = if counts {
                result.error.clone()
            } else {
                format!("a later attempt counts: this one had lost its lease. {}", result.error)
            };
            let state = if counts { ended } else { SlotState::Failed };
            transaction
                .prepare_cached("UPDATE runs SET state = ?2, error = ?3, hint = ?4, ended = ?5 WHERE id = ?1")?
                .execute(params![
                    claim.run,
                    state.as_str(),
                    error,
                    result.hint,
                    now.timestamp_millis()
                ])?;
            Ok(counts)
        })
    }
}

fn begin_run(
    transaction: &Transaction<'_>,
    (job, slot, attempt): (&str, &str, u32),
    claimant: &Claimant,
    details: &RunDetails,
) -> rusqlite::Result<Claim> {
    let named = format!("{job}\n{slot}\n{attempt}\n{}", claimant.owner);
    let run = blake3::hash(named.as_bytes()).to_hex()[..12].to_owned();
    transaction
        .prepare_cached(
            "INSERT INTO runs (id, job, slot, attempt, state, error, hint, started, ended, late, host, program, zone_data, policy_version)
             VALUES (?, ?, ?, ?, 'running', '', '', ?, NULL, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            run,
            job,
            slot,
            attempt,
            claimant.now.timestamp_millis(),
            details.is_late,
            details.host,
            details.program,
            details.zone_data,
            details.policy_version
        ])?;
    Ok(Claim {
        run,
        job: job.to_owned(),
        slot: slot.to_owned(),
        attempt,
    })
}

/// An attempt whose owner has not renewed its lease ended without a word.
fn close_lost_run(
    transaction: &Transaction<'_>,
    job: &str,
    active: &ActiveSlot,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE runs SET state = 'failed', ended = ?4, error = ?5, hint = ?6
             WHERE job = ?1 AND slot = ?2 AND attempt = ?3 AND state = 'running'
             AND EXISTS (SELECT 1 FROM slots WHERE job = ?1 AND slot = ?2 AND attempt = ?3 AND state = 'running' AND lease_until NOT BETWEEN ?4 AND ?7)",
        )?
        .execute(params![
            job,
            active.slot,
            active.attempt,
            now.timestamp_millis(),
            "its process ended, hung or was cut off: its lease expired",
            "see the log of that host for the time before it",
            (now + CLOCK_AHEAD_MAX).timestamp_millis(),
        ])?;
    Ok(())
}
