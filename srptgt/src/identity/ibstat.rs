//! Port GUIDs out of `ibstat` output, as a file or a paste. Pure.
//!
//! Only the lines `Port GUID:` count. `ibstat -p`, which prints nothing but port GUIDs, is taken too.

use super::guid::{Guid, GuidError, ParsedGuid};

/// A port that the output names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The adapter, as in `CA 'mlx4_0'`; empty for `ibstat -p`.
    pub adapter: String,
    /// The port's number on the adapter, or 0 for `ibstat -p`.
    pub number: u32,
    /// Its GUID.
    pub guid: Guid,
}

/// Why the output gives no GUIDs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IbstatError {
    /// A line `Port GUID:` that holds no GUID.
    #[error("line {line} of the ibstat output: {error}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        error: GuidError,
    },
    /// Only node or system image GUIDs.
    #[error(
        "the text has {0} but no `Port GUID:` line; a node GUID names the whole card and never logs in: give the whole \
         output of `ibstat` on the host, or of `ibstat -p`"
    )]
    NoPort(&'static str),
    /// Nothing of ibstat.
    #[error(
        "expected the output of `ibstat` (lines `Port GUID: 0x…`) or `ibstat -p`, found neither; run it on the host \
         and give the file, or `-` for standard input"
    )]
    NotIbstat,
}

/// All ports of the output, in its order and each once.
pub fn ports(text: &str) -> Result<Vec<Port>, IbstatError> {
    let mut found = Vec::new();
    let mut other = None;
    let mut adapter = String::new();
    let mut number = 0;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let lower = line.to_ascii_lowercase();
        if let Some(name) = line.strip_prefix("CA '") {
            adapter = name.trim_end_matches('\'').to_owned();
        } else if let Some(value) = lower.strip_prefix("port guid:") {
            let guid = guid_of(value).map_err(|error| IbstatError::Line {
                line: index + 1,
                error,
            })?;
            push(
                &mut found,
                Port {
                    adapter: adapter.clone(),
                    number,
                    guid,
                },
            );
        } else if let Some(digits) = lower.strip_prefix("port ") {
            number = digits.trim_end_matches(':').parse().unwrap_or(number);
        } else if lower.starts_with("node guid:") {
            other = Some("`Node GUID:`");
        } else if lower.starts_with("system image guid:") {
            other = other.or(Some("`System image GUID:`"));
        }
    }
    if found.is_empty() {
        found = list_of_guids(text).unwrap_or_default();
    }
    match (found.is_empty(), other) {
        (false, _) => Ok(found),
        (true, Some(what)) => Err(IbstatError::NoPort(what)),
        (true, None) => Err(IbstatError::NotIbstat),
    }
}

/// The output of `ibstat -p`, or `None` when a line is anything but a GUID.
fn list_of_guids(text: &str) -> Option<Vec<Port>> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        push(
            &mut found,
            Port {
                adapter: String::new(),
                number: 0,
                guid: guid_of(line).ok()?,
            },
        );
    }
    Some(found)
}

fn guid_of(value: &str) -> Result<Guid, GuidError> {
    value.trim().parse::<ParsedGuid>().map(|parsed| parsed.guid)
}

fn push(found: &mut Vec<Port>, port: Port) {
    if found.iter().all(|known| known.guid != port.guid) {
        found.push(port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_PORTS: &str = include_str!("../../testdata/ibstat-connectx2-two-ports.txt");
    const TWO_CARDS: &str = include_str!("../../testdata/ibstat-two-cards.txt");
    const RXE: &str = include_str!("../../testdata/ibstat-rxe.txt");

    fn guids(text: &str) -> Vec<String> {
        let ports = ports(text).unwrap_or_else(|error| panic!("{error}"));
        ports.iter().map(|port| port.guid.to_string()).collect()
    }

    #[test]
    fn both_ports_of_a_card_and_not_its_node_guid() {
        assert_eq!(
            guids(TWO_PORTS),
            ["0x0002c903000e0b73", "0x0002c903000e0b74"]
        );
        let first = &ports(TWO_PORTS).unwrap()[0];
        assert_eq!((first.adapter.as_str(), first.number), ("mlx4_0", 1));
    }

    #[test]
    fn every_card() {
        let found = ports(TWO_CARDS).unwrap();
        let named: Vec<_> = found
            .iter()
            .map(|port| (port.adapter.as_str(), port.number))
            .collect();
        assert_eq!(named, [("mlx5_0", 1), ("mlx5_1", 1), ("qib0", 1)]);
    }

    #[test]
    fn soft_roce() {
        assert_eq!(guids(RXE), ["0x082c2cfffe2f25cc"]);
    }

    #[test]
    fn windows_line_ends_and_indents() {
        assert_eq!(guids(&TWO_PORTS.replace('\n', "\r\n")).len(), 2);
    }

    #[test]
    fn the_port_list_of_ibstat_p() {
        assert_eq!(guids("0x0002c903000e0b73\n0x0002c903000e0b74\n").len(), 2);
    }

    #[test]
    fn the_same_port_twice_counts_once() {
        assert_eq!(guids(&format!("{RXE}{RXE}")).len(), 1);
    }

    #[test]
    fn a_node_guid_alone_is_explained() {
        let error = ports("CA 'mlx4_0'\n\tNode GUID: 0x0002c903000e0b72\n").unwrap_err();
        assert_eq!(error, IbstatError::NoPort("`Node GUID:`"));
        let error = ports("System image GUID: 0x0002c903000e0b75").unwrap_err();
        assert_eq!(error, IbstatError::NoPort("`System image GUID:`"));
    }

    #[test]
    fn text_that_is_not_ibstat_is_refused() {
        assert_eq!(ports(""), Err(IbstatError::NotIbstat));
        assert_eq!(
            ports("hello\n0x0002c903000e0b73"),
            Err(IbstatError::NotIbstat)
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        let text = "CA 'a'\nPort 1:\nPort GUID: 0x12\n";
        assert!(matches!(
            ports(text),
            Err(IbstatError::Line { line: 3, .. })
        ));
    }
}
