//! The end of objects whose description comes last: eight bytes of magic, then the description's length as
//! eight hexadecimal digits.

use crate::error::{Error, Result};

/// The magic of a trailer.
const MAGIC: &[u8; 8] = b"reprise1";

/// Length of a trailer, in bytes.
pub(crate) const TRAILER_BYTES: u64 = 16;

/// The trailer after a description of this many bytes.
pub(crate) fn encode_trailer(length: usize) -> Result<Vec<u8>> {
    let length = u32::try_from(length)
        .map_err(|_| Error::Internal("a description is larger than 4 GiB".to_owned()))?;
    Ok([MAGIC, format!("{length:08x}").as_bytes()].concat())
}

/// The description's length, of at most `length_max` bytes, from the trailer of an object of `size` bytes.
///
/// # Errors
/// What is wrong with the trailer, as a sentence.
pub(crate) fn parse_trailer(trailer: &[u8], size: u64, length_max: u64) -> Result<u64, String> {
    let digits = trailer
        .strip_prefix(MAGIC)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or("it does not end with a trailer")?;
    let length = u64::from_str_radix(digits, 16).map_err(|e| e.to_string())?;
    if size < TRAILER_BYTES || length > size - TRAILER_BYTES || length > length_max {
        return Err(format!(
            "its trailer states an invalid description length of {length} bytes"
        ));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_trailer_makes_a_description_outside_the_object(bytes: [u8; 16], size in 16_u64..1 << 40) {
            if let Ok(length) = parse_trailer(&bytes, size, u64::MAX) {
                prop_assert!(length <= size - 16);
            }
        }

        #[test]
        fn the_stated_length_is_read_back(length in 0_u32..1 << 20) {
            let bytes = encode_trailer(length as usize).unwrap();
            prop_assert_eq!(parse_trailer(&bytes, 1 << 30, 1 << 20), Ok(u64::from(length)));
        }
    }
}
