//! Finds the sources, copies and drills that a command line names: `POLICY`, `POLICY/NAME`, or a bare `NAME` that is
//! unique.

use std::collections::BTreeMap;

use crate::model::copy::CopyJob;
use crate::model::drill::Drill;
use crate::model::policy::Policy;
use crate::model::source::PolicySource;
use crate::set::policy_set::PolicySet;
use crate::values::names::{join_names, nearest_name, quote};

/// Why an argument names nothing, or not one thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Nothing has this name.
    #[error("there is no {what} named {}; there is {}", quote(name), join_names(existing.iter().map(String::as_str)))]
    NotFound {
        /// What was looked for: `policy`, `policy or source`, `copy`, `drill`.
        what: &'static str,
        /// The argument.
        name: String,
        /// The names that exist.
        existing: Vec<String>,
        /// The name that was probably meant.
        nearest: Option<String>,
    },
    /// Several policies have something with this name.
    #[error("{} is in several policies; write {}", quote(name), join_names(candidates.iter().map(String::as_str)))]
    Ambiguous {
        /// The argument.
        name: String,
        /// The full names of the candidates.
        candidates: Vec<String>,
    },
}

impl SelectError {
    /// The name that was probably meant, as a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { nearest, .. } => nearest
                .as_ref()
                .map(|name| format!("did you mean `{name}`?")),
            Self::Ambiguous { .. } => None,
        }
    }
}

impl PolicySet {
    /// The sources that the arguments name, each once, in the order named; all of them when there are no arguments.
    ///
    /// # Errors
    /// When an argument names nothing, or is a bare name that several policies have.
    pub fn select_sources(
        &self,
        names: &[String],
    ) -> Result<Vec<(&Policy, &PolicySource)>, SelectError> {
        select_items(self.policies(), names, "source", |policy| &policy.sources)
    }

    /// The one source that an argument names.
    ///
    /// # Errors
    /// As [`PolicySet::select_sources`], or when the argument names a policy with several sources.
    pub fn find_source(&self, name: &str) -> Result<(&Policy, &PolicySource), SelectError> {
        let chosen = self.select_sources(&[name.to_owned()])?;
        match chosen.as_slice() {
            [one] => Ok(*one),
            several => Err(SelectError::Ambiguous {
                name: name.to_owned(),
                candidates: several
                    .iter()
                    .map(|(policy, source)| format!("{}/{}", policy.name, source.name))
                    .collect(),
            }),
        }
    }

    /// The copies that the arguments name; all of them when there are no arguments.
    ///
    /// # Errors
    /// As [`PolicySet::select_sources`].
    pub fn select_copies(&self, names: &[String]) -> Result<Vec<(&Policy, &CopyJob)>, SelectError> {
        select_items(self.policies(), names, "copy", |policy| &policy.copies)
    }

    /// The drills that the arguments name; all of them when there are no arguments.
    ///
    /// # Errors
    /// As [`PolicySet::select_sources`].
    pub fn select_drills(&self, names: &[String]) -> Result<Vec<(&Policy, &Drill)>, SelectError> {
        select_items(self.policies(), names, "drill", |policy| &policy.drills)
    }
}

type ItemsOf<T> = fn(&Policy) -> &BTreeMap<String, T>;

fn select_items<'a, T>(
    policies: &'a [Policy],
    names: &[String],
    what: &'static str,
    things: ItemsOf<T>,
) -> Result<Vec<(&'a Policy, &'a T)>, SelectError> {
    let all = |policy: &'a Policy| things(policy).values().map(move |thing| (policy, thing));
    if names.is_empty() {
        return Ok(policies.iter().flat_map(all).collect());
    }
    let mut chosen: Vec<(&Policy, &T)> = Vec::new();
    for name in names {
        for found in find_named(policies, name, what, things)? {
            if !chosen
                .iter()
                .any(|(_, thing)| std::ptr::eq(*thing, found.1))
            {
                chosen.push(found);
            }
        }
    }
    Ok(chosen)
}

fn find_named<'a, T>(
    policies: &'a [Policy],
    name: &str,
    what: &'static str,
    things: ItemsOf<T>,
) -> Result<Vec<(&'a Policy, &'a T)>, SelectError> {
    let policy_named = |wanted: &str| policies.iter().find(|policy| policy.name == wanted);
    if let Some((policy_name, thing_name)) = name.split_once('/') {
        let Some(policy) = policy_named(policy_name) else {
            return Err(not_found(
                "policy",
                policy_name,
                policies.iter().map(|policy| policy.name.clone()).collect(),
            ));
        };
        let thing = things(policy).get(thing_name);
        let full = || {
            things(policy)
                .keys()
                .map(|thing| format!("{}/{thing}", policy.name))
                .collect()
        };
        return thing
            .map(|thing| vec![(policy, thing)])
            .ok_or_else(|| not_found(what, name, full()));
    }
    if let Some(policy) = policy_named(name) {
        return Ok(things(policy)
            .values()
            .map(|thing| (policy, thing))
            .collect());
    }
    let found: Vec<_> = policies
        .iter()
        .filter_map(|policy| things(policy).get(name).map(|thing| (policy, thing)))
        .collect();
    match found.len() {
        1 => Ok(found),
        0 => Err(not_found_bare(policies, name, what, things)),
        _ => {
            let candidates = found
                .iter()
                .map(|(policy, _)| format!("{}/{name}", policy.name))
                .collect();
            Err(SelectError::Ambiguous {
                name: name.to_owned(),
                candidates,
            })
        }
    }
}

fn not_found(what: &'static str, name: &str, existing: Vec<String>) -> SelectError {
    let nearest = nearest_name(name, existing.iter().map(String::as_str)).map(str::to_owned);
    SelectError::NotFound {
        what,
        name: name.to_owned(),
        existing,
        nearest,
    }
}

/// A bare name may have meant a policy or an item in one; both are offered, and compared.
fn not_found_bare<T>(
    policies: &[Policy],
    name: &str,
    what: &'static str,
    things: ItemsOf<T>,
) -> SelectError {
    let what = match what {
        "source" => "policy or source",
        "copy" => "policy or copy",
        _ => "policy or drill",
    };
    let full = policies.iter().flat_map(|policy| {
        things(policy)
            .keys()
            .map(move |key| format!("{}/{key}", policy.name))
    });
    let existing: Vec<String> = full.collect();
    let bare = policies.iter().flat_map(|policy| {
        std::iter::once(policy.name.as_str()).chain(things(policy).keys().map(String::as_str))
    });
    let nearest = nearest_name(name, bare).map(str::to_owned);
    SelectError::NotFound {
        what,
        name: name.to_owned(),
        existing,
        nearest,
    }
}
