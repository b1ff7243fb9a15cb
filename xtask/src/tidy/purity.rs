//! Purity: some crates know no outside world. No I/O, no clock, no threads, no async, no `unsafe`; whatever they
//! depend on is on a list. Their tests may do what they like.

use syn::visit::{self, Visit};

use super::source::{Source, is_test_item, line_of};
use super::{Finding, Metadata, Package};

const PURE: [&str; 4] = ["target-core", "transport-srp", "transport-iser", "roce"];

/// What a pure crate may depend on besides crates of the house: pure computation only.
const DEPENDENCIES: [&str; 12] = [
    "base64ct",
    "bitflags",
    "crc32c",
    "crc32fast",
    "md-5",
    "sha1",
    "sha2",
    "sha3",
    "subtle",
    "thiserror",
    "zerocopy",
    "zeroize",
];

/// Modules of the standard library through which the outside world comes in.
const OUTSIDE: [&str; 9] = [
    "env", "fs", "io", "net", "os", "process", "task", "thread", "time",
];
/// What those modules hold of plain values: a span of time and an address may be named; asking what time it is, or
/// opening a socket, may not.
const PLAIN_VALUES: [&str; 7] = [
    "Duration",
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
];

const PRINTING: [&str; 4] = ["print", "println", "eprint", "eprintln"];

pub(super) fn check(metadata: &Metadata, sources: &[Source]) -> Vec<Finding> {
    let packages = metadata
        .packages
        .iter()
        .filter(|package| PURE.contains(&&*package.name));
    let mut findings: Vec<Finding> = packages.flat_map(check_dependencies).collect();
    for source in sources
        .iter()
        .filter(|source| PURE.contains(&source.package()))
    {
        findings.extend(check_source(source));
    }
    findings
}

fn check_dependencies(package: &Package) -> Vec<Finding> {
    let outside = package.dependencies.iter().filter(|dependency| {
        dependency.path.is_none()
            && dependency.kind.as_deref() != Some("dev")
            && !DEPENDENCIES.contains(&&*dependency.name)
    });
    let finding = |name: &str| {
        let what = format!(
            "{name} is not on the list of what a pure crate may depend on (xtask/src/tidy/purity.rs)"
        );
        Finding::new(format!("{}/Cargo.toml", package.name), 1, what)
    };
    outside
        .map(|dependency| finding(&dependency.name))
        .collect()
}

fn check_source(source: &Source) -> Vec<Finding> {
    if source.is_test() {
        return Vec::new();
    }
    let mut visitor = Visitor {
        path: &source.path,
        findings: Vec::new(),
    };
    if source.path.ends_with("src/lib.rs") && !forbids_unsafe(&source.file) {
        visitor.find(1, "a pure crate says #![forbid(unsafe_code)]");
    }
    visitor.visit_file(&source.file);
    visitor.findings
}

fn forbids_unsafe(file: &syn::File) -> bool {
    file.attrs.iter().any(|attribute| {
        attribute.path().is_ident("forbid")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|lint| lint == "unsafe_code")
    })
}

struct Visitor<'a> {
    path: &'a str,
    findings: Vec<Finding>,
}

impl Visitor<'_> {
    fn find(&mut self, line: usize, what: impl Into<String>) {
        self.findings.push(Finding::new(self.path, line, what));
    }

    /// Looks at one path from `std` or `core`, however it was written.
    fn check_path(&mut self, line: usize, segments: &[String]) {
        let [root, module, rest @ ..] = segments else {
            return;
        };
        let outside = matches!(&**root, "std" | "core") && OUTSIDE.contains(&&**module);
        let plain_value = rest
            .first()
            .is_some_and(|name| PLAIN_VALUES.contains(&&**name));
        if outside && !plain_value {
            self.find(line, format!("a pure crate may not use {root}::{module}"));
        }
    }

    fn check_use(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let with = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.check_use(&path.tree, &with(&path.ident)),
            syn::UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|item| self.check_use(item, prefix)),
            syn::UseTree::Name(name) => {
                self.check_path(line_of(name.ident.span()), &with(&name.ident))
            }
            syn::UseTree::Rename(name) => {
                self.check_path(line_of(name.ident.span()), &with(&name.ident))
            }
            syn::UseTree::Glob(glob) => self.check_path(line_of(glob.star_token.spans[0]), prefix),
        }
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test_item(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test_item(&item.attrs) {
            if let Some(token) = &item.sig.asyncness {
                self.find(line_of(token.span), "a pure crate has no async functions");
            }
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test_item(&item.attrs) {
            self.check_use(&item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if let Some(first) = path.segments.first() {
            self.check_path(line_of(first.ident.span()), &segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(name) = PRINTING.iter().find(|name| call.path.is_ident(name)) {
            self.find(
                line_of(call.bang_token.spans[0]),
                format!("a pure crate prints nothing: {name}!"),
            );
        }
        visit::visit_macro(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Dependency;
    use super::*;

    fn findings(text: &str) -> Vec<Finding> {
        check_source(&Source::parse("target-core/src/x.rs", text).unwrap())
    }

    #[test]
    fn the_outside_world_is_found_however_it_is_named() {
        for text in [
            "use std::fs::File;",
            "use std::{fmt, time::Instant};",
            "use std::io as outside;",
            "use std::net::{IpAddr, UdpSocket};",
            "use std::thread::*;",
            "fn f() { let _ = std::time::Instant::now(); }",
            "fn f(x: std::net::TcpStream) {}",
            "fn f() { println!(); }",
            "async fn f() {}",
        ] {
            assert_eq!(findings(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn plain_values_and_tests_are_free() {
        for text in [
            "use std::{collections::VecDeque, time::Duration};",
            "fn f(x: std::net::IpAddr) {}",
            "fn f(x: core::time::Duration) -> std::fmt::Result { Ok(()) }",
            "#[cfg(test)] mod tests { use std::fs; fn f() { println!(); } }",
        ] {
            assert_eq!(findings(text), [], "{text}");
        }
    }

    #[test]
    fn a_pure_crate_must_forbid_unsafe() {
        let lib = |text| check_source(&Source::parse("target-core/src/lib.rs", text).unwrap());
        assert_eq!(lib("//! Core.").len(), 1);
        assert!(lib("//! Core.\n#![forbid(unsafe_code)]").is_empty());
    }

    #[test]
    fn only_listed_dependencies_are_pure() {
        let package = |name: &str, kind: Option<&str>| {
            let dependency = Dependency {
                name: name.into(),
                kind: kind.map(Into::into),
                path: None,
            };
            check_dependencies(&Package {
                name: "target-core".into(),
                dependencies: vec![dependency],
            })
        };
        assert_eq!(package("tokio", None).len(), 1);
        assert!(package("thiserror", None).is_empty());
        assert!(package("proptest", Some("dev")).is_empty());
    }
}
