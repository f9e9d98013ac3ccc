//! What a program does not inherit: the credentials of repositories and databases, unless it is given them by name.

use std::process::Command;

/// Variables that open repositories, storage or databases for `reprise` itself.
pub const CREDENTIAL_VARIABLES: [&str; 21] = [
    "REPRISE_REPOSITORY",
    "REPRISE_IDENTITY",
    "REPRISE_KEEPER",
    "REPRISE_ESCROW_PASSPHRASE",
    "REPRISE_POLICIES",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_PASSWORD",
    "AZURE_FEDERATED_TOKEN_FILE",
    "MYSQL_PWD",
];

/// Removes the credentials from what a program inherits. What is set afterwards, it gets.
pub fn remove_credentials(command: &mut Command) {
    for name in CREDENTIAL_VARIABLES {
        command.env_remove(name);
    }
}
