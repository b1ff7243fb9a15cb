//! Every command is answered exactly once, or was aborted, or its connection is gone. And so says either side. Task management
//! is never refused, however much of it waits.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::journal::{Entry, Scope};

/// A request at the target.
type Exchange = (u32, u32);

#[derive(Debug)]
struct Management {
    lun: u8,
    nexus: Option<u32>,
    scope: Scope,
}

#[derive(Debug)]
struct Running {
    tag: u64,
    lun: Option<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Answers {
    /// At initiators.
    open: BTreeSet<u64>,
    ended: BTreeSet<u64>,
    luns: BTreeMap<(u32, u64), u8>,
    responses: BTreeSet<(u32, u64)>,
    /// At the target.
    nexuses: BTreeMap<u32, u32>,
    running: BTreeMap<Exchange, Running>,
    managing: BTreeMap<Exchange, Management>,
    /// Requests whose channel closed before the answer: what they began goes on.
    orphaned: Vec<Management>,
}

impl Answers {
    pub(super) fn read(&mut self, entry: &Entry) {
        match *entry {
            Entry::Submitted {
                op, link, tag, lun, ..
            } => {
                assert!(self.open.insert(op), "command {op} is sent twice");
                self.luns.insert((link, tag), lun);
            }
            Entry::Ended { op, .. } => {
                assert!(self.ended.insert(op), "command {op} ends twice");
                assert!(self.open.remove(&op), "command {op} ends unsent");
            }
            Entry::Responded { link, tag } => {
                let is_first = self.responses.insert((link, tag));
                assert!(
                    is_first,
                    "request {tag:#x} of link {link} is answered twice"
                );
            }
            Entry::Opened { link, nexus } => {
                self.nexuses.insert(link, nexus);
            }
            Entry::Closed { link } => {
                self.running.retain(|(of, _), _| *of != link);
                let is_its = |(of, _): &Exchange, _: &mut Management| *of == link;
                let orphaned = self.managing.extract_if(.., is_its);
                self.orphaned
                    .extend(orphaned.map(|(_, management)| management));
            }
            Entry::Arrived {
                link,
                exchange,
                tag,
            } => self.arrive((link, exchange), tag),
            Entry::Finished { link, exchange } => {
                self.take((link, exchange), "answered");
            }
            Entry::Stopped { link, exchange } => self.stop((link, exchange)),
            Entry::ManagementArrived {
                link,
                exchange,
                lun,
                scope,
            } => {
                let nexus = self.nexuses.get(&link).copied();
                let management = Management { lun, nexus, scope };
                let before = self.managing.insert((link, exchange), management);
                assert!(
                    before.is_none(),
                    "exchange {exchange} of link {link} is used twice"
                );
            }
            Entry::ManagementFinished {
                link,
                exchange,
                is_done,
            } => {
                assert!(
                    is_done,
                    "task management {exchange} of link {link} is refused"
                );
                let found = self.managing.remove(&(link, exchange));
                assert!(
                    found.is_some(),
                    "task management {exchange} of link {link} ends twice"
                );
            }
            Entry::Fetched { .. } | Entry::TimedOut { .. } | Entry::Applied { .. } => {}
        }
    }

    fn arrive(&mut self, exchange: Exchange, tag: u64) {
        let lun = self.luns.get(&(exchange.0, tag)).copied();
        assert!(
            lun.is_some(),
            "{exchange:?}: nobody sent a command {tag:#x}"
        );
        let before = self.running.insert(exchange, Running { tag, lun });
        assert!(before.is_none(), "{exchange:?} is used twice");
    }

    fn take(&mut self, exchange: Exchange, how: &str) -> Running {
        let found = self.running.remove(&exchange);
        found.unwrap_or_else(|| panic!("{exchange:?} is {how} but does not run"))
    }

    /// Only what a request under way is about is stopped.
    fn stop(&mut self, exchange: Exchange) {
        let running = self.take(exchange, "aborted");
        let nexus = self.nexuses.get(&exchange.0).copied();
        let asked = self.managing.values().chain(&self.orphaned);
        let is_wanted = asked.into_iter().any(|management| {
            let is_its_unit = running.lun == Some(management.lun);
            match management.scope {
                Scope::Task(tag) => is_its_unit && tag == running.tag && management.nexus == nexus,
                Scope::Nexus => is_its_unit && management.nexus == nexus,
                Scope::Everybody => is_its_unit,
                Scope::Target => true,
                Scope::Nothing => false,
            }
        });
        assert!(is_wanted, "{exchange:?} is aborted, and nobody asked");
    }

    pub(super) fn look_at_end(&self) {
        assert!(self.open.is_empty(), "never ended: {:?}", self.open);
        assert!(
            self.running.is_empty(),
            "still at the target: {:?}",
            self.running
        );
        assert!(self.managing.is_empty(), "not managed: {:?}", self.managing);
    }
}
