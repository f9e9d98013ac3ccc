//! Option files as the MySQL clients read them (`~/.my.cnf`): groups in brackets, `name = value` lines.

use std::path::{Path, PathBuf};

use crate::connection::{Address, Password};

/// The groups that are read; a later line wins.
const OPTION_GROUPS: [&str; 3] = ["client", "mysql", "reprise"];

/// Files may include others; deeper nesting than this is a cycle.
const INCLUDE_DEPTH_MAX: usize = 8;

/// Reads an option file.
pub(super) fn read_option_file(file: &Path) -> Result<Address, String> {
    let mut address = Address::default();
    read_option_file_into(file, &mut address, 0)?;
    Ok(address)
}

fn read_option_file_into(file: &Path, address: &mut Address, depth: usize) -> Result<(), String> {
    let shown = file.display();
    if depth > INCLUDE_DEPTH_MAX {
        return Err(format!("option file {shown} includes itself"));
    }
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read option file {shown}: {error}"))?;
    let mut relevant = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let wrong = |reason: &str| format!("option file {shown}, line {}: {reason}", number + 1);
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(directive) = line.strip_prefix('!') {
            for included in included_files(directive, file).map_err(|reason| wrong(&reason))? {
                read_option_file_into(&included, address, depth + 1)?;
            }
        } else if let Some(rest) = line.strip_prefix('[') {
            let group = rest
                .split_once(']')
                .ok_or_else(|| wrong("the group header has no closing bracket"))?
                .0;
            relevant = OPTION_GROUPS.contains(&group.trim());
        } else if relevant {
            apply_option(line, address).map_err(|reason| wrong(&reason))?;
        }
    }
    Ok(())
}

/// `include FILE` or `includedir DIRECTORY`.
fn included_files(directive: &str, from: &Path) -> Result<Vec<PathBuf>, String> {
    let (word, path) = directive
        .split_once(char::is_whitespace)
        .ok_or("the directive needs a path")?;
    let base = from.parent().unwrap_or(Path::new("/"));
    let path = base.join(path.trim());
    match word {
        "include" => Ok(vec![path]),
        "includedir" => {
            let directory = std::fs::read_dir(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let mut files: Vec<_> = directory
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|file| file.extension().is_some_and(|ending| ending == "cnf"))
                .collect();
            files.sort();
            Ok(files)
        }
        other => Err(format!(
            "unknown directive `!{other}`: use !include or !includedir"
        )),
    }
}

fn apply_option(line: &str, address: &mut Address) -> Result<(), String> {
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name.trim(), Some(unquote_value(value))),
        None => (line, None),
    };
    let name = name.to_ascii_lowercase().replace('_', "-");
    // Options of other programs in the same groups are ignored.
    let Some(value) = value else { return Ok(()) };
    match name.as_str() {
        "user" => address.user = Some(value),
        "password" => address.password = Some(Password::new(value)),
        "host" => address.host = Some(value),
        "port" => {
            let port = value.parse();
            address.port = Some(port.map_err(|_| format!("`{value}` is not a valid port number"))?);
        }
        "socket" => address.socket = Some(value.into()),
        "ssl-mode" => address.tls = Some(value.parse()?),
        "server-public-key-path" => address.server_public_key = Some(value.into()),
        "ssl-ca" => address.tls_ca = Some(value.into()),
        _ => {}
    }
    Ok(())
}

/// A value without its quotes, comment and escapes.
fn unquote_value(text: &str) -> String {
    let text = text.trim();
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let inner = match quote {
        Some(quote) => text[1..]
            .rfind(quote)
            .map_or(&text[1..], |end| &text[1..=end]),
        None => match text.find(" #") {
            Some(comment) => text[..comment].trim_end(),
            None => text,
        },
    };
    let mut value = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => value.push('\n'),
            ('\\', Some('t')) => value.push('\t'),
            ('\\', Some('r')) => value.push('\r'),
            ('\\', Some('b')) => value.push('\u{8}'),
            ('\\', Some('s')) => value.push(' '),
            ('\\', Some(c @ ('\\' | '"' | '\''))) => value.push(c),
            ('\\', Some(other)) => value.extend(['\\', other]),
            _ => value.push(c),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Address, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("my.cnf");
        std::fs::write(&file, text).unwrap();
        read_option_file(&file)
    }

    #[test]
    fn the_clients_groups_are_read_and_others_are_not() {
        let address = parse_text(
            "# comment\n[mysqld]\nuser=mysql\nport=1\n[client]\nuser = backup\npassword=\"a # b\\\\c\"\n\
             host=db # trailing\nport=3307\n[mysqldump]\nhost=other\n[reprise]\nssl_mode=REQUIRED\nquick\n",
        )
        .unwrap();
        assert_eq!(address.user.as_deref(), Some("backup"));
        assert_eq!(address.password, Some(Password::new("a # b\\c")));
        assert_eq!((address.host(), address.port()), ("db", 3307));
        assert_eq!(address.tls, Some(crate::Tls::Required));
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_without_the_password() {
        let error = parse_text("[client]\npassword=secret\nport=x\n").unwrap_err();
        assert!(
            error.contains("line 3") && !error.contains("secret"),
            "{error}"
        );
        assert!(parse_text("[client\n").unwrap_err().contains("line 1"));
        assert!(
            read_option_file(Path::new("/no/such"))
                .unwrap_err()
                .contains("/no/such")
        );
    }

    #[test]
    fn files_include_others_but_not_themselves() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("my.cnf");
        std::fs::create_dir(directory.path().join("d")).unwrap();
        std::fs::write(directory.path().join("d/a.cnf"), "[client]\nuser=a\n").unwrap();
        std::fs::write(directory.path().join("d/b.txt"), "[client]\nuser=b\n").unwrap();
        std::fs::write(&file, "!includedir d\n").unwrap();
        assert_eq!(read_option_file(&file).unwrap().user.as_deref(), Some("a"));
        std::fs::write(&file, "!include my.cnf\n").unwrap();
        assert!(read_option_file(&file).unwrap_err().contains("itself"));
    }
}
