//! Which account, at which address, with which credentials: from the usual variables.

use reprise_location::mask_secrets;
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, RetryOptions, Transport, Url};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};

use super::sas::{SasPolicy, SasSource};
use crate::backend::remote::http::NetworkClient;
use crate::backend::{BackendError, BackendResult, ConfigurationError};

/// The well-known account of the emulator; its key is not secret.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// Reads an environment variable; an empty one counts as unset.
pub(super) type EnvironmentLookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How to reach a container.
pub(super) struct AzureAccount {
    pub(super) container_url: Url,
    pub(super) credential: Option<Arc<dyn TokenCredential>>,
    pub(super) client_options: ClientOptions,
}

fn invalid_option(text: String) -> BackendError {
    BackendError::Configuration {
        problem: ConfigurationError::InvalidOption(text),
        source: "see docs/destinations.md".into(),
    }
}

/// A connection string as pairs.
fn parse_connection_string(text: &str) -> BackendResult<HashMap<String, String>> {
    text.split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let pair = part.split_once('=');
            let (name, value) = pair.ok_or_else(|| {
                invalid_option(
                    "AZURE_STORAGE_CONNECTION_STRING is not a valid connection string".into(),
                )
            })?;
            Ok((name.to_ascii_lowercase(), value.to_owned()))
        })
        .collect()
}

/// The account settings in a connection string or in the single variables.
#[derive(Default)]
struct AzureSettings {
    account: Option<String>,
    key: Option<String>,
    sas: Option<String>,
    endpoint: AzureEndpoint,
}

/// The endpoint of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AzureEndpoint {
    /// The public cloud.
    #[default]
    Public,
    /// The emulator on this host, with its well-known account.
    Emulator,
    /// This URL.
    Custom(String),
}

fn read_settings(account: &str, variable: EnvironmentLookup<'_>) -> BackendResult<AzureSettings> {
    let Some(text) = variable("AZURE_STORAGE_CONNECTION_STRING") else {
        return Ok(AzureSettings {
            account: None,
            key: variable("AZURE_STORAGE_KEY"),
            sas: variable("AZURE_STORAGE_SAS_TOKEN"),
            endpoint: variable("AZURE_STORAGE_SERVICE_ENDPOINT")
                .map_or(AzureEndpoint::Public, AzureEndpoint::Custom),
        });
    };
    let mut pairs = parse_connection_string(&text)?;
    if pairs
        .get("usedevelopmentstorage")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    {
        return Ok(AzureSettings {
            account: Some(EMULATOR_ACCOUNT.to_owned()),
            key: Some(EMULATOR_KEY.to_owned()),
            sas: None,
            endpoint: AzureEndpoint::Emulator,
        });
    }
    let scheme = pairs.remove("defaultendpointsprotocol");
    let suffix = pairs.remove("endpointsuffix");
    let endpoint = pairs.remove("blobendpoint").or_else(|| {
        suffix.map(|suffix| {
            let scheme = scheme.unwrap_or_else(|| "https".to_owned());
            format!("{scheme}://{account}.blob.{suffix}")
        })
    });
    Ok(AzureSettings {
        account: pairs.remove("accountname"),
        key: pairs.remove("accountkey"),
        sas: pairs.remove("sharedaccesssignature"),
        endpoint: endpoint.map_or(AzureEndpoint::Public, AzureEndpoint::Custom),
    })
}

/// The endpoint that the variables name.
pub(super) fn resolve_endpoint(
    account: &str,
    variable: EnvironmentLookup<'_>,
) -> BackendResult<AzureEndpoint> {
    Ok(read_settings(account, variable)?.endpoint)
}

/// Determines how to reach a container.
pub(super) fn resolve_account(
    account: &str,
    container: &str,
    http: &NetworkClient,
    variable: EnvironmentLookup<'_>,
) -> BackendResult<AzureAccount> {
    let settings = read_settings(account, variable)?;
    if let Some(other) = settings.account.filter(|other| other != account) {
        return Err(invalid_option(format!(
            "the repository is in the storage account {account}, but AZURE_STORAGE_CONNECTION_STRING is for {other}"
        )));
    }
    let endpoint = match settings.endpoint {
        AzureEndpoint::Public => format!("https://{account}.blob.core.windows.net"),
        AzureEndpoint::Emulator => EMULATOR_ENDPOINT.to_owned(),
        AzureEndpoint::Custom(url) => url,
    };
    let mut container_url = Url::parse(&endpoint).map_err(|error| {
        invalid_option(format!(
            "the endpoint {} is not a valid URL: {error}",
            mask_secrets(&endpoint)
        ))
    })?;
    if let Ok(mut segments) = container_url.path_segments_mut() {
        segments.pop_if_empty().push(container);
    }
    let mut client_options = ClientOptions {
        // We retry requests ourselves: see `retry`.
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(super::transport::AzureTransport(
            http.clone(),
        )))),
        ..ClientOptions::default()
    };
    if let Some(key) = &settings.key
        && STANDARD.decode(key).is_err()
    {
        let reason = "the key of the storage account is not base64 text: copy it again, all of it";
        return Err(invalid_option(reason.to_owned()));
    }
    let plain = container_url.scheme() == "http";
    let signature = match (settings.key, settings.sas) {
        (Some(key), _) => Some(SasSource::AccountKey {
            account: account.to_owned(),
            container: container.to_owned(),
            key: Secret::new(key),
            plain,
        }),
        (None, Some(token)) => Some(SasSource::from_token(&token)),
        (None, None) => None,
    };
    let credential = match signature {
        Some(signature) => {
            client_options
                .per_try_policies
                .push(Arc::new(SasPolicy(signature)));
            None
        }
        None => Some(entra_credential(variable, &client_options)?),
    };
    Ok(AzureAccount {
        container_url,
        credential,
        client_options,
    })
}

/// Entra ID: a service principal, a federated identity, or the machine's managed identity.
fn entra_credential(
    variable: EnvironmentLookup<'_>,
    client_options: &ClientOptions,
) -> BackendResult<Arc<dyn TokenCredential>> {
    let failed = |error: azure_core::Error| BackendError::Configuration {
        problem: ConfigurationError::MissingCredentials,
        source: Box::new(error),
    };
    let client = variable("AZURE_CLIENT_ID");
    let tenant = variable("AZURE_TENANT_ID");
    if let (Some(client), Some(tenant), Some(secret)) =
        (&client, &tenant, variable("AZURE_CLIENT_SECRET"))
    {
        let options = ClientSecretCredentialOptions {
            client_options: client_options.clone(),
        };
        let secret = Secret::new(secret);
        let credential = ClientSecretCredential::new(tenant, client.clone(), secret, Some(options));
        return Ok(credential.map_err(failed)?);
    }
    if client.is_some() && tenant.is_some() && variable("AZURE_FEDERATED_TOKEN_FILE").is_some() {
        let options = WorkloadIdentityCredentialOptions {
            credential_options: ClientAssertionCredentialOptions {
                client_options: client_options.clone(),
            },
            ..WorkloadIdentityCredentialOptions::default()
        };
        return Ok(WorkloadIdentityCredential::new(Some(options)).map_err(failed)?);
    }
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id: client.map(UserAssignedId::ClientId),
        client_options: client_options.clone(),
    };
    Ok(ManagedIdentityCredential::new(Some(options)).map_err(failed)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn describe_account(account: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        let http = NetworkClient::new(Duration::from_secs(1), None, None).unwrap();
        let variable = |name: &str| {
            let pair = variables.iter().find(|(known, _)| *known == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        match resolve_account(account, "box", &http, &variable) {
            Ok(account) => Ok(format!(
                "{} {}",
                account.container_url,
                if account.credential.is_some() {
                    "entra"
                } else {
                    "signed"
                }
            )),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn every_usual_way_to_name_an_account_is_understood() {
        let connection = "AZURE_STORAGE_CONNECTION_STRING";
        let cases: [(&[(&str, &str)], &str); 6] = [
            (
                &[("AZURE_STORAGE_KEY", "a2V5")],
                "https://acc.blob.core.windows.net/box signed",
            ),
            (
                &[("AZURE_STORAGE_SAS_TOKEN", "?sig=x")],
                "https://acc.blob.core.windows.net/box signed",
            ),
            (
                &[(
                    connection,
                    "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.example",
                )],
                "https://acc.blob.core.example/box signed",
            ),
            (
                &[(
                    connection,
                    "BlobEndpoint=http://127.0.0.1:1/acc;AccountName=acc;AccountKey=a2V5MQ==",
                )],
                "http://127.0.0.1:1/acc/box signed",
            ),
            (
                &[(
                    connection,
                    "BlobEndpoint=https://x.example/;SharedAccessSignature=sv=1&sig=x",
                )],
                "https://x.example/box signed",
            ),
            (&[], "https://acc.blob.core.windows.net/box entra"),
        ];
        for (variables, expected) in cases {
            assert_eq!(describe_account("acc", variables).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_connection_string_for_another_account_is_refused_without_its_key() {
        let text = "AccountName=other;AccountKey=c2VjcmV0";
        let error =
            describe_account("acc", &[("AZURE_STORAGE_CONNECTION_STRING", text)]).unwrap_err();
        assert!(
            error.contains("other") && !error.contains("c2Vj"),
            "{error}"
        );
    }
}
