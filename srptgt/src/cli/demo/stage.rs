//! The acts of the demonstration: each does one thing, and tells what came of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use initiator::machine::{LoginError, LoginReject, reason_text};
use initiator::scsi::{Capacity, Inquiry};
use initiator::{ConnectError, ConnectOptions, ExecuteError, Lun, Nexus, Scsi};
use serde_json::{Value, json};

use crate::config::{ByteSize, Name};
use crate::control::Fault;
use crate::control::request::{Allow, HostEdit, MapAdd};
use crate::exercise::{
    Access, Content, Dial, Fill, Initiator, Measure, Measured, Mix, Pattern, Place, ReadBack, run,
};
use crate::identity::Guid;
use crate::loopback::Target;
use crate::portal::FabricKind;

use super::super::progress::spinner;
use super::super::{Failure, Outcome, access};
use super::Story;

/// Size of the LUN.
pub(super) const LUN_BYTES: u64 = 64 << 20;

/// Commands outstanding while it is filled and read back.
const DEPTH: usize = 8;

/// Memory in bytes for the data of an initiator's commands.
const DATA_BYTES: usize = 64 << 20;

/// The port that the target's portal has on RDMA-CM.
const SERVICE_PORT: u16 = 5555;

/// GUIDs of the two initiators' ports. No card has them: their universal/local bit is set.
const HOST_GUID: u64 = 0x0252_0100_00de_3001;
const STRANGER_GUID: u64 = 0x0252_0200_00de_3002;

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
    /// Of the target, the host and the stranger.
    addresses: [IpAddr; 3],
    story: Story,
}

impl Stage {
    pub(super) fn new(target: Target, addresses: [IpAddr; 3], story: Story) -> Self {
        Self {
            target,
            addresses,
            story,
        }
    }

    fn portal(&self) -> SocketAddr {
        SocketAddr::new(self.addresses[0], SERVICE_PORT)
    }

    /// A file becomes a LUN, which one host may see.
    pub(super) async fn serve(&self) -> Outcome {
        let (ds1, esx01) = (name("ds1")?, name("esx01")?);
        let control = self.target.control();
        self.target.add_file_lun(&ds1, ByteSize(LUN_BYTES)).await?;
        let edit = HostEdit {
            guids: vec![guid(HOST_GUID)?.to_string()],
            ..HostEdit::default()
        };
        control.add_host(esx01.clone(), edit).await?;
        control.map(map(ds1, esx01)).await?;
        self.target.listen(self.portal()).await.map_err(in_use)?;
        let text = format!(
            "LUN ds1, a file of {} in {}, at srp {}\n\
             to host esx01, which is port GUID {}, and to nobody else",
            ByteSize(LUN_BYTES).rounded(),
            self.target.folder().display(),
            self.portal(),
            guid(HOST_GUID)?
        );
        self.story.tell("serving", &text)
    }

    async fn log_in(
        &self,
        from: IpAddr,
        port_guid: u64,
    ) -> Result<Result<Initiator, ConnectError>, Failure> {
        let mut options = ConnectOptions::new(self.portal(), self.target.port());
        options.source = Some(SocketAddr::new(from, 0));
        options.data_bytes = DATA_BYTES;
        let dial = Dial::Srp {
            fabric: FabricKind::Soft,
            guid: Some(guid(port_guid)?),
            options,
        };
        Ok(Initiator::log_in(dial, 0).await)
    }

    /// The host that is listed logs in and looks at what it has.
    pub(super) async fn let_in(&self) -> Result<Initiator, Failure> {
        let begin = Instant::now();
        let from = self.addresses[1];
        let host = self.log_in(from, HOST_GUID).await??;
        let taken_ms = begin.elapsed().as_secs_f64() * 1000.0;
        let (inquiry, capacity) = host.run(look).await??;
        let text = format!(
            "esx01 from {from} is in after {taken_ms:.1} ms and has LUN 0: {} {}, {} blocks of {} bytes",
            inquiry.vendor, inquiry.product, capacity.blocks, capacity.block_bytes
        );
        self.story.tell("login", &text)?;
        Ok(host)
    }

    /// A stranger is not let in. Returns what it is told.
    pub(super) async fn refuse(&self) -> Result<String, Failure> {
        let (from, port_guid) = (self.addresses[2], guid(STRANGER_GUID)?);
        let said = match self.log_in(from, STRANGER_GUID).await? {
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
        let text = format!("{port_guid} from {from} is refused:\n{said}");
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
        let stranger = self.log_in(self.addresses[2], STRANGER_GUID).await??;
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

    /// What one host writes the other one reads.
    pub(super) async fn verify(&self, writer: &Initiator, reader: &Initiator) -> Outcome {
        let begin = Instant::now();
        let bar = bar("writing")?;
        let progress = bar.clone();
        let fill = move |session: &mut dyn Nexus| {
            let mut job = Fill::new(PATTERN, LUN_BYTES, |bytes| progress.inc(bytes));
            let place = place(session)?;
            run(session, place, DEPTH, &mut job)?;
            Ok::<_, Failure>(session.flush(LUN)?)
        };
        writer.run(fill).await??;
        bar.finish_and_clear();
        self.read_back(reader).await?;
        let text = format!(
            "{} written by esx01 in commands of 4 KiB to 1 MiB, flushed, and read back by esx02:\n\
             every byte as it was, in {:.1} s",
            ByteSize(LUN_BYTES).rounded(),
            begin.elapsed().as_secs_f64()
        );
        self.story.tell("verified", &text)
    }

    /// Compares the whole LUN with the pattern.
    pub(super) async fn read_back(&self, reader: &Initiator) -> Outcome {
        let bar = bar("reading back")?;
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
        host: &Initiator,
        reader: &Initiator,
        duration: Duration,
    ) -> Result<Vec<Measured>, Failure> {
        self.story.headline(&format!(
            "\n  {:<24}{:>9}{:>9}{:>12}{:>12}{:>12}",
            "random I/O by esx01", "IOPS", "MB/s", "median", "99 %", "99.9 %"
        ))?;
        let mut measured = Vec::new();
        for mix in MIXES {
            let bar = spinner(&format!("measuring {mix}"))?;
            let figures = host
                .run(move |session| figures(session, mix, duration))
                .await??;
            bar.finish_and_clear();
            self.story.headline(&row(&figures))?;
            measured.push(figures);
        }
        self.read_back(reader).await?;
        Ok(measured)
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

fn row(measured: &Measured) -> String {
    let time = |us: f64| match us {
        us if us < 10_000.0 => format!("{us:.0} µs"),
        us => format!("{:.1} ms", us / 1000.0),
    };
    format!(
        "  {:<24}{:>9.0}{:>9.0}{:>12}{:>12}{:>12}",
        measured.name,
        measured.iops,
        measured.bytes_per_second / 1e6,
        time(measured.p50_us),
        time(measured.p99_us),
        time(measured.p999_us)
    )
}

/// On standard error, and only when that is a terminal.
fn bar(what: &'static str) -> Result<ProgressBar, Failure> {
    let style = "  {prefix:<24} {wide_bar:.cyan/dim} {bytes:>10}, {bytes_per_sec}";
    let style = ProgressStyle::with_template(style).map_err(anyhow::Error::from)?;
    Ok(ProgressBar::new(LUN_BYTES)
        .with_style(style)
        .with_prefix(what))
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
