//! How much may be forgotten at once, for `forget` and `policy preview`.

use chrono::TimeDelta;

use crate::args::ForgetLimitArgs;
use crate::failure::Failure;
use crate::output::format_count;
use crate::quantities::parse_duration_option;
use crate::retention::LogForgetPlan;

/// The limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxForget {
    snapshots: Option<usize>,
    /// Of each log; `None`: no segment, where a limit is set.
    log: Option<TimeDelta>,
}

impl MaxForget {
    /// Reads the options.
    pub(crate) fn from_args(args: &ForgetLimitArgs) -> Result<Self, Failure> {
        let log = args.max_forget_log.as_ref().map(|text| {
            let span = parse_duration_option(text, "--max-forget-log", "write it as 36h or 2d")?;
            Ok::<_, Failure>(TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX))
        });
        Ok(Self {
            snapshots: args.max_forget,
            log: log.transpose()?,
        })
    }

    /// Describes what would be forgotten beyond the limits.
    pub(crate) fn describe_excess<'a>(
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
