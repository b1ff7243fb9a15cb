//! `srptgt export`.

use clap::Args;

use super::{Context, Outcome, Output, say};

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// With the CHAP secrets: without them, hosts with CHAP cannot be read back
    #[arg(long)]
    secrets: bool,
}

impl Export {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let query = format!("?secrets={}", self.secrets);
        let client = &context.client;
        match context.output {
            Output::Table => say(&client.text(&format!("/v1/config.toml{query}")).await?),
            Output::Json => {
                let answer = client.get(&format!("/v1/config{query}")).await?;
                say(&format!("{answer:#}\n"))
            }
        }
    }
}
