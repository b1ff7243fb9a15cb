//! Where `unsafe` may stand: the rooms that touch memory the hardware writes, foreign functions, or the ring.

use syn::visit::{self, Visit};

use super::Finding;
use super::source::{Source, line_of};

/// Folders and files, from the root. A test of such a room may use what the room may use.
const PLACES: [&str; 4] = ["iobuf/", "rdma-sys/", "rdma/", "backstore/"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if PLACES.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let mut visitor = Visitor { lines: Vec::new() };
    visitor.visit_file(&source.file);
    let what =
        "unsafe may not stand here; the places where it may are listed in xtask/src/tidy/places.rs";
    visitor
        .lines
        .into_iter()
        .map(|line| Finding::new(&source.path, line, what))
        .collect()
}

struct Visitor {
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for Visitor {
    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.lines.push(line_of(block.unsafe_token.span));
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let syn::Safety::Unsafe(token) = &signature.safety {
            self.lines.push(line_of(token.span));
        }
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.lines
            .extend(item.unsafety.iter().map(|token| line_of(token.span)));
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.lines
            .extend(item.unsafety.iter().map(|token| line_of(token.span)));
        visit::visit_item_trait(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.lines.push(line_of(item.abi.extern_token.span));
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("unsafe") {
            self.lines.push(line_of(attribute.pound_token.spans[0]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 6] = [
        "fn f() { unsafe { g() } }",
        "unsafe fn f() {}",
        "unsafe impl Send for X {}",
        "unsafe trait T {}",
        "unsafe extern \"C\" { safe fn g(); }",
        "#[unsafe(no_mangle)] fn f() {}",
    ];

    #[test]
    fn every_kind_of_unsafe_is_found() {
        for text in KINDS {
            let found = check(&Source::parse("target-core/src/x.rs", text).unwrap());
            assert_eq!(found.len(), 1, "{text}");
        }
    }

    #[test]
    fn listed_places_and_safe_code_are_free() {
        for text in KINDS {
            assert!(check(&Source::parse("iobuf/src/arena.rs", text).unwrap()).is_empty());
        }
        let word = "fn f() { let unsafe_count = \"unsafe\"; }";
        assert!(check(&Source::parse("xtask/src/x.rs", word).unwrap()).is_empty());
    }
}
