//! The URL of a MySQL or MariaDB server in a policy: checked here, parsed where the server is connected.

use crate::values::names::{did_you_mean, join_names, quote};
use crate::values::secret::is_secret_name;
use crate::yaml::decoder::{Decoder, Field};

/// The parameters that a URL may have after its `?`.
const PARAMETERS: &[&str] = &["socket", "container"];
/// Parameters allowed on the command line that have their own key in a policy, where paths mean something else.
const PARAMETERS_WITH_KEYS: &[(&str, &str)] = &[
    ("tls", "tls"),
    ("tls-ca", "tls_ca"),
    ("server-public-key", "server_public_key"),
    ("defaults-file", "defaults_file"),
];

/// What is wrong with a URL, and what to write instead. Nothing that may be a password is repeated.
struct UrlProblem {
    message: String,
    help: Option<String>,
}

impl UrlProblem {
    fn new(message: impl Into<String>, help: Option<&str>) -> Self {
        Self {
            message: message.into(),
            help: help.map(str::to_owned),
        }
    }
}

/// Decodes the URL of a server.
pub(crate) fn decode_mysql_url(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
    let text = decoder.text(field)?;
    if has_password(text) {
        decoder.report.hide_secret(field.node.mark);
        let help = "leave it out and write `password: ${env:NAME}` or `password: file:PATH` beside the URL";
        decoder.report_error_with_help(
            field,
            "the URL contains a password, which a policy must not contain",
            Some(help.to_owned()),
        );
        return None;
    }
    match check_url(text) {
        Ok(()) => Some(text.to_owned()),
        Err(wrong) => {
            // The text in place of a user or a port may be an incomplete password.
            if text.contains('@') || text.matches(':').count() > 1 {
                decoder.report.hide_secret(field.node.mark);
            }
            decoder.report_error_with_help(field, wrong.message, wrong.help);
            None
        }
    }
}

/// Whether a URL contains `USER:PASSWORD@` or `password=`. A password may hold any character, so the last `@` counts.
fn has_password(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let in_user = after_scheme
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.contains(':'));
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let in_parameters = parameters.split('&').any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        let is_file = PARAMETERS_WITH_KEYS.iter().any(|(known, _)| *known == name);
        is_secret_name(name) && !is_file
    });
    in_user || in_parameters
}

fn check_url(text: &str) -> Result<(), UrlProblem> {
    let example = Some("write `mysql://USER@HOST/`");
    let Some(rest) = text.strip_prefix("mysql://") else {
        return Err(UrlProblem::new(
            "expected a URL that begins with `mysql://`",
            example,
        ));
    };
    if text.contains(|sign: char| sign.is_whitespace() || sign.is_control() || sign == '#') {
        let help = "write `%` and two hexadecimal digits for them";
        let message = "a URL must not contain spaces, control characters or `#`";
        return Err(UrlProblem::new(message, Some(help)));
    }
    let (address, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = address.split('/').next().unwrap_or_default();
    let host_and_port = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host = check_port(host_and_port)?;
    let names = check_parameters(parameters)?;
    if host.is_empty() && names.is_empty() {
        return Err(UrlProblem::new("the URL names no host", example));
    }
    if address.split('/').count() > 2 {
        let help = "choose databases with `databases` and tables with `tables`";
        let message = "the path of the URL is at most one database";
        return Err(UrlProblem::new(message, Some(help)));
    }
    Ok(())
}

/// Returns the host. An IPv6 address is in brackets, as it has colons itself.
fn check_port(host_and_port: &str) -> Result<&str, UrlProblem> {
    let colon = match host_and_port.rfind(']') {
        Some(bracket) => host_and_port
            .get(bracket..)
            .and_then(|end| end.find(':'))
            .map(|at| at + bracket),
        None => host_and_port.find(':'),
    };
    let Some((host, port)) = colon.and_then(|at| host_and_port.split_at_checked(at)) else {
        return Ok(host_and_port);
    };
    let port = port.trim_start_matches(':');
    match port.parse::<u16>() {
        Ok(1..) => Ok(host),
        _ => {
            let help = "write an IPv6 address in brackets: `mysql://USER@[::1]:3306/`";
            let message = "the port is not a number from 1 to 65535";
            Err(UrlProblem::new(message, Some(help)))
        }
    }
}

/// Returns the names of the parameters.
fn check_parameters(parameters: &str) -> Result<Vec<&str>, UrlProblem> {
    let given = parameters
        .split('&')
        .filter(|parameter| !parameter.is_empty());
    given
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if let Some((_, key)) = PARAMETERS_WITH_KEYS
                .iter()
                .find(|(instead, _)| *instead == name)
            {
                let message =
                    format!("`{name}` is not a URL parameter in a policy, but a separate key");
                return Err(UrlProblem::new(
                    message,
                    Some(&format!("write `{key}: {value}` beside the URL")),
                ));
            }
            if !PARAMETERS.contains(&name) {
                let message = format!(
                    "{} is not a parameter of the URL; they are {}",
                    quote(name),
                    join_names(PARAMETERS.iter().copied())
                );
                let help = did_you_mean(name, PARAMETERS.iter().copied());
                return Err(UrlProblem { message, help });
            }
            if value.is_empty() {
                return Err(UrlProblem::new(
                    format!("`{name}` in the URL is empty"),
                    None,
                ));
            }
            Ok(name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_wherever_they_stand() {
        for url in [
            "mysql://u:p@h/",
            "mysql://u:p@ss@h/",
            "mysql://u:p/a?b@h/",
            "mysql://u:${env:P}@h/",
            "mysql://:p@h/",
            "mysql://h/?password=p",
            "mysql://h/?socket=a&MYSQL_PASSWORD=p",
            "u:p@h",
        ] {
            assert!(has_password(url), "{url}");
        }
        for url in [
            "mysql://u@h:3306/",
            "mysql://h:3306/a",
            "mysql://[::1]:3306/",
            "mysql:///?socket=/a:b",
        ] {
            assert!(!has_password(url), "{url}");
        }
    }
}
