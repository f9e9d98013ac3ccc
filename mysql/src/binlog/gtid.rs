//! GTID sets (MySQL) and GTID positions (MariaDB).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::binlog::control::Gtid;

/// The source of a GTID: a server, with or without a tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GtidSource {
    uuid: [u8; 16],
    tag: Option<String>,
}

impl GtidSource {
    /// A server UUID, and a tag.
    #[must_use]
    pub fn new(uuid: [u8; 16], tag: Option<String>) -> Self {
        Self { uuid, tag }
    }

    /// The server UUID.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
}

impl fmt::Display for GtidSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = hex::encode(self.uuid);
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        f.write_str(&parts.join("-"))?;
        match &self.tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

impl FromStr for GtidSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (server, tag) = match text.split_once(':') {
            Some((server, tag)) => (server, Some(tag.trim().to_ascii_lowercase())),
            None => (text, None),
        };
        let wrong = || format!("`{text}` is not a server UUID, optionally with a tag");
        let mut uuid = [0; 16];
        hex::decode_to_slice(server.trim().replace('-', ""), &mut uuid).map_err(|_| wrong())?;
        if tag.as_ref().is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong());
        }
        Ok(Self { uuid, tag })
    }
}

impl TryFrom<String> for GtidSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<GtidSource> for String {
    fn from(source: GtidSource) -> Self {
        source.to_string()
    }
}

fn is_tag(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.len() <= 32
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A MySQL GTID set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GtidSet {
    /// Per source, ranges with both ends included, sorted, with gaps between them.
    sources: BTreeMap<GtidSource, Vec<(u64, u64)>>,
}

impl GtidSet {
    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Its ranges per source, both ends included.
    pub fn ranges_by_source(&self) -> impl Iterator<Item = (&GtidSource, &[(u64, u64)])> {
        self.sources
            .iter()
            .map(|(source, ranges)| (source, ranges.as_slice()))
    }

    /// Number of transactions in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        let ranges = self.sources.values().flatten();
        ranges.map(|(first, last)| last - first + 1).sum()
    }

    /// Whether it contains a transaction.
    #[must_use]
    pub fn contains(&self, source: &GtidSource, number: u64) -> bool {
        let ranges = self.sources.get(source).map_or(&[][..], Vec::as_slice);
        let after = ranges.partition_point(|(first, _)| *first <= number);
        after > 0 && number <= ranges[after - 1].1
    }

    /// Adds a transaction. Returns whether it was new.
    pub fn insert(&mut self, source: &GtidSource, number: u64) -> bool {
        if self.contains(source, number) {
            return false;
        }
        self.add_range(source, number, number);
        true
    }

    /// Adds a transaction of any kind; those without a MySQL GTID change nothing.
    pub fn insert_gtid(&mut self, gtid: &Gtid) {
        if let Gtid::Mysql { source, number } = gtid {
            self.insert(source, *number);
        }
    }

    /// Whether it contains a transaction of any kind.
    #[must_use]
    pub fn contains_gtid(&self, gtid: &Gtid) -> bool {
        matches!(gtid, Gtid::Mysql { source, number } if self.contains(source, *number))
    }

    /// Adds a range, both ends included.
    pub fn add_range(&mut self, source: &GtidSource, first: u64, last: u64) {
        let ranges = self.sources.entry(source.clone()).or_default();
        // The usual case: the next one in order.
        if let Some(newest) = ranges.last_mut()
            && first > newest.0
        {
            if first <= newest.1 + 1 {
                newest.1 = newest.1.max(last);
            } else {
                ranges.push((first, last));
            }
            return;
        }
        ranges.push((first, last));
        ranges.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges.drain(..) {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => joined.push((first, last)),
            }
        }
        *ranges = joined;
    }

    /// Adds all of another set.
    pub fn add_set(&mut self, other: &Self) {
        for (source, ranges) in &other.sources {
            for (first, last) in ranges {
                self.add_range(source, *first, *last);
            }
        }
    }

    /// What is in this set but not in the other.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (source, ranges) in &self.sources {
            let cut = other.sources.get(source).map_or(&[][..], Vec::as_slice);
            for (first, last) in ranges {
                let mut begin = *first;
                for (cut_first, cut_last) in cut {
                    if *cut_last < begin || *cut_first > *last {
                        continue;
                    }
                    if *cut_first > begin {
                        left.add_range(source, begin, cut_first - 1);
                    }
                    begin = cut_last.saturating_add(1);
                }
                if begin <= *last {
                    left.add_range(source, begin, *last);
                }
            }
        }
        left
    }

    /// Whether it is a subset of the other set.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.subtract(other).is_empty()
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (source, ranges)) in self.sources.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{source}")?;
            for (first, last) in ranges {
                match first == last {
                    true => write!(f, ":{first}")?,
                    false => write!(f, ":{first}-{last}")?,
                }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut set = Self::default();
        let text = text.replace(char::is_whitespace, "");
        for group in text.split(',').filter(|group| !group.is_empty()) {
            let mut parts = group.split(':');
            let mut source: GtidSource = parts.next().unwrap_or_default().parse()?;
            for part in parts {
                if part.starts_with(|c: char| !c.is_ascii_digit()) {
                    let tagged = format!("{}:{part}", GtidSource::new(source.uuid, None));
                    source = tagged.parse()?;
                    continue;
                }
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let number =
                    |text: &str| text.parse::<u64>().ok().filter(|n| *n > 0 && *n < u64::MAX);
                match (number(first), number(last)) {
                    (Some(first), Some(last)) if first <= last => {
                        set.add_range(&source, first, last)
                    }
                    _ => {
                        return Err(format!(
                            "`{part}` in `{group}` is not a range of transaction numbers"
                        ));
                    }
                }
            }
        }
        Ok(set)
    }
}

impl TryFrom<String> for GtidSet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<GtidSet> for String {
    fn from(set: GtidSet) -> Self {
        set.to_string()
    }
}

/// A MariaDB GTID position: the last transaction of every domain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MariadbPosition {
    domains: BTreeMap<u32, (u32, u64)>,
}

impl MariadbPosition {
    /// Whether it is before every transaction.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// The domains, each with the server and the sequence number of its last transaction.
    pub fn domains(&self) -> impl Iterator<Item = (u32, u32, u64)> {
        self.domains
            .iter()
            .map(|(domain, (server, count))| (*domain, *server, *count))
    }

    /// Advances past a transaction.
    pub fn advance_to(&mut self, gtid: &Gtid) {
        if let Gtid::Mariadb {
            domain,
            server,
            sequence,
        } = gtid
        {
            self.domains.insert(*domain, (*server, *sequence));
        }
    }

    /// Whether a transaction is at or before it.
    #[must_use]
    pub fn contains_gtid(&self, gtid: &Gtid) -> bool {
        let Gtid::Mariadb {
            domain, sequence, ..
        } = gtid
        else {
            return false;
        };
        self.domains
            .get(domain)
            .is_some_and(|(_, count)| sequence <= count)
    }

    /// Whether nothing in it is beyond the other position.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.domains.iter().all(|(domain, (_, count))| {
            other
                .domains
                .get(domain)
                .is_some_and(|(_, known)| count <= known)
        })
    }
}

impl fmt::Display for MariadbPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (domain, (server, count))) in self.domains.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{domain}-{server}-{count}")?;
        }
        Ok(())
    }
}

impl FromStr for MariadbPosition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut position = Self::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let gtid: Gtid = part.parse()?;
            if !matches!(gtid, Gtid::Mariadb { .. }) {
                return Err(format!("`{part}` is not a MariaDB GTID"));
            }
            position.advance_to(&gtid);
        }
        Ok(position)
    }
}

impl TryFrom<String> for MariadbPosition {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MariadbPosition> for String {
    fn from(position: MariadbPosition) -> Self {
        position.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn sets_are_written_as_the_server_does() {
        let text = format!("{A}:1-5:7:tag:1-3,4e11fa47-71ca-11e1-9e33-c80aa9429562:9");
        let set: GtidSet = text.parse().unwrap();
        assert_eq!(set.len(), 10);
        let again: GtidSet = set.to_string().parse().unwrap();
        assert_eq!(again, set);
        assert_eq!("".parse::<GtidSet>().unwrap(), GtidSet::default());
        for wrong in ["x:1", &format!("{A}:5-1"), &format!("{A}:0")] {
            assert!(wrong.parse::<GtidSet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_position_has_what_is_not_after_it_in_its_domain() {
        let position: MariadbPosition = "0-1-10,7-2-3".parse().unwrap();
        assert!(
            position.contains_gtid(&"0-9-10".parse().unwrap())
                && !position.contains_gtid(&"0-1-11".parse().unwrap())
        );
        assert!(!position.contains_gtid(&"1-1-1".parse().unwrap()));
        assert!(position.is_within(&"0-1-10,7-2-4".parse().unwrap()));
        assert!(!position.is_within(&"0-1-100".parse().unwrap()));
        assert_eq!(position.to_string(), "0-1-10,7-2-3");
    }

    proptest! {
        #[test]
        fn ranges_behave_as_sets_of_numbers(
            a in proptest::collection::vec((1_u64..60, 0_u64..9), 0..12),
            b in proptest::collection::vec((1_u64..60, 0_u64..9), 0..12),
        ) {
            let source: GtidSource = A.parse().unwrap();
            let make = |ranges: &[(u64, u64)]| {
                let (mut set, mut plain) = (GtidSet::default(), BTreeSet::new());
                for (first, more) in ranges {
                    set.add_range(&source, *first, first + more);
                    plain.extend(*first..=first + more);
                }
                (set, plain)
            };
            let ((set_a, plain_a), (set_b, plain_b)) = (make(&a), make(&b));
            prop_assert_eq!(set_a.len(), plain_a.len() as u64);
            let without = set_a.subtract(&set_b);
            for n in 1..80 {
                prop_assert_eq!(set_a.contains(&source, n), plain_a.contains(&n));
                prop_assert_eq!(without.contains(&source, n), plain_a.contains(&n) && !plain_b.contains(&n));
            }
            prop_assert_eq!(set_a.is_within(&set_b), plain_a.is_subset(&plain_b));
            prop_assert_eq!(set_a.to_string().parse::<GtidSet>().unwrap(), set_a);
        }
    }
}
