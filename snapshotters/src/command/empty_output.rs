//! Output that looks like something and holds nothing: `pg_dump | gzip` succeeds with twenty bytes when `pg_dump` fails.

/// As much of an output as is looked at. What holds nothing is shorter.
pub(super) const EXAMINED_BYTES_MAX: usize = 16 << 10;

/// A gzip header may have a file name; nobody names a file like this.
const EMPTY_GZIP_BYTES_MAX: usize = 1024;

/// What an output is, if it holds nothing.
pub(super) fn describe_empty_output(output: &[u8]) -> Option<&'static str> {
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    match output {
        [] => Some("nothing"),
        // Checksum and length of what was compressed are at the end.
        [0x1f, 0x8b, ..] if output.len() <= EMPTY_GZIP_BYTES_MAX => {
            let (_, end) = output.split_last_chunk::<8>()?;
            is_zero(end).then_some("an empty gzip stream")
        }
        // After the magic number, the descriptor and one byte: a last block, raw, of no bytes.
        [0x28, 0xb5, 0x2f, 0xfd, _, _, 1, 0, 0, ..] if output.len() <= 13 => {
            Some("an empty zstd stream")
        }
        // The index follows the header at once.
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] if output.len() == 32 && output[12] == 0 => {
            Some("an empty xz stream")
        }
        [b'B', b'Z', b'h', _, 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] if output.len() == 14 => {
            Some("an empty bzip2 stream")
        }
        [0x04, 0x22, 0x4d, 0x18, ..] if output.len() <= 15 && is_zero(output.get(7..11)?) => {
            Some("an empty lz4 stream")
        }
        _ if output.len().is_multiple_of(512) && is_zero(output) => Some("an empty tar archive"),
        _ if output.iter().all(u8::is_ascii_whitespace) => Some("only spaces"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// What a program makes of an input.
    fn filtered(program: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new(program[0])
            .args(&program[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap().stdout
    }

    #[test]
    fn what_common_programs_make_of_nothing_is_recognized() {
        for program in [
            &["gzip"][..],
            &["gzip", "-9n"],
            &["zstd", "-q"],
            &["zstd", "-q", "--no-check"],
            &["tar", "-c", "-T", "-"],
            &["cat"],
        ] {
            assert!(
                describe_empty_output(&filtered(program, b"")).is_some(),
                "{program:?}"
            );
            // The shortest content is no emptiness; a list of files for tar is another matter.
            if program[0] != "tar" {
                assert_eq!(
                    describe_empty_output(&filtered(program, b"x")),
                    None,
                    "{program:?}"
                );
            }
        }
        // xz, bzip2 and lz4, of nothing.
        let xz = "fd377a585a000004e6d6b446000000001cdf44211fb6f37d010000000004595a";
        for (hex, expected) in [
            (xz, "an empty xz stream"),
            ("425a683917724538509000000000", "an empty bzip2 stream"),
            ("04224d186440a70000000005 5dcc02", "an empty lz4 stream"),
        ] {
            let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
            let bytes: Vec<u8> = digits
                .chunks(2)
                .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect();
            assert_eq!(describe_empty_output(&bytes), Some(expected));
        }
    }

    #[test]
    fn short_output_is_no_emptiness() {
        for output in [
            &b"0"[..],
            b"ok\n",
            b"{}",
            b"\x1f\x8b not gzip at all",
            b"\0",
        ] {
            assert_eq!(describe_empty_output(output), None, "{output:?}");
        }
    }
}
