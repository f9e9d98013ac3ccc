//! Object storage as a destination: real servers, from the conformance suite to whole restores.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use reprise_tests::metadata::assert_same;
use reprise_tests::proxy::{FaultProxy, Faults};
use reprise_tests::servers::{Azurite, Garage, Moto, Storage, request_anonymously};
use support::{Sandbox, incompressible_bytes, locked_policy, make_tree};

fn conforms(server: &impl Storage, bucket: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_conform"))
        .arg(server.url(bucket, "conformance"))
        .envs(server.envs())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}

/// Stores, finds nothing to store again, verifies, restores, and compares without the program.
fn keeps_and_gives_back(server: &impl Storage, bucket: &str) -> Sandbox {
    let sandbox = Sandbox::at(&server.url(bucket, "some/where"), server.envs());
    sandbox.init().exits(0);
    let tree = sandbox.path("tree");
    make_tree(&tree, 20 << 20);
    sandbox.snapshot(&tree, "tree").exits(0);
    let again = sandbox.snapshot(&tree, "tree").exits(0).json();
    assert_eq!(again["added"]["stored_bytes"], 0);
    sandbox.run(["verify"]).exits(0);
    sandbox.recover(["verify", "--read-data"]).exits(0);
    comes_back(&sandbox, &tree);
    sandbox
}

fn comes_back(sandbox: &Sandbox, tree: &Path) {
    let out = sandbox.restore("tree", "restored");
    assert_same(tree, &out);
}

#[test]
fn garage_conforms_and_gives_snapshots_back() {
    let server = Garage::start();
    server.new_bucket("bucket");
    conforms(&server, "bucket");
    let sandbox = keeps_and_gives_back(&server, "bucket");
    let init = sandbox.run(["verify"]).exits(0);
    // What it only pretends to do is found out.
    assert!(
        init.stderr.contains("conditional create: no") && init.stderr.contains("locks: no"),
        "{}",
        init.stderr
    );
}

#[test]
fn moto_with_object_lock_conforms_and_gives_snapshots_back() {
    let server = Moto::start();
    server.new_locked_bucket("locked");
    conforms(&server, "locked");
    let sandbox = keeps_and_gives_back(&server, "locked");
    sandbox
        .run(["verify"])
        .exits(0)
        .says("conditional create: yes")
        .says("versions: yes")
        .says("locks: yes");
}

#[test]
fn azurite_conforms_and_gives_snapshots_back() {
    let server = Azurite::start();
    server.new_bucket("container");
    conforms(&server, "container");
    let sandbox = keeps_and_gives_back(&server, "container");
    sandbox
        .run(["verify"])
        .exits(0)
        .says("conditional create: yes")
        .says("checks uploads: yes");
}

/// A proxy that only writes down what is asked.
fn listener(server: &impl Storage) -> FaultProxy {
    let faults = Faults {
        percent: 0,
        kinds: Vec::new(),
        seed: 1,
    };
    FaultProxy::start(([127, 0, 0, 1], server.port()).into(), faults)
}

#[test]
fn verifying_where_no_repository_is_leaves_nothing_there() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let proxy = listener(&server);
    let envs = server.envs_through(proxy.port());
    let sandbox = Sandbox::at(&server.url("bucket", "nothing"), envs);
    sandbox.run(["verify"]).exits(5).says("no repository");
    let log = proxy.log();
    let writes = log.iter().filter(|line| !line.starts_with("GET "));
    assert_eq!(writes.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn neither_a_snapshot_nor_a_restore_lists_the_bucket() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let proxy = listener(&server);
    let envs = server.envs_through(proxy.port());
    let sandbox = Sandbox::at(&server.url("bucket", "prefix"), envs);
    sandbox.init().exits(0);
    make_tree(&sandbox.path("tree"), 3 << 20);
    for _ in 0..2 {
        sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    }
    comes_back(&sandbox, &sandbox.path("tree"));
    let log = proxy.log();
    let listings: Vec<_> = log
        .iter()
        .filter(|line| line.contains("list-type"))
        .collect();
    assert!(!listings.is_empty());
    // Small directories; what must not be listed is the packs.
    let allowed = [
        "snapshots",
        "tombstones",
        "index",
        "keys",
        "quarantine",
        "leases",
        "sweeps",
        "replaced",
    ];
    for listing in listings {
        let fine = allowed.iter().any(|directory| {
            listing.contains(&format!("prefix=prefix%2F{directory}%2F"))
                || listing.contains(&format!("prefix=prefix/{directory}/"))
        });
        assert!(fine, "{listing}");
    }
}

#[test]
fn a_copy_on_another_cloud_restores_on_its_own() {
    let (garage, azurite) = (Garage::start(), Azurite::start());
    garage.new_bucket("bucket");
    azurite.new_bucket("container");
    let both: Vec<(String, String)> = [garage.envs(), azurite.envs()].concat();
    let mut sandbox = Sandbox::at(&garage.url("bucket", "here"), both);
    sandbox.init().exits(0);
    let tree = sandbox.path("tree");
    make_tree(&tree, 5 << 20);
    sandbox.snapshot(&tree, "tree").exits(0);
    let to = azurite.url("container", "there");
    // No recovery identity is given.
    let first = sandbox.run(["--json", "copy", "--to", &to]).exits(0).json();
    assert_eq!(first["report"]["snapshots"], 1);
    std::fs::write(tree.join("new"), incompressible_bytes(100_000, 5)).unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    let second = sandbox.run(["--json", "copy", "--to", &to]).exits(0).json();
    assert_eq!(second["report"]["snapshots"], 1);
    assert_eq!(second["report"]["snapshots_present"], 1);
    assert!(second["report"]["bytes"].as_u64().unwrap() < 1 << 20);
    let third = sandbox.run(["--json", "copy", "--to", &to]).exits(0).json();
    assert_eq!(third["report"]["packs"], 0);
    // The first one is gone, with everything that leads to it.
    drop(garage);
    sandbox.set_envs(azurite.envs());
    let out = sandbox.path("out");
    let args = ["-r", &to, "restore", "tree", "--verify", "--to"].map(std::ffi::OsStr::new);
    sandbox
        .recover(args.into_iter().chain([out.as_os_str()]))
        .exits(0);
    assert_same(&tree, &out);
    sandbox
        .recover(["-r", &to, "verify", "--read-data"])
        .exits(0);
}

#[test]
fn a_copy_is_never_mixed_with_another_repository() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let one = Sandbox::at(&server.url("bucket", "one"), server.envs());
    let two = Sandbox::at(&server.url("bucket", "two"), server.envs());
    one.init().exits(0);
    two.init().exits(0);
    let to = server.url("bucket", "two");
    one.run(["copy", "--to", &to])
        .exits(6)
        .says("another repository");
    two.run(["verify"]).exits(0);
}

#[test]
fn locked_objects_cannot_be_deleted_and_locks_are_extended_before_they_lapse() {
    let server = Moto::start();
    server.new_locked_bucket("locked");
    let url = server.url("locked", "here");
    let sandbox = Sandbox::at(&url, server.envs());
    sandbox.init().exits(0);
    make_tree(&sandbox.path("tree"), 1000);
    locked_policy(&sandbox, &url, 10);
    let run = ["run", "--policies", "p.yaml"];
    sandbox.run(run).exits(0);
    let locks = |sandbox: &Sandbox| {
        let report = sandbox.run(["--json", "verify"]).exits(0).json();
        report["locks"].clone()
    };
    let before = locks(&sandbox);
    assert_eq!(before["unlocked"], 0, "{before}");
    // By hand, as an intruder with the host's keys would.
    let (_, listing) =
        request_anonymously(server.port(), "GET", "/locked?versions&prefix=here/packs/");
    let listing = String::from_utf8(listing).unwrap();
    let part = |name: &str| {
        let begin = listing.find(&format!("<{name}>")).unwrap() + name.len() + 2;
        listing[begin..].split('<').next().unwrap().to_owned()
    };
    let path = format!("/locked/{}?versionId={}", part("Key"), part("VersionId"));
    let (status, _) = request_anonymously(server.port(), "DELETE", &path);
    assert_eq!(status, 403);
    // A month later, so to say: locks must reach further than they do.
    locked_policy(&sandbox, &url, 60);
    let extended = sandbox.run(run).exits(0);
    assert!(
        extended.stderr.contains("locks extended by 60 days"),
        "{}",
        extended.stderr
    );
    let after = locks(&sandbox);
    assert!(
        after["earliest"].as_str() > before["earliest"].as_str(),
        "{after}"
    );
    let again = sandbox.run(run).exits(0);
    assert!(!again.stderr.contains("extended"), "{}", again.stderr);
}

#[test]
fn a_policy_that_demands_locks_is_refused_where_they_are_ignored() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let url = server.url("bucket", "here");
    let sandbox = Sandbox::at(&url, server.envs());
    sandbox.init().exits(0);
    make_tree(&sandbox.path("tree"), 1000);
    locked_policy(&sandbox, &url, 10);
    let run = ["run", "--policies", "p.yaml"];
    sandbox
        .run(run)
        .exits(6)
        .says("immutable_days")
        .says("does not lock");
}

#[test]
fn writers_that_race_without_conditional_writes_do_not_damage_each_other() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let sandbox = Sandbox::at(&server.url("bucket", "here"), server.envs());
    sandbox.init().exits(0);
    for n in 0..3 {
        make_tree(&sandbox.path(&format!("tree{n}")), (n + 1) << 20);
    }
    std::thread::scope(|scope| {
        for n in 0..3 {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for _ in 0..3 {
                    let tree = sandbox.path(&format!("tree{n}"));
                    sandbox.snapshot(&tree, &format!("tree{n}")).exits(0);
                }
            });
        }
    });
    sandbox.recover(["verify", "--read-data"]).exits(0);
    for n in 0..3 {
        let out = sandbox.restore(&format!("tree{n}"), &format!("out{n}"));
        let tree = sandbox.path(&format!("tree{n}"));
        assert_same(&tree, &out);
    }
}

fn replaced(envs: Vec<(String, String)>, name: &str, value: &str) -> Vec<(String, String)> {
    let others = envs.into_iter().filter(|(known, _)| known != name);
    others
        .chain([(name.to_owned(), value.to_owned())])
        .collect()
}

#[test]
fn what_is_wrong_with_the_way_to_a_bucket_is_named_with_the_way_out() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let mut sandbox = Sandbox::at(&server.url("bucket", "here"), server.envs());
    sandbox.init().exits(0);
    let secret = replaced(server.envs(), "AWS_SECRET_ACCESS_KEY", &"0".repeat(64));
    sandbox.set_envs(secret);
    sandbox
        .run(["snapshots"])
        .exits(6)
        .says("credentials")
        .says("hint");
    let region = replaced(server.envs(), "AWS_REGION", "elsewhere");
    sandbox.set_envs(region);
    sandbox
        .run(["snapshots"])
        .exits(1)
        .says("region")
        .says("AWS_REGION");
    let none = server
        .envs()
        .into_iter()
        .filter(|(name, _)| !name.contains("KEY"));
    sandbox.set_envs(none.collect());
    sandbox.run(["snapshots"]).exits(6).says("no credentials");
    sandbox.set_envs(server.envs());
    let missing = server.url("missing", "here");
    sandbox
        .run(["-r", &missing, "snapshots"])
        .exits(5)
        .says("does not exist");
    // Nobody listens there.
    let nobody = replaced(server.envs(), "AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    sandbox.set_envs(nobody);
    sandbox
        .run(["--retry-for", "1s", "snapshots"])
        .exits(1)
        .says("cannot connect")
        .says("--retry-for");
    sandbox.set_envs(server.envs());
    server.forbid_writing("bucket");
    make_tree(&sandbox.path("tree"), 1000);
    let ran = sandbox.snapshot(&sandbox.path("tree"), "tree").exits(6);
    ran.says("no permission").says("--print-policy");
    sandbox.run(["snapshots"]).exits(0);
}

#[test]
fn plain_http_to_another_host_must_be_allowed() {
    let mut envs: Vec<(String, String)> = [
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
        // An address for documentation: nobody answers.
        ("AWS_ENDPOINT_URL", "http://192.0.2.1:9000"),
        ("AZURE_STORAGE_KEY", "a2V5"),
        (
            "AZURE_STORAGE_SERVICE_ENDPOINT",
            "http://192.0.2.1:10000/account",
        ),
        ("REPRISE_RETRY_FOR", "1s"),
        ("REPRISE_REQUEST_TIMEOUT", "1s"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for url in ["s3://bucket/here", "azure://account/container"] {
        let mut sandbox = Sandbox::at(url, envs.clone());
        sandbox
            .run(["snapshots"])
            .exits(2)
            .says("http://192.0.2.1:")
            .says("https")
            .says("allow_http: true");
        sandbox
            .run(["--allow-http", "snapshots"])
            .exits(1)
            .says("--retry-for");
        envs.push(("REPRISE_ALLOW_HTTP".to_owned(), "true".to_owned()));
        sandbox.set_envs(envs.clone());
        sandbox.run(["snapshots"]).exits(1).says("--retry-for");
        envs.pop();
        sandbox.set_envs(envs.clone());
        for (allowed, exit, says) in [
            ("", 2, "allow_http"),
            (", allow_http: true", 1, "--retry-for"),
        ] {
            let policy = format!(
                "version: 1\nname: p\nrepositories:\n  main: {{url: \"{url}\"{allowed}}}\n\
                 sources:\n  etc:\n    volume: {{path: /etc}}\n"
            );
            fs::write(sandbox.path("p.yaml"), policy).unwrap();
            let run = sandbox.run(["run", "--policies", "p.yaml"]);
            run.exits(exit).says(says);
        }
    }
}

#[test]
fn what_is_wrong_with_the_way_to_a_container_is_named_with_the_way_out() {
    let server = Azurite::start();
    server.new_bucket("container");
    let mut sandbox = Sandbox::at(&server.url("container", "here"), server.envs());
    sandbox.init().exits(0);
    let name = "AZURE_STORAGE_CONNECTION_STRING";
    let text = &server.envs()[0].1;
    let wrong = text.replace("Eby8", "AAAA");
    sandbox.set_envs(vec![(name.to_owned(), wrong)]);
    sandbox.run(["snapshots"]).exits(6).says("credentials");
    sandbox.set_envs(server.envs());
    let missing = server.url("missing", "here");
    sandbox
        .run(["-r", &missing, "snapshots"])
        .exits(5)
        .says("does not exist");
    // The account's key alone, and where the account is.
    let part = |name: &str| {
        let mut parts = text.split(';');
        parts
            .find_map(|part| part.strip_prefix(name))
            .unwrap()
            .to_owned()
    };
    sandbox.set_envs(vec![
        ("AZURE_STORAGE_KEY".to_owned(), part("AccountKey=")),
        (
            "AZURE_STORAGE_SERVICE_ENDPOINT".to_owned(),
            part("BlobEndpoint="),
        ),
    ]);
    sandbox.run(["snapshots"]).exits(0);
}

/// A server whose certificate nobody trusts, stopped when dropped.
struct UntrustedServer(std::process::Child);

impl Drop for UntrustedServer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_at_once() {
    let server = Garage::start();
    let sandbox = Sandbox::bare();
    let (key, certificate) = (sandbox.path("key.pem"), sandbox.path("cert.pem"));
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x",
        ])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let child = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-accept",
            &format!("127.0.0.1:{port}"),
            "-key",
        ])
        .arg(&key)
        .arg("-cert")
        .arg(&certificate)
        .stdin(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _untrusted = UntrustedServer(child);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::yield_now();
    }
    let endpoint = format!("https://127.0.0.1:{port}");
    let envs = replaced(server.envs(), "AWS_ENDPOINT_URL", &endpoint);
    let sandbox = Sandbox::at(&server.url("bucket", "here"), envs);
    let ran = sandbox.run(["snapshots"]).exits(1);
    ran.says("certificate").says("SSL_CERT_FILE");
}

#[test]
fn a_wrong_clock_is_named() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let sandbox = Sandbox::at(&server.url("bucket", "here"), server.envs());
    sandbox.init().exits(0);
    let command = sandbox.command();
    let output = Command::new("faketime")
        .arg("-f")
        .arg("-3d")
        .arg(support::binary())
        .arg("snapshots")
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("clock is wrong") && stderr.contains("NTP"),
        "{stderr}"
    );
}

#[test]
fn no_secret_is_ever_logged() {
    let (garage, azurite) = (Garage::start(), Azurite::start());
    garage.new_bucket("bucket");
    azurite.new_bucket("container");
    let urls = [
        garage.url("bucket", "here"),
        azurite.url("container", "here"),
    ];
    for url in urls {
        let sandbox = Sandbox::at(&url, [garage.envs(), azurite.envs()].concat());
        sandbox.init().exits(0);
        make_tree(&sandbox.path("tree"), 1000);
        let ran = sandbox.run(["-vvv", "snapshot", "volume", "tree"]).exits(0);
        let text = ran.stdout + &ran.stderr;
        let secret = garage.envs()[2].1.clone();
        for word in ["uthorization", "sig=", "Signature=", &secret, "Eby8vdM0"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn a_limit_of_bandwidth_is_kept() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let sandbox = Sandbox::at(&server.url("bucket", "here"), server.envs());
    sandbox.init().exits(0);
    std::fs::create_dir(sandbox.path("tree")).unwrap();
    std::fs::write(sandbox.path("tree/file"), incompressible_bytes(3 << 20, 1)).unwrap();
    let args = [
        "--json",
        "snapshot",
        "volume",
        "tree",
        "--limit-upload",
        "1MiB",
    ];
    let took = sandbox.run(args).exits(0).json()["seconds"]
        .as_f64()
        .unwrap();
    // It may take longer for any reason, but never less.
    assert!(took > 2.0, "3 MiB at 1 MiB/s took {took} s");
}
