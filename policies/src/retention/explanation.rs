//! Why no rule keeps a snapshot, for people.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};

use super::calendar::{CalendarPeriod, CalendarUnit};
use super::candidate::Candidate;
use super::rule_evaluator::{KeepReasons, RuleEvaluator};
use super::verdict::KeepReason;
use crate::values::units::format_duration;

/// When the snapshots were taken that rules keep for calendar periods: by the rule's key and the period.
pub(super) type PeriodHolders = HashMap<(&'static str, CalendarPeriod), DateTime<Utc>>;

impl RuleEvaluator<'_> {
    /// When the snapshots were taken that rules keep for calendar periods.
    pub(super) fn kept_by_period<Id: Copy + Ord>(
        &self,
        sorted: &[&Candidate<Id>],
        kept: &KeepReasons<Id>,
    ) -> PeriodHolders {
        let mut holders = PeriodHolders::new();
        for one in sorted {
            for unit in CalendarUnit::ALL {
                if is_kept_by_rule(kept.get(&one.id), unit.rule_name()) {
                    let here = unit.period_of(one.effective_time(), self.zone);
                    holders.insert((unit.rule_name(), here), one.effective_time());
                }
            }
        }
        holders
    }

    /// Why no rule keeps a snapshot.
    pub(super) fn explain_forgetting<Id>(
        &self,
        one: &Candidate<Id>,
        holders: &PeriodHolders,
    ) -> String {
        let mut reasons: Vec<String> = Vec::new();
        if !one.good {
            reasons.push("degraded or affected by damage".to_owned());
        }
        for unit in CalendarUnit::ALL {
            let Some(wanted) = unit.keep_count(self.rules) else {
                continue;
            };
            let here = unit.period_of(one.effective_time(), self.zone);
            reasons.push(match holders.get(&(unit.rule_name(), here)) {
                Some(time) => format!(
                    "{} keeps the one of {}",
                    unit.rule_name(),
                    self.zone.format_time(*time, SecondsFormat::Secs)
                ),
                None => format!("{} keeps {wanted} newer", unit.rule_name()),
            });
        }
        if let Some(wanted) = self.rules.last {
            reasons.push(format!("last keeps {wanted} newer"));
        }
        if let Some(span) = self.rules.within {
            reasons.push(format!("older than within {}", format_duration(span)));
        }
        if reasons.len() == usize::from(!one.good) {
            reasons.push("no rule keeps it".to_owned());
        }
        reasons.join("; ")
    }
}

fn is_kept_by_rule(by: Option<&Vec<KeepReason>>, name: &str) -> bool {
    by.into_iter()
        .flatten()
        .any(|keeps| matches!(keeps, KeepReason::Rule { rule, .. } if *rule == name))
}
