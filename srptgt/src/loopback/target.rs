//! The target: control plane and worker as `serve` runs them, with a configuration in a temporary folder.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use tempfile::TempDir;
use transport_srp::TargetPortId;

use crate::config::document::LunTable;
use crate::config::{ByteSize, Name};
use crate::control::{Control, Fault};
use crate::portal::{FabricKind, Listen, Portal, Protocol};
use crate::worker::{self, MemorySettings, WorkerSettings};
use crate::worker_link::{MAX_TRANSFER_BYTES, link};

/// Memory in bytes for the data of commands in flight.
const DATA_BYTES: usize = 64 << 20;

/// How long commands in flight may take at the end, in milliseconds.
const DRAIN_MS: u64 = 2000;

/// A running target. Its folder goes when it is dropped.
#[derive(Debug)]
pub struct Target {
    folder: TempDir,
    control: Arc<Control>,
    worker: JoinHandle<()>,
}

impl Target {
    /// Starts one that serves nothing yet. Must run inside a runtime.
    ///
    /// # Errors
    /// What the machine lacks.
    pub async fn start() -> anyhow::Result<Self> {
        let memory = MemorySettings {
            data_bytes: DATA_BYTES,
            max_transfer_bytes: usize::try_from(MAX_TRANSFER_BYTES)?,
            ..MemorySettings::default()
        };
        Self::start_with(memory).await
    }

    /// The same with as much memory as this.
    ///
    /// # Errors
    /// What the machine lacks.
    pub async fn start_with(memory: MemorySettings) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("srptgt-demo-").tempdir();
        let folder = folder.context(
            "a temporary folder cannot be made; name one that can be written to by TMPDIR=FOLDER",
        )?;
        let (link, mailbox, events) = link().context("the worker's mailbox cannot be made")?;
        let config = folder.path().join("srptgt.toml");
        let (control, loaded) = Control::load(&config, link, &events)?;
        let name = control.target();
        let settings = WorkerSettings {
            target_port: TargetPortId {
                id_ext: name.id_ext.value(),
                ioc_guid: name.ioc_guid.value(),
            },
            memory,
            fabric: FabricKind::Soft,
            soft: rdma::SoftConfig::default(),
            // Most users may not lock that much memory.
            fixed_buffers: false,
        };
        let worker = worker::start(settings, mailbox).context("the data plane cannot start")?;
        control.start(loaded).await?;
        tokio::spawn(control.clone().run(events));
        Ok(Self {
            folder,
            control,
            worker,
        })
    }

    /// Its control plane.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What initiators call the target port.
    pub fn port(&self) -> TargetPortId {
        let name = self.control.target();
        TargetPortId {
            id_ext: name.id_ext.value(),
            ioc_guid: name.ioc_guid.value(),
        }
    }

    /// Adds a LUN in a file of its own, with its write cache on.
    ///
    /// # Errors
    /// The file cannot be made.
    pub async fn add_file_lun(&self, name: &Name, size: ByteSize) -> Result<(), Fault> {
        let table = LunTable {
            file: Some(self.folder().join(format!("{}.img", name.as_str()))),
            block: None,
            ram: None,
            null: None,
            size: Some(size),
            block_size: Default::default(),
            read_only: false,
            thin: false,
            write_cache: true,
            naa: None,
            serial: None,
        };
        self.control.add_lun(name.clone(), table).await.map(drop)
    }

    /// What initiators call the target over iSCSI.
    pub fn name(&self) -> String {
        self.control.target_names().iscsi.target_name.to_string()
    }

    /// Listens on an address: RDMA on the usual port of the protocol, TCP on one that is free. Returns where.
    ///
    /// # Errors
    /// Its UDP port is in use, or there is no TCP port.
    pub async fn listen(&self, protocol: Protocol, address: IpAddr) -> Result<SocketAddr, Fault> {
        let (port, fabric) = match protocol {
            Protocol::Srp | Protocol::Iser => (protocol.usual_port(), Some(FabricKind::Soft)),
            Protocol::Tcp => {
                let port = super::free_tcp_port(address);
                let port = port.map_err(|error| Fault::failed(format!("{error:#}")))?;
                (port, None)
            }
        };
        let listen = SocketAddr::new(address, port);
        let portal = Portal {
            protocol,
            listen: Listen::Ip(listen),
            fabric,
        };
        self.control.add_portal(portal).await?;
        Ok(listen)
    }

    /// Ends all sessions and the worker, and removes the folder.
    ///
    /// # Errors
    /// The worker did not end well.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.control.shutdown(DRAIN_MS).await?;
        match tokio::task::spawn_blocking(|| self.worker.join()).await? {
            Ok(()) => Ok(self.folder.close()?),
            Err(_) => bail!("the worker thread panicked while it ended"),
        }
    }
}
