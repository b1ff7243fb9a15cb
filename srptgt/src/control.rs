//! The control plane: the authoritative configuration, and every change to it.
//!
//! A change is made in four steps: edit a copy of the configuration, bring worker and media to it, write it to disk,
//! answer. A step that fails takes the earlier ones back. Changes run one after the other; reading never waits for
//! them. May touch the disk (on blocking threads) and the worker (through [`WorkerLink`]), nothing else.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::config::document::LunTable;
use crate::config::file::{ConfigFile, ConfigFileError, to_toml};
use crate::config::{Config, Document, Name, Secrets, SoftSettings, TargetIdentity};
use crate::portal::{Listen, Portal, Protocol};
use crate::worker_link::{EventReceiver, Request, SessionInfo, WorkerLink};

mod addresses;
mod allow;
mod apply;
mod compile;
mod edit;
mod events;
pub mod fault;
mod media;
mod pending;
mod plan;
pub mod request;
mod state;
pub mod view;

use apply::Change;
pub use fault::{Fault, FaultKind};
use media::Creation;
use pending::Pending;
use request::{HostEdit, LunResize, LunSet, MapAdd, TargetSet};
use state::State;
use view::{HostView, LunView, MapView, Noted, PortalView, StatusView, TargetView};

/// The control plane.
#[derive(Debug)]
pub struct Control {
    link: WorkerLink,
    file: ConfigFile,
    /// Held during a change.
    changing: tokio::sync::Mutex<()>,
    state: Mutex<Arc<State>>,
    pending: Mutex<Pending>,
    started: SystemTime,
    events_dropped: Arc<std::sync::atomic::AtomicU64>,
}

impl Control {
    /// A control plane that serves nothing yet, with what stands in the configuration file.
    ///
    /// # Errors
    /// When the file is refused.
    pub fn load(
        path: &Path,
        link: WorkerLink,
        events: &EventReceiver,
    ) -> Result<(Arc<Self>, Loaded), ConfigFileError> {
        let file = ConfigFile::new(path);
        let (config, complete) = file.load()?;
        let control = Arc::new(Self {
            link,
            file,
            changing: tokio::sync::Mutex::new(()),
            state: Mutex::new(Arc::new(State::new(Config::new(config.target)))),
            pending: Mutex::default(),
            started: SystemTime::now(),
            events_dropped: events.dropped(),
        });
        Ok((control, Loaded { config, complete }))
    }

    /// Serves what was loaded. A LUN or portal that does not come up is reported and tried again later; the rest is
    /// served.
    ///
    /// # Errors
    /// When the worker is gone, or new identities cannot be written.
    pub async fn start(self: &Arc<Self>, loaded: Loaded) -> Result<(), Fault> {
        let _changing = self.changing.lock().await;
        if !loaded.complete {
            self.save(loaded.config.clone()).await?;
        }
        let mut change = Change::new(self, loaded.config, Creation::Never);
        change.run_lenient().await?;
        change.publish();
        Ok(())
    }

    /// Reads the file again and goes over to it, or refuses it whole.
    ///
    /// # Errors
    /// Why it was refused; nothing has changed then.
    pub async fn reload(self: &Arc<Self>) -> Result<(), Fault> {
        let file = self.file.clone();
        let (config, complete) = blocking(move || file.load().map_err(Fault::from)).await?;
        let control = self.clone();
        to_its_end(async move {
            let _changing = control.changing.lock().await;
            Change::new(&control, config, Creation::Never)
                .read_from_disk(complete)
                .run()
                .await
        })
        .await
    }

    /// Edits the configuration and goes over to the result.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        creation: Creation,
        edit: impl FnOnce(&mut Config) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let control = self.clone();
        to_its_end(async move {
            let _changing = control.changing.lock().await;
            let mut next = control.state().config.clone();
            let answer = edit(&mut next)?;
            next.check()?;
            Change::new(&control, next, creation).run().await?;
            Ok(answer)
        })
        .await
    }

    async fn save(&self, config: Config) -> Result<(), Fault> {
        let file = self.file.clone();
        blocking(move || file.save(&config).map_err(Fault::from)).await
    }

    fn state(&self) -> Arc<State> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn publish(&self, state: State) {
        self.pending().review(&state.access);
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was loaded and is not served yet.
#[derive(Debug)]
pub struct Loaded {
    config: Config,
    complete: bool,
}

impl Loaded {
    /// How the worker has to set up the soft fabric.
    pub fn soft(&self) -> &SoftSettings {
        &self.config.soft
    }
}

/// Runs a change to its end, even when the asker goes away.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, Fault> {
    tokio::spawn(change).await.map_err(fault::task_died)?
}

/// Runs what may block where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(fault::task_died)?
}

/// Logical units.
impl Control {
    /// All, by name.
    pub fn luns(&self) -> Vec<LunView> {
        let state = self.state();
        let view = |(name, lun)| view::lun(&state, name, lun);
        state.config.luns.iter().map(view).collect()
    }

    /// One.
    pub fn lun(&self, name: &Name) -> Result<LunView, Fault> {
        let state = self.state();
        Ok(view::lun(&state, name, state.config.lun(name)?))
    }

    /// Opens or makes the medium and serves it; nobody sees it before it is mapped.
    pub async fn add_lun(self: &Arc<Self>, name: Name, table: LunTable) -> Result<LunView, Fault> {
        let added = name.clone();
        self.change(Creation::Allowed, move |config| {
            config.add_lun(&added, table)
        })
        .await?;
        self.lun(&name)
    }

    /// Changes write protection or write cache.
    pub async fn set_lun(self: &Arc<Self>, name: Name, set: LunSet) -> Result<LunView, Fault> {
        let changed = name.clone();
        self.change(Creation::Never, move |config| {
            config.set_lun(&changed, &set)
        })
        .await?;
        self.lun(&name)
    }

    /// Grows it, or takes over that its medium has grown.
    pub async fn resize_lun(
        self: &Arc<Self>,
        name: Name,
        resize: LunResize,
    ) -> Result<LunView, Fault> {
        let state = self.state();
        state.config.lun(&name)?;
        let served = state.served(&name)?.clone();
        let size = match resize.size {
            Some(size) => size,
            None => blocking(move || served.refresh()).await?,
        };
        let grown = name.clone();
        self.change(Creation::Never, move |config| {
            config.resize_lun(&grown, size)
        })
        .await?;
        self.lun(&name)
    }

    /// Serves it no more. Its file or device is not touched.
    pub async fn remove_lun(self: &Arc<Self>, name: Name, force: bool) -> Result<Noted<()>, Fault> {
        let notes = self
            .change(Creation::Never, move |config| {
                config.remove_lun(&name, force)
            })
            .await?;
        Ok(Noted { value: (), notes })
    }

    /// Fault injection: lets the medium complete nothing, or go on.
    pub async fn stall_lun(&self, name: &Name, on: bool) -> Result<(), Fault> {
        self.state().served(name)?;
        Ok(self
            .link
            .ask(|reply| Request::Stall {
                name: name.shared(),
                on,
                reply,
            })
            .await??)
    }
}

/// Hosts, and what they see.
impl Control {
    /// All, by name.
    pub fn hosts(&self) -> Vec<HostView> {
        let state = self.state();
        let view = |(name, host)| view::host(&state.config, name, host);
        state.config.hosts.iter().map(view).collect()
    }

    /// One.
    pub fn host(&self, name: &Name) -> Result<HostView, Fault> {
        let state = self.state();
        Ok(view::host(&state.config, name, state.config.host(name)?))
    }

    /// Makes one.
    pub async fn add_host(
        self: &Arc<Self>,
        name: Name,
        edit: HostEdit,
    ) -> Result<Noted<HostView>, Fault> {
        let added = name.clone();
        let notes = self
            .change(Creation::Never, move |config| {
                config.add_host(&added, &edit)
            })
            .await?;
        Ok(Noted {
            value: self.host(&name)?,
            notes,
        })
    }

    /// Changes one. Sessions that its rules do not admit any more end.
    pub async fn set_host(
        self: &Arc<Self>,
        name: Name,
        edit: HostEdit,
    ) -> Result<Noted<HostView>, Fault> {
        let changed = name.clone();
        let notes = self
            .change(Creation::Never, move |config| {
                config.set_host(&changed, &edit)
            })
            .await?;
        Ok(Noted {
            value: self.host(&name)?,
            notes,
        })
    }

    /// Removes one; its sessions end.
    pub async fn remove_host(self: &Arc<Self>, name: Name, force: bool) -> Result<(), Fault> {
        self.change(Creation::Never, move |config| {
            config.remove_host(&name, force)
        })
        .await
    }

    /// All maps, by host and number.
    pub fn maps(&self) -> Vec<MapView> {
        view::maps(&self.state().config)
    }

    /// Shows a logical unit to a host.
    pub async fn map(self: &Arc<Self>, map: MapAdd) -> Result<MapView, Fault> {
        let (host, lun, read_only) = (map.host.clone(), map.lun.clone(), map.read_only);
        let number = self
            .change(Creation::Never, move |config| config.map_lun(&map))
            .await?;
        Ok(MapView {
            host,
            number,
            lun,
            read_only,
        })
    }

    /// Hides a logical unit from a host.
    pub async fn unmap(self: &Arc<Self>, host: Name, lun: Name) -> Result<(), Fault> {
        self.change(Creation::Never, move |config| {
            config.unmap_lun(&lun, &host).map(drop)
        })
        .await
    }
}

/// Portals, sessions, the whole.
impl Control {
    /// All portals.
    pub fn portals(&self) -> Vec<PortalView> {
        let state = self.state();
        state
            .config
            .portals
            .iter()
            .map(|portal| view::portal(&state, portal))
            .collect()
    }

    /// One portal.
    pub fn portal(&self, protocol: Protocol, listen: &Listen) -> Result<PortalView, Fault> {
        let state = self.state();
        let portal = state.config.portal(protocol, listen)?;
        Ok(view::portal(&state, portal))
    }

    /// Listens on a portal.
    pub async fn add_portal(self: &Arc<Self>, portal: Portal) -> Result<PortalView, Fault> {
        let added = portal.clone();
        self.change(Creation::Never, move |config| config.add_portal(&added))
            .await?;
        Ok(view::portal(&self.state(), &portal))
    }

    /// Listens there no more; sessions stay.
    pub async fn remove_portal(self: &Arc<Self>, portal: Portal) -> Result<(), Fault> {
        self.change(Creation::Never, move |config| config.remove_portal(&portal))
            .await
    }

    /// All sessions.
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, Fault> {
        Ok(self.link.ask(|reply| Request::Sessions { reply }).await?)
    }

    /// One session.
    pub async fn session(&self, id: u64) -> Result<SessionInfo, Fault> {
        let mut sessions = self.sessions().await?.into_iter();
        sessions
            .find(|session| session.id == id)
            .ok_or_else(|| no_session(id))
    }

    /// Ends a session; the initiator may come again.
    pub async fn drop_session(&self, id: u64) -> Result<(), Fault> {
        let dropped = self
            .link
            .ask(|reply| Request::DropSession { id, reply })
            .await?;
        dropped.then_some(()).ok_or_else(|| no_session(id))
    }

    /// The summary.
    pub async fn status(&self) -> Result<StatusView, Fault> {
        let sessions = self.sessions().await?;
        let counters = self.link.ask(|reply| Request::Counters { reply }).await?;
        let state = self.state();
        let pending = {
            let mut pending = self.pending();
            pending.forget_who_came_in(&sessions);
            pending.len()
        };
        Ok(StatusView {
            version: env!("CARGO_PKG_VERSION"),
            process: std::process::id(),
            since: self.started,
            config: self.file.path().to_owned(),
            target: view::target(&state.config),
            luns_online: state.luns.values().filter(|lun| lun.is_ok()).count(),
            luns: state.config.luns.len(),
            lun_bytes: state.served_bytes(),
            hosts: state.config.hosts.len(),
            maps: state.config.maps.len(),
            portals_listening: state
                .portals
                .values()
                .filter(|portal| portal.is_ok())
                .count(),
            portals: state.config.portals.len(),
            rdma_ports: state.rdma_ports(),
            sessions: sessions.len(),
            pending,
            problems: view::problems(&state, pending),
            events_dropped: self
                .events_dropped
                .load(std::sync::atomic::Ordering::Relaxed),
            counters,
        })
    }

    /// What the target is called.
    pub fn target(&self) -> TargetIdentity {
        self.state().config.target
    }

    /// What it is called, over every transport.
    pub fn target_names(&self) -> TargetView {
        view::target(&self.state().config)
    }

    /// Gives the target another iSCSI name; sessions stay, and initiators find it by the new one.
    pub async fn set_target(self: &Arc<Self>, set: TargetSet) -> Result<Noted<TargetView>, Fault> {
        let notes = self
            .change(Creation::Never, move |config| config.set_target(&set))
            .await?;
        Ok(Noted {
            value: self.target_names(),
            notes,
        })
    }

    /// The configuration as its file would hold it.
    pub fn export(&self, secrets: Secrets) -> Result<String, Fault> {
        to_toml(&self.state().config, secrets).map_err(Fault::failed)
    }

    /// The configuration, for the API's JSON.
    pub fn document(&self, secrets: Secrets) -> Document {
        Document::of(&self.state().config, secrets)
    }

    /// Ends all sessions and the worker.
    pub async fn shutdown(&self, drain_ms: u64) -> Result<(), Fault> {
        Ok(self
            .link
            .ask(|reply| Request::Shutdown { drain_ms, reply })
            .await?)
    }
}

fn no_session(id: u64) -> Fault {
    Fault::not_found(format!("there is no session {id}")).fix("srptgt session list shows who is in")
}
