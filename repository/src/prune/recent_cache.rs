//! What was marked recently: neighbouring snapshots name the same chunks again and again, and a look-up here is several
//! times as fast as one in the index.

/// Groups of numbers; each is a cache line of the processor. 32 MiB, which the system only allocates when used.
const GROUPS: usize = 1 << 19;

/// Numbers that were added, as far as there was room for them. The oldest ones are evicted first.
#[derive(Debug)]
pub(super) struct RecentCache {
    groups: Vec<[u64; 8]>,
}

impl RecentCache {
    pub(super) fn new() -> Self {
        Self {
            groups: vec![[0; 8]; GROUPS],
        }
    }

    /// Whether a number was added; never for one that was not.
    pub(super) fn contains(&self, number: u64) -> bool {
        let group = self.groups.get(number as usize % GROUPS);
        // An empty slot holds 0.
        number != 0
            && group.is_some_and(|group| group.iter().fold(false, |has, n| has | (*n == number)))
    }

    pub(super) fn insert(&mut self, number: u64) {
        if let Some(group) = self.groups.get_mut(number as usize % GROUPS) {
            group.rotate_right(1);
            group[0] = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_added_is_there_and_the_newest_for_sure() {
        let mut recent = RecentCache::new();
        assert!(!recent.contains(0));
        let alike = |n: u64| 7 + n * GROUPS as u64;
        for n in 0..20 {
            assert!(!recent.contains(alike(n)));
            recent.insert(alike(n));
            assert!(recent.contains(alike(n)));
        }
        assert!((12..20).all(|n| recent.contains(alike(n))));
        assert!(!recent.contains(alike(0)) && !recent.contains(8) && !recent.contains(0));
    }
}
