//! What this process may do to files that are not its own.

/// The rights of this process that matter to a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessRights {
    /// May give files to others (`CAP_CHOWN`).
    pub chown: bool,
    /// May enter every directory (`CAP_DAC_OVERRIDE`).
    pub override_modes: bool,
    /// May make devices (`CAP_MKNOD`).
    pub make_devices: bool,
    /// May set attributes in `trusted.` and `security.` (`CAP_SYS_ADMIN`).
    pub administrate: bool,
}

/// Bits of the effective capabilities.
const CHOWN: u32 = 0;
const DAC_OVERRIDE: u32 = 1;
const SYS_ADMIN: u32 = 21;
const MKNOD: u32 = 27;

impl ProcessRights {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        effective_capabilities(&status).map_or_else(
            || Self::all_or_none(rustix::process::geteuid().is_root()),
            |set| {
                let has = |bit: u32| set >> bit & 1 == 1;
                Self {
                    chown: has(CHOWN),
                    override_modes: has(DAC_OVERRIDE),
                    make_devices: has(MKNOD),
                    administrate: has(SYS_ADMIN),
                }
            },
        )
    }

    fn all_or_none(all: bool) -> Self {
        Self {
            chown: all,
            override_modes: all,
            make_devices: all,
            administrate: all,
        }
    }
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read_from_the_status_of_the_process() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000200002\n";
        assert_eq!(effective_capabilities(status), Some(0x20_0002));
        assert_eq!(effective_capabilities("Name:\tx\n"), None);
    }
}
