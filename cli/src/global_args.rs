//! Options of every command.

use std::path::PathBuf;

use clap::Args;
use reprise_repository::ObjectId;

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Location of the repository: a path, s3://bucket/prefix or azure://account/container/prefix; with --policies also
    /// the name of one of their repositories.
    #[arg(
        short,
        long,
        global = true,
        env = "REPRISE_REPOSITORY",
        value_name = "URL"
    )]
    pub(crate) repository: Option<String>,
    /// File with a recovery identity (age or SSH private key) that decrypts snapshot contents. May be repeated.
    #[arg(long, global = true, env = "REPRISE_IDENTITY", value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
    /// File with a keeper's key, which may forget snapshots and change keys. Default: this host's own key.
    #[arg(
        long,
        global = true,
        env = "REPRISE_KEEPER",
        value_name = "FILE",
        hide_short_help = true
    )]
    pub(crate) keeper: Option<PathBuf>,
    /// Fingerprint that the repository must have, as printed on its recovery sheet: for the first use on a new machine.
    #[arg(long, global = true, value_name = "FINGERPRINT", value_parser = parse_fingerprint, hide_short_help = true)]
    pub(crate) expect: Option<ObjectId>,
    /// Policy file, or directory of policy files.
    #[arg(long, global = true, env = "REPRISE_POLICIES", value_name = "PATH")]
    pub(crate) policies: Option<PathBuf>,
    /// Whether the policies are given on the command line, and not only by the environment.
    #[arg(skip)]
    pub(crate) policies_on_command_line: bool,
    /// Print one JSON document on standard output; progress as further JSON lines before it.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print more detail. May be repeated.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print only errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Do not show progress.
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Upload at most this many bytes per second, for example 10MiB.
    #[arg(
        long,
        global = true,
        value_name = "RATE",
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) limit_upload: Option<String>,
    /// Download at most this many bytes per second.
    #[arg(
        long,
        global = true,
        value_name = "RATE",
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) limit_download: Option<String>,
    /// Accept an endpoint with plain HTTP on another host: nothing on the way to it is protected.
    #[arg(
        long,
        global = true,
        env = "REPRISE_ALLOW_HTTP",
        value_parser = clap::builder::BoolishValueParser::new(),
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) allow_http: bool,
    /// Retry a failing request for this long before giving up. Default: 15m.
    #[arg(
        long,
        global = true,
        env = "REPRISE_RETRY_FOR",
        value_name = "TIME",
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) retry_for: Option<String>,
    /// Retry a request that has transferred no data for this long. Default: 60s.
    #[arg(
        long,
        global = true,
        env = "REPRISE_REQUEST_TIMEOUT",
        value_name = "TIME",
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) request_timeout: Option<String>,
}

/// A fingerprint, also typed from paper: in groups, in capital letters.
fn parse_fingerprint(text: &str) -> Result<ObjectId, String> {
    let digits: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, ':' | '-'))
        .collect();
    digits.to_ascii_lowercase().parse().map_err(|_| {
        "a fingerprint has 64 hexadecimal digits: see the recovery sheet (`reprise key sheet`)"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_taken_as_it_is_typed() {
        let id = ObjectId::from_content(b"reprise.json");
        let plain = id.to_string();
        let groups: Vec<_> = plain.as_bytes().chunks(8).map(str::from_utf8).collect();
        let groups: Vec<_> = groups.into_iter().map(Result::unwrap).collect();
        for typed in [
            plain.clone(),
            groups.join(" "),
            groups.join(":").to_uppercase(),
        ] {
            assert_eq!(parse_fingerprint(&typed), Ok(id));
        }
        for typed in ["", &plain[1..], "none"] {
            assert!(parse_fingerprint(typed).is_err());
        }
    }
}
