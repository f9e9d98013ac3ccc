//! What a single value in a policy can mean: a name, a path, a number with a unit, a repository's location, a reference
//! to a secret. Nothing here knows YAML.

pub(crate) mod location;
pub(crate) mod names;
pub(crate) mod paths;
pub(crate) mod secret;
pub(crate) mod units;
