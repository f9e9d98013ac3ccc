//! With `age`, `zstd`, `jq` and coreutils alone, every byte comes back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Command;

use support::{Sandbox, incompressible_bytes};

/// Everything that may be called: the three programs and coreutils.
const PROGRAMS: [&str; 14] = [
    "age", "zstd", "jq", "tail", "head", "base64", "mkdir", "mktemp", "ln", "dd", "truncate", "cp",
    "rm", "cat",
];

fn tree(root: &Path) {
    fs::create_dir_all(root.join("directory/empty")).unwrap();
    for n in 0..30_usize {
        fs::write(
            root.join(format!("directory/small{n}")),
            incompressible_bytes(n * 100, n as u64),
        )
        .unwrap();
    }
    fs::write(root.join("large"), incompressible_bytes(9 << 20, 1)).unwrap();
    fs::write(root.join("nothing"), b"").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"raw \xff name")), b"raw").unwrap();
    fs::write(root.join("line\nbreak\n"), b"broken").unwrap();
    symlink("directory/small1", root.join("link")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse
        .write_all_at(&incompressible_bytes(70_000, 5), 1 << 20)
        .unwrap();
}

fn restore_by_hand(sandbox: &Sandbox, from: &str) {
    let (programs, target) = (sandbox.path("programs"), sandbox.path(from));
    fs::create_dir_all(&programs).unwrap();
    for program in PROGRAMS {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|directory| directory.join(program))
            .find(|path| path.is_file());
        let link = programs.join(program);
        if !link.exists() {
            symlink(found.unwrap(), link).unwrap();
        }
    }
    let output = Command::new("/bin/bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/escape_hatch.sh"))
        .args([
            sandbox.path("repository"),
            sandbox.path("id2"),
            target.clone(),
            from.into(),
        ])
        .env_clear()
        .env("PATH", &programs)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([sandbox.path("tree"), target])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn every_byte_comes_back_without_this_program() {
    let sandbox = Sandbox::new();
    tree(&sandbox.path("tree"));
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    restore_by_hand(&sandbox, "index");
}

#[test]
fn every_byte_comes_back_without_this_program_and_without_the_index() {
    let sandbox = Sandbox::new();
    tree(&sandbox.path("tree"));
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    fs::remove_dir_all(sandbox.path("repository/index")).unwrap();
    restore_by_hand(&sandbox, "packs");
}
