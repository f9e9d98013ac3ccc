//! Addresses of database servers given on the command line.

use std::path::Path;

use reprise_mysql::Address;
use reprise_scheduler::sources::with_environment_password;

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
    address.settings = context.environment.connection_settings();
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
