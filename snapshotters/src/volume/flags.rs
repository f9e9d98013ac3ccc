//! Flags of a file system that keep an entry from being changed.

use std::os::fd::AsFd;

use rustix::fs::{IFlags, ioctl_getflags};

/// The flags that are stored, with their names.
const STORED_FLAGS: [(IFlags, &str); 2] = [
    (IFlags::IMMUTABLE, "immutable"),
    (IFlags::APPEND, "append-only"),
];

/// The flags of an open file or directory. Many file systems have none.
pub(super) fn flags_of_file(file: impl AsFd) -> Vec<String> {
    ioctl_getflags(file).map(flag_names).unwrap_or_default()
}

fn flag_names(flags: IFlags) -> Vec<String> {
    let set = STORED_FLAGS
        .iter()
        .filter(|(flag, _)| flags.contains(*flag));
    set.map(|(_, name)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_keep_from_changing_have_names_and_others_do_not() {
        let both = IFlags::IMMUTABLE | IFlags::APPEND | IFlags::NODUMP;
        assert_eq!(flag_names(both), ["immutable", "append-only"]);
        assert!(flag_names(IFlags::NODUMP).is_empty());
    }

    #[test]
    fn a_file_without_flags_or_on_a_file_system_without_them_has_none() {
        let plain = tempfile::tempfile().unwrap();
        assert!(flags_of_file(&plain).is_empty());
        let proc = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(flags_of_file(&proc).is_empty());
    }
}
