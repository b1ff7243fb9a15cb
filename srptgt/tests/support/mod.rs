//! A control plane with a worker that moves no data: it keeps what it is told and answers as it is told.

#![allow(dead_code)] // Each test file uses its part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use srptgt::access::{Access, Credentials, Identity, LinkLayer, LoginIdentity, Vouched};
use srptgt::api::client::{Client, ClientError};
use srptgt::api::server::Socket;
use srptgt::control::Control;
use srptgt::identity::{Guid, Id128};
use srptgt::portal::{Address, Endpoint, FabricKind, Listen, Portal, Protocol, RdmaPort};
use srptgt::worker_link::{
    Counters, Event, EventSender, IscsiSettings, LatencyMicros, LunChange, Mailbox, Refusal,
    Request, SessionChannel, SessionInfo, SessionLun, WorkerError, link,
};
use target_core::logical_unit::LogicalUnit;
use tempfile::TempDir;

/// What the fake worker has.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) luns: BTreeMap<String, (Arc<LogicalUnit>, Arc<backstore::Medium>)>,
    pub(crate) portals: BTreeSet<Portal>,
    pub(crate) access: Arc<Access>,
    pub(crate) iscsi: Option<Arc<IscsiSettings>>,
    pub(crate) sessions: Vec<SessionInfo>,
    pub(crate) changes: Vec<(String, LunChange)>,
    pub(crate) stalled: BTreeSet<String>,
    /// The names of all requests, in order.
    pub(crate) log: Vec<&'static str>,
    /// Requests of this name fail until it is taken away.
    pub(crate) failing: Option<&'static str>,
}

fn refusal() -> WorkerError {
    WorkerError {
        text: "the worker was told to fail".to_owned(),
        fix: "tell it otherwise".to_owned(),
    }
}

impl Told {
    fn outcome(&mut self, name: &'static str) -> Result<(), WorkerError> {
        self.log.push(name);
        if self.failing == Some(name) {
            Err(refusal())
        } else {
            Ok(())
        }
    }

    /// Returns false when the worker should end.
    fn handle(&mut self, request: Request) -> bool {
        match request {
            Request::AddLun { lu, medium, reply } => {
                let outcome = self.outcome("add lun");
                if outcome.is_ok() {
                    let old = self.luns.insert(lu.identity.name.clone(), (lu, medium));
                    assert!(old.is_none(), "a LUN is added twice");
                }
                reply.send(outcome);
            }
            Request::RemoveLun { name, reply } => {
                let outcome = self.outcome("remove lun");
                let mapped = self
                    .access
                    .hosts()
                    .iter()
                    .any(|host| host.luns.values().any(|lun| lun.lun == name));
                assert!(!mapped, "a LUN is removed while a host sees it");
                assert!(
                    self.luns.remove(&*name).is_some(),
                    "a LUN is removed that was not added"
                );
                reply.send(outcome);
            }
            Request::LunChanged {
                name,
                change,
                reply,
            } => {
                self.changes.push((name.to_string(), change));
                let outcome = self.outcome("lun changed");
                reply.send(outcome);
            }
            Request::SetAccess { access, reply } => {
                for lun in access.hosts().iter().flat_map(|host| host.luns.values()) {
                    assert!(
                        self.luns.contains_key(&*lun.lun),
                        "LUN {} is mapped and was not added",
                        lun.lun
                    );
                }
                self.access = access;
                let _ = self.outcome("set access");
                reply.send(());
            }
            Request::SetIscsi { settings, reply } => {
                self.iscsi = Some(settings);
                let _ = self.outcome("set iscsi");
                reply.send(());
            }
            Request::AddPortal { portal, reply } => {
                let outcome = self.outcome("add portal").map(|()| endpoints(&portal));
                if outcome.is_ok() {
                    self.portals.insert(portal);
                }
                reply.send(outcome);
            }
            Request::RemovePortal { portal, reply } => {
                let _ = self.outcome("remove portal");
                self.portals.remove(&portal);
                reply.send(());
            }
            Request::Sessions { reply } => reply.send(self.sessions.clone()),
            Request::DropSession { id, reply } => {
                let before = self.sessions.len();
                self.sessions.retain(|session| session.id != id);
                reply.send(self.sessions.len() < before);
            }
            Request::Counters { reply } => reply.send(Counters::default()),
            Request::Stall { name, on, reply } => {
                if on {
                    self.stalled.insert(name.to_string())
                } else {
                    self.stalled.remove(&*name)
                };
                let outcome = self.outcome("stall");
                reply.send(outcome);
            }
            Request::Shutdown { reply, .. } => {
                reply.send(());
                return false;
            }
        }
        true
    }
}

fn endpoints(portal: &Portal) -> Vec<Endpoint> {
    match &portal.listen {
        Listen::Ip(address) if address.ip().is_unspecified() => ["10.99.0.1", "10.98.0.1"]
            .map(|ip| {
                at_address(
                    portal,
                    (ip.parse::<IpAddr>().unwrap(), address.port()).into(),
                )
            })
            .into(),
        Listen::Ip(address) => vec![at_address(portal, *address)],
        Listen::InfiniBand(port) => {
            let gid = id(0xfe80 << 48, 0x0002_c903_000e_0b73);
            vec![Endpoint {
                address: Address::InfiniBand {
                    gid,
                    pkey: 0xffff,
                    service_id: 0x013f_15b3,
                },
                port: Some(RdmaPort {
                    fabric: FabricKind::Verbs,
                    port: port.clone(),
                    guid: Guid::new(0x0002_c903_000e_0b73),
                    gid,
                }),
            }]
        }
    }
}

/// Over RDMA, all addresses are on one port of the soft fabric.
fn at_address(portal: &Portal, address: SocketAddr) -> Endpoint {
    let gid = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let port = RdmaPort {
        fabric: FabricKind::Soft,
        port: "soft_eth0:1".parse().unwrap(),
        guid: Guid::new(0x005e_00ff_fe00_0107),
        gid: Id128(gid),
    };
    Endpoint {
        address: Address::Ip(address),
        port: (portal.protocol != Protocol::Tcp).then_some(port),
    }
}

/// A worker thread that keeps what it is told in `told`.
fn start(mut mailbox: Mailbox, told: Arc<Mutex<Told>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        loop {
            let mut waits = [PollFd::from_borrowed_fd(mailbox.fd(), PollFlags::IN)];
            poll(&mut waits, None).unwrap();
            mailbox.acknowledge();
            while let Some(request) = mailbox.poll() {
                if !told.lock().unwrap().handle(request) {
                    return;
                }
            }
        }
    })
}

/// A running control plane with its API, in a folder of its own.
pub(crate) struct Bed {
    pub(crate) folder: TempDir,
    pub(crate) control: Arc<Control>,
    pub(crate) client: Client,
    pub(crate) events: EventSender,
    told: Arc<Mutex<Told>>,
}

impl Bed {
    /// Starts it with this configuration; must run inside a runtime.
    pub(crate) async fn with(config: &str) -> Self {
        // Its name has always the same length, so that the transcripts' tables do not move.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        if !config.is_empty() {
            std::fs::write(folder.path().join("srptgt.toml"), config).unwrap();
        }
        let told = Arc::new(Mutex::new(Told::default()));
        let (link, mailbox, events) = link().unwrap();
        let sender = mailbox.events().clone();
        let (control, loaded) =
            Control::load(&folder.path().join("srptgt.toml"), link, &events).unwrap();
        start(mailbox, told.clone());
        control.start(loaded).await.unwrap();
        let socket = Socket::bind(&folder.path().join("api.sock")).unwrap();
        tokio::spawn(socket.serve(control.clone()));
        tokio::spawn(control.clone().run(events));
        let client = Client::new(&folder.path().join("api.sock"));
        Self {
            folder,
            control,
            client,
            events: sender,
            told,
        }
    }

    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.path().join("srptgt.toml")
    }

    pub(crate) fn config_text(&self) -> String {
        std::fs::read_to_string(self.config_path()).unwrap_or_default()
    }

    /// From now on the configuration cannot be written.
    pub(crate) fn break_disk(&self) {
        let _ = std::fs::remove_dir(self.config_path().with_extension("toml.new"));
        std::fs::create_dir(self.config_path().with_extension("toml.new")).unwrap();
    }

    /// A login from the claimed port is refused, as the worker would.
    pub(crate) async fn refuse(&self, guid: u64) {
        let login = login(guid);
        let refused = self.told().access.admit(&login).unwrap_err();
        self.refuse_with(login, refused).await;
    }

    /// An iSCSI login over TCP is refused, as the worker would.
    pub(crate) async fn refuse_iscsi(&self, initiator_name: &str) {
        let login = iscsi_login(Protocol::Tcp, initiator_name, None);
        let refused = self.told().access.admit(&login).unwrap_err();
        self.refuse_with(login, refused).await;
    }

    pub(crate) async fn refuse_with(&self, login: LoginIdentity, refused: srptgt::access::Refused) {
        let before = self.control.refused().await.unwrap().len();
        let when = std::time::SystemTime::now();
        self.events.send(Event::Refused(Refusal {
            when,
            login,
            refused,
        }));
        for _ in 0..1000 {
            tokio::task::yield_now().await;
            if self.control.refused().await.unwrap().len() > before {
                return;
            }
        }
        panic!("the refusal was not taken down as a new one");
    }
}

pub(crate) fn id(upper: u64, lower: u64) -> Id128 {
    Id128((u128::from(upper) << 64 | u128::from(lower)).to_be_bytes())
}

/// A login over RoCE.
pub(crate) fn login(guid: u64) -> LoginIdentity {
    LoginIdentity {
        portal: Portal {
            protocol: Protocol::Srp,
            listen: "10.99.0.1:5555".parse().unwrap(),
            fabric: None,
        },
        local: "rxe0:1".parse().ok(),
        link_layer: Some(LinkLayer::Ethernet),
        source_gid: Some(id(0, 0xffff_0a63_0002)),
        address: Some("10.99.0.2".parse().unwrap()),
        pkey: Some(0xffff),
        who: Credentials::Srp {
            initiator_port_id: id(0, guid),
            claimed_guid: Guid::new(guid),
        },
    }
}

/// An iSCSI login, over RoCE or TCP; without a target it is for discovery.
pub(crate) fn iscsi_login(
    protocol: Protocol,
    initiator_name: &str,
    target: Option<&str>,
) -> LoginIdentity {
    let rdma = login(0);
    let over_rdma = protocol == Protocol::Iser;
    LoginIdentity {
        portal: Portal {
            protocol,
            listen: "10.99.0.1:3260".parse().unwrap(),
            fabric: None,
        },
        local: rdma.local.filter(|_| over_rdma),
        link_layer: rdma.link_layer.filter(|_| over_rdma),
        source_gid: rdma.source_gid.filter(|_| over_rdma),
        pkey: rdma.pkey.filter(|_| over_rdma),
        address: rdma.address,
        who: Credentials::Iscsi {
            initiator_name: initiator_name.to_owned(),
            isid: [0x00, 0x02, 0x3d, 0, 0, 1],
            target_name: target.map(str::to_owned),
            discovery: target.is_none(),
        },
    }
}

/// The same host's session by its iSCSI name.
pub(crate) fn iscsi_session(session_id: u64, protocol: Protocol, name: &str) -> SessionInfo {
    let over_rdma = protocol == Protocol::Iser;
    let mut session = session(session_id);
    session.transport = protocol;
    session.identity = Identity::Iqn(name.parse().unwrap());
    session.vouched = Vouched::Chap;
    session.login = iscsi_login(protocol, name, Some("iqn.2026-11.io.srptgt:x"));
    for channel in &mut session.channels {
        channel.queue_pair = channel.queue_pair.filter(|_| over_rdma);
        channel.max_it_iu_bytes = 8192;
    }
    session
}

/// A session of host `esx01` on LUN 0, `ds1`.
pub(crate) fn session(session_id: u64) -> SessionInfo {
    SessionInfo {
        id: session_id,
        host: "esx01".to_owned(),
        transport: Protocol::Srp,
        identity: Identity::Guid(Guid::new(0x0002_c903_000e_0b73).unwrap()),
        vouched: Vouched::Claimed,
        login: login(0x0002_c903_000e_0b73),
        since: std::time::SystemTime::now(),
        channels: vec![SessionChannel {
            queue_pair: Some(17),
            max_it_iu_bytes: 8260,
            request_limit: 64,
            in_flight: 3,
            immediate_data: true,
            iscsi: None,
        }],
        luns: vec![SessionLun {
            number: 0,
            lun: "ds1".to_owned(),
            reads: 10,
            writes: 5,
            read_bytes: 40960,
            written_bytes: 20480,
            errors: 0,
            latency: LatencyMicros {
                p50_us: 80,
                p99_us: 200,
                p999_us: 400,
                max_us: 12000,
            },
        }],
    }
}

/// The port GUID that the tests' host has.
pub(crate) const PORT: u64 = 0x0002_c903_000e_0b73;

pub(crate) fn refused(result: Result<Value, ClientError>) -> (bool, String, String) {
    match result.unwrap_err() {
        ClientError::Refused {
            wrong_usage,
            text,
            fix,
        } => (wrong_usage, text, fix),
        other => panic!("{other}"),
    }
}

pub(crate) async fn add_ram(bed: &Bed, name: &str) -> Result<Value, ClientError> {
    bed.client
        .post(&format!("/v1/luns/{name}"), json!({ "ram": "1M" }))
        .await
}

pub(crate) async fn add_host(bed: &Bed, name: &str, guid: u64) -> Result<Value, ClientError> {
    let guids = [format!("0x{guid:016x}")];
    bed.client
        .post(&format!("/v1/hosts/{name}"), json!({ "guids": guids }))
        .await
}

pub(crate) async fn map(bed: &Bed, lun: &str, host: &str) -> Result<Value, ClientError> {
    bed.client
        .post("/v1/maps", json!({ "lun": lun, "host": host }))
        .await
}

/// ds1 mapped to esx01.
pub(crate) async fn served() -> Bed {
    let bed = Bed::new().await;
    add_ram(&bed, "ds1").await.unwrap();
    add_host(&bed, "esx01", PORT).await.unwrap();
    map(&bed, "ds1", "esx01").await.unwrap();
    bed
}
