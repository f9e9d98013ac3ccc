//! How much may be forgotten at once.

use chrono::TimeDelta;

use super::log_plan::LogForgetPlan;
use crate::text::format_count;

/// The limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct MaxForget {
    /// Snapshots altogether; `None`: any number.
    pub snapshots: Option<usize>,
    /// Of each log; `None`: no segment, where a limit is set.
    pub log: Option<TimeDelta>,
}

impl MaxForget {
    /// Describes what would be forgotten beyond the limits.
    pub fn describe_excess<'a>(
        &self,
        snapshots: usize,
        mut logs: impl Iterator<Item = &'a LogForgetPlan>,
    ) -> Option<String> {
        if let Some(max) = self.snapshots.filter(|max| snapshots > *max) {
            return Some(format!(
                "{} would be forgotten, more than --max-forget {max}",
                format_count(snapshots, "snapshot", "snapshots")
            ));
        }
        if self.snapshots.is_none() && self.log.is_none() {
            return None;
        }
        let allowed = |log: &LogForgetPlan| {
            let length = log.seconds.map(TimeDelta::seconds);
            self.log
                .is_some_and(|max| length.is_some_and(|length| length <= max))
        };
        let log = logs.find(|log| !allowed(log))?;
        Some(match self.log {
            Some(_) => format!("{log} would be forgotten, more than --max-forget-log"),
            None => format!("{log} would be forgotten, which --max-forget-log does not allow"),
        })
    }
}
