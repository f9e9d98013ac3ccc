//! Entry points for fuzzers: every parser of stored bytes, fed with arbitrary input. None may panic.

use crate::crypto::envelope::{self, RecordKind};
use crate::format::config::Config;
use crate::format::entry::Entry;
use crate::format::secrets::Secrets;
use crate::format::segment;
use crate::format::snapshot::{SnapshotDetails, SnapshotRoot};
use crate::format::trailer::parse_trailer;
use crate::index::parse_fragment;

/// A plain size that a real repository could have, in bytes.
const PLAIN_MAX: usize = 8 << 20;

/// `reprise.json`, the secrets, roots and details.
pub fn fuzz_records(bytes: &[u8]) {
    drop(Config::parse(bytes).map(|config| config.segment_plain_max()));
    drop(Secrets::from_json(bytes));
    drop(serde_json::from_slice::<SnapshotRoot>(bytes));
    drop(serde_json::from_slice::<SnapshotDetails>(bytes));
}

/// A line of the entry stream.
pub fn fuzz_entry(bytes: &[u8]) {
    if let Ok(entry) = Entry::parse(bytes) {
        let path = entry.path.as_bytes();
        assert!(!path.starts_with(b"/") && !path.split(|b| *b == b'/').any(|part| part == b".."));
        assert!(entry.content_bytes() <= entry.size);
    }
}

/// A signed record, before its signature is known to be good.
pub fn fuzz_signed_record(bytes: &[u8], config: &[u8]) {
    if let Ok(config) = Config::parse(config) {
        drop(envelope::verify_record(
            RecordKind::Snapshot,
            bytes,
            &"fuzzed",
            &config.initial_trust(),
        ));
    }
}

/// An index fragment's content.
pub fn fuzz_fragment(bytes: &[u8]) {
    for pack in parse_fragment(bytes, PLAIN_MAX).unwrap_or_default() {
        assert!(
            pack.segments
                .iter()
                .all(|segment| segment.offset + u64::from(segment.length) <= pack.size)
        );
    }
}

/// A pack's trailer.
pub fn fuzz_trailer(bytes: &[u8]) {
    let size = bytes.len() as u64;
    if let Some(trailer) = bytes.last_chunk::<16>()
        && let Ok(length) = parse_trailer(trailer, size, u64::MAX)
    {
        assert!(length <= size - 16);
    }
}

/// A segment's compressed bytes.
pub fn fuzz_compressed(bytes: &[u8]) {
    if let Ok(plain) = envelope::decompress_frame(bytes, PLAIN_MAX) {
        assert!(plain.len() <= PLAIN_MAX);
    }
    // Keeps the module covered: records of segments are checked before bytes are read for them.
    drop(
        serde_json::from_slice::<segment::SegmentRecord>(bytes)
            .map(|record| record.check_sizes(PLAIN_MAX)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_parser_of_stored_bytes_panics(bytes: Vec<u8>) {
            fuzz_records(&bytes);
            fuzz_entry(&bytes);
            fuzz_fragment(&bytes);
            fuzz_trailer(&bytes);
            fuzz_compressed(&bytes);
        }

        #[test]
        fn no_parser_of_stored_json_panics(text in r#"\{("[a-z_]{1,10}":(-?[0-9]{1,20}|"[^"]{0,8}"|\[\]|null),?){0,6}\}"#) {
            fuzz_records(text.as_bytes());
            fuzz_entry(text.as_bytes());
            fuzz_fragment(text.as_bytes());
        }
    }

    #[test]
    fn a_frame_that_claims_an_absurd_size_is_refused_before_memory_is_taken() {
        // A zstd frame header with a content size of 2^62 bytes.
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
        frame.extend_from_slice(&(1_u64 << 62).to_le_bytes());
        frame.extend_from_slice(&[1, 0, 0]);
        let reason = envelope::decompress_frame(&frame, PLAIN_MAX).unwrap_err();
        assert!(reason.contains("more than the allowed"), "{reason}");
    }
}
