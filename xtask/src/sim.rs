//! `cargo xtask sim`: fresh seeds for the simulator as long as it is wanted, or one seed again.

use anyhow::Result;
use clap::Args;

use crate::repository::{command, run};

#[derive(Args)]
pub(crate) struct Sim {
    /// How long to go on with fresh seeds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Fresh seeds for worlds in which initiators speak SRP, iSER or iSCSI over TCP, not for those with nothing but SRP
    #[arg(long)]
    mixed: bool,
    /// Show this seed again instead
    #[arg(long)]
    seed: Option<u64>,
}

impl Sim {
    pub(crate) fn run(&self) -> Result<()> {
        let (option, number) = match self.seed {
            Some(seed) => ("--seed", seed),
            None => ("--seconds", self.seconds),
        };
        let number = number.to_string();
        let simulate = ["run", "--quiet", "-p", "tests", "--bin", "simulate", "--"];
        let mut arguments = [&simulate[..], &[option, &number]].concat();
        arguments.extend(self.mixed.then_some("--mixed"));
        run(command("cargo", &arguments))
    }
}
