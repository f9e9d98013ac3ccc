//! The logs of a repository are copied: their segments.

use std::collections::HashSet;

use crate::copy::RepositoryCopy;
use crate::error::Result;
use crate::store::verified_io::put_verified;

impl RepositoryCopy<'_> {
    /// Log segments, oldest first: an interrupted copy has the beginning of each log.
    pub(super) fn copy_logs(&mut self) -> Result<()> {
        let there = self.target.list("logs").map_err(|e| self.target_error(e))?;
        let there: HashSet<_> = there.into_iter().map(|info| info.key).collect();
        let tombstones = self.repository.read_tombstones()?;
        for directory in self.repository.log_directories()? {
            let first = self.repository.first_log_sequence(&directory, &tombstones);
            for piece in self.repository.list_log_segments_in(&directory)? {
                self.progress.check_cancelled()?;
                if piece.sequence < first || there.contains(&piece.to_object_key()) {
                    continue;
                }
                match self.repository.read_log_bytes(&piece) {
                    Ok(bytes) => {
                        put_verified(
                            self.target,
                            &piece.to_object_key(),
                            &[bytes.into()],
                            &piece.id,
                        )?;
                        self.report.log_segments += 1;
                    }
                    Err(error) => self.record_failure(piece.to_object_key().as_str(), error)?,
                }
            }
        }
        Ok(())
    }
}
