//! The kernel's configuration: whether what was asked for is what will be built.
//!
//! Kconfig drops an option silently when something it depends on is missing, so the result is compared.

/// The options of the fragment that the finished configuration does not hold as they were asked for.
pub(super) fn lost<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let wanted = fragment
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("CONFIG_"));
    wanted.filter(|line| !holds(config, line)).collect()
}

fn holds(config: &str, wanted: &str) -> bool {
    match wanted.strip_suffix("=n") {
        Some(name) => !config.lines().any(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
        }),
        None => config.lines().any(|line| line == wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str =
        "CONFIG_PCI=y\n# CONFIG_MODULES is not set\nCONFIG_NR_CPUS=4\nCONFIG_MODULES_TREE=y\n";

    #[test]
    fn what_was_asked_for_and_given_is_not_lost() {
        assert!(
            lost(
                "# why\nCONFIG_PCI=y\nCONFIG_MODULES=n\nCONFIG_NR_CPUS=4\n",
                CONFIG
            )
            .is_empty()
        );
    }

    #[test]
    fn dropped_changed_and_unwanted_options_are_lost() {
        let fragment = "CONFIG_INFINIBAND=y\nCONFIG_NR_CPUS=8\nCONFIG_PCI=n\n";
        assert_eq!(
            lost(fragment, CONFIG),
            ["CONFIG_INFINIBAND=y", "CONFIG_NR_CPUS=8", "CONFIG_PCI=n"]
        );
    }
}
