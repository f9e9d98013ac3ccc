//! The text of a state: byte order marks, the fields that rules are about, and the form in which two states are compared.

use serde::Deserialize;

/// The fields of a state that rules are about.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StateFields {
    pub(super) version: Option<u64>,
    pub(super) terraform_version: Option<String>,
    pub(super) serial: Option<u64>,
    pub(super) lineage: Option<String>,
    pub(super) resources: Option<Vec<serde::de::IgnoredAny>>,
    pub(super) encrypted_data: Option<serde::de::IgnoredAny>,
    backend: Option<BackendFields>,
    modules: Option<Vec<ModuleFields>>,
}

#[derive(Debug, Deserialize)]
struct BackendFields {
    r#type: Option<String>,
}

/// A module of state format 3.
#[derive(Debug, Deserialize)]
struct ModuleFields {
    #[serde(default)]
    resources: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

impl StateFields {
    /// The type of the backend that has the state, if this is only what `terraform init` remembers of it.
    pub(super) fn backend_pointer(&self) -> Option<&str> {
        let backend = self.backend.as_ref()?;
        let modules = self.modules.iter().flatten();
        let has_resources = self
            .resources
            .as_ref()
            .is_some_and(|found| !found.is_empty())
            || modules
                .into_iter()
                .any(|module| !module.resources.is_empty());
        match has_resources {
            true => None,
            false => Some(backend.r#type.as_deref().unwrap_or("unknown")),
        }
    }
}

/// Reads the fields of a state.
///
/// # Errors
/// Why it is no state.
pub(super) fn parse_state(bytes: &[u8]) -> Result<StateFields, String> {
    let text = decode_text(bytes)?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// The text without a byte order mark. PowerShell writes one, and in some versions UTF-16.
fn decode_text(bytes: &[u8]) -> Result<String, String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        match rest {
            [] => String::from_utf16(&units).map_err(|error| error.to_string()),
            _ => Err("it is cut off in the middle of a character".to_owned()),
        }
    };
    match bytes {
        [0xef, 0xbb, 0xbf, text @ ..] => String::from_utf8(text.to_vec()),
        [0xff, 0xfe, text @ ..] => return utf16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => return utf16(text, u16::from_be_bytes),
        text => String::from_utf8(text.to_vec()),
    }
    .map_err(|error| error.to_string())
}

/// A state without what changes nothing: spaces between tokens, and the version of the program that wrote it. Two
/// states with the same rest have the same content.
///
/// `bytes` must be valid JSON.
pub(super) fn comparable_text(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = decode_text(bytes).ok()?;
    let minified = remove_spaces(text.as_bytes());
    Some(match find_program_version(&minified) {
        Some(range) => [&minified[..range.start], &minified[range.end..]].concat(),
        None => minified,
    })
}

fn remove_spaces(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in text {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
        } else {
            in_string = *byte == b'"';
            escaped = false;
            if byte.is_ascii_whitespace() {
                continue;
            }
        }
        kept.push(*byte);
    }
    kept
}

/// The member `"terraform_version":"…"` of the outermost object, with one comma.
fn find_program_version(minified: &[u8]) -> Option<std::ops::Range<usize>> {
    const KEY: &[u8] = b"\"terraform_version\":\"";
    let (mut depth, mut at) = (0_usize, 0);
    while at < minified.len() {
        match minified[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' if depth == 1 && minified[at..].starts_with(KEY) => {
                let end = string_end(minified, at + KEY.len() - 1);
                return Some(match minified.get(end) {
                    Some(b',') => at..end + 1,
                    _ if at > 0 && minified[at - 1] == b',' => at - 1..end,
                    _ => at..end,
                });
            }
            b'"' => {
                at = string_end(minified, at);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The place after a string that begins with the quote at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut escaped = false;
    for (n, byte) in text.iter().enumerate().skip(start + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return n + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STATE: &str =
        r#"{"version":4,"terraform_version":"1.9.0","serial":7,"lineage":"l","resources":[]}"#;

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_state() {
        let utf16 = |unit: fn(u16) -> [u8; 2], mark: u16| {
            let units = std::iter::once(mark).chain(STATE.encode_utf16());
            units.flat_map(unit).collect::<Vec<u8>>()
        };
        for bytes in [
            STATE.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", STATE.as_bytes()].concat(),
            utf16(u16::to_le_bytes, 0xfeff),
            utf16(u16::to_be_bytes, 0xfeff),
        ] {
            assert_eq!(parse_state(&bytes).unwrap().serial, Some(7));
            assert_eq!(comparable_text(&bytes), comparable_text(STATE.as_bytes()));
        }
        assert!(parse_state(b"\xff\xfe{").is_err());
    }

    #[test]
    fn only_form_and_the_programs_version_do_not_count() {
        let same = [
            STATE.replace("1.9.0", "1.9.5"),
            STATE.replace(':', ": ").replace(',', ",\n  "),
            STATE.replace(r#""terraform_version":"1.9.0","#, ""),
            STATE
                .replace(r#""terraform_version":"1.9.0","#, "")
                .replace("[]}", r#"[],"terraform_version":"1"}"#),
        ];
        for text in &same {
            assert_eq!(
                comparable_text(text.as_bytes()),
                comparable_text(STATE.as_bytes()),
                "{text}"
            );
        }
        let nested = |version: &str| {
            let resource = format!(r#"[{{"terraform_version":"{version}","s":"a b \" c"}}]"#);
            comparable_text(STATE.replace("[]", &resource).as_bytes())
        };
        assert_ne!(nested("1.0"), nested("1.1"));
        let spaced = STATE.replace("\"l\"", "\"l l\"");
        assert_ne!(
            comparable_text(spaced.as_bytes()),
            comparable_text(STATE.as_bytes())
        );
    }

    #[test]
    fn what_init_remembers_of_a_backend_is_no_state() {
        let pointer = r#"{"version":3,"serial":1,"lineage":"l","backend":{"type":"s3","config":{},"hash":1},"modules":[{"path":["root"],"resources":{}}]}"#;
        let fields = parse_state(pointer.as_bytes()).unwrap();
        assert_eq!(fields.backend_pointer(), Some("s3"));
        let legacy = pointer.replace(r#""resources":{}"#, r#""resources":{"a":{}}"#);
        assert_eq!(
            parse_state(legacy.as_bytes()).unwrap().backend_pointer(),
            None
        );
        assert_eq!(
            parse_state(STATE.as_bytes()).unwrap().backend_pointer(),
            None
        );
    }

    proptest! {
        #[test]
        fn any_text_is_taken_without_a_panic(text: String) {
            comparable_text(text.as_bytes());
            drop(parse_state(text.as_bytes()));
        }

        #[test]
        fn any_string_survives_as_it_is(value: String) {
            let json = serde_json::json!({"a": value, "b": 1}).to_string();
            prop_assert_eq!(comparable_text(json.as_bytes()).unwrap(), json.into_bytes());
        }
    }
}
