//! A database in a Docker container: its address is queried from the engine.

use std::path::PathBuf;

use crate::connection::Address;

/// The engine's socket; `DOCKER_HOST` with a Unix socket overrides it.
const DOCKER_SOCKET_DEFAULT: &str = "/var/run/docker.sock";

/// The address with the container's IP address as its host.
pub(crate) fn resolve_container(address: &Address) -> Result<Address, String> {
    let Some(container) = &address.container else {
        return Ok(address.clone());
    };
    let host = query_container_ip(container)
        .map_err(|reason| format!("container {container} cannot be reached: {reason}"))?;
    Ok(Address {
        host: Some(host),
        ..address.clone()
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the variable of the container engine names its socket, as for its own client"
)]
fn docker_socket_path() -> PathBuf {
    std::env::var("DOCKER_HOST")
        .ok()
        .and_then(|host| host.strip_prefix("unix://").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DOCKER_SOCKET_DEFAULT))
}

fn query_container_ip(container: &str) -> Result<String, String> {
    let socket = docker_socket_path();
    let name: String =
        percent_encoding::utf8_percent_encode(container, percent_encoding::NON_ALPHANUMERIC)
            .to_string();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let answer = runtime.block_on(async {
        let client = reqwest::Client::builder()
            .unix_socket(socket.as_path())
            .timeout(std::time::Duration::from_secs(10))
            .build()?;
        let answer = client
            .get(format!("http://localhost/containers/{name}/json"))
            .send()
            .await?;
        answer.error_for_status()?.bytes().await
    });
    let answer = answer.map_err(|error| match error.status() {
        Some(status) if status.as_u16() == 404 => "there is no such container".to_owned(),
        _ => format!(
            "the Docker engine at {} does not answer: {error}",
            socket.display()
        ),
    })?;
    let container: serde_json::Value =
        serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
    container_ip_in(&container)
}

/// The first IP address of its networks.
fn container_ip_in(container: &serde_json::Value) -> Result<String, String> {
    if container["State"]["Running"] != true {
        return Err("it is not running".to_owned());
    }
    if container["HostConfig"]["NetworkMode"] == "host" {
        return Ok("127.0.0.1".to_owned());
    }
    let networks = container["NetworkSettings"]["Networks"].as_object();
    networks
        .into_iter()
        .flatten()
        .filter_map(|(_, network)| network["IPAddress"].as_str())
        .find(|address| !address.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| {
            "it has no network with an IP address: connect it to a bridge network".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_containers_address_is_that_of_its_network() {
        let running = |networks| {
            json!({"State": {"Running": true}, "HostConfig": {"NetworkMode": "default"},
                "NetworkSettings": {"Networks": networks}})
        };
        let bridge =
            running(json!({"none": {"IPAddress": ""}, "bridge": {"IPAddress": "172.17.0.2"}}));
        assert_eq!(container_ip_in(&bridge).unwrap(), "172.17.0.2");
        assert!(
            container_ip_in(&running(json!({})))
                .unwrap_err()
                .contains("no network")
        );
        let host = json!({"State": {"Running": true}, "HostConfig": {"NetworkMode": "host"}});
        assert_eq!(container_ip_in(&host).unwrap(), "127.0.0.1");
        let stopped = json!({"State": {"Running": false}});
        assert!(
            container_ip_in(&stopped)
                .unwrap_err()
                .contains("is not running")
        );
    }
}
