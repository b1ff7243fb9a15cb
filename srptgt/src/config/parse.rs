//! From the text of a configuration to the configuration, or to the line that is wrong. Pure.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::{Conflict, Step};
use super::{Config, Document};

/// Why a text is no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Counted from 1; 1 when it is the text as a whole.
    pub line: usize,
    /// One sentence, with the accepted values.
    pub text: String,
}

/// Reads a configuration whole, or says where it is wrong. The second value tells whether every identity stands in
/// the text; those that do not were made, and are others the next time.
pub fn parse(text: &str) -> Result<(Config, bool), Refusal> {
    let document: Document = toml::from_str(text).map_err(|error| Refusal {
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        text: error.message().replace('\n', " "),
    })?;
    let complete = document.has_identities();
    let config = Config::from_document(document).map_err(|conflict| Refusal {
        line: locate(text, &conflict).map_or(1, |span| line_of(text, span.start)),
        text: conflict.text,
    })?;
    Ok((config, complete))
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

/// The span of the deepest value on the way to the conflict that is really there.
fn locate(text: &str, conflict: &Conflict) -> Option<Range<usize>> {
    let root = DeTable::parse(text).ok()?;
    let mut steps = conflict.at.iter();
    let Step::Key(first) = steps.next()? else {
        return None;
    };
    let (key, mut value) = entry(root.get_ref(), first)?;
    let mut span = key;
    for step in steps {
        let (found, next) = match (value.get_ref(), step) {
            (DeValue::Table(table), Step::Key(key)) => match entry(table, key) {
                Some(found) => found,
                None => break,
            },
            (DeValue::Array(array), Step::Index(index)) => match array.get(*index) {
                Some(item) => (item.span(), item),
                None => break,
            },
            _ => break,
        };
        (span, value) = (found, next);
    }
    Some(span)
}

/// The span of the key, which for a table is its header's line, and the value.
fn entry<'a, 'i>(
    table: &'a DeTable<'i>,
    key: &str,
) -> Option<(Range<usize>, &'a Spanned<DeValue<'i>>)> {
    table
        .iter()
        .find(|(name, _)| name.get_ref().as_ref() == key)
        .map(|(name, value)| (name.span(), value))
}
