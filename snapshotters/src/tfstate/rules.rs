//! The rules of states, each compared with the last snapshot.

use std::collections::BTreeMap;

use reprise_repository::{RawText, Snapshot, Warning};

use super::state_facts::StateFacts;
use super::state_files::ERRORED_NAME;
use crate::run::source_warning;

/// The facts of a state in the last snapshot.
pub(super) fn previous_facts(parent: &Snapshot, name: &str) -> Option<StateFacts> {
    serde_json::from_value(parent.root.facts.get("states")?.get(name)?.clone()).ok()
}

/// The rules that a state breaks, compared with the previous one.
pub(super) fn find_broken_rules(
    name: &str,
    previous: Option<&StateFacts>,
    now: &StateFacts,
) -> Vec<Warning> {
    let Some(previous) = previous else {
        return Vec::new();
    };
    let mut broken = Vec::new();
    let shown = |lineage: &Option<String>| lineage.clone().unwrap_or_else(|| "none".to_owned());
    if previous.lineage.is_some() && previous.lineage != now.lineage {
        let (before, now) = (shown(&previous.lineage), shown(&now.lineage));
        broken.push(format!(
            "alarm: state replaced: its lineage was {before} and is {now}"
        ));
    } else if let (Some(before), Some(serial)) = (previous.serial, now.serial) {
        if serial < before {
            broken.push(format!(
                "alarm: state rolled back: its serial was {before} and is {serial}"
            ));
        } else if serial == before && !has_same_content(previous, now) {
            broken.push(format!(
                "alarm: state forked: serial {serial} has other content than in the last snapshot"
            ));
        }
    }
    if let (Some(before), Some(resources)) = (previous.resources, now.resources)
        && resources * 10 < before * 7
    {
        broken.push(format!(
            "alarm: resources fell from {before} to {resources}"
        ));
    }
    broken
        .into_iter()
        .map(|message| state_warning(name, message))
        .collect()
}

/// Whether two states with one serial are the same. Terraform's own upgrade writes another version under the same serial.
fn has_same_content(a: &StateFacts, b: &StateFacts) -> bool {
    a.content_id == b.content_id
        || (a.comparable_id.is_some() && a.comparable_id == b.comparable_id)
}

/// An alarm if Terraform could not save a state, and left it beside the one that is in use.
pub(super) fn find_unsaved_state(states: &BTreeMap<String, StateFacts>) -> Option<Warning> {
    let errored = states.get(ERRORED_NAME)?;
    let serial = errored.serial?;
    let current = states
        .iter()
        .filter(|(name, state)| *name != ERRORED_NAME && state.lineage == errored.lineage);
    let newest = current.filter_map(|(_, state)| state.serial).max();
    if newest.is_some_and(|newest| newest >= serial) {
        return None;
    }
    let saved = newest.map_or_else(
        || "no state with its lineage is here".to_owned(),
        |newest| format!("the saved state has serial {newest}"),
    );
    Some(state_warning(
        ERRORED_NAME,
        format!(
            "alarm: Terraform could not save serial {serial} and left it here, {saved}: check it and run \
             `terraform state push {ERRORED_NAME}`"
        ),
    ))
}

/// States of the previous snapshot that are missing.
pub(super) fn find_missing_states(
    parent: Option<&Snapshot>,
    states: &BTreeMap<String, StateFacts>,
) -> Vec<Warning> {
    let before = parent.and_then(|parent| parent.root.facts.get("states")?.as_object());
    let gone = before
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != ERRORED_NAME && !states.contains_key(*name));
    gone.map(|(name, _)| {
        source_warning(format!(
            "alarm: the state {name} is in the last snapshot and no longer exists"
        ))
    })
    .collect()
}

/// A warning about one state.
pub(super) fn state_warning(name: &str, message: String) -> Warning {
    Warning {
        path: RawText::from(name),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(lineage: &str, serial: u64, content: &str) -> StateFacts {
        StateFacts {
            lineage: Some(lineage.to_owned()),
            serial: Some(serial),
            resources: Some(10),
            terraform_version: None,
            content_id: content.to_owned(),
            comparable_id: Some(content.to_lowercase()),
        }
    }

    #[test]
    fn lineage_stays_serial_never_falls_and_a_serial_is_its_bytes() {
        let before = facts("a", 5, "x");
        let cases = [
            (facts("a", 5, "x"), ""),
            (facts("a", 5, "X"), ""),
            (facts("a", 6, "y"), ""),
            (facts("a", 4, "y"), "rolled back"),
            (facts("a", 5, "y"), "forked"),
            (facts("b", 9, "y"), "replaced"),
        ];
        for (now, expected) in cases {
            let broken = find_broken_rules("s", Some(&before), &now);
            match broken.first() {
                None => assert_eq!(expected, "", "{now:?}"),
                Some(warning) => {
                    assert!(!expected.is_empty() && warning.message.contains(expected))
                }
            }
        }
    }

    #[test]
    fn a_sharp_fall_of_resources_is_an_alarm() {
        let now = StateFacts {
            resources: Some(6),
            ..facts("a", 6, "y")
        };
        assert_eq!(
            find_broken_rules("s", Some(&facts("a", 5, "x")), &now).len(),
            1
        );
    }

    #[test]
    fn an_unsaved_state_is_an_alarm_until_a_newer_one_is_saved() {
        let states = |errored: StateFacts, saved: StateFacts| {
            BTreeMap::from([
                (ERRORED_NAME.to_owned(), errored),
                ("terraform.tfstate".to_owned(), saved),
            ])
        };
        let alarm = |errored, saved| find_unsaved_state(&states(errored, saved)).is_some();
        assert!(alarm(facts("a", 7, "y"), facts("a", 6, "x")));
        assert!(alarm(facts("b", 1, "y"), facts("a", 6, "x")));
        assert!(!alarm(facts("a", 7, "x"), facts("a", 7, "x")));
        assert!(!alarm(facts("a", 7, "y"), facts("a", 8, "x")));
    }
}
