//! Disks without room, of the repository and of a target: named, nothing half done is taken for done, and it goes on
//! once there is room.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use reprise_tests::servers::{Database, Mariadb, Mysql};
use support::databases::{ACCOUNT, LARGE, assert_free, fill, sums_of_large};
use support::{Sandbox, SmallDisk};

fn a_repository_without_room_is_named_and_frees_the_source(source: &impl Database) {
    fill(source);
    let place = Sandbox::bare();
    let disk = SmallDisk::mount(place.path("disk"), "4m");
    let sandbox = Sandbox::at(
        &place.path("disk/repository").display().to_string(),
        Vec::new(),
    );
    sandbox.init().exits(0);
    let url = source.url(ACCOUNT, "");
    sandbox
        .store(&url, &[])
        .exits(1)
        .says("no space left")
        .says("free space");
    assert_free(source, ACCOUNT);
    sandbox.run(["show", "db"]).exits(5);
    disk.grow("64m");
    sandbox.store(&url, &[]).exits(0);
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

#[test]
fn a_repository_without_room_is_named_and_frees_mysql() {
    a_repository_without_room_is_named_and_frees_the_source(&Mysql::start());
}

#[test]
fn a_repository_without_room_is_named_and_frees_mariadb() {
    a_repository_without_room_is_named_and_frees_the_source(&Mariadb::start());
}

#[test]
fn a_target_without_room_is_named_and_the_restore_goes_on_once_there_is_some() {
    let (source, target) = (Mariadb::start(), Mariadb::start());
    source.execute(LARGE);
    let sandbox = Sandbox::new();
    sandbox.store(&source.root_url(), &[]).exits(0);
    // Where the server keeps the tables of this database.
    let disk = SmallDisk::mount(target.socket().with_file_name("data").join("app"), "90m");
    let url = target.root_url();
    sandbox
        .restore_server(&url, &[])
        .exits(1)
        .says("`app`.`large`")
        .says("is full")
        .says("free disk space on the server")
        .says("--resume");
    disk.grow("900m");
    sandbox.restore_server(&url, &["--resume"]).exits(0);
    assert_eq!(sums_of_large(&source), sums_of_large(&target));
}
