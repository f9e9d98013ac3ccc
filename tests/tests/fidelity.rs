//! What a file system knows of a tree is compared field by field, without the program under test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use reprise_tests::metadata::{self, MetadataTree, assert_unchanged};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat,
    utimensat,
};
use support::{Sandbox, incompressible_bytes, sh};

fn set_time(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Stores a tree, brings it back, and demands that nothing differs.
fn comes_back(build: impl FnOnce(&Path)) -> MetadataTree {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    fs::create_dir(&tree).unwrap();
    build(&tree);
    let before = metadata::read_tree(&tree);
    sandbox.snapshot(&tree, "tree").exits(0);
    let after = metadata::read_tree(&sandbox.restore("tree", "restored"));
    assert_unchanged(&before, &after);
    // Nor is the source itself.
    assert_unchanged(&before, &metadata::read_tree(&tree));
    before
}

#[test]
fn owners_and_all_twelve_mode_bits_come_back() {
    comes_back(|root| {
        for mode in [0, 0o1, 0o400, 0o644, 0o777, 0o1777, 0o2755, 0o4711, 0o7777] {
            let (file, directory) = (
                root.join(format!("f{mode:o}")),
                root.join(format!("d{mode:o}")),
            );
            fs::write(&file, b"x").unwrap();
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("inside"), b"x").unwrap();
            for path in [&file, &directory] {
                chown(path, Some(1000 + mode), Some(2000)).unwrap();
                set_mode(path, mode);
            }
        }
        fs::write(root.join("largest-ids"), b"x").unwrap();
        chown(
            root.join("largest-ids"),
            Some(u32::MAX - 1),
            Some(u32::MAX - 1),
        )
        .unwrap();
        symlink("nowhere", root.join("link")).unwrap();
        lchown(root.join("link"), Some(11), Some(12)).unwrap();
        set_mode(root, 0o2751);
        chown(root, Some(5), Some(6)).unwrap();
    });
}

#[test]
fn times_come_back_to_the_nanosecond_far_from_now_and_on_directories() {
    comes_back(|root| {
        let times = [
            (0, 0),
            (0, 1),
            (-1, 999_999_999),
            (-2_000_000_000, 5),
            (1_700_000_000, 123_456_789),
            (5_000_000_000, 999_999_999),
        ];
        for (n, (seconds, nanoseconds)) in times.into_iter().enumerate() {
            let directory = root.join(format!("d{n}"));
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("file"), incompressible_bytes(700_000 * n, 1)).unwrap();
            symlink("file", directory.join("link")).unwrap();
            fs::hard_link(directory.join("file"), directory.join("other name")).unwrap();
            mknodat(CWD, directory.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
            for name in ["file", "link", "fifo", "."] {
                set_time(&directory.join(name), seconds, nanoseconds);
            }
        }
        set_time(root, 1_234_567_890, 987_654_321);
    });
}

#[test]
fn links_and_special_files_come_back() {
    let tree = comes_back(|root| {
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/first"), b"shared").unwrap();
        symlink("x".repeat(4000), root.join("long")).unwrap();
        symlink(OsStr::from_bytes(b"\xff\n target"), root.join("raw")).unwrap();
        let device = |name: &str, kind, device| {
            mknodat(
                CWD,
                root.join(name),
                kind,
                Mode::from_raw_mode(0o620),
                device,
            )
            .unwrap();
        };
        device("fifo", FileType::Fifo, 0);
        device("socket", FileType::Socket, 0);
        device("character", FileType::CharacterDevice, makedev(1, 7));
        device("block", FileType::BlockDevice, makedev(4095, 1_048_575));
        for name in ["a/first", "long", "fifo", "socket", "character", "block"] {
            let other = root.join(format!("a/b/{}", name.replace('/', "-")));
            fs::hard_link(root.join(name), other).unwrap();
        }
        // Sorts before the directory's contents, so the link's first name is in another place.
        fs::hard_link(root.join("a/first"), root.join("0")).unwrap();
    });
    assert_eq!(tree[b"a/first".as_slice()].first_name, b"0");
    assert_eq!(tree[b"block".as_slice()].first_name, b"a/b/block");
}

#[test]
fn holes_stay_holes_wherever_they_are() {
    let tree = comes_back(|root| {
        let file = |name: &str, size: u64, ranges: &[(u64, usize)]| {
            let file = File::create(root.join(name)).unwrap();
            file.set_len(size).unwrap();
            for (offset, length) in ranges {
                file.write_all_at(&incompressible_bytes(*length, *offset + 1), *offset)
                    .unwrap();
            }
        };
        file("only a hole", 50 << 20, &[]);
        file("a hole at the end", 30 << 20, &[(0, 5 << 20)]);
        file("a hole at the beginning", 30 << 20, &[(25 << 20, 5 << 20)]);
        file(
            "holes between",
            40 << 20,
            &[(1 << 20, 4096), (9 << 20, 3 << 20), (30 << 20, 1)],
        );
        file("larger than any disk", 8 << 40, &[(7 << 40, 4096)]);
        let many: Vec<(u64, usize)> = (0..2000).map(|n| (n * 8192, 4096)).collect();
        file("many holes", 2000 * 8192, &many);
        file("a small one", 9000, &[(8192, 3)]);
        // Zeros that are stored are no hole.
        fs::write(root.join("zeros"), vec![0; 3 << 20]).unwrap();
        file("two names", 10 << 20, &[(4096, 10)]);
        fs::hard_link(root.join("two names"), root.join("two names again")).unwrap();
    });
    assert!(tree[b"only a hole".as_slice()].data.is_empty());
    assert!(tree[b"many holes".as_slice()].data.len() > 1000);
}

#[test]
fn attributes_and_access_lists_come_back_on_every_kind() {
    let tree = comes_back(|root| {
        fs::create_dir(root.join("directory")).unwrap();
        fs::write(root.join("file"), b"x").unwrap();
        fs::write(root.join("large"), incompressible_bytes(3 << 20, 1)).unwrap();
        symlink("file", root.join("link")).unwrap();
        mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        for name in ["file", "large", "directory", "."] {
            let path = root.join(name);
            set_xattr(&path, "user.empty", b"");
            set_xattr(&path, "user.raw", b"\0\xff\n");
            set_xattr(&path, "user.\u{e9}", "\u{e9}".as_bytes());
            sh(
                "setfacl",
                &[
                    "-m".as_ref(),
                    "u:1234:rw,g:55:r,m::rwx".as_ref(),
                    path.as_ref(),
                ],
            );
        }
        for name in ["file", "large", "directory", "link", "fifo"] {
            set_xattr(&root.join(name), "trusted.note", name.as_bytes());
        }
        set_xattr(
            &root.join("file"),
            "user.long",
            &incompressible_bytes(2000, 1),
        );
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set_xattr(&root.join("file"), "security.capability", &capability);
        let directory = root.join("directory");
        sh(
            "setfacl",
            &[
                "-d".as_ref(),
                "-m".as_ref(),
                "u:77:rwx".as_ref(),
                directory.as_ref(),
            ],
        );
        // Made under a default list: what comes back must be this file's own, not the default again.
        fs::write(directory.join("heir"), b"x").unwrap();
        fs::write(directory.join("disowned"), b"x").unwrap();
        sh(
            "setfacl",
            &["-b".as_ref(), directory.join("disowned").as_ref()],
        );
    });
    let has = |path: &str, name: &str| tree[path.as_bytes()].xattrs.contains_key(name.as_bytes());
    assert!(has("directory", "system.posix_acl_default") && has("file", "security.capability"));
    assert!(!has("directory/disowned", "system.posix_acl_access"));
}

#[test]
fn any_name_comes_back() {
    comes_back(|root| {
        let long = [b'n'; 255];
        let names: [&[u8]; 12] = [
            b"\xff\xfe",
            b"line\nbreak\n",
            b"\r\t\x1b[31m",
            b"-rf",
            b" ",
            b"*",
            b"...",
            b"a\\b",
            b"\"quoted\"",
            b"caf\xc3\xa9",
            b"cafe\xcc\x81",
            &long,
        ];
        for name in names {
            let directory = root.join(OsStr::from_bytes(name));
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join(OsStr::from_bytes(name)), name).unwrap();
        }
        // Around the separator, where a wrong order of entries would show.
        for name in ["a", "a-b", "a.b", "a0", "a!"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("x"), name).unwrap();
        }
    });
}

#[test]
fn a_tree_deeper_than_a_path_may_be_long_comes_back() {
    let tree = comes_back(|root| {
        let script = "cd \"$1\" && for i in $(seq 30); do n=$(printf 'd%0199d' $i); mkdir $n && \
            cd -P $n || exit 1; done; echo deep > file; ln -s file link; ln file name; chmod 700 .";
        sh(
            "bash",
            &[
                "-c".as_ref(),
                script.as_ref(),
                "bash".as_ref(),
                root.as_ref(),
            ],
        );
    });
    assert!(tree.keys().any(|path| path.len() > 6000));
}

#[test]
fn directories_come_back_whether_full_empty_or_closed() {
    comes_back(|root| {
        fs::create_dir_all(root.join("empty/empty")).unwrap();
        fs::create_dir(root.join("full")).unwrap();
        for n in 0..3000 {
            fs::write(root.join(format!("full/{n}")), format!("{n}")).unwrap();
        }
        for (name, mode) in [("read only", 0o555), ("closed", 0o000)] {
            fs::create_dir_all(root.join(name).join("inside")).unwrap();
            fs::write(root.join(name).join("inside/file"), b"x").unwrap();
            set_mode(&root.join(name).join("inside"), mode);
            set_mode(&root.join(name), mode);
        }
        set_mode(root, 0o500);
    });
}

#[test]
fn files_of_every_size_around_the_limits_of_chunks_come_back() {
    comes_back(|root| {
        for kib in [256, 512, 1024, 4096] {
            for offset in [-1, 0, 1] {
                let size = usize::try_from((kib << 10) + offset).unwrap();
                fs::write(root.join(format!("{size}")), incompressible_bytes(size, 3)).unwrap();
            }
        }
        fs::write(root.join("one"), b"1").unwrap();
        fs::write(root.join("zeros"), vec![0; 9 << 20]).unwrap();
        fs::write(root.join("six"), incompressible_bytes(6 << 20, 4)).unwrap();
    });
}

#[test]
fn a_tree_that_did_not_change_has_no_difference() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    fs::create_dir_all(tree.join("directory")).unwrap();
    fs::write(tree.join("large"), incompressible_bytes(6 << 20, 1)).unwrap();
    fs::hard_link(tree.join("large"), tree.join("other name")).unwrap();
    symlink("large", tree.join("link")).unwrap();
    for source in ["one", "two"] {
        sandbox.snapshot(&tree, source).exits(0);
    }
    let same = sandbox.recover(["diff", "one", "two"]).exits(0);
    assert_eq!(same.stdout, "");
    let json = sandbox.recover(["--json", "diff", "one", "two"]).exits(0);
    assert_eq!(json.json()["changes"].as_array().unwrap().len(), 0);
}

#[test]
fn each_kind_of_change_has_its_letter() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    fs::create_dir(&tree).unwrap();
    for name in [
        "content", "gone", "kind", "mode", "owner", "time", "xattr", "same",
    ] {
        fs::write(tree.join(name), name).unwrap();
    }
    symlink("same", tree.join("symlink")).unwrap();
    let first = sandbox.snapshot(&tree, "tree").exits(0).json()["snapshot"].clone();
    fs::write(tree.join("content"), b"CONTENT").unwrap();
    fs::remove_file(tree.join("gone")).unwrap();
    fs::remove_file(tree.join("kind")).unwrap();
    fs::create_dir(tree.join("kind")).unwrap();
    set_mode(&tree.join("mode"), 0o600);
    chown(tree.join("owner"), Some(9), None).unwrap();
    set_time(&tree.join("time"), 1_000_000_000, 0);
    set_xattr(&tree.join("xattr"), "user.new", b"x");
    fs::remove_file(tree.join("symlink")).unwrap();
    symlink("content", tree.join("symlink")).unwrap();
    fs::write(tree.join("new"), b"new").unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    let ran = sandbox
        .recover(["diff", first.as_str().unwrap(), "tree"])
        .exits(0);
    let mut lines: Vec<&str> = ran.stdout.lines().filter(|line| *line != "a .").collect();
    lines.sort_unstable();
    let expected = [
        "+ new",
        "- gone",
        "M content",
        "M symlink",
        "T kind",
        "a mode",
        "a owner",
        "a time",
        "a xattr",
    ];
    assert_eq!(lines, expected);
}
