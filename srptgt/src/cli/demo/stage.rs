//! The acts of the demonstration: each does one thing, and tells what came of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use initiator::iscsi::{self, machine::LoginOptions};
use initiator::machine::{LoginError, LoginReject, reason_text};
use initiator::scsi::{Capacity, Inquiry};
use initiator::{ConnectError, ConnectOptions, ExecuteError, Lun, Nexus, Scsi};
use serde_json::{Value, json};
use transport_iser::login::Datamover;

use crate::config::{ByteSize, Name};
use crate::control::Fault;
use crate::control::request::{Allow, HostEdit, MapAdd};
use crate::exercise::{
    Access, Content, Dial, Fill, Initiator, Measure, Measured, Mix, Pattern, Place, RdmaPort,
    ReadBack, run,
};
use crate::identity::Guid;
use crate::loopback::Target;
use crate::portal::{FabricKind, Protocol};

use super::super::progress::spinner;
use super::super::{Failure, Outcome, access};
use super::{Addresses, Figures, Story};

/// Size of the LUN.
pub(super) const LUN_BYTES: u64 = 64 << 20;

/// Commands outstanding while it is filled and read back.
const DEPTH: usize = 8;

/// Memory in bytes for the data of an initiator's commands.
const DATA_BYTES: usize = 64 << 20;

/// GUIDs of the two initiators' ports. No card has them: their universal/local bit is set.
const HOST_GUID: u64 = 0x0252_0100_00de_3001;
const STRANGER_GUID: u64 = 0x0252_0200_00de_3002;

/// What the host is called over iSCSI.
const HOST_NAME: &str = "iqn.2026-11.io.srptgt:esx01";

/// How long a refused login may take to be listed.
const PENDING_LIMIT: Duration = Duration::from_secs(5);

/// What is measured.
const MIXES: [Mix; 4] = [
    mix(Access::Read, 4 << 10, 1),
    mix(Access::Read, 4 << 10, 32),
    mix(Access::Write, 4 << 10, 32),
    mix(Access::Read, 1 << 20, 8),
];

const fn mix(access: Access, len_bytes: usize, depth: usize) -> Mix {
    Mix {
        access,
        len_bytes,
        depth,
    }
}

/// Who plays, where, and for whom.
pub(super) struct Stage {
    target: Target,
    addresses: Addresses,
    /// Where the target listens.
    portals: Vec<(Protocol, SocketAddr)>,
    story: Story,
}

/// A session of the host that is listed.
pub(super) struct HostSession {
    pub(super) over: Protocol,
    pub(super) initiator: Initiator,
}

/// An initiator as it presents itself.
#[derive(Clone, Copy)]
struct Who {
    over: Protocol,
    from: IpAddr,
    guid: u64,
    /// Initiators of the process are numbered.
    number: u64,
}

impl Stage {
    pub(super) fn new(target: Target, addresses: Addresses, story: Story) -> Self {
        Self {
            target,
            addresses,
            portals: Vec::new(),
            story,
        }
    }

    /// A file becomes a LUN, and the target listens for each transport.
    pub(super) async fn serve(&mut self) -> Outcome {
        let size = ByteSize(LUN_BYTES);
        self.target.add_file_lun(&name("ds1")?, size).await?;
        for protocol in Protocol::ALL {
            let address = self.target.listen(protocol, self.addresses.target).await;
            self.portals.push((protocol, address.map_err(in_use)?));
        }
        let mut text = format!(
            "LUN ds1, a file of {} in {}",
            size.rounded(),
            self.target.folder().display()
        );
        for (protocol, address) in &self.portals {
            text += &format!("\n{protocol:<5} {address}");
        }
        self.story.tell("serving", &text)
    }

    /// One host may see it: a machine with a port GUID and an iSCSI name.
    pub(super) async fn grant(&self) -> Outcome {
        let (ds1, esx01) = (name("ds1")?, name("esx01")?);
        let port_guid = guid(HOST_GUID)?;
        let edit = HostEdit {
            guids: vec![port_guid.to_string()],
            iqns: vec![HOST_NAME.to_owned()],
            ..HostEdit::default()
        };
        let control = self.target.control();
        control.add_host(esx01.clone(), edit).await?;
        control.map(map(ds1, esx01)).await?;
        let text = format!(
            "srptgt host add esx01 --guid {port_guid} --iqn {HOST_NAME}\n\
             srptgt map ds1 --host esx01\n\
             whoever is not listed is not let in"
        );
        self.story.tell("access", &text)
    }

    async fn log_in(&self, who: Who) -> Result<Result<Initiator, ConnectError>, Failure> {
        let dial = self.dial(who)?;
        let dial = dial.coming_from(Some(SocketAddr::new(who.from, 0)));
        let dial = dial.with_memory(DATA_BYTES);
        Ok(Initiator::log_in(dial, who.number).await)
    }

    fn dial(&self, who: Who) -> Result<Dial, Failure> {
        let portal = self.portals.iter().find(|(over, _)| *over == who.over);
        let (_, address) = *portal.ok_or_else(|| defect("the target does not listen"))?;
        let from = RdmaPort {
            fabric: FabricKind::Soft,
            guid: Some(guid(who.guid)?),
        };
        let iscsi = |datamover| {
            let login = LoginOptions::new(datamover, HOST_NAME, Some(&self.target.name()));
            Box::new(iscsi::ConnectOptions::new(address, login))
        };
        Ok(match who.over {
            Protocol::Srp => Dial::Srp {
                from,
                options: Box::new(ConnectOptions::new(address, self.target.port())),
            },
            Protocol::Iser => Dial::Iser {
                from,
                options: iscsi(Datamover::Iser),
            },
            Protocol::Tcp => Dial::Tcp {
                options: iscsi(Datamover::Tcp),
            },
        })
    }

    /// The host that is listed logs in over each transport and looks at what it has.
    pub(super) async fn let_in(&self) -> Result<Vec<HostSession>, Failure> {
        let mut sessions = Vec::new();
        let (mut text, mut found) = (String::new(), None);
        let Addresses {
            host_srp,
            host_iser,
            ..
        } = self.addresses;
        for (number, (over, from)) in (0..).zip([
            (Protocol::Srp, host_srp),
            (Protocol::Iser, host_iser),
            (Protocol::Tcp, host_iser),
        ]) {
            let who = Who {
                over,
                from,
                guid: HOST_GUID,
                number,
            };
            let begin = Instant::now();
            let initiator = self.log_in(who).await??;
            let taken_ms = begin.elapsed().as_secs_f64() * 1000.0;
            found = Some(initiator.run(look).await??);
            text += &format!("esx01 from {from} over {over:<4} is in after {taken_ms:.1} ms\n");
            sessions.push(HostSession { over, initiator });
        }
        if let Some((inquiry, capacity)) = found {
            text += &format!(
                "each time it finds LUN 0: {} {}, {} blocks of {} bytes",
                inquiry.vendor, inquiry.product, capacity.blocks, capacity.block_bytes
            );
        }
        self.story.tell("login", &text)?;
        Ok(sessions)
    }

    fn stranger(&self) -> Who {
        Who {
            over: Protocol::Srp,
            from: self.addresses.stranger,
            guid: STRANGER_GUID,
            number: 9,
        }
    }

    /// A stranger is not let in. Returns what it is told.
    pub(super) async fn refuse(&self) -> Result<String, Failure> {
        let (from, port_guid) = (self.addresses.stranger, guid(STRANGER_GUID)?);
        let said = match self.log_in(self.stranger()).await? {
            Err(ConnectError::Login {
                error: LoginError::Rejected(LoginReject { reason, .. }),
                ..
            }) => format!(
                "login rejected, reason {:#010x}:\n{}",
                reason.0,
                reason_text(reason)
            ),
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(defect("a port GUID that no host lists was let in")),
        };
        let text = format!("{port_guid} over srp from {from} is refused:\n{said}");
        self.story.tell("stranger", &text)?;
        Ok(said)
    }

    /// The operator sees who knocked, and what to type.
    pub(super) async fn show_pending(&self) -> Result<Value, Failure> {
        let limit = Instant::now() + PENDING_LIMIT;
        let refused = loop {
            let refused = self.target.control().refused().await?;
            if !refused.is_empty() {
                break json!(refused);
            }
            if Instant::now() > limit {
                return Err(defect("the refused login is not listed as pending"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let text = format!(
            "the operator types `srptgt pending`:\n{}",
            access::refused(&refused)
        );
        self.story.tell("", text.trim_end())?;
        Ok(refused)
    }

    /// The operator types what was proposed, and the stranger comes again.
    pub(super) async fn admit(&self) -> Result<Initiator, Failure> {
        let (ds1, esx02, port_guid) = (name("ds1")?, name("esx02")?, guid(STRANGER_GUID)?);
        let control = self.target.control();
        let allow = Allow {
            identity: port_guid.to_string(),
            host: esx02.clone(),
        };
        control.allow(allow).await?;
        control.map(map(ds1, esx02)).await?;
        let stranger = self.log_in(self.stranger()).await??;
        let (_, capacity) = stranger.run(look).await??;
        let text = format!(
            "srptgt allow {port_guid} --as esx02\n\
             srptgt map ds1 --host esx02\n\
             now the same login succeeds, and esx02 sees the same {}",
            ByteSize(capacity.bytes()).rounded()
        );
        self.story.tell("allowed", &text)?;
        Ok(stranger)
    }

    /// What one session writes all others read.
    pub(super) async fn verify(&self, host: &[HostSession], other: &Initiator) -> Outcome {
        let begin = Instant::now();
        let Some((writer, readers)) = host.split_first() else {
            return Err(defect("the host has no session"));
        };
        fill(&writer.initiator).await?;
        for reader in readers {
            self.read_back(&reader.initiator, reader.over).await?;
        }
        self.read_back(other, Protocol::Srp).await?;
        let over: Vec<_> = readers.iter().map(|one| one.over.to_string()).collect();
        let text = format!(
            "{} written by esx01 over {} in commands of 4 KiB to 1 MiB, and flushed;\n\
             read back by esx01 over {}, and by esx02 over srp: every byte as it was, in {:.1} s",
            ByteSize(LUN_BYTES).rounded(),
            writer.over,
            over.join(" and "),
            begin.elapsed().as_secs_f64()
        );
        self.story.tell("verified", &text)
    }

    /// Compares the whole LUN with the pattern.
    async fn read_back(&self, reader: &Initiator, over: Protocol) -> Outcome {
        let bar = bar(&format!("reading back over {over}"))?;
        let progress = bar.clone();
        let compare = move |session: &mut dyn Nexus| {
            let mut job = ReadBack::new(PATTERN, LUN_BYTES, |bytes| progress.inc(bytes));
            let place = place(session)?;
            Ok::<_, Failure>(run(session, place, DEPTH, &mut job)?)
        };
        reader.run(compare).await??;
        bar.finish_and_clear();
        Ok(())
    }

    /// How fast it is here and now; what was written is still there afterwards.
    pub(super) async fn measure(
        &self,
        host: &[HostSession],
        reader: &Initiator,
        duration: Duration,
    ) -> Result<Vec<Figures>, Failure> {
        self.story.headline(&format!(
            "\n  {:<23}{:<5}{:>9}{:>9}{:>12}{:>12}{:>12}",
            "random I/O by esx01", "over", "IOPS", "MB/s", "median", "99 %", "99.9 %"
        ))?;
        let mut all = Vec::new();
        for mix in MIXES {
            let mut name = mix.to_string();
            for HostSession { over, initiator } in host {
                let bar = spinner(&format!("measuring {mix} over {over}"))?;
                let figures = initiator.run(move |session| figures(session, mix, duration));
                let measured = figures.await??;
                bar.finish_and_clear();
                let transport = *over;
                let figures = Figures {
                    transport,
                    measured,
                };
                self.story
                    .headline(&row(&std::mem::take(&mut name), &figures))?;
                all.push(figures);
            }
        }
        self.read_back(reader, Protocol::Srp).await?;
        Ok(all)
    }

    pub(super) async fn end(self) -> Outcome {
        Ok(self.target.stop().await?)
    }
}

/// All of the demonstration's commands go here.
const LUN: Lun = Lun([0; 8]);

const PATTERN: Pattern = Pattern {
    seed: 0x5352_5054_4754,
};

/// Writes the whole LUN.
async fn fill(writer: &Initiator) -> Outcome {
    let bar = bar("writing over srp")?;
    let progress = bar.clone();
    let fill = move |session: &mut dyn Nexus| {
        let mut job = Fill::new(PATTERN, LUN_BYTES, |bytes| progress.inc(bytes));
        let place = place(session)?;
        run(session, place, DEPTH, &mut job)?;
        Ok::<_, Failure>(session.flush(LUN)?)
    };
    writer.run(fill).await??;
    bar.finish_and_clear();
    Ok(())
}

fn place(session: &mut dyn Nexus) -> Result<Place, ExecuteError> {
    Ok(Place {
        lun: LUN,
        capacity: session.read_capacity(LUN)?,
    })
}

fn look(session: &mut dyn Nexus) -> Result<(Inquiry, Capacity), ExecuteError> {
    session.await_ready(LUN)?;
    Ok((session.inquiry(LUN)?, session.read_capacity(LUN)?))
}

fn figures(session: &mut dyn Nexus, mix: Mix, duration: Duration) -> Result<Measured, Failure> {
    let place = place(session)?;
    let content = Content::Kept(PATTERN);
    let mut job = Measure::new(mix, content, PATTERN.seed, LUN_BYTES, duration)?;
    run(session, place, mix.depth, &mut job)?;
    Measured::together(&[job]).ok_or_else(|| defect("one measurement has no figures"))
}

/// One line of the report; the name of the job stands in the first of its lines only.
fn row(name: &str, figures: &Figures) -> String {
    let time = |us: f64| match us {
        us if us < 10_000.0 => format!("{us:.0} µs"),
        us => format!("{:.1} ms", us / 1000.0),
    };
    let (transport, measured) = (figures.transport, &figures.measured);
    format!(
        "  {name:<23}{transport:<5}{:>9.0}{:>9.0}{:>12}{:>12}{:>12}",
        measured.iops,
        measured.bytes_per_second / 1e6,
        time(measured.p50_us),
        time(measured.p99_us),
        time(measured.p999_us)
    )
}

/// On standard error, and only when that is a terminal.
fn bar(what: &str) -> Result<ProgressBar, Failure> {
    let style = "  {prefix:<24} {wide_bar:.cyan/dim} {bytes:>10}, {bytes_per_sec}";
    let style = ProgressStyle::with_template(style).map_err(anyhow::Error::from)?;
    Ok(ProgressBar::new(LUN_BYTES)
        .with_style(style)
        .with_prefix(what.to_owned()))
}

fn name(text: &str) -> Result<Name, Failure> {
    Ok(text.parse().map_err(anyhow::Error::from)?)
}

fn guid(value: u64) -> Result<Guid, Failure> {
    Guid::new(value).ok_or_else(|| defect("a GUID of the demonstration is none"))
}

fn map(lun: Name, host: Name) -> MapAdd {
    MapAdd {
        lun,
        host,
        number: Some(0),
        read_only: false,
    }
}

fn defect(text: &str) -> Failure {
    Failure::Failed(
        text.to_owned(),
        "this is a defect, please report it".to_owned(),
    )
}

/// Two demonstrations at a time need addresses of their own.
const OTHER_ADDRESSES: &str =
    "end the other program, or take other addresses: srptgt demo --address 127.1.0.1";

fn in_use(fault: Fault) -> Failure {
    Failure::Failed(fault.text, OTHER_ADDRESSES.to_owned())
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.text, fault.fix)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let fix = match error {
            ConnectError::Rdma(rdma::Error::Socket { .. }) => OTHER_ADDRESSES,
            _ => "",
        };
        Self::Failed(error.to_string(), fix.to_owned())
    }
}
