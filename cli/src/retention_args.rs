//! Options of the commands that decide what is kept.

use chrono::TimeDelta;
use clap::Args;
use reprise_scheduler::retention::{MaxForget, RetentionParameters};

use crate::context::current_time;
use crate::failure::Failure;
use crate::quantities::parse_duration_option;

/// How much may be forgotten.
#[derive(Debug, Args)]
pub(crate) struct ForgetLimitArgs {
    /// Forget at most this many snapshots, and no log. Beyond that `forget` refuses and `policy preview` exits with 3.
    #[arg(long, value_name = "N")]
    pub(crate) max_forget: Option<usize>,
    /// Forget at most this much of a source's log, for example 36h or 2d, also with --max-forget.
    #[arg(long, value_name = "SPAN")]
    pub(crate) max_forget_log: Option<String>,
}

/// How retention decides.
#[derive(Debug, Args)]
pub(crate) struct RetentionArgs {
    /// Let an unusual burst of snapshots displace older ones.
    #[arg(long)]
    pub(crate) accept_flood: bool,
    /// Use the times recorded in snapshots, not when the storage received them. For a copy made by someone trusted.
    #[arg(long)]
    pub(crate) trust_times: bool,
}

impl ForgetLimitArgs {
    /// The limits.
    pub(crate) fn max_forget(&self) -> Result<MaxForget, Failure> {
        let log = self.max_forget_log.as_ref().map(|text| {
            let span = parse_duration_option(text, "--max-forget-log", "write it as 36h or 2d")?;
            Ok::<_, Failure>(TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX))
        });
        Ok(MaxForget {
            snapshots: self.max_forget,
            log: log.transpose()?,
        })
    }
}

impl RetentionArgs {
    /// The parameters of a decision that is made now.
    pub(crate) fn parameters(&self) -> RetentionParameters {
        RetentionParameters {
            now: current_time(),
            accept_flood: self.accept_flood,
            trust_times: self.trust_times,
        }
    }
}
