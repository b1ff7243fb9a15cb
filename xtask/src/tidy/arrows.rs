//! The arrow rule: which crate may name which other crate of the house.

use super::{Finding, Metadata, Package};

/// What each crate may name. Arrows go down only; only the program at the top, and what stands beside the house
/// (tests, chores), may name everything.
const ARROWS: [(&str, Names); 15] = [
    ("iobuf", Names::Only(&[])),
    ("rdma-sys", Names::Only(&[])),
    ("roce", Names::Only(&[])),
    ("target-core", Names::Only(&["iobuf"])),
    ("transport-srp", Names::Only(&["target-core", "iobuf"])),
    ("transport-iser", Names::Only(&["target-core", "iobuf"])),
    ("backstore", Names::Only(&["target-core", "iobuf"])),
    ("rdma", Names::Only(&["iobuf", "rdma-sys", "roce"])),
    (
        "initiator",
        Names::Only(&[
            "iobuf",
            "target-core",
            "transport-srp",
            "transport-iser",
            "rdma",
        ]),
    ),
    ("srptgt", Names::AnyBut(&["testbed", "tests", "xtask"])),
    ("testbed", Names::Only(&[])),
    ("tests", Names::AnyBut(&["xtask"])),
    (
        "bench",
        Names::Only(&["iobuf", "target-core", "transport-srp", "transport-iser"]),
    ),
    ("xtask", Names::AnyBut(&[])),
    ("fuzz", Names::AnyBut(&[])),
];

enum Names {
    Only(&'static [&'static str]),
    AnyBut(&'static [&'static str]),
}

impl Names {
    fn allow(&self, name: &str) -> bool {
        match self {
            Self::Only(names) => names.contains(&name),
            Self::AnyBut(names) => !names.contains(&name),
        }
    }
}

pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    metadata.packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let manifest = format!("{}/Cargo.toml", package.name);
    let Some((_, names)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        let what = "this crate has no row in the arrow table (xtask/src/tidy/arrows.rs); draw its arrows first";
        return vec![Finding::new(manifest, 1, what)];
    };
    let neighbours = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.path.is_some());
    let wrong = neighbours.filter(|dependency| !names.allow(&dependency.name));
    let finding = |name: &str| {
        let what = format!(
            "{} may not name {name}: arrows go down only, see ARCHITECTURE.md",
            package.name
        );
        Finding::new(manifest.clone(), 1, what)
    };
    wrong.map(|dependency| finding(&dependency.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Dependency;
    use super::*;

    fn workspace(name: &str, neighbour: &str) -> Metadata {
        let dependency = Dependency {
            name: neighbour.into(),
            kind: None,
            path: Some("x".into()),
        };
        Metadata {
            packages: vec![Package {
                name: name.into(),
                dependencies: vec![dependency],
            }],
        }
    }

    #[test]
    fn an_arrow_down_is_allowed() {
        assert!(check(&workspace("transport-srp", "target-core")).is_empty());
        assert!(check(&workspace("srptgt", "rdma")).is_empty());
    }

    #[test]
    fn an_arrow_up_or_sideways_is_found() {
        for (from, to) in [
            ("transport-srp", "rdma"),
            ("iobuf", "target-core"),
            ("srptgt", "tests"),
        ] {
            assert_eq!(check(&workspace(from, to)).len(), 1, "{from} -> {to}");
        }
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        assert_eq!(check(&workspace("newcomer", "iobuf")).len(), 1);
    }
}
