//! From one configuration to the next while I/O runs: the order of the steps, and their way back.
//!
//! What adds comes first and can be taken back: media are opened, logical units and portals given to the worker, then
//! who sees what. Then the configuration is written. What takes away comes last, when nobody sees it any more and
//! nothing can fail that would need it.

use std::sync::Arc;
use std::time::Duration;

use target_core::logical_unit::LogicalUnit;

use crate::access::Access;
use crate::config::{ByteSize, Config, IscsiSettings, Name};
use crate::portal::{Endpoint, Portal};
use crate::worker_link::{LunChange, Request};

use super::fault::Fault;
use super::media::{Creation, Served};
use super::plan::Plan;
use super::state::State;
use super::{Control, blocking};

/// How long the commands on a logical unit that is removed may take before the asker hears of it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A step back.
#[derive(Debug)]
enum Undo {
    RemoveLun(Name),
    Capacity(Arc<LogicalUnit>, u64),
    Switches(Arc<LogicalUnit>, bool, bool),
    RemovePortal(Portal),
    Access(Arc<Access>),
    Iscsi(Arc<IscsiSettings>),
}

/// A change under way; its control plane's `changing` is held.
pub(crate) struct Change<'a> {
    control: &'a Control,
    creation: Creation,
    before: Arc<State>,
    /// What stands in the file.
    on_disk: Config,
    /// Becomes the state when all has worked.
    next: State,
    undo: Vec<Undo>,
}

impl<'a> Change<'a> {
    pub(crate) fn new(control: &'a Control, config: Config, creation: Creation) -> Self {
        let before = control.state();
        let mut next = State::clone(&before);
        next.config = config;
        Self {
            control,
            creation,
            on_disk: before.config.clone(),
            before,
            next,
            undo: Vec::new(),
        }
    }

    /// The configuration was just read from the file, which need not be written if nothing is added to it.
    pub(crate) fn read_from_disk(mut self, complete: bool) -> Self {
        if complete {
            self.on_disk = self.next.config.clone();
        }
        for (name, lun) in &mut self.next.config.luns {
            let known = self
                .before
                .config
                .luns
                .get(name)
                .and_then(|known| known.size);
            lun.size = lun.size.or(known);
        }
        self
    }

    /// All or nothing.
    pub(crate) async fn run(mut self) -> Result<(), Fault> {
        let plan = Plan::between(&self.before.config, &self.next.config)?;
        if let Err(fault) = self.forward(&plan).await {
            self.back().await;
            return Err(fault);
        }
        for portal in &plan.closed {
            self.next.portals.remove(portal);
        }
        if self.next.config != self.before.config {
            tracing::info!("the configuration has changed: {plan}");
        }
        self.control.publish(self.next);
        take_away(self.control, &self.before, plan).await
    }

    async fn forward(&mut self, plan: &Plan) -> Result<(), Fault> {
        for name in &plan.added {
            let served = self.open(name).await?;
            self.add(name, served).await?;
        }
        for (name, size) in &plan.grown {
            self.grow(name, *size).await?;
        }
        for name in &plan.switched {
            self.switch(name).await?;
        }
        self.set_iscsi().await?;
        for portal in &plan.opened {
            let endpoints = self.listen(portal).await?;
            self.undo.push(Undo::RemovePortal(portal.clone()));
            self.next.portals.insert(portal.clone(), Ok(endpoints));
        }
        for name in &plan.removed {
            self.next.luns.remove(name);
        }
        self.set_access().await?;
        if self.next.config != self.on_disk {
            self.control.save(self.next.config.clone()).await?;
        }
        Ok(())
    }

    /// What works is served; the rest is noted in the state and logged once.
    pub(crate) async fn run_lenient(&mut self) -> Result<(), Fault> {
        for name in self.missing_luns() {
            let opened = match self.open(&name).await {
                Ok(served) => self.add(&name, served).await,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = opened {
                self.note_lun(&name, fault);
            }
        }
        self.set_iscsi().await?;
        for portal in self.missing_portals() {
            let heard = self.listen(&portal).await;
            self.note_portal(portal, heard);
        }
        self.set_access().await
    }

    fn missing_luns(&self) -> Vec<Name> {
        let up = |name: &&Name| !matches!(self.next.luns.get(*name), Some(Ok(_)));
        self.next.config.luns.keys().filter(up).cloned().collect()
    }

    fn missing_portals(&self) -> Vec<Portal> {
        let up = |portal: &&Portal| !matches!(self.next.portals.get(*portal), Some(Ok(_)));
        self.next
            .config
            .portals
            .iter()
            .filter(up)
            .cloned()
            .collect()
    }

    /// Whether something is configured and not up.
    pub(crate) fn is_incomplete(&self) -> bool {
        !self.missing_luns().is_empty() || !self.missing_portals().is_empty()
    }

    fn note_lun(&mut self, name: &Name, fault: Fault) {
        if self
            .next
            .luns
            .get(name)
            .is_none_or(|known| known.as_ref().err() != Some(&fault))
        {
            tracing::warn!(lun = %name, "not served: {fault}");
        }
        self.next.luns.insert(name.clone(), Err(fault));
    }

    fn note_portal(&mut self, portal: Portal, heard: Result<Vec<Endpoint>, Fault>) {
        match &heard {
            Ok(_) => tracing::info!(%portal, "listening"),
            Err(fault)
                if self
                    .next
                    .portals
                    .get(&portal)
                    .is_none_or(|known| known.as_ref().err() != Some(fault)) =>
            {
                tracing::warn!(%portal, "not listening: {fault}");
            }
            Err(_) => {}
        }
        self.next.portals.insert(portal, heard);
    }

    pub(crate) fn publish(self) {
        self.control.publish(self.next);
    }

    async fn open(&self, name: &Name) -> Result<Served, Fault> {
        let (owner, lun, creation) = (
            name.clone(),
            self.next.config.lun(name)?.clone(),
            self.creation,
        );
        let served = blocking(move || Served::open(&owner, &lun, creation)).await?;
        let identity = served.medium.identity();
        let same = |other: &Served| other.medium.identity() == identity;
        let mut others = self
            .next
            .luns
            .iter()
            .filter_map(|(name, lun)| Some((name, lun.as_ref().ok()?)));
        match others.find(|(_, other)| same(other)) {
            Some((other, _)) => Err(Fault::conflict(format!(
                "LUN {name}: {} is what LUN {other} serves already",
                served.medium.name()
            ))
            .fix(format!(
                "map LUN {other} to more hosts instead, or give another path"
            ))),
            None => Ok(served),
        }
    }

    async fn add(&mut self, name: &Name, served: Served) -> Result<(), Fault> {
        let (lu, medium) = (served.lu.clone(), served.medium.clone());
        self.control
            .link
            .ask(|reply| Request::AddLun { lu, medium, reply })
            .await??;
        self.undo.push(Undo::RemoveLun(name.clone()));
        if let Some(lun) = self.next.config.luns.get_mut(name) {
            lun.size = Some(ByteSize(served.medium.size_bytes()));
        }
        self.next.luns.insert(name.clone(), Ok(served));
        Ok(())
    }

    async fn grow(&mut self, name: &Name, size: ByteSize) -> Result<(), Fault> {
        let served = self.next.served(name)?.clone();
        let medium = served.clone();
        blocking(move || medium.grow(size)).await?;
        let lu = served.lu;
        let before = lu.blocks();
        let blocks = size.0 / u64::from(lu.geometry.block_size);
        if blocks == before {
            return Ok(());
        }
        lu.set_blocks(blocks);
        self.undo.push(Undo::Capacity(lu, before));
        self.tell(name, LunChange::Capacity).await
    }

    async fn switch(&mut self, name: &Name) -> Result<(), Fault> {
        let lun = self.next.config.lun(name)?;
        let (read_only, write_cache) = (lun.read_only, lun.write_cache);
        // A logical unit that is not up takes the new values when it comes.
        let Some(Ok(served)) = self.next.luns.get(name) else {
            return Ok(());
        };
        if !read_only && served.medium.read_only() {
            return Err(Fault::failed(format!(
                "LUN {name}: {} could be opened for reading only",
                served.medium.name()
            ))
            .fix(format!("make it writable, then srptgt lun remove {name} and add it again with the same --naa and --serial")));
        }
        let lu = served.lu.clone();
        self.undo
            .push(Undo::Switches(lu.clone(), lu.read_only(), lu.write_cache()));
        lu.set_read_only(read_only);
        lu.set_write_cache(write_cache);
        self.tell(name, LunChange::ModeParameters).await
    }

    async fn tell(&self, name: &Name, change: LunChange) -> Result<(), Fault> {
        let name = name.shared();
        Ok(self
            .control
            .link
            .ask(|reply| Request::LunChanged {
                name,
                change,
                reply,
            })
            .await??)
    }

    async fn listen(&self, portal: &Portal) -> Result<Vec<Endpoint>, Fault> {
        let portal = portal.clone();
        Ok(self
            .control
            .link
            .ask(|reply| Request::AddPortal { portal, reply })
            .await??)
    }

    /// Comes before the portals, whose first login may follow at once.
    async fn set_iscsi(&mut self) -> Result<(), Fault> {
        let wanted = &self.next.config.iscsi;
        if self.next.iscsi.as_deref() == Some(wanted) {
            return Ok(());
        }
        let settings = Arc::new(wanted.clone());
        let before = self.next.iscsi.replace(settings.clone());
        self.undo.extend(before.map(Undo::Iscsi));
        Ok(self
            .control
            .link
            .ask(|reply| Request::SetIscsi { settings, reply })
            .await?)
    }

    async fn set_access(&mut self) -> Result<(), Fault> {
        let access = self.next.compile_access();
        if access == *self.next.access {
            return Ok(());
        }
        self.undo.push(Undo::Access(self.next.access.clone()));
        self.next.access = Arc::new(access);
        let access = self.next.access.clone();
        Ok(self
            .control
            .link
            .ask(|reply| Request::SetAccess { access, reply })
            .await?)
    }

    /// Takes back what was done, the last first.
    async fn back(&mut self) {
        while let Some(undo) = self.undo.pop() {
            if let Err(fault) = self.step_back(undo).await {
                tracing::error!("a change failed, and taking it back did too: {fault}");
            }
        }
    }

    async fn step_back(&self, undo: Undo) -> Result<(), Fault> {
        let link = &self.control.link;
        match undo {
            Undo::RemoveLun(name) => {
                let name = name.shared();
                link.ask(|reply| Request::RemoveLun { name, reply })
                    .await??;
            }
            Undo::Capacity(lu, blocks) => {
                lu.set_blocks(blocks);
                self.tell_back(&lu, LunChange::Capacity).await?;
            }
            Undo::Switches(lu, read_only, write_cache) => {
                lu.set_read_only(read_only);
                lu.set_write_cache(write_cache);
                self.tell_back(&lu, LunChange::ModeParameters).await?;
            }
            Undo::RemovePortal(portal) => {
                link.ask(|reply| Request::RemovePortal { portal, reply })
                    .await?;
            }
            Undo::Iscsi(settings) => {
                link.ask(|reply| Request::SetIscsi { settings, reply })
                    .await?
            }
            Undo::Access(access) => {
                link.ask(|reply| Request::SetAccess { access, reply })
                    .await?
            }
        }
        Ok(())
    }

    async fn tell_back(&self, lu: &LogicalUnit, change: LunChange) -> Result<(), Fault> {
        let name = lu.identity.name.as_str().into();
        Ok(self
            .control
            .link
            .ask(|reply| Request::LunChanged {
                name,
                change,
                reply,
            })
            .await??)
    }
}

/// The last step: nobody sees these any more, and the file does not name them.
async fn take_away(control: &Control, before: &State, plan: Plan) -> Result<(), Fault> {
    for portal in plan.closed {
        let removed = control
            .link
            .ask(|reply| Request::RemovePortal { portal, reply });
        removed.await?;
    }
    let served = |name: &Name| matches!(before.luns.get(name), Some(Ok(_)));
    for name in plan.removed.into_iter().filter(served) {
        let lun = name.shared();
        let removed = control
            .link
            .ask(|reply| Request::RemoveLun { name: lun, reply });
        let idle = tokio::time::timeout(IDLE_TIMEOUT, removed).await;
        idle.map_err(|_| still_busy(&name))???;
    }
    Ok(())
}

fn still_busy(name: &Name) -> Fault {
    Fault::failed(format!(
        "LUN {name} is removed, but its medium has not answered for {} s and is not closed yet",
        IDLE_TIMEOUT.as_secs()
    ))
    .fix("see what the storage is doing; the medium is closed when it answers")
}
