//! Addresses of database servers, from a URL, an option file and the environment.

use std::path::Path;

use reprise_mysql::{Address, Filter, Password};

use crate::context::Context;
use crate::failure::Failure;

/// The address given on the command line.
pub(crate) fn resolve_address(
    context: &Context,
    url: &str,
    defaults: Option<&Path>,
) -> Result<Address, Failure> {
    let mut address = Address::parse(url).map_err(|reason| {
        // The URL may hold a password: it is not repeated.
        Failure::usage(
            format!("invalid server URL: {reason}"),
            "write it as mysql://user@host:port/",
        )
    })?;
    if address.password.is_some() {
        context.print_note(
            "warning: a password in a URL is visible to every user of this host: use --defaults-file or MYSQL_PWD",
        );
    }
    if let Some(file) = defaults {
        address = address
            .with_defaults_file(file)
            .map_err(|reason| Failure::usage(reason, ""))?;
    }
    Ok(with_environment_password(address))
}

/// Takes a password from the environment when none is set yet.
pub(crate) fn with_environment_password(mut address: Address) -> Address {
    if address.password.is_none() {
        let password = std::env::var("MYSQL_PWD").ok();
        address.password = password.filter(|text| !text.is_empty()).map(Password::new);
    }
    address
}

/// What to read from a server.
pub(crate) fn build_filter(
    databases: &[String],
    exclude_databases: &[String],
    tables: &[String],
    exclude_tables: &[String],
) -> Result<Filter, Failure> {
    Filter::new(databases, exclude_databases, tables, exclude_tables).map_err(
        |(pattern, reason)| Failure::usage(format!("invalid pattern `{pattern}`: {reason}"), ""),
    )
}
