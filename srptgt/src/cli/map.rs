//! `srptgt map` and `srptgt unmap`.

use clap::Args;

use crate::config::Name;
use crate::control::request::MapAdd;

use super::cell::text;
use super::{Context, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Map {
    /// The LUN
    lun: Name,
    /// The host
    #[arg(long)]
    host: Name,
    /// LUN number, 0 to 255 [default: the lowest that is free for the host]
    #[arg(long = "lun", value_name = "NUMBER")]
    number: Option<u8>,
    /// Write-protect it for this host
    #[arg(long)]
    read_only: bool,
}

impl Map {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let map = MapAdd {
            lun: self.lun,
            host: self.host,
            number: self.number,
            read_only: self.read_only,
        };
        let answer = context.client.post("/v1/maps", &map).await?;
        context.print_done(&answer, |made| {
            format!(
                "host {} sees LUN {} as number {}",
                map.host,
                map.lun,
                text(made, "/number")
            )
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Unmap {
    /// The LUN
    lun: Name,
    /// The host
    #[arg(long)]
    host: Name,
}

impl Unmap {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let answer = context
            .client
            .delete(&format!("/v1/maps/{}/{}", self.host, self.lun))
            .await?;
        context.print_done(&answer, |_| {
            format!("host {} does not see LUN {} any more", self.host, self.lun)
        })
    }
}
