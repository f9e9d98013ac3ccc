//! `reprise policy`: checking policy files, and their schema for editors.

use std::path::PathBuf;

use clap::Args;
use reprise_policies::{PolicyErrors, PolicySet};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct PolicyCheckArgs {
    /// Policy file or directory. Default: --policies.
    pub(crate) path: Option<PathBuf>,
}

pub(crate) fn check(context: &Context, args: &PolicyCheckArgs) -> Result<Exit, Failure> {
    let path = args
        .path
        .as_ref()
        .or(context.global.policies.as_ref())
        .ok_or_else(|| {
            Failure::usage(
                "no policy is given",
                "give its path, --policies PATH, or set REPRISE_POLICIES",
            )
        })?;
    if !path.exists() {
        let message = format!("policy {} does not exist", path.display());
        return Err(Failure::new(Exit::NotFound, message, ""));
    }
    match PolicySet::load(path) {
        Ok(set) => {
            print_valid(context, &set);
            Ok(Exit::Ok)
        }
        Err(errors) => {
            print_errors(context, &errors);
            Ok(Exit::Usage)
        }
    }
}

fn print_valid(context: &Context, set: &PolicySet) {
    for warning in set.warnings() {
        output::print_notes(warning.to_string().trim_end());
    }
    if context.global.json {
        let policy = |policy: &reprise_policies::Policy| {
            json!({
                "policy": policy.name,
                "file": policy.path,
                "sources": policy.sources.keys().collect::<Vec<_>>(),
                "drills": policy.drills.keys().collect::<Vec<_>>(),
            })
        };
        let policies: Vec<_> = set.policies().iter().map(policy).collect();
        output::print_json(
            &json!({"policies": policies, "errors": [], "warnings": set.warnings().len()}),
        );
    } else if !context.global.quiet {
        for policy in set.policies() {
            output::print_line(&format!(
                "{}: ok, {}, {} ({})",
                policy.name,
                output::format_count(policy.sources.len(), "source", "sources"),
                output::format_count(policy.drills.len(), "drill", "drills"),
                policy.path.display()
            ));
        }
    }
}

fn print_errors(context: &Context, errors: &PolicyErrors) {
    if context.global.json {
        let error = |error: &reprise_policies::PolicyError| {
            json!({
                "file": error.file,
                "line": error.line,
                "column": error.column,
                "path": error.path,
                "message": error.message,
                "suggestion": error.suggestion,
            })
        };
        let listed: Vec<_> = errors.iter().map(error).collect();
        output::print_json(&json!({"policies": [], "errors": listed}));
    }
    output::print_notes(errors.to_string().trim_end());
}

pub(crate) fn print_schema() -> Result<Exit, Failure> {
    let text = serde_json::to_string_pretty(&reprise_policies::json_schema())
        .map_err(|error| Failure::new(Exit::Failed, error.to_string(), ""))?;
    output::print_raw(&text);
    Ok(Exit::Ok)
}
