//! Database servers of policies: their addresses with secrets, and what is read of them.

use reprise_mysql::{Address, Filter, Password};
use reprise_policies::{
    PolicyMysqlSource, ProcessEnvironment, ScratchServer, SecretEnvironment, SecretRef,
};
use reprise_snapshotters::mysql::MysqlSource;

use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};

/// The address of a policy's server, its secrets resolved.
pub fn mysql_address(
    environment: &JobEnvironment,
    server: &PolicyMysqlSource,
) -> JobResult<Address> {
    let usage = |reason: String| JobError::InvalidValue { reason };
    let mut address =
        parse_address_with_secret(environment, &server.url, server.password.as_ref())?;
    if let Some(mode) = server.tls {
        address.tls = Some(mode.as_str().parse().map_err(usage)?);
    }
    address.tls_ca = server.tls_ca.clone().or(address.tls_ca);
    address.server_public_key = server
        .server_public_key
        .clone()
        .or(address.server_public_key);
    if let Some(file) = &server.defaults_file {
        address = address.with_defaults_file(file).map_err(usage)?;
    }
    Ok(with_environment_password(address))
}

/// The address of the server into which a drill restores.
pub fn scratch_address(environment: &JobEnvironment, server: &ScratchServer) -> JobResult<Address> {
    let mut address =
        parse_address_with_secret(environment, &server.url, server.password.as_ref())?;
    if let Some(file) = &server.defaults_file {
        address = address
            .with_defaults_file(file)
            .map_err(|reason| JobError::InvalidValue { reason })?;
    }
    Ok(with_environment_password(address))
}

fn parse_address_with_secret(
    environment: &JobEnvironment,
    url: &str,
    secret: Option<&SecretRef>,
) -> JobResult<Address> {
    let mut address = Address::parse(url).map_err(|reason| JobError::InvalidValue { reason })?;
    address.settings = environment.connection_settings();
    if let Some(secret) = secret {
        let password = secret.resolve(&ProcessEnvironment)?;
        address.password = Some(Password::new(password.expose()));
    }
    Ok(address)
}

/// What is read of a policy's server.
pub(super) fn build_mysql_source(
    environment: &JobEnvironment,
    server: &PolicyMysqlSource,
) -> JobResult<MysqlSource> {
    let address = mysql_address(environment, server)?;
    let mut databases = server.databases.clone();
    databases.extend(
        address
            .database
            .clone()
            .filter(|_| server.databases.is_empty()),
    );
    Ok(MysqlSource {
        address,
        filter: build_filter(
            &databases,
            &server.exclude_databases,
            &server.tables,
            &server.exclude_tables,
        )?,
        connections: server.threads as usize,
        accounts: server.users,
        hold_nontransactional: server.hold_nontransactional,
    })
}

/// Takes a password from `MYSQL_PWD` when none is set yet.
#[must_use]
pub fn with_environment_password(mut address: Address) -> Address {
    if address.password.is_none() {
        let password = ProcessEnvironment.variable("MYSQL_PWD");
        address.password = password.filter(|text| !text.is_empty()).map(Password::new);
    }
    address
}

/// What to read from a server.
///
/// # Errors
/// A pattern is not valid.
pub fn build_filter(
    databases: &[String],
    exclude_databases: &[String],
    tables: &[String],
    exclude_tables: &[String],
) -> JobResult<Filter> {
    Filter::new(databases, exclude_databases, tables, exclude_tables).map_err(
        |(pattern, reason)| JobError::InvalidValue {
            reason: format!("invalid pattern `{pattern}`: {reason}"),
        },
    )
}
